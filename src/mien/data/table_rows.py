"""The rows of one table that names image files: its image, label, split, box and other columns."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.data import columns
from mien.data.archives import has_picture_suffix, regular
from mien.data.split_flags import flags_of, splits_of
from mien.data.split_names import split_name
from mien.data.text import Member, decoded_lines, open_table
from mien.errors import DataError
from mien.labels import EMOTIONS_8, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float32

    from mien.data.place import Place
    from mien.options import ReadOptions

TRIED_ROWS = 20
_ENCODED = ("data:image", "iVBORw0KGgo", "/9j/")
"""Beginnings of images as base64 text: PNG and JPEG."""
_SHOWN_CELL = 60
_NESTED = re.compile(r"\{.*\}|\[.*\]", re.DOTALL)
"""A list or a table of JSON in one cell."""
_EXPW = ("file", "face", "top", "left", "right", "bottom", "confidence", "label")


@dataclass
class Rows:
    """The rows of one table."""

    name: str
    folder: str
    """Folder of the table, relative to the root of the tree."""
    lines: list[int]
    files: list[str]
    labels: list[str]
    splits: list[str]
    others: dict[str, np.ndarray]
    boxes: Float32[np.ndarray, "n 4"] | None
    votes: Float32[np.ndarray, "n 10"] | None
    has_labels: bool
    notes: tuple[str, ...]
    flaw: str = ""

    def take(self, kept: Sequence[int]) -> Rows:
        """Return these rows, in this order."""

        def some(cells: list[str]) -> list[str]:
            return [cells[row] for row in kept]

        return replace(
            self, lines=[self.lines[row] for row in kept], files=some(self.files), labels=some(self.labels),
            splits=some(self.splits), others={name: cells[kept] for name, cells in self.others.items()},
            boxes=None if self.boxes is None else self.boxes[kept],
            votes=None if self.votes is None else self.votes[kept],
        )  # fmt: skip


def rows_of(place: Place, table: str | None, options: ReadOptions) -> Rows:
    """Read all rows of a table; None: the place is the table.

    Raises:
        DataError: no column names the images, or a cell of a box or of votes is no number.
    """
    source, folder = source_of(place, table), folder_of(table or "")
    with opened_table(source) as (name, header, rows):
        pairs = [(line, [cell.strip() for cell in row]) for line, row in rows]
    lines, cells = [line for line, _ in pairs], [row for _, row in pairs]
    notes: tuple[str, ...] = ()
    if not header:
        header, notes = titled(name, cells, say_box=options.box_columns is None)
    file = file_place(header, cells, options, name)
    if file is not None and cells and cells[0][file].startswith(_ENCODED):
        raise DataError(
            f"{name}: the column {header[file]} holds images as base64 text: write them as files and name these"
        )
    if file is None:
        raise DataError(
            f"{name}: expected columns such as path and label, got {', '.join(header[:8])} "
            f"(`image_column=NAME` says which names the images)"
        )
    box, votes = columns.box_of(header, options, name), columns.votes_places(header)
    others = ["" if box and place in box.places else one for place, one in enumerate(header)]
    label, of_label = columns.label_place(others, options, name, cells)
    splits, places, of_split = splits_of(others, options, name, cells)
    notes += (*of_label, *of_split)
    label = None if label == file else label
    used = [
        one for one in (file, label, *places, *(box.places if box else ()), *(votes or ())) if one is not None
    ]
    hot: list[int] = []
    if label is None and votes is None:
        taken = {*used, *flags_of(header, cells)}
        hot = columns.one_hot_places(header, cells, [one for one in range(len(header)) if one not in taken])
        used += hot
    flaw = "" if label is not None or hot or votes is not None else _no_label(header, used, name)
    if box is None and options.box_columns is None:
        notes += columns.unread_boxes([one for place, one in enumerate(header) if place not in used], name)
    names = [""] * len(cells) if label is None else [row[label] for row in cells]
    if hot:
        names = columns.one_hot_names(header, cells, hot, lines, name)
    if nested := next((one for one in names if _NESTED.fullmatch(one)), ""):
        raise DataError(
            f"{name} has the label {nested[:_SHOWN_CELL]}: expected one word or number in each row"
        )
    return Rows(
        name, folder, lines, [row[file] for row in cells], names,
        [""] * len(cells) if splits is None or file in places else splits,
        columns.other_columns(header, cells, used),
        columns.boxes_of(box, cells, lines, name) if box else None,
        _votes(cells, votes, lines, name) if votes else None,
        label is not None or bool(hot), notes, flaw,
    )  # fmt: skip


def _no_label(header: Sequence[str], used: Sequence[int], name: str) -> str:
    """Return why a table has no column of labels; an empty text if it has no further columns."""
    rest = _rest(header, used)
    named = [one for one in rest if canonical(one) in EMOTIONS_8]
    if len(named) > 1:
        return (
            f"{name}: the columns {', '.join(named[:4])} hold more than 0 and 1: expected 1 for the class of each "
            f"image, or one column of labels"
        )
    if not rest:
        return ""
    return (
        f"{name}: no column has the name of a label; it has {', '.join(rest[:8])}: "
        f"say which it is with `label_column=NAME`"
    )


def _rest(header: Sequence[str], used: Sequence[int]) -> list[str]:
    known = {"photo", "id", "width", "height"}
    return [
        name
        for place, name in enumerate(header)
        if place not in used and not columns.is_index(name) and columns.plain(name) not in known
    ]


def _votes(
    cells: Sequence[Sequence[str]], places: Sequence[int], lines: Sequence[int], name: str
) -> Float32[np.ndarray, "n 10"]:
    counts = np.zeros((len(cells), len(places)), np.float32)
    for number, (line, row) in enumerate(zip(lines, cells, strict=True)):
        try:
            counts[number] = [float(row[place] or 0) for place in places]
        except ValueError as error:
            raise DataError(f"{name}: line {line} holds a vote that is no number ({error})") from error
    return counts


def titled(
    name: str, cells: Sequence[Sequence[str]], *, say_box: bool = True
) -> tuple[list[str], tuple[str, ...]]:
    """Return a header for a table without one, and notes; its columns are recognised by their cells.

    With `say_box`, a note says so if four columns of numbers may be a box.

    Raises:
        DataError: the columns cannot be recognised.
    """
    width = len(cells[0]) if cells else 0
    file = next((place for place in range(width) if has_picture_suffix(cells[0][place])), 0)
    if width == 8 and file == 0 and all(re.fullmatch(r"[-\d.]+", cell) for cell in cells[0][1:]):
        return list(_EXPW), (f"{name} has no header; its columns are read as ExpW's: {', '.join(_EXPW)}",)
    if width == 12 and file == 0:
        votes = (
            "neutral",
            "happiness",
            "surprise",
            "sadness",
            "anger",
            "disgust",
            "fear",
            "contempt",
            "unknown",
            "nf",
        )
        return ["file", "area", *votes], (f"{name} has no header; its columns are read as FER+'s votes",)
    header = [f"column{place + 1}" for place in range(width)]
    header[file] = "path"
    free = [place for place in range(width) if place != file]
    for place in list(free):
        values = {row[place] for row in cells}
        if all(split_name(value) for value in values):
            header[place] = "split"
            free.remove(place)
        elif all(canonical(value) in EMOTIONS_8 for value in values):
            header[place] = "label"
    if "label" not in header and len(free) == 1:
        header[free[0]] = "label"
    if "label" not in header and free:
        raise DataError(
            f"{name} has no header, and which of its {width} columns is the label cannot be told: "
            f"add a first line such as path,label"
        )
    notes: tuple[str, ...] = (f"{name} has no header; its columns are read as {', '.join(header)}",)
    numbers = [place for place in free if all(re.fullmatch(r"-?\d+(\.\d+)?", row[place]) for row in cells)]
    if say_box and len(numbers) == 4:
        notes += (
            f"{name}: whole images are read, though these columns look like a face box: "
            f"{', '.join(header[place] for place in numbers)} (`box_columns` names them)",
        )
    return header, notes


def file_place(
    header: Sequence[str], rows: Sequence[Sequence[str]], options: ReadOptions | None = None, source: str = ""
) -> int | None:
    """Return the column that names the images: named by the user, or recognised by its name or its cells."""
    if options and options.image_column:
        return columns.named(header, "image_column", options.image_column, source)
    if not header:
        first = rows[0] if rows else ()
        return next((place for place, cell in enumerate(first) if has_picture_suffix(cell.strip())), None)
    holds = [
        place
        for place in range(len(header))
        if rows and all(has_picture_suffix(row[place].strip()) for row in rows[:TRIED_ROWS])
    ]
    by_name = [columns.find(header, (name,)) for name in columns.PATH]
    places = [place for place in by_name if place is not None]
    return next((place for place in places if place in holds), next(iter(holds or places), None))


def source_of(place: Place, table: str | None) -> Path | Member:
    """Return a table as `opened_table` wants it."""
    if table is None:
        return place.path
    return Member(f"{place.path}:{table}", place.tree.files[table])


def folder_of(table: str) -> str:
    """Return the folder of a table."""
    return table.rpartition("/")[0]


@contextlib.contextmanager
def opened_table(source: Path | Member) -> Iterator[tuple[str, list[str], Iterator[tuple[int, list[str]]]]]:
    """Open a table as (name, header or none, rows); JSON lines are one, too."""
    name = source.name if isinstance(source, Member) else str(source)
    if name.lower().endswith(".jsonl"):
        yield _json_lines(source)
    else:
        with open_table(source, headed=None) as table:
            yield table.name, table.header, table.rows


def _json_lines(source: Path | Member) -> tuple[str, list[str], Iterator[tuple[int, list[str]]]]:
    """Read a file of JSON objects, one a line: their names are the columns."""
    name = source.name if isinstance(source, Member) else str(source)
    with regular(source).open("rb") if isinstance(source, Path) else source.open() as file:
        records: list[tuple[int, dict[str, object]]] = []
        for number, line in enumerate(decoded_lines(name, file), start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{name}: line {number} is no JSON ({error})") from error
            if not isinstance(record, dict):
                raise DataError(f"{name}: line {number} is no JSON object: expected {{...}}")
            records.append((number, {str(key).strip().lower(): value for key, value in record.items()}))
    if not records:
        raise DataError(f"{name} is empty: expected a JSON object in each line")
    header = list(dict.fromkeys(key for _, record in records for key in record))
    return name, header, ((number, [_text(record.get(key)) for key in header]) for number, record in records)


def _text(value: object) -> str:
    if isinstance(value, list) and len(value) == 1:
        return _text(value[0])
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def beginning(source: Path | Member) -> tuple[list[str], list[list[str]]]:
    """Return the header of a table and its first rows."""
    with opened_table(source) as (_, header, rows):
        return header, [row for _, (_, row) in zip(range(TRIED_ROWS), rows, strict=False)]
