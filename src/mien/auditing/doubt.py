"""Labels that a model doubts: confident learning (Northcutt, Jiang & Chuang 2021, doi:10.1613/jair.1.12125).

It takes probabilities from a model that has not learnt the labels it judges. Such a model is not right about every
image. So the result is an order in which a person should look at the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Num

LISTED = 0.05
"""At most this fraction of the judged labels is listed, the most doubtful ones."""


@dataclass(frozen=True)
class Doubts:
    """What a model says of the labels of a dataset. Rows that were not judged are ignored."""

    judged: Bool[np.ndarray, " n"]
    probs: Float[np.ndarray, "n k"]
    """Probability of each class; zeros if a row was not judged."""
    given: Int[np.ndarray, " n"]
    """Class of the label."""
    suspect: Bool[np.ndarray, " n"]
    """True where another class is more probable than the label, and as probable as it usually is for images that
    have that label."""
    estimated: Int[np.ndarray, "k k"]
    """Estimated numbers of images: row = label, column = class that it should be."""

    @property
    def given_prob(self) -> Float[np.ndarray, " n"]:
        """Probability of the label that the dataset gives."""
        return self.probs[np.arange(len(self.probs)), self.given]

    @property
    def suggested(self) -> Int[np.ndarray, " n"]:
        """The most probable other class."""
        others = self.probs.copy()
        others[np.arange(len(others)), self.given] = -1
        return others.argmax(axis=1)

    @property
    def accuracy(self) -> float:
        """How often the model's answer is the label of the dataset."""
        rows = np.flatnonzero(self.judged)
        return float((self.probs[rows].argmax(axis=1) == self.given[rows]).mean()) if len(rows) else 0.0

    def order(self) -> Int[np.ndarray, " m"]:
        """Return the judged rows, the most doubtful label first.

        Ranked by the probability of the given label. Of the rankings in the paper, this one finds the most
        labels that were changed at random (`benchmarks/audit.py`).
        """
        rows = np.flatnonzero(self.judged)
        return rows[np.argsort(self.given_prob[rows], kind="stable")]

    def listed(self) -> Int[np.ndarray, " m"]:
        """Return the rows to look at, the most doubtful first: at most `LISTED` of the judged rows.

        A row is not listed if no class is more probable than its label.
        """
        order = self.order()
        differs = self.given_prob < self.probs.max(axis=1)
        return order[differs[order]][: round(LISTED * len(order))]


def doubts(
    probs: Num[np.ndarray, "n k"], given: Int[np.ndarray, " n"], judged: Bool[np.ndarray, " n"]
) -> Doubts:
    """Compare a model's probabilities with the labels of a dataset.

    Args:
        probs: out-of-fold, or of a model that has not learnt these images; rows sum to one.
        given: class of each label.
        judged: rows to judge; others are not looked at.
    """
    k = probs.shape[1]
    rows = np.flatnonzero(judged)
    p, label = np.asarray(probs, float)[rows], given[rows]
    present = np.bincount(label, minlength=k) > 0
    usual = np.array([p[label == one, one].mean() if present[one] else np.inf for one in range(k)])
    sure = np.where(p >= usual, p, -1.0)
    likely = np.where(sure.max(axis=1, initial=-1) >= 0, sure.argmax(axis=1), -1)
    counted = np.zeros((k, k), int)
    np.add.at(counted, (label[likely >= 0], likely[likely >= 0]), 1)
    suspect = np.zeros(len(probs), bool)
    own, other = p[np.arange(len(p)), label], p[np.arange(len(p)), likely]
    suspect[rows] = (likely >= 0) & (other > own)
    whole = np.zeros(probs.shape)
    whole[rows] = p
    totals = counted.sum(axis=1, keepdims=True)
    shares = np.divide(counted, totals, out=np.zeros((k, k)), where=totals > 0)
    estimated = np.rint(shares * np.bincount(label, minlength=k)[:, None]).astype(int)
    return Doubts(judged, whole, given, suspect, estimated)
