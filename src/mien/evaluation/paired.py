"""Compare several models on the same images: which differences are more than chance. It works on arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import needs
from mien.statistics import (
    CHANCE,
    Estimate,
    class_figures,
    holm,
    interval,
    mcnemar,
    paired_difference,
    resampled_counts,
)

with needs("report"):
    from sklearn.metrics import cohen_kappa_score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Int, Num


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
    """P-value of McNemar's exact test: how often equally good models would differ at least this much."""
    p_mid: float
    """Its mid-p form, less cautious if few images decide."""
    p_holm: float
    """The exact p-value after Holm's correction for all pairs that are compared."""
    accuracy: Estimate
    macro_f1: Estimate
    agreement: float
    """Fraction of images with equal predictions."""
    kappa: float | None
    """Cohen's kappa of the predictions; None if both models always predict one and the same class."""
    meaning: str
    """The result in one sentence."""

    def to_dict(self) -> dict[str, Any]:
        """Return the pair as a dictionary for JSON."""
        figures = {name: getattr(self, name)._asdict() for name in ("accuracy", "macro_f1")}
        return {**vars(self), **figures}


def resample(
    truth: Int[np.ndarray, " n"], answers: Int[np.ndarray, "m n"], k: int, *, seed: int = 0
) -> Num[np.ndarray, "m r k k"]:
    """Return every model's confusion matrix on all images, then on each resample, the same for all models."""
    kinds, counts = np.unique(np.vstack([truth, answers]), axis=1, return_counts=True)
    cells = kinds[0] * k + kinds[1:]
    drawn = [
        [np.bincount(cell, times, minlength=k * k) for cell in cells]
        for times in resampled_counts(counts, seed=seed)
    ]
    return np.array(drawn).reshape(-1, len(answers), k, k).swapaxes(0, 1)


def compare_pairs(
    names: Sequence[str],
    truth: Int[np.ndarray, " n"],
    answers: Int[np.ndarray, "m n"],
    resampled: Num[np.ndarray, "m r k k"],
) -> tuple[Pair, ...]:
    """Compare each model with each that follows it."""
    hits = answers == truth
    pairs = list(combinations(range(len(names)), 2))
    tests = [mcnemar(*_disagreeing(hits[a], hits[b])) for a, b in pairs]
    corrected = holm([exact for exact, _ in tests])
    macro = class_figures(resampled).macro_f1
    made = []
    for (a, b), (exact, mid), p_holm in zip(pairs, tests, corrected, strict=True):
        only_first, only_second = _disagreeing(hits[a], hits[b])
        accuracy = paired_difference(only_first, only_second, len(truth))
        macro_f1 = interval(macro[a] - macro[b])
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
    """Return the indices on the Pareto front, cheapest first.

    No other model has at most the cost and at least the gain, and is better in one of the two. Costs count
    as equal up to the factor `slack`.
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
    first: str, second: str, decide: int, accuracy: Estimate, p_holm: float, pairs: int, *, same: bool
) -> str:
    if same:
        return f"{first} and {second} give the same answer to every image."
    if not decide:
        return f"{first} and {second} are right on exactly the same images."
    better, worse, gain = (first, second, accuracy)
    if accuracy.value < 0:
        better, worse, gain = second, first, Estimate(-accuracy.value, -accuracy.high, -accuracy.low)
    points = shown_points(gain)
    correction = f", corrected for {pairs} pairs" if pairs > 1 else ""
    chance = f"p {shown_p(p_holm)}{correction}"
    if p_holm < CHANCE:
        return f"{better} is better than {worse} by {points}. Chance alone is an unlikely explanation ({chance})."
    if not gain.value:
        return f"{first} and {second} are right equally often, on different images."
    return (
        f"No clear difference between {better} and {worse}: {better} is ahead by {points}, which also happens by "
        f"chance ({chance})."
    )


def shown_points(gain: Estimate) -> str:
    """Return a difference in points with its interval; with two decimals where one would show 0.0."""
    digits = 1 if abs(gain.value) >= 0.0005 else 2
    value, low, high = (f"{100 * one:.{digits}f}" for one in (gain.value, gain.low, gain.high))
    return f"{value} points (95 % interval {low} to {high})"


def shown_p(p: float) -> str:
    """Return a probability with its sign, as ``= 0.03`` or ``< 0.0001``."""
    return "< 0.0001" if p < 0.0001 else f"= {p:.2g}" if p < 0.995 else "= 1"
