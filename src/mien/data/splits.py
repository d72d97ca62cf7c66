"""Splits that do not leak: whole groups are drawn (`mien.data.groups`), and of each class the wanted fraction.

Groups are drawn in strata by their size, so that the held-out rows have the same rate of duplicates as the rest. The
order of the draw depends only on the seed and on the rows of the same class: with fewer classes, the same rows of the
remaining classes are drawn, except for a few whose groups have images of several classes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def drawn(
    truth: Int[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    fraction: float,
    seed: int,
) -> Bool[np.ndarray, " n"]:
    """Draw whole groups until each class has the wanted fraction, as exactly as its groups allow.

    Args:
        truth: class of each row; -1 means no label and counts as a class of its own.
        groups: rows with the same number are drawn together.
        fraction: fraction of the rows of each class.
        seed: seed of the draw.
    """
    strata = defaultdict(list)
    members = _members(groups)
    order = _order(truth, seed)
    classes = int(truth.max(initial=-1)) + 2
    totals = np.bincount(truth + 1, minlength=classes)
    for rows in members:
        strata[len(rows).bit_length()].append(rows)
    taken = np.zeros(len(truth), bool)
    wanted = [0.0] * classes
    for size in sorted(strata, reverse=True):
        counted = [(order[rows[0]], rows, _counts(truth, rows)) for rows in strata[size]]
        for _, _, counts in counted:
            for label, count in counts:
                wanted[label] += fraction * count
        for _, rows, counts in sorted(counted, key=lambda one: one[0]):
            if sum(count * (count - 2 * wanted[label]) / totals[label] for label, count in counts) < -1e-9:
                taken[rows] = True
                for label, count in counts:
                    wanted[label] -= count
    return taken


def folds(
    truth: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"], k: int, seed: int
) -> Int[np.ndarray, " n"]:
    """Return the fold of each row, 0 to k - 1: groups stay whole, every class is spread evenly.

    Fold 0 is drawn from all rows, fold 1 from what is left, and so on.
    """
    fold = np.full(len(truth), k - 1)
    left = np.arange(len(truth))
    for number in range(k - 1):
        taken = drawn(truth[left], groups[left], 1 / (k - number), seed)
        fold[left[taken]] = number
        left = left[~taken]
    return fold


def _members(groups: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " _"]]:
    """Return the rows of each group."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []


def _order(truth: Int[np.ndarray, " n"], seed: int) -> Float[np.ndarray, " n"]:
    """Return a random number for each row that depends on the seed and the rows of its class."""
    order = np.empty(len(truth))
    for label in np.unique(truth):
        rows = np.flatnonzero(truth == label)
        order[rows] = np.random.default_rng(seed).random(len(rows))
    return order


def _counts(truth: Int[np.ndarray, " n"], rows: Int[np.ndarray, " m"]) -> list[tuple[int, int]]:
    """Return (class + 1, number of its rows) for each class in a group."""
    if len(rows) == 1:
        return [(int(truth[rows[0]]) + 1, 1)]
    labels, counts = np.unique(truth[rows] + 1, return_counts=True)
    return list(zip(labels.tolist(), counts.tolist(), strict=True))
