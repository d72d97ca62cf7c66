"""Parquet files with a picture and a label in each row, as the model hubs keep datasets.

The picture is bytes, or the hub's struct of bytes and path; the label is a name or a number, whose names the
hub leaves in the file's metadata. The split is a column, or the file's name.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING

import numpy as np

from mien.data.reading import SPLIT_COLUMNS, Reading, class_targets, split_name
from mien.errors import DataError, needs
from mien.vision import images

with needs("data"):
    import pyarrow as pa
    from pyarrow import parquet

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import UInt8

_IMAGE = ("image", "img", "picture", "pixels", "jpg", "png", "bytes")
_LABEL = ("label", "emotion", "labels", "expression", "class", "target")


def read_parquet(path: Path) -> Reading:
    """Read a file, or every ``*.parquet`` below a folder. One row group is in memory at a time.

    Raises:
        DataError: damaged, or without a column of pictures and one of labels.
    """
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    parts = [_Part(file) for file in files]
    names = [name for part in parts for name in part.labels]
    numbered = next((part.class_names for part in parts if part.class_names), ())
    if numbered:
        names = [_named(name, numbered, path) for name in names]
    classes, targets = class_targets(names, str(path))
    starts = np.cumsum([0, *(len(part.labels) for part in parts)])

    @functools.lru_cache(maxsize=1)
    def pictures(part: int, group: int) -> pa.ChunkedArray:
        return parts[part].pictures(group)

    def picture(row: int) -> UInt8[np.ndarray, "h w c"]:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        group, place = parts[part].place(row - int(starts[part]))
        value = pictures(part, group)[place].as_py()
        data = value["bytes"] if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise DataError("no bytes in this row: pictures outside the file are not followed")
        return images.decode_dataset_image(data)

    splits = [split for part in parts for split in part.splits]
    ids = [f"{split or 'row'}/{row:07d}" for row, split in enumerate(splits)]
    return Reading(str(path), ids, splits, classes, targets, picture)


class _Part:
    """One file: labels read at once, pictures a row group at a time."""

    def __init__(self, path: Path) -> None:
        try:
            self.file = parquet.ParquetFile(path, memory_map=True)
            schema = self.file.schema_arrow
            self.image, label = _column(schema, _IMAGE, path), _column(schema, _LABEL, path)
            split = next((name for name in schema.names if name.lower() in SPLIT_COLUMNS), None)
            columns = self.file.read(columns=[label, *([split] if split else [])])
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is a damaged Parquet file ({error}): download it again") from error
        self.labels = ["" if value is None else str(value) for value in columns[label].to_pylist()]
        words = (*re.split(r"[-_. ]", path.stem), path.parent.name)
        here = next((word for word in words if split_name(word)), "")
        self.splits = (
            ["" if value is None else str(value) for value in columns[split].to_pylist()]
            if split
            else [here] * len(self.labels)
        )
        self.class_names = _class_names(schema, label)
        sizes = [self.file.metadata.row_group(group).num_rows for group in range(self.file.num_row_groups)]
        self.starts = np.cumsum([0, *sizes])

    def place(self, row: int) -> tuple[int, int]:
        """Return the row group of a row, and where it stands in it."""
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        return group, row - int(self.starts[group])

    def pictures(self, group: int) -> pa.ChunkedArray:
        """Read the encoded pictures of a row group."""
        return self.file.read_row_group(group, columns=[self.image])[self.image]


def _column(schema: pa.Schema, known: tuple[str, ...], path: Path) -> str:
    for name in known:
        for column in schema.names:
            if column.lower() == name:
                return str(column)
    raise DataError(f"{path}: expected a column named {known[0]}, got {', '.join(schema.names)}")


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """Return the names that the hub's metadata gives to class numbers, if it is there."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def _named(name: str, names: tuple[str, ...], path: Path) -> str:
    if name in ("", "-1"):  # how the hub marks rows without a label
        return ""
    if not name.isdecimal() or int(name) >= len(names):
        raise DataError(f"{path}: unknown class number {name}: the file names 0 to {len(names) - 1}")
    return names[int(name)]
