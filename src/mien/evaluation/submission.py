"""A contest's submission: one answer for every row, in the order of the input."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien import files
from mien.data.sources import read_pictures
from mien.errors import ConfigError, DataError, ImageError
from mien.pipeline import find_images
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

    from mien.classifiers import Classifier
    from mien.preprocess import Preprocess


def read_rows(
    source: str, preprocess: Preprocess, id_column: str = "Id"
) -> tuple[list[str], UInt8[np.ndarray, "n s s c"]]:
    """Return the id and the crop of every row, in the order of the source, whatever labels or splits it names.

    A table that has a column `id_column` (in any case) says the ids; else pictures go by their paths, and the rows
    of arrays and tables count from 0. A folder of pictures needs no classes; they are faces, sorted by path.

    Raises:
        DataError: nothing that can be read there, or a picture that cannot be.
    """
    folder = Path(source)
    if _is_pictures(folder):
        paths = find_images([source])
        root = folder if folder.is_dir() else folder.parent
        return [path.relative_to(root).as_posix() for path in paths], _decoded(paths, preprocess)
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


def _is_pictures(path: Path) -> bool:
    if path.suffix.lower() in images.SUFFIXES and path.is_file():
        return True
    return path.is_dir() and any(p.suffix.lower() in images.SUFFIXES for p in path.rglob("*"))


def _decoded(paths: Sequence[Path], preprocess: Preprocess) -> UInt8[np.ndarray, "n s s c"]:
    crops = np.empty((len(paths), preprocess.size_px, preprocess.size_px, preprocess.channels), np.uint8)
    for row, path in enumerate(paths):
        try:
            crops[row] = preprocess.fit(images.read(path))
        except ImageError as error:
            raise DataError(f"{path}: {error}: a submission needs an answer for every picture") from error
    return crops
