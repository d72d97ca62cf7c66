"""Tables beside the images of a folder or an archive: which of them name its images, and what they add to them."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mien.data import columns
from mien.data.archives import has_picture_suffix
from mien.data.finding import Index
from mien.data.split_flags import flags_of
from mien.data.split_names import split_name, split_word
from mien.data.table_rows import (
    TRIED_ROWS,
    beginning,
    file_place,
    folder_of,
    opened_table,
    rows_of,
    source_of,
    titled,
)
from mien.errors import ConfigError, DataError, number_of
from mien.options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Shaped

    from mien.data.place import Place
    from mien.data.reading import Reading
    from mien.data.table_rows import Rows

_TABLE_LIMIT = 200
"""Most tables beside images that are looked at; more are landmarks or boxes, a file for each image."""
_COLUMN_LIMIT = 40
"""Most columns that a table adds to images whose labels it does not hold; more are landmarks or features."""
_SHOWN_CELL = 60
_SHOWN = 3
_NEVER_PROSE = (".csv", ".tsv", ".lst", ".jsonl")


class Looked(NamedTuple):
    """What the tables of a tree are."""

    found: list[str]
    """Tables that name some of its images."""
    failed: list[str]
    """Why others cannot be used."""
    odd: list[str]
    """The reasons of `failed` that concern files which surely are tables of images."""


class Addition(NamedTuple):
    """What a table says about images whose labels are read elsewhere."""

    table: str
    names: list[str]
    """Image of each row."""
    splits: list[str]
    others: Mapping[str, Shaped[np.ndarray, " n"]]
    sure: bool = False
    """The user named its split column, so its splits count against others."""


def look(place: Place) -> Looked:
    """Find the tables in a tree that name some of its images."""
    if place.kind == "file":
        return Looked([], [], [])
    index = Index(place.tree, place.pictures)
    answers = [f"{name}, which by its name holds answers and not labels" for name in place.answers]
    looked = Looked([], answers, [f"not read: {why}" for why in answers])
    crowds = Counter(map(folder_of, place.tables))  # landmarks of each image in a table of its own come last
    tables = sorted(place.tables, key=lambda table: crowds[folder_of(table)])
    if more := tables[_TABLE_LIMIT:]:
        others = f"{number_of(len(more), 'other')}, such as {more[0]}"
        looked.odd.append(f"only {_TABLE_LIMIT} tables are looked at: not read: {others}")
    for table in tables[:_TABLE_LIMIT]:
        why, sure = _against(place, table, index)
        if why is None:
            looked.found.append(table)
        elif why:
            looked.failed.append(why)
            looked.odd.extend([f"not read: {why}"] if sure else [])
    return looked


def _against(place: Place, table: str, index: Index) -> tuple[str | None, bool]:
    """Return why a table names no image (None: it does; an empty text: it has no such column), and whether it should.

    All of its rows are looked at until one is found, because the first may name images that are missing.
    """
    sure = table.lower().endswith(_NEVER_PROSE)
    try:
        with opened_table(source_of(place, table)) as (_, header, rows):
            first = [row for _, row in itertools.islice(rows, TRIED_ROWS)]
            file = file_place(header, first)
            if file is None or not first:
                return "", False
            cell = first[0][file].strip()
            sure = has_picture_suffix(cell)
            rest = (row for _, row in rows)
            if any(index.has(row[file].strip()) for row in itertools.chain(first, rest)):
                return None, True
            return f"{table} names {cell[:_SHOWN_CELL]}, and no image is called so", sure
    except DataError as error:
        return str(error), sure


def labelled(place: Place, table: str) -> bool:
    """Return whether a table has labels or votes."""
    header, rows = beginning(source_of(place, table))
    if not header:
        try:
            return "label" in titled(table, rows)[0]
        except DataError:  # one of its columns may be the label
            return True
    if columns.label_places(header) or columns.votes_places(header):
        return True
    flags = flags_of(header, rows)
    free = [place for place in range(len(header)) if place not in flags]
    return len(columns.one_hot_places(header, rows, free)) > 1


def split_of_table(part: Rows) -> str | None:
    """Return the split that the folder or the name of a table says."""
    above = filter(None, map(split_name, part.folder.split("/")[::-1]))
    return next(above, None) or named_split(part)


def named_split(part: Rows) -> str | None:
    """Return the split that the file name of a table says."""
    stem = PurePosixPath(part.name.rpartition(":")[2]).stem
    return split_name(stem) or next(iter(split_word(stem) or ()), None)


def additions(place: Place, options: ReadOptions) -> tuple[list[Addition], list[str], list[str]]:
    """Return what tables add to images whose labels are not theirs, notes, and the tables that are read.

    Raises:
        DataError: a table gives the split and names an image that is not there.
        ConfigError: no table has the column that the user names.
    """
    if place.kind == "file":
        return [], [], []
    looked, index = look(place), Index(place.tree, place.pictures)
    found, notes, read = [], looked.odd, []
    named = not options.split_column
    for table in looked.found:
        split: str | None = ""
        try:
            part, has_column = _rows_beside(place, table, options)
            named = named or has_column
            split = split_of_table(part) or next(filter(None, part.splits), "")
            files = index.find(part.files, part.folder, part.name, named_split(part))
            names = [file.name for file in files]
        except DataError as error:
            if split and options.format == "auto":
                raise
            notes.append(f"not read: {error}")
            continue
        read.append(table)
        if part.has_labels or part.votes is not None:
            notes.append(f"the labels of {table} are not read")
        one, said = addition(part, names, options)
        found.append(one)
        notes += said
    if not named:
        raise ConfigError(
            f"`split_column={options.split_column}` has no effect here: no table beside the images of {place.path} "
            f"has such a column"
        )
    return found, notes, read


def _rows_beside(place: Place, table: str, options: ReadOptions) -> tuple[Rows, bool]:
    """Return the rows of a table that holds no labels, and whether it has the split column that the user names."""
    own = ReadOptions(box_columns=columns.NONE)
    if options.split_column:
        with contextlib.suppress(ConfigError):
            return rows_of(place, table, replace(own, split_column=options.split_column)), True
    return rows_of(place, table, own), False


def addition(part: Rows, names: list[str], options: ReadOptions) -> tuple[Addition, list[str]]:
    """Return what a table adds to the images that it names, and notes."""
    table, others, notes = part.name.rpartition(":")[2], part.others, list(part.notes)
    header = [*others]
    box = columns.box_of(header, ReadOptions(), table)
    if box or part.boxes is not None or columns.unread_boxes(header, table):
        which = f" ({', '.join(header[place] for place in box.places)})" if box else ""
        notes.append(
            f"whole images are read: the face boxes of {table}{which} are not used, because it holds no labels"
        )
    if len(others) > _COLUMN_LIMIT:
        notes.append(f"{table}: its {len(others)} columns are not read, only its split")
        others = {}
    splits = part.splits
    if not any(splits) and (one := split_of_table(part)):
        splits = [one] * len(names)
    if given := [*(["the split"] if any(splits) else []), *others]:
        notes.append(f"{', '.join(given)} of {number_of(len({*names}), 'image')} read from {table}")
    return Addition(table, names, splits, others, sure=bool(options.split_column)), notes


def added(reading: Reading, names: Sequence[str], additions: Sequence[Addition]) -> Reading:
    """Add the splits and columns that tables give to the rows of a reading; `names` are the images of its rows."""
    for one in additions:
        reading = _added(reading, names, one)
    return reading


def _added(reading: Reading, names: Sequence[str], one: Addition) -> Reading:
    rows: dict[str, int] = {}
    for row, name in enumerate(one.names):
        first = rows.setdefault(name, row)
        same = (one.splits[first], *(cells[first] for cells in one.others.values()))
        if same != (one.splits[row], *(cells[row] for cells in one.others.values())):
            why = f"{one.table} says several things about {name}"
            if any(one.splits):
                return replace(
                    reading, flaw=reading.flaw or f"{reading.source}: {why}: which one counts? Keep one"
                )
            return replace(reading, notes=(*reading.notes, f"{why} and is not read"))
    places = [rows.get(name) for name in names]
    new = ["" if place is None else one.splits[place] for place in places]
    flaw, notes = contradicted(
        new, reading.splits, names, one.table, "its folder or another table", sure=one.sure
    )
    others = dict(reading.columns)
    for name, cells in one.others.items():
        here = np.array(["" if place is None else str(cells[place]) for place in places], str)
        there = others.get(name, np.full(len(here), ""))
        if ((here != there) & (here != "") & (there != "")).any():
            notes.append(
                f"{one.table}: its column {name} is not read: another column {name} says something else"
            )
        else:
            others[name] = np.where(here != "", here, there)
    return replace(
        reading,
        splits=[mine or theirs for mine, theirs in zip(new, reading.splits, strict=True)],
        columns=others,
        flaw=reading.flaw or (f"{reading.source}: {flaw}" if flaw else ""),
        notes=(*reading.notes, *notes),
        split_from=", ".join(filter(None, (reading.split_from, one.table if any(new) else ""))),
    )


def contradicted(
    said: Sequence[str],
    known: Sequence[str],
    names: Sequence[str],
    table: str,
    other: str,
    *,
    sure: bool = False,
) -> tuple[str, list[str]]:
    """Compare the splits that a table says with those that are known; return why they cannot be read, and notes.

    Images that one calls train and the other test are refused, unless the table is `sure`, or the images are all of
    one known split, which the table then divides.
    """
    pairs = [(split_name(one) or one, split_name(two)) for one, two in zip(said, known, strict=True)]
    odd = {row: pair for row, pair in enumerate(pairs) if pair[0] and pair[1] and pair[0] != pair[1]}
    if not odd:
        return "", []
    swapped = [row for row, pair in odd.items() if {*pair} == {"train", "test"}]
    divides = len({two for one, two in pairs if one and two}) == 1
    row = (swapped or [*odd])[0]
    what = f"{table} says that {names[row]} is in {pairs[row][0]}, and {other} says {pairs[row][1]}"
    if swapped and not sure and not divides:
        way_out = "correct one of them, or name the column that counts with `split_column`"
        return f"{what} ({number_of(len(swapped), 'image')} so): {way_out}", []
    return "", [f"{what} ({number_of(len(odd), 'image')} so): the table counts"]
