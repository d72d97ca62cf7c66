"""A contest's submission: one answer for every row, in the order of the input."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from mien import files
from mien.data.read import read_pictures
from mien.errors import ConfigError
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from jaxtyping import UInt8

    from mien.classifiers import Classifier
    from mien.preprocess import Preprocess


def read_rows(
    source: str, preprocess: Preprocess, id_column: str = "Id"
) -> tuple[list[str], UInt8[np.ndarray, "n s s c"]]:
    """Return the id and the crop of every row, in the order of the source, whatever labels or splits it names.

    A table that has a column `id_column` (in any case) says the ids; else pictures go by their paths, and the rows
    of arrays and tables count from 0. A folder or zip of pictures needs no classes; they are faces, sorted by path.

    Raises:
        DataError: nothing that can be read there, or a picture that cannot be.
    """
    data = read_pictures(source, preprocess)
    if (given := data.columns.get(id_column.lower())) is not None:
        return given.tolist(), data.images
    if any(Path(name).suffix.lower() in images.SUFFIXES for name in data.ids):
        return list(data.ids), data.images
    return [str(row) for row in range(len(data))], data.images


def write_submission(
    path: Path,
    ids: Sequence[str],
    crops: UInt8[np.ndarray, "n s s c"],
    classifier: Classifier,
    *,
    columns: tuple[str, str] = ("Id", "Category"),
    numbers: bool = False,
) -> list[str]:
    """Classify every row and write the CSV; returns the answers.

    With `numbers` a label is written as its place among the model's labels, counted from 0.

    Raises:
        ConfigError: the columns have one name.
        OutputError: `path` cannot be written.
    """
    if columns[0] == columns[1]:
        raise ConfigError(f"a submission needs two columns, both are named {columns[0]!r}")
    best = classifier.logits(crops).argmax(axis=1)
    answers = [str(row) if numbers else classifier.id.labels[row] for row in best.tolist()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(ids, answers, strict=True))
    files.write(path, text.getvalue())
    return answers
