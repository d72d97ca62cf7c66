"""`FaceDataset`: images of faces with targets, as NumPy arrays; every row has the name of its split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from mien import labels as names
from mien.data.balance import class_counts
from mien.data.duplicates import picture_keys
from mien.data.groups import SMALLEST_PX, thumbnails, together
from mien.data.splits import drawn
from mien.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float32, Int, Shaped, UInt8

HOLDOUT = "holdout"
DRAWN = "synthetic"
"""Source name of the drawn faces. Each face is drawn at random, so no two are near duplicates."""
COPY = "copy/"
"""First letters of the id of a changed copy of another row."""
_HASHED_ROWS = 4096


class Sample(NamedTuple):
    """One row of a dataset."""

    image: UInt8[np.ndarray, "h w c"]
    label: str | None
    """The label; None if the source gives none."""
    id: str
    split: str

    def __repr__(self) -> str:
        """Return a summary without the pixels."""
        shape = "x".join(map(str, self.image.shape))
        return f"Sample({shape}, label={self.label!r}, id={self.id!r}, split={self.split!r})"


@dataclass(frozen=True, eq=False, repr=False)
class FaceDataset:
    """Face crops and their targets; rows keep the order in which the source names them."""

    images: UInt8[np.ndarray, "n h w c"]
    targets: Float32[np.ndarray, "n k"]
    """A row for each image, which sums to one: one-hot for a label, fractions for votes; zeros if it has no label."""
    ids: tuple[str, ...]
    split: Shaped[np.ndarray, " n"]
    """Name of each row's split."""
    labels: tuple[str, ...]
    source: str = ""
    """Name of its source, for messages and provenance."""
    skipped: tuple[str, ...] = ()
    """Corrupt images that were left out at the user's request."""
    votes: Float32[np.ndarray, "n 10"] | None = None
    """Annotators' votes in the order of `mien.labels.FERPLUS_VOTE_ORDER`; None if the user gave none."""
    columns: Mapping[str, Shaped[np.ndarray, " n"]] = field(default_factory=dict)
    """Further columns of the source, as text; reports can be sliced by them."""
    notes: tuple[str, ...] = ()
    """Notes for the user about how the source was read, or what was left out; one sentence each."""

    def __repr__(self) -> str:
        """Return a summary of one line."""
        splits = ", ".join(f"{split} {int((self.split == split).sum()):,}" for split in self.splits)
        shape = "x".join(map(str, self.images.shape[1:]))
        return f"FaceDataset({len(self):,} images {shape}; {splits}; labels {', '.join(self.labels)})"

    def __eq__(self, other: object) -> bool:
        """Return whether another dataset has the same images, targets, votes, splits and labels."""
        if not isinstance(other, FaceDataset):
            return NotImplemented
        return self is other or (len(self) == len(other) and self.fingerprint() == other.fingerprint())

    def __hash__(self) -> int:
        """Return a number that is equal for equal datasets."""
        return hash((self.labels, self.images.shape))

    @overload
    def __getitem__(self, row: int) -> Sample: ...

    @overload
    def __getitem__(self, row: slice | Int[np.ndarray, " m"]) -> FaceDataset: ...

    def __getitem__(self, row: int | slice | Int[np.ndarray, " m"]) -> Sample | FaceDataset:
        """Return one row as a `Sample`, or several as a dataset."""
        if isinstance(row, int | np.integer):
            number = range(len(self))[row]
            label = self.labels[int(self.truth[number])] if self.targets[number].any() else None
            return Sample(self.images[number], label, self.ids[number], str(self.split[number]))
        return self.take(np.arange(len(self))[row])

    def __len__(self) -> int:
        return len(self.images)

    @property
    def truth(self) -> Int[np.ndarray, " n"]:
        """Index of each row's (most voted) label."""
        return self.targets.argmax(axis=1)

    @property
    def given(self) -> Int[np.ndarray, " n"]:
        """Index of each row's label; -1 if it has none."""
        return np.where(self.targets.any(axis=1), self.truth, -1)

    @property
    def given_names(self) -> Shaped[np.ndarray, " n"]:
        """Name of each row's label; an empty text if it has none."""
        return np.array([*self.labels, ""])[self.given]

    def counts(self, split: str) -> Int[np.ndarray, " k"]:
        """Return the number of images of each label in one split; images without a label are not counted.

        Raises:
            DataError: there is no such split.
        """
        given = self.given[self.rows(split)]
        return class_counts(given[given >= 0], len(self.labels))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in order of first appearance."""
        return tuple(dict.fromkeys(self.split.tolist()))

    @property
    def labelled_splits(self) -> tuple[str, ...]:
        """Names of the splits whose every image has a label: a contest's test images may have none."""
        return tuple(split for split in self.splits if self.targets[self.rows(split)].any(axis=1).all())

    def rows(self, split: str) -> Int[np.ndarray, " n"]:
        """Return the row numbers of one split.

        Raises:
            DataError: there is no such split.
        """
        check_split(split, self.splits, self.source)
        return np.flatnonzero(self.split == split)

    def select(self, split: str) -> FaceDataset:
        """Return the rows of one split; if they are next to each other, no image is copied.

        Raises:
            DataError: there is no such split.
        """
        return self.take(self.rows(split))

    def take(self, rows: Int[np.ndarray, " m"]) -> FaceDataset:
        """Return these rows, in this order; negative numbers count from the end."""
        rows = np.arange(len(self))[rows]
        together = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        images = self.images[rows[0] : rows[-1] + 1] if together else self.images[rows]
        ids = tuple(self.ids[row] for row in rows)
        votes = None if self.votes is None else self.votes[rows]
        return replace(
            self, images=images, targets=self.targets[rows], ids=ids, split=self.split[rows], votes=votes,
            columns={name: column[rows] for name, column in self.columns.items()},
        )  # fmt: skip

    def joined(self, images: UInt8[np.ndarray, "m h w c"], copied: Int[np.ndarray, " m"]) -> FaceDataset:
        """Return this dataset with changed copies of some of its rows appended."""
        return replace(
            self,
            images=np.concatenate([self.images, images]),
            targets=np.concatenate([self.targets, self.targets[copied]]),
            ids=(*self.ids, *(f"{COPY}{number:07d}/{self.ids[row]}" for number, row in enumerate(copied))),
            split=np.concatenate([self.split, self.split[copied]]),
            votes=None if self.votes is None else np.concatenate([self.votes, self.votes[copied]]),
            columns={name: np.concatenate([kept, kept[copied]]) for name, kept in self.columns.items()},
        )

    def check_labelled(self, rows: Int[np.ndarray, " m"]) -> None:
        """Refuse rows without a label, such as those of a contest's test file.

        Raises:
            DataError: says how many and names the first.
        """
        bare = rows[self.targets[rows].sum(axis=1) == 0]
        if len(bare):
            raise DataError(
                f"images without a label in {self.source}: {len(bare):,}, the first is {self.ids[bare[0]]}; "
                f"training and evaluation need a label for each: add it, or take these images away"
            )

    def groups(self, rows: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
        """Return a number for each of these rows, the same for rows that no split may divide (`mien.data.groups`)."""
        images = [self.images[row] for row in rows]
        are_drawn = self.source == DRAWN or min(self.images.shape[1:3]) < SMALLEST_PX
        return together(
            picture_keys(images),
            None if are_drawn else thumbnails(images),
            {name: column[rows] for name, column in self.columns.items()},
        )

    def hold_out(self, fraction: float, seed: int, *, split: str = "train") -> FaceDataset:
        """Move a fraction of each class of `split` into the split ``holdout``: only whole groups (`groups`).

        The held-out rows have the same rate of duplicates as the rest. They depend on the seed and on the rows of
        their own class. With fewer classes, the same rows of the remaining classes are held out, except for a few
        whose groups have images of several classes.

        Raises:
            ConfigError: a fraction that is not between 0 and 1.
            DataError: no such split, nothing would be held out, or the dataset holds augmented copies.
        """
        if not 0 < fraction < 1:
            raise ConfigError(f"expected a fraction between 0 and 1 to hold out, got {fraction:g}")
        if any(name.startswith(COPY) for name in self.ids):
            raise DataError(
                f"{self.source} holds copies that a recipe made: a holdout would share images with the rest; "
                f"hold out from the dataset without them"
            )
        moved = self.split.astype(f"<U{max(len(HOLDOUT), self.split.dtype.itemsize // 4)}")
        rows = self.rows(split)
        held = drawn(self.given[rows], self.groups(rows), fraction, seed)
        if not held.any():
            raise DataError(
                f"a holdout of {fraction:g} of {split!r} in {self.source} is empty: raise the fraction"
            )
        moved[rows[held]] = HOLDOUT
        return replace(self, split=moved)

    def relabel(self, labels: Sequence[str]) -> FaceDataset:
        """Return the dataset with targets in the order of a model's labels.

        Raises:
            DataError: a label of the data is unknown to the model.
        """
        if tuple(labels) == self.labels:
            return self
        targets = np.zeros((len(self), len(labels)), np.float32)
        targets[:, names.index_map(self.labels, tuple(labels))] = self.targets
        return replace(self, targets=targets, labels=tuple(labels))

    def fingerprint(self) -> str:
        """Return a SHA-256 over pixels, targets, votes, splits and labels: equal data, equal fingerprint."""
        digest = hashlib.sha256(repr((self.labels, self.images.shape, self.split.tolist())).encode())
        for start in range(0, len(self), _HASHED_ROWS):  # in parts, as it may be larger than memory
            digest.update(np.ascontiguousarray(self.images[start : start + _HASHED_ROWS]).data)
        digest.update(np.ascontiguousarray(self.targets).data)
        if self.votes is not None:
            digest.update(np.ascontiguousarray(self.votes).data)
        return digest.hexdigest()


def check_split(split: str, splits: Sequence[str], source: str) -> None:
    """Raise a DataError that lists the splits there are, unless `split` is one of them."""
    if split not in splits:
        only = tuple(splits) in (("train",), ("train", HOLDOUT))
        way_out = "; validation.split=holdout takes a part of train" if only else did_you_mean(split, splits)
        raise DataError(f"no split {split!r} in {source}: expected one of {', '.join(splits)}{way_out}")


def one_hot(truth: Int[np.ndarray, " n"], k: int) -> Float32[np.ndarray, "n k"]:
    """Return rows of zeros with a one at each label."""
    return np.eye(k, dtype=np.float32)[truth]
