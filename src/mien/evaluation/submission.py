"""The submission for a contest: one label for every row, in the order of the input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mien import files
from mien.data.read import read_pictures
from mien.errors import ConfigError
from mien.escapes import csv_lines
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
    """Return the id and the crop of every row, in the order of the source; its labels and splits are ignored.

    Ids are in the column `id_column` of a table (in upper or lower case). Else the id of a picture is its path, and
    rows of arrays and tables are counted from 0. A folder or zip of pictures needs no classes; each picture is a
    face, and they are sorted by path.

    Raises:
        DataError: the source or one of its pictures cannot be read.
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
    """Classify every row and write the CSV; returns the labels.

    With `numbers` a label is written as its index in the model's labels, counted from 0.

    Raises:
        ConfigError: both columns have the same name.
        OutputError: `path` cannot be written.
    """
    if columns[0] == columns[1]:
        raise ConfigError(f"a submission needs two columns, both are named {columns[0]!r}")
    best = classifier.logits(crops).argmax(axis=1)
    answers = [str(row) if numbers else classifier.id.labels[row] for row in best.tolist()]
    files.write(path, csv_lines([columns, *zip(ids, answers, strict=True)]))
    return answers
