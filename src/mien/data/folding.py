"""Write a dataset as K folds for cross-validation: in each, another fraction of the images is ``val``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import files
from mien.data.listed import write_list
from mien.data.packed import scratch, write_packed
from mien.data.read import fitted_to, open_source
from mien.data.reading import ReadOptions, decode, prepare
from mien.data.splits import folds
from mien.errors import ConfigError, DataError, number_of
from mien.escapes import csv_lines
from mien.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float32, Int

    from mien.data.dataset import FaceDataset

FOLDS_SCHEMA = "mien.folds/1"
TABLE = "folds.csv"
DIVIDED = ("train", "val")
"""Splits whose images are divided anew; others, such as test, stay as they are in every fold."""
_DEFAULT = ReadOptions()


@dataclass(frozen=True)
class Folds:
    """A dataset divided K times."""

    source: str
    labels: tuple[str, ...]
    files: tuple[str, ...]
    """Names of the files, one for each fold."""
    counts: tuple[dict[str, dict[str, int]], ...]
    """For each fold: number of images of each label in each split."""
    n_groups: int
    """Number of groups of the divided images; an image that belongs to no other is a group, too."""
    n_divided: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the folds as a dictionary for JSON, with the name of its schema."""
        return {
            "schema": FOLDS_SCHEMA,
            "source": self.source,
            "labels": list(self.labels),
            "divided": self.n_divided,
            "groups": self.n_groups,
            "folds": [
                {"file": file, "counts": counts} for file, counts in zip(self.files, self.counts, strict=True)
            ],
            "notes": list(self.notes),
        }


def write_folds(
    path: str | Path,
    out: Path,
    k: int,
    *,
    preprocess: Preprocess | None = None,
    options: ReadOptions = _DEFAULT,
    as_lists: bool = False,
    step: Callable[[int], None] = lambda _: None,
) -> Folds:
    """Divide the training images into `k` folds and write `k` datasets, each with another fold as its split ``val``.

    Images that belong together (`mien.data.groups`) are in one fold, and every class is spread evenly. A split
    ``val`` of the source is divided with ``train``; other splits are the same in all. ``folds.csv`` states the fold
    of each image.

    Args:
        path: a dataset in any form.
        out: the folder for ``fold_1.npz`` and so on, or ``fold_1.csv``.
        k: number of folds.
        preprocess: what the images are fitted to; by default what a packed set has, or 48-pixel grey. Lists do not
            change the images.
        options: how the source is read; `split_seed` is the seed of the division.
        as_lists: write tables that name the files, instead of packed sets.
        step: called with the number of folds written so far.

    Raises:
        ConfigError: fewer than two folds, or an option that has no effect.
        DataError: as `read_dataset`; or a class has fewer groups than there are folds.
        OutputError: the folder cannot be written.
    """
    if k < 2:
        raise ConfigError(f"`folds` must be at least 2, got {k}: every image is in val once")
    if options.val_fraction != _DEFAULT.val_fraction:
        raise ConfigError("`val_fraction` has no effect here: `folds` says how large val is; leave it out")
    with files.locked(out), files.together(out, TABLE) as stage:
        data, boxes, notes = _decoded(path, out, preprocess, options)
        rows = np.flatnonzero(np.isin(data.split, DIVIDED))
        if not len(rows):
            raise DataError(
                f"{data.source} has no split train to divide: its splits are {', '.join(data.splits)}"
            )
        part, groups = _parts(data, rows, k, options.split_seed)
        names, counts, said = [], [], ""
        for number in range(k):
            split = data.split.astype(f"<U{max(5, data.split.dtype.itemsize // 4)}")
            split[rows] = np.where(part == number, "val", "train")
            one = replace(data, split=split)
            names.append(f"fold_{number + 1}.{'csv' if as_lists else 'npz'}")
            if as_lists:
                said = write_list(stage / names[-1], one, boxes=boxes, place=out)
            else:
                write_packed(stage / names[-1], one)
            counts.append(_counts(one))
            step(number + 1)
        files.write(stage / TABLE, _table(data, rows, part, groups))
        n_groups = len(np.unique(groups))
    notes += (said,) if said else ()
    return Folds(data.source, data.labels, tuple(names), tuple(counts), n_groups, len(rows), notes)


def _decoded(
    path: str | Path, out: Path, preprocess: Preprocess | None, options: ReadOptions
) -> tuple[FaceDataset, Float32[np.ndarray, "n 4"] | None, tuple[str, ...]]:
    """Return the dataset, its boxes (None if it has none), and notes for the user."""
    options = replace(options, split_seed=_DEFAULT.split_seed)
    with ExitStack() as stack:
        opened, finished = open_source(path, Preprocess(), options, stack)
        preprocess = preprocess or fitted_to(finished)
        reading = prepare(opened, options, complete=False)
        notes = reading.notes
        if reading.divide:
            reading = replace(reading, divide=None, splits=["train"] * len(reading.ids))
        elif "val" in reading.splits:
            notes = (*notes, "the split val of the source is divided together with train")
        data = decode(
            reading, preprocess, split=None, skip_corrupt=options.skip_corrupt, allocate=scratch(out),
            complete=False,
        )  # fmt: skip
    boxes = reading.boxes
    if data.skipped:
        notes = (
            *notes,
            f"left out as corrupt: {number_of(len(data.skipped), 'image')}: {', '.join(data.skipped)}",
        )
    if boxes is not None and data.skipped:
        boxes = boxes[~np.isin(np.array(reading.ids), data.skipped)]
    return data, boxes, notes


def _parts(
    data: FaceDataset, rows: Int[np.ndarray, " m"], k: int, seed: int
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Return the fold and the group of each of these rows.

    Raises:
        DataError: a class would be missing in a fold.
    """
    groups = data.groups(rows)
    truth = data.given[rows]
    part = folds(truth, groups, k, seed)
    for label in np.unique(truth[truth >= 0]):
        of = truth == label
        if len(np.unique(part[of])) < k:
            raise DataError(
                f"{data.source}: the {of.sum()} images of {data.labels[label]!r} to divide are in "
                f"{len(np.unique(groups[of]))} groups, which does not give each of {k} folds one: fewer `folds`, or "
                f"other `labels`"
            )
    return part, groups


def _counts(data: FaceDataset) -> dict[str, dict[str, int]]:
    return {split: dict(zip(data.labels, data.counts(split).tolist(), strict=True)) for split in data.splits}


def _table(
    data: FaceDataset, rows: Int[np.ndarray, " m"], part: Int[np.ndarray, " m"], groups: Int[np.ndarray, " m"]
) -> str:
    """Return a CSV with the fold of each image; an image that is not divided has none."""
    lines: list[tuple[object, ...]] = [("image", "label", "split", "group", "fold")]
    places = {int(row): place for place, row in enumerate(rows)}
    for row, about in enumerate(zip(data.ids, data.given_names, data.split, strict=True)):
        place = places.get(row)
        last = ("", "") if place is None else (int(groups[place]) + 1, int(part[place]) + 1)
        lines.append((*about, *last))
    return csv_lines(lines)
