"""Count the images of a dataset by split and class."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from mien.data.balance import imbalance_ratio
from mien.data.dataset import FaceDataset
from mien.data.read import in_memory, open_source
from mien.data.reading import ReadOptions, decode, prepare
from mien.data.recognise import form_of
from mien.labels import EMOTIONS_8, canonical
from mien.preprocess import Preprocess
from mien.results import DatasetReport

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


_DEFAULT = ReadOptions()
_SHOWN = 6


def survey(path: str | Path, options: ReadOptions = _DEFAULT) -> DatasetReport:
    """Decode a whole dataset and count its images, sizes and classes.

    Raises:
        DataError: as `read_dataset`.
    """
    sizes: Counter[tuple[int, ...]] = Counter()
    with ExitStack() as stack:
        reading, dataset = open_source(path, Preprocess(), options, stack)
        if isinstance(dataset, FaceDataset) and options.labels is None:
            sizes[dataset.images.shape[1:]] = len(dataset)
        else:
            rows = prepare(reading, options, complete=False)

            def seen(row: int) -> np.ndarray:
                picture = rows.picture(row)
                sizes[picture.shape] += 1
                return picture

            dataset = decode(
                replace(rows, picture=seen), Preprocess(), split=None,
                skip_corrupt=options.skip_corrupt, complete=False, allocate=in_memory,
            )  # fmt: skip
    counts = {split: dataset.counts(split) for split in dataset.splits}
    return DatasetReport(
        source=dataset.source,
        form=form_of(path, options),
        n=len(dataset),
        labels=dataset.labels,
        counts={split: dict(zip(dataset.labels, row.tolist(), strict=True)) for split, row in counts.items()},
        unlabelled={split: len(dataset.rows(split)) - int(row.sum()) for split, row in counts.items()},
        imbalance_ratio={split: round(imbalance_ratio(row), 4) for split, row in counts.items()},
        sizes=tuple({"height": h, "width": w, "channels": c, "n": n} for (h, w, c), n in sizes.most_common()),
        left_out=reading.left_out,
        skipped=dataset.skipped,
        fingerprint=dataset.fingerprint(),
        notes=(*dataset.notes, *warnings_of(dataset)),
    )


def counts_of(dataset: FaceDataset) -> list[str]:
    """Return a line for each split: its size, and how many images each class has."""
    lines = []
    for split in dataset.splits:
        n, counts = len(dataset.rows(split)), dataset.counts(split)
        named = [f"{label} {count:,}" for label, count in zip(dataset.labels, counts, strict=True)]
        bare = [f"no label {n - counts.sum():,}"] if n > counts.sum() else []
        lines.append(f"{split} {n:,}: {', '.join([*named, *bare])}")
    return lines


def warnings_of(dataset: FaceDataset) -> list[str]:
    """Return warnings about a dataset's classes: none is a known emotion, or a split lacks some."""
    odd = []
    if not dataset.targets.any():
        return [
            "no image has a label: models can answer them, but neither train on them nor be judged by them"
        ]
    known = set(EMOTIONS_8) & {canonical(label) for label in dataset.labels}
    if not known:
        numbers = all(label.isdecimal() for label in dataset.labels)
        way_out = (
            "name them with `labels`, as in `labels=angry=0,happy=1`" if numbers else "is this what is meant?"
        )
        shown = ", ".join(dataset.labels[:_SHOWN]) + (", ..." if len(dataset.labels) > _SHOWN else "")
        odd.append(f"classes: {shown}: none of them is an expression; {way_out}")
    for split in dataset.splits:
        counts = dataset.counts(split)
        missing = [label for label, count in zip(dataset.labels, counts, strict=True) if not count]
        if counts.any() and missing:
            odd.append(f"{split} has no image of {', '.join(missing)}")
    return odd
