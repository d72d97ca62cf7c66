"""Count what is in a dataset."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from mien.data.balance import class_counts, imbalance_ratio
from mien.data.dataset import FaceDataset
from mien.data.read import in_memory, open_source
from mien.data.reading import ReadOptions, decode, prepare
from mien.data.recognise import form_of
from mien.preprocess import Preprocess
from mien.results import DatasetReport

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

_DEFAULT = ReadOptions()


def survey(path: str | Path, options: ReadOptions = _DEFAULT) -> DatasetReport:
    """Decode a whole dataset and count what is in it.

    Raises:
        DataError: as `read_dataset`.
    """
    sizes: Counter[tuple[int, ...]] = Counter()
    with ExitStack() as stack:
        reading, dataset = open_source(path, Preprocess(), options, stack)
        if isinstance(dataset, FaceDataset) and options.labels is None:
            sizes[dataset.images.shape[1:]] = len(dataset)
        else:
            rows = prepare(reading, options)

            def seen(row: int) -> np.ndarray:
                picture = rows.picture(row)
                sizes[picture.shape] += 1
                return picture

            dataset = decode(
                replace(rows, picture=seen), Preprocess(), split=None,
                skip_corrupt=options.skip_corrupt, allocate=in_memory,
            )  # fmt: skip
    counts, bare = {}, {}
    for split in dataset.splits:
        rows_of = dataset.rows(split)
        labelled = dataset.targets[rows_of].any(axis=1)
        counts[split] = class_counts(dataset.truth[rows_of][labelled], len(dataset.labels))
        bare[split] = int((~labelled).sum())
    return DatasetReport(
        source=str(path),
        form=form_of(path, options),
        n=len(dataset),
        labels=dataset.labels,
        counts={split: dict(zip(dataset.labels, row.tolist(), strict=True)) for split, row in counts.items()},
        unlabelled=bare,
        imbalance_ratio={split: round(imbalance_ratio(row), 4) for split, row in counts.items()},
        sizes=tuple({"height": h, "width": w, "channels": c, "n": n} for (h, w, c), n in sizes.most_common()),
        left_out=reading.left_out,
        skipped=dataset.skipped,
        fingerprint=dataset.fingerprint(),
    )
