"""How far two runtimes of one model agree on the same images, compared with a limit for each kind of graph.

It works on arrays of probabilities. Accuracies are compared image by image. Both runtimes classify the same images,
so the interval is that of the paired difference; it is about ten times narrower than two separate intervals.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.statistics import paired_difference

if TYPE_CHECKING:
    from typing import Any

    from jaxtyping import Float32, Int


@dataclass(frozen=True)
class Bound:
    """Limits for the differences between a graph and `model.onnx`."""

    equal_labels: float
    """Least fraction of images with the same predicted label."""
    drop: float
    """Largest loss of accuracy, as a fraction."""
    probability_difference: float | None = None
    """Largest difference of any probability."""


EXACT = Bound(equal_labels=1.0, drop=0.0, probability_difference=1e-4)
"""Limits for the same arithmetic in another runtime."""
BOUNDS = {"int8": Bound(equal_labels=0.98, drop=0.003), "fp16": Bound(equal_labels=0.995, drop=0.003)}


@dataclass(frozen=True)
class Agreement:
    """One runtime beside the reference, on the same images."""

    n: int
    max_probability_difference: float
    equal_labels: float
    accuracy: float | None
    """None if the images have no labels; so are the following fields."""
    change: float | None
    """Accuracy minus that of the reference."""
    change_interval_95: tuple[float, float] | None
    """95 % interval of this paired difference."""
    per_class_change: dict[str, float] | None
    """Change of each label's recall, for labels that occur."""

    def breaches(self, bound: Bound) -> list[str]:
        """Return a text for each limit of `bound` that is broken, with the figures; an empty list if none is."""
        found = []
        if not np.isfinite(self.max_probability_difference):
            found.append("some probabilities are not numbers")
        if self.equal_labels < bound.equal_labels:
            found.append(f"{self.equal_labels:.2%} equal labels, the limit is {bound.equal_labels:.1%}")
        most = bound.probability_difference
        if most is not None and not self.max_probability_difference <= most:
            found.append(
                f"probabilities differ by up to {self.max_probability_difference:.2g}, the limit is {most:g}"
            )
        if self.change is not None and -self.change > bound.drop:
            found.append(
                f"accuracy falls by {-100 * self.change:.2f} points, the limit is {100 * bound.drop:.1f}"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a dictionary for JSON."""
        return asdict(self)


def compare(
    reference: Float32[np.ndarray, "n k"],
    probs: Float32[np.ndarray, "n k"],
    truth: Int[np.ndarray, " n"] | None,
    labels: tuple[str, ...],
) -> Agreement:
    """Compare probabilities on the same images."""
    ours, theirs = probs.argmax(axis=1), reference.argmax(axis=1)
    difference, equal = float(np.abs(probs - reference).max()), float((ours == theirs).mean())
    if truth is None:
        return Agreement(len(probs), difference, equal, None, None, None, None)
    hits, hits_before = ours == truth, theirs == truth
    gained = hits.astype(int) - hits_before.astype(int)
    per_class = {
        label: float(gained[truth == k].mean()) for k, label in enumerate(labels) if (truth == k).any()
    }
    change = paired_difference(int((gained > 0).sum()), int((gained < 0).sum()), len(gained))
    return Agreement(
        len(probs), difference, equal, float(hits.mean()), change.value, (change.low, change.high), per_class
    )  # fmt: skip
