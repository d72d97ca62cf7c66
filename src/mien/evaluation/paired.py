"""Several models on the same images: which of their differences are more than chance. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mien.errors import needs
from mien.evaluation.metrics import RESAMPLES, Figure, interval

with needs("report"):
    from scipy.stats import binom
    from sklearn.metrics import cohen_kappa_score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Int, Num

CHANCE = 0.05
"""A corrected probability below this is called a difference."""


class Resampled(NamedTuple):
    """Figures of m models, first on the images as they are, then on each resample: the same images for all models."""

    accuracy: Num[np.ndarray, "m r"]
    macro_f1: Num[np.ndarray, "m r"]
    f1: Num[np.ndarray, "m r k"]
    """NaN where a resample has no image of the class and no such answer..."""
    recall: Num[np.ndarray, "m r k"]
    """...or no image of the class."""


@dataclass(frozen=True)
class Pair:
    """Two models, compared image by image. Differences are the first's figure minus the second's."""

    first: str
    second: str
    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p_exact: float
    """McNemar's test, exact: how often equally good models would differ at least this much..."""
    p_mid: float
    """...its mid-p form, less cautious where few images decide..."""
    p_holm: float
    """...and the exact one after Holm's correction for all pairs compared."""
    accuracy: Figure
    macro_f1: Figure
    agreement: float
    """Share of images with equal answers."""
    kappa: float | None
    """Cohen's kappa of the answers; None where both always give the same one."""
    meaning: str
    """In one sentence."""

    def to_dict(self) -> dict[str, Any]:
        """Return the pair as the comparison schema has it."""
        figures = {name: getattr(self, name)._asdict() for name in ("accuracy", "macro_f1")}
        return {**vars(self), **figures}


def resample(
    truth: Int[np.ndarray, " n"], answers: Int[np.ndarray, "m n"], k: int, *, seed: int = 0
) -> Resampled:
    """Count every model's hits on the images and on `RESAMPLES` draws of them with replacement.

    Macro-F1 goes over the classes that occur, as scikit-learn's does.
    """
    n, cells = len(truth), truth * k + answers
    rng = np.random.default_rng(seed)
    counts = np.empty((len(answers), RESAMPLES + 1, k, k))
    for draw in range(RESAMPLES + 1):
        weight = np.bincount(rng.integers(0, n, n), minlength=n) if draw else np.ones(n)
        for model, cell in enumerate(cells):
            counts[model, draw] = np.bincount(cell, weight, k * k).reshape(k, k)
    support, answered = counts.sum(axis=3), counts.sum(axis=2)
    right = np.diagonal(counts, axis1=2, axis2=3)
    with np.errstate(invalid="ignore"):
        f1, recall = 2 * right / (support + answered), right / support
    return Resampled(right.sum(axis=2) / n, np.nanmean(f1, axis=2), f1, recall)


def mcnemar(only_first: int, only_second: int) -> tuple[float, float]:
    """Return the two-sided exact and mid-p probabilities that equally good models differ at least this much.

    Of the images that only one model gets right, each is either's with equal chance (McNemar 1947; mid-p:
    Fagerland, Lydersen & Laake 2013, doi:10.1186/1471-2288-13-91).
    """
    few, total = min(only_first, only_second), only_first + only_second
    here = float(binom.pmf(few, total, 0.5))
    if only_first == only_second:
        return 1.0, 1 - here / 2
    exact = min(1.0, 2 * float(binom.cdf(few, total, 0.5)))
    return exact, exact - here


def holm(probabilities: Sequence[float]) -> list[float]:
    """Return probabilities corrected for their number (Holm 1979): the chance of even one false alarm is kept."""
    corrected, least = [0.0] * len(probabilities), 0.0
    for rank, place in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        least = max(least, min(1.0, (len(probabilities) - rank) * probabilities[place]))
        corrected[place] = least
    return corrected


def compare_pairs(
    names: Sequence[str],
    truth: Int[np.ndarray, " n"],
    answers: Int[np.ndarray, "m n"],
    resampled: Resampled,
) -> tuple[Pair, ...]:
    """Compare each model with each that follows it."""
    hits = answers == truth
    pairs = list(combinations(range(len(names)), 2))
    tests = [mcnemar(*_disagreeing(hits[a], hits[b])) for a, b in pairs]
    corrected = holm([exact for exact, _ in tests])
    made = []
    for (a, b), (exact, mid), p_holm in zip(pairs, tests, corrected, strict=True):
        accuracy, macro_f1 = (
            interval(draws[a] - draws[b]) for draws in (resampled.accuracy, resampled.macro_f1)
        )
        only_first, only_second = _disagreeing(hits[a], hits[b])
        agreement = float((answers[a] == answers[b]).mean())
        meaning = _meaning(
            names[a], names[b], only_first + only_second, accuracy, p_holm, len(pairs), same=agreement == 1
        )
        made.append(
            Pair(
                names[a], names[b], int((hits[a] & hits[b]).sum()), only_first, only_second,
                int((~hits[a] & ~hits[b]).sum()), exact, mid, p_holm, accuracy, macro_f1, agreement,
                _kappa(answers[a], answers[b]), meaning,
            )
        )  # fmt: skip
    return tuple(made)


def pareto(costs: Sequence[float], gains: Sequence[float], *, slack: float = 1.0) -> list[int]:
    """Return who is on the front, cheapest first: nobody costs no more and gains no less, one of them strictly.

    Costs count as equal up to the factor `slack`.
    """
    points = list(zip(costs, gains, strict=True))
    front = [
        place
        for place, (cost, gain) in enumerate(points)
        if not any((g > gain and c <= cost * slack) or (g == gain and c * slack < cost) for c, g in points)
    ]
    return sorted(front, key=lambda place: costs[place])


def _disagreeing(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> tuple[int, int]:
    return int((first & ~second).sum()), int((~first & second).sum())


def _kappa(first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"]) -> float | None:
    if len(np.union1d(first, second)) < 2:
        return None
    return float(cohen_kappa_score(first, second))


def _meaning(
    first: str, second: str, decide: int, accuracy: Figure, p_holm: float, pairs: int, *, same: bool
) -> str:
    if same:
        return f"{first} and {second} give the same answer to every image."
    if not decide:
        return f"{first} and {second} are right on exactly the same images."
    better, worse, gain = (first, second, accuracy)
    if accuracy.value < 0:
        better, worse, gain = second, first, Figure(-accuracy.value, -accuracy.high, -accuracy.low)
    points = f"{100 * gain.value:.1f} points (95 % interval {100 * gain.low:.1f} to {100 * gain.high:.1f})"
    correction = f", corrected for {pairs} pairs" if pairs > 1 else ""
    chance = f"p {shown_p(p_holm)}{correction}"
    if p_holm < CHANCE:
        return (
            f"{better} is better than {worse} on images of this kind, here by {points}, more than chance explains "
            f"({chance})."
        )
    if not gain.value:
        return f"{first} and {second} are right equally often, on different images."
    return (
        f"{better} and {worse} can't be told apart by these images: {better} is ahead by {points}, which equally "
        f"good models would show by chance, too ({chance})."
    )


def shown_p(p: float) -> str:
    """Return a probability with its sign, as ``= 0.03`` or ``< 0.0001``."""
    return "< 0.0001" if p < 0.0001 else f"= {p:.2g}" if p < 0.995 else "= 1"
