"""`FaceDataset`: pictures of faces with targets, as plain arrays, every row tagged with its split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mien import labels as names
from mien.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float32, Int, Shaped, UInt8

HOLDOUT = "holdout"


@dataclass(frozen=True)
class FaceDataset:
    """Face crops and their targets; rows keep the order in which the source names them."""

    images: UInt8[np.ndarray, "n h w c"]
    targets: Float32[np.ndarray, "n k"]
    """One row a picture, summing to one: one-hot for a label, shares for votes."""
    ids: tuple[str, ...]
    split: Shaped[np.ndarray, " n"]
    """Name of each row's split."""
    labels: tuple[str, ...]
    source: str = ""
    """Where it came from, for messages and provenance."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def truth(self) -> Int[np.ndarray, " n"]:
        """Index of each row's (most voted) label."""
        return self.targets.argmax(axis=1)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in order of first appearance."""
        return tuple(dict.fromkeys(self.split.tolist()))

    def select(self, split: str) -> FaceDataset:
        """Return the rows of one split.

        Raises:
            DataError: there is no such split.
        """
        check_split(split, self.splits, self.source)
        return self._rows(self.split == split)

    def hold_out(self, fraction: float, seed: int, *, split: str = "train") -> FaceDataset:
        """Move a stratified part of `split` into the split ``holdout``: the same rows for the same seed."""
        self.select(split)
        moved = self.split.astype(f"<U{max(len(HOLDOUT), self.split.dtype.itemsize // 4)}")
        rng = np.random.default_rng(seed)
        for label in range(len(self.labels)):
            rows = np.flatnonzero((self.split == split) & (self.truth == label))
            moved[rng.permutation(rows)[: round(fraction * len(rows))]] = HOLDOUT
        if not (moved == HOLDOUT).any():
            raise DataError(
                f"a holdout of {fraction:g} of {split!r} in {self.source} is empty: raise the fraction"
            )
        return replace(self, split=moved)

    def relabel(self, labels: Sequence[str]) -> FaceDataset:
        """Express the targets in a model's label set.

        Raises:
            DataError: a label of the data is unknown to the model.
        """
        if tuple(labels) == self.labels:
            return self
        targets = np.zeros((len(self), len(labels)), np.float32)
        targets[:, names.index_map(self.labels, tuple(labels))] = self.targets
        return replace(self, targets=targets, labels=tuple(labels))

    def fingerprint(self) -> str:
        """Return a SHA-256 over pixels, targets, splits and labels: equal data, equal fingerprint."""
        digest = hashlib.sha256(repr((self.labels, self.images.shape, self.split.tolist())).encode())
        digest.update(self.images.tobytes())
        digest.update(self.targets.tobytes())
        return digest.hexdigest()

    def _rows(self, mask: Bool[np.ndarray, " n"]) -> FaceDataset:
        ids = tuple(name for name, kept in zip(self.ids, mask, strict=True) if kept)
        return replace(
            self, images=self.images[mask], targets=self.targets[mask], ids=ids, split=self.split[mask]
        )


def check_split(split: str, splits: Sequence[str], source: str) -> None:
    """Raise a DataError that lists the splits there are, unless `split` is one of them."""
    if split not in splits:
        raise DataError(
            f"no split {split!r} in {source}: expected one of {', '.join(splits)}{did_you_mean(split, splits)}"
        )


def one_hot(truth: Int[np.ndarray, " n"], k: int) -> Float32[np.ndarray, "n k"]:
    """Return rows of zeros with a one at each label."""
    return np.eye(k, dtype=np.float32)[truth]
