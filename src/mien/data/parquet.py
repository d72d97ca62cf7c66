"""Parquet files with an image and a label in each row, as model hubs store datasets.

The image is bytes, or the hub's struct of bytes and path. The label is a name or a number; the hub stores the names
of numbers in the metadata of the file. The split is a column, or part of the file's name.
"""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING

import numpy as np

from mien.data import columns
from mien.data.arrays import pixels_of
from mien.data.numberings import names_beside
from mien.data.reading import Reading, class_targets, whole_numbers
from mien.data.split_flags import splits_of
from mien.data.split_names import split_name
from mien.data.text import numbers
from mien.errors import DataError, needs
from mien.options import ReadOptions
from mien.vision import images

with needs("data"):
    import pyarrow as pa
    from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jaxtyping import UInt8

_IMAGE = ("image", "img", "picture", "pixels", "pixel", "jpg", "png", "bytes", "data", "face", "imagebytes")
_ROWS_AT_ONCE = 16
_BYTES_PER_ROW, _FEW_ROWS = 16, 10_000
"""Least bytes for each row, and number of rows from which this is checked: a file with more rows is refused."""


def read_parquet(path: Path, options: ReadOptions = ReadOptions()) -> Reading:  # noqa: B008 - frozen
    """Read a file, or every ``*.parquet`` below a folder. A few rows are in memory at a time.

    The class numbers of each file get the class names in the same file.

    Raises:
        DataError: damaged, several datasets in one folder, or without a column of pictures and one of labels.
    """
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    parts = [_Part(file, options) for file in files]
    _check_one_dataset(parts, path)
    lacking = [part for part in parts if not part.class_names and any(map(str.isdecimal, part.labels))]
    if lacking and len(lacking) < len(parts):
        raise DataError(
            f"{lacking[0].path} has class numbers without names, other files of {path} have names: "
            f"which number is which cannot be told"
        )
    classes, targets = class_targets([name for part in parts for name in part.labels], str(path))
    starts, turn = np.cumsum([0, *(len(part.labels) for part in parts)]), threading.Lock()

    def picture(row: int) -> UInt8[np.ndarray, "h w c"]:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        with turn:  # threads may share it
            for other in parts[:part]:
                other.let_go()
            value = parts[part].value(row - int(starts[part]))
        return _picture(value)

    splits = [split for part in parts for split in part.splits]
    ids = [f"{split or 'row'}/{row:07d}" for row, split in enumerate(splits)]
    boxed = [part for part in parts if part.boxes is not None]
    if boxed and len(boxed) < len(parts):
        bare = next(part for part in parts if part.boxes is None)
        raise DataError(
            f"{bare.path} has no box columns, and {boxed[0].path} has some: read one of them "
            f"(`box_columns=none` reads whole images)"
        )
    shared = set.intersection(*(set(part.others) for part in parts)) if parts else set()
    return Reading(
        str(path), ids, splits, classes, targets, picture,
        columns={name: np.concatenate([part.others[name] for part in parts]) for name in sorted(shared)},
        boxes=np.concatenate([part.boxes for part in boxed]) if boxed else None,
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )  # fmt: skip


class _Part:
    """One file: all labels are read at once, images a few rows at a time, in order."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        try:
            self.file = parquet.ParquetFile(path, memory_map=True)
            rows = self.file.metadata.num_rows
            if rows > max(_FEW_ROWS, path.stat().st_size // _BYTES_PER_ROW):
                raise DataError(
                    f"{path} claims {rows:,} rows in {path.stat().st_size:,} bytes: is this a bomb?"
                )
            schema = self.file.schema_arrow
            self.image = _image_column(list(schema.names), options, path)
            boxed = set(map(columns.plain, (options.box_columns or "").removeprefix("wh:").split(",")))
            header = [
                field.name
                for field in schema
                if field.name != self.image and (not _holds_many(field) or columns.plain(field.name) in boxed)
            ]
            table = self.file.read(columns=header)
            cells = [_texts(table[name]) for name in header]
            rows_of_cells = list(zip(*cells, strict=True))
            label, of_label = columns.label_place(header, options, str(path), rows_of_cells)
            splits, of_splits, of_split = splits_of(header, options, str(path), rows_of_cells)
            box = columns.box_of(header, options, str(path))
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: a label is not UTF-8 text ({error.reason})") from error
        except (pa.ArrowException, OSError, OverflowError) as error:
            raise DataError(f"{path} is a damaged Parquet file ({error}): download it again") from error
        if label is None:
            raise DataError(
                f"{path}: expected a column named {columns.LABEL[0]}, one class in each row, got "
                f"{', '.join(schema.names)} (`label_column=NAME` says which it is)"
            )
        words = (*re.split(r"[-_. ]", path.stem), path.parent.name)
        here = next((word for word in words if split_name(word)), "")
        labels = cells[label]
        self.splits = splits or [here] * len(labels)
        self.class_names, self.notes = _class_names(schema, header[label]), (*of_label, *of_split)
        used = [label, *of_splits, *(box.places if box else ())]
        self.others = columns.other_columns(header, rows_of_cells, used)
        lines = range(1, len(labels) + 1)
        self.boxes = columns.boxes_of(box, rows_of_cells, lines, str(path)) if box else None
        if box is None and options.box_columns is None:
            taken = {self.image, *(header[place] for place in used)}
            self.notes += columns.unread_boxes(
                [name for name in schema.names if name not in taken], str(path)
            )
        if self.class_names:
            self.labels = [_named(name, self.class_names, path) for name in labels]
        else:
            self.labels, of_numbers = names_beside(labels, self.others)
            self.notes += of_numbers
        self.start, self.values = 0, pa.chunked_array([], pa.null())
        self.batches: Iterator[pa.RecordBatch] | None = None

    def value(self, row: int) -> object:
        """Return the encoded image of a row; reading rows in order is fastest."""
        if self.batches is None or row < self.start:
            self.batches, self.start, self.values = self._begin(), 0, ()
        while row >= self.start + len(self.values):
            self.start += len(self.values)
            self.values = next(self.batches).column(0)
        return self.values[row - self.start].as_py()

    def _begin(self) -> Iterator[pa.RecordBatch]:
        return self.file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[self.image], use_threads=False)

    def let_go(self) -> None:
        """Free what is in memory."""
        self.batches, self.values, self.start = None, (), 0


def _picture(value: object) -> UInt8[np.ndarray, "h w c"]:
    """Decode a cell: encoded bytes, the hub's struct, pixels as lists, or pixels as text."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, bytes):
        return images.decode_dataset_image(data)
    if isinstance(data, str):
        cell = re.sub(r"[\s,;\[\]]+", " ", data).strip()
        return pixels_of(numbers([(1, cell)], " ", "this row"), "this row")
    if isinstance(data, list):
        return pixels_of(np.array([data]), "this row")
    raise DataError("no bytes in this row: images outside the file are not followed")


def _check_one_dataset(parts: list[_Part], path: Path) -> None:
    """Refuse several configurations of a hub's dataset below one folder.

    Raises:
        DataError: names their folders.
    """
    folders: dict[str, set[str]] = {}
    for part in parts:
        above = part.path.parent
        name = str(above.relative_to(path)) if path.is_dir() and above != path else "."
        if split_name(above.name) is None or name == ".":
            folders.setdefault(name, set()).update(part.splits)
    names = list(folders)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            if folders[first] & folders[second]:
                raise DataError(
                    f"{path} holds several datasets, in {first} and {second}: name the folder of the one you mean"
                )


def _image_column(names: list[str], options: ReadOptions, path: Path) -> str:
    if options.image_column:
        return names[columns.named(names, "image_column", options.image_column, str(path))]
    place = columns.find(names, _IMAGE)
    if place is None:
        raise DataError(
            f"{path}: expected a column named {_IMAGE[0]}, got {', '.join(names)} "
            f"(`image_column=NAME` says which it is)"
        )
    return names[place]


def _holds_many(field: pa.Field) -> bool:
    """Return whether cells hold several values, or bytes, so that they are neither classes nor splits."""
    kind = field.type
    return pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _texts(column: pa.ChunkedArray) -> list[str]:
    return whole_numbers(["" if value is None else str(value) for value in column.to_pylist()])


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
