"""What annotators voted for, beside the labels of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.labels import FERPLUS_VOTE_ORDER, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float32, Int

    from mien.data.dataset import FaceDataset

STRAY = 1
"""A label with this many votes or fewer has no support: single votes are outliers (Barsoum et al. 2016)."""


def leaders(data: FaceDataset) -> Int[np.ndarray, " n"]:
    """Return for each row the class with more than half of its votes; -1 if none has, or if the data lack it."""
    if data.votes is None:
        return np.full(len(data), -1)
    names = [canonical(label) for label in data.labels]
    place = np.array([names.index(name) if name in names else -1 for name in FERPLUS_VOTE_ORDER])
    clear = _clear(data.votes)
    return np.where(clear, place[data.votes.argmax(axis=1)], -1)


def _clear(votes: Float32[np.ndarray, "n 10"]) -> Bool[np.ndarray, " n"]:
    """Return True for rows in which one answer has more than half of the votes."""
    return np.asarray(votes.max(axis=1) > votes.sum(axis=1) / 2)


def voted_otherwise(data: FaceDataset) -> Iterator[tuple[int, str, str]]:
    """Yield (row, what most votes name, the votes) where more than half name something else and none the label.

    A single vote for the label counts as none.
    """
    if data.votes is None:
        return
    names = [canonical(label) for label in data.labels]
    labelled, truth = np.asarray(data.targets.any(axis=1)), data.truth
    for row in np.flatnonzero(_clear(data.votes)).tolist():
        votes = data.votes[row]
        leader, label = FERPLUS_VOTE_ORDER[int(votes.argmax())], names[int(truth[row])]
        own = votes[FERPLUS_VOTE_ORDER.index(label)] if label in FERPLUS_VOTE_ORDER else 0
        if labelled[row] and leader != label and own <= STRAY:
            yield row, leader, shown_votes(votes)


def shown_votes(votes: Float32[np.ndarray, " 10"]) -> str:
    """Return the votes of one image, the most first: ``happy 7, neutral 3``."""
    order = np.argsort(-votes, kind="stable")
    return ", ".join(f"{FERPLUS_VOTE_ORDER[place]} {votes[place]:g}" for place in order if votes[place])
