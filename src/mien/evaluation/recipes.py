"""Compare recipes over several runs each: mean and spread, and which differences are more than chance.

A single run says little about its recipe, because another seed gives another accuracy. Models are runs of one recipe
if one pattern names them (``'a/seed*'``), or if their cards state the same options except for the seed.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from mien.evaluation.paired import shown_p, shown_points
from mien.statistics import CHANCE, Estimate, compare_recipes, holm

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from jaxtyping import Bool


@dataclass(frozen=True)
class RecipeFigures:
    """The runs of one recipe on the same images."""

    name: str
    models: tuple[str, ...]
    accuracy: float
    """Mean accuracy of the runs, as a fraction."""
    accuracy_sd: float
    """Standard deviation of the accuracies of the runs (not of their mean), as a fraction."""
    macro_f1: float
    macro_f1_sd: float
    caveat: str = ""
    """Why these may not be runs of one recipe."""


@dataclass(frozen=True)
class RecipePair:
    """Two recipes, compared over their runs and the images together."""

    first: str
    second: str
    accuracy: Estimate
    """Mean accuracy of the first recipe minus that of the second, with its 95 % interval."""
    p: float
    """P-value: how often equally good recipes would differ at least this much."""
    p_holm: float
    """The p-value after Holm's correction for all pairs of recipes."""
    degrees: float
    """Degrees of freedom of the t distribution used for interval and p-value."""
    meaning: str
    """The result in one sentence."""

    def to_dict(self) -> dict[str, Any]:
        """Return the pair as a dictionary for JSON."""
        return {**vars(self), "accuracy": self.accuracy._asdict()}


@dataclass(frozen=True)
class Recipes:
    """Several recipes on the same images; empty if each model of a comparison has a recipe of its own."""

    groups: tuple[RecipeFigures, ...] = ()
    pairs: tuple[RecipePair, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return every number as a dictionary for JSON."""
        return {
            "groups": [asdict(group) for group in self.groups],
            "pairs": [pair.to_dict() for pair in self.pairs],
        }


def weigh_recipes(
    groups: Sequence[str],
    names: Sequence[str],
    hits: Bool[np.ndarray, "m n"],
    macro_f1: Sequence[float],
    caveats: Sequence[str],
) -> Recipes:
    """Compare each recipe with each that follows it.

    Args:
        groups: for each model, the name of its recipe; empty if it is the only run.
        names: names of the models.
        hits: whether the prediction is correct, for each model and image.
        macro_f1: macro-F1 of each model.
        caveats: for each model, why it may not be a run of the same recipe as the others; may be empty.
    """
    members = {group: [place for place, one in enumerate(groups) if one == group]
               for group in dict.fromkeys(filter(None, groups))}  # fmt: skip
    figures = []
    for group, places in members.items():
        accuracies, f1s = hits[places].mean(axis=1).tolist(), [macro_f1[place] for place in places]
        figures.append(
            RecipeFigures(
                group, tuple(names[place] for place in places),
                statistics.fmean(accuracies), statistics.stdev(accuracies),
                statistics.fmean(f1s), statistics.stdev(f1s), caveats[places[0]],
            )
        )  # fmt: skip
    both = list(combinations(members, 2)) if hits.shape[1] > 1 else []  # one image has no variance
    found = [compare_recipes(hits[members[one]], hits[members[other]]) for one, other in both]
    corrected = holm([one.p for one in found])
    pairs = []
    for (first, second), test, p_holm in zip(both, found, corrected, strict=True):
        counts = (len(members[first]), len(members[second]))
        meaning = _meaning(first, second, test.difference, p_holm, len(both), counts, hits.shape[1])
        pairs.append(RecipePair(first, second, test.difference, test.p, p_holm, test.degrees, meaning))
    return Recipes(tuple(figures), tuple(pairs))


def _meaning(
    first: str, second: str, gain: Estimate, p_holm: float, pairs: int, runs: tuple[int, int], images: int
) -> str:
    if gain.value < 0:
        first, second, runs = second, first, (runs[1], runs[0])
        gain = Estimate(-gain.value, -gain.high, -gain.low)
    points = shown_points(gain)
    correction = f", corrected for {pairs} pairs" if pairs > 1 else ""
    basis = f"{runs[0]} and {runs[1]} runs, {images:,} images, p {shown_p(p_holm)}{correction}"
    if p_holm < CHANCE:
        return (
            f"{first} is better than {second} by {points}; other seeds or images alone are an unlikely explanation "
            f"({basis})."
        )
    if not gain.value:
        return f"{first} and {second} are equally good ({basis})."
    return f"No clear difference between {first} and {second}: {first} is ahead by {points} ({basis})."
