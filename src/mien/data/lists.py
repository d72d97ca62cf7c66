"""Tables that name image files and their labels, alone or beside the images in a folder or an archive."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from mien.data import columns, folders
from mien.data.archives import has_picture_suffix, regular
from mien.data.finding import Finder, Found, Index, split_of
from mien.data.numberings import named_numbers
from mien.data.place import CERTAIN, MAYBE, NO, Place, Sign
from mien.data.reading import Reading, class_targets
from mien.data.split_names import split_name, split_word
from mien.data.text import SUFFIXES, Member, decoded_lines, open_table
from mien.data.votes import vote_targets
from mien.errors import DataError, number_of
from mien.labels import EMOTIONS_8, canonical
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float32

    from mien.options import ReadOptions

USES = frozenset(("label_column", "image_column", "box_columns", "split_column"))
_TABLE_LIMIT = 200
_TRIED_ROWS = 20
_SHOWN_CELL = 60
_ENCODED = ("data:image", "iVBORw0KGgo", "/9j/")
"""Beginnings of images as base64 text: PNG and JPEG."""
_NESTED = re.compile(r"\{.*\}|\[.*\]", re.DOTALL)
"""A list or a table of JSON in one cell."""
_EXPW = ("file", "face", "top", "left", "right", "bottom", "confidence", "label")


@dataclass
class _Rows:
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


def recognise(place: Place) -> Sign:
    """Return how sure it is that a place is such a table, or has such tables beside its images."""
    if place.kind == "file":
        return _recognised_file(place)
    if not place.has_pictures:
        return Sign(NO)
    found, failed = _looked_at(place)
    if not found:
        return Sign(NO, "; ".join(["no table in it names its images", *failed[:1]]))
    named = any(_labelled(place, table) for table in found)
    return Sign(
        CERTAIN if named else MAYBE, "" if named else f"{found[0]} names images, but has no column of labels"
    )


def _recognised_file(place: Place) -> Sign:
    if place.path.suffix.lower() not in (*SUFFIXES, ".jsonl", ".gz"):
        return Sign(NO)
    header, first = _begin(_source(place, None))
    if not header:
        return Sign(CERTAIN) if first and any(map(has_picture_suffix, first[0])) else Sign(NO)
    if _file_place(header, first) is None:
        return Sign(NO, f"it has no column of image files, such as path, but {', '.join(header[:8])}")
    return Sign(CERTAIN)


def tables_of(place: Place) -> list[str]:
    """Return the tables in a tree that name some of its images."""
    return _looked_at(place)[0]


def _looked_at(place: Place) -> tuple[list[str], list[str]]:
    """Return the tables in a tree that name some of its images, and why others cannot be read."""
    index = Index(place.tree, place.pictures)
    found, failed = [], []
    crowds = Counter(map(_folder, place.tables))  # landmarks of each image in a table of its own come last
    for table in sorted(place.tables, key=lambda table: crowds[_folder(table)])[:_TABLE_LIMIT]:
        try:
            header, rows = _begin(_source(place, table))
        except DataError as error:
            failed.append(str(error))
            continue
        file = _file_place(header, rows)
        if file is not None and any(index.has(row[file].strip()) for row in rows):
            found.append(table)
        elif file is not None and rows:
            failed.append(f"{table} names {rows[0][file][:_SHOWN_CELL]}, and no image is called so")
    return found, failed


def _labelled(place: Place, table: str) -> bool:
    header, rows = _begin(_source(place, table))
    if not header or columns.label_places(header) or columns.votes_places(header):
        return True
    return len(columns.one_hot_places(header, rows, range(len(header)))) > 1


def read(place: Place, options: ReadOptions) -> Reading:
    """Read a table that names image files and their labels, or the tables beside the images of a tree.

    Files are looked for beside the table, then in the folders around it. If there are columns of a box, each row is
    the face in it, and a file may have several rows. If a table has no column for the split, the split is taken from
    its folder or its name.

    Raises:
        DataError: no column for the path, a file that is missing or in several places, or a box that is not valid.
    """
    source = str(place.path)
    tables, finder = _tables_and_finder(place)
    parts = [_rows(place, table, options) for table in tables]
    parts = _without_votes_beside(parts)
    found = [
        one for part in parts for one in finder.find(part.files, part.folder, part.name, _named_split(part))
    ]
    if place.kind != "file":
        _check_apart(parts, [one.name for one in found], source)
    others = _other_columns(parts)
    labels, numbered = named_numbers(
        [label for part in parts for label in part.labels], [one.name for one in found], others
    )
    classes, targets = class_targets(labels, source)
    boxes, votes = _joined(parts, "boxes", 4), _joined(parts, "votes", 10)
    if votes is not None and not any(part.has_labels for part in parts):
        classes, targets = (
            EMOTIONS_8,
            vote_targets(votes, rule=options.vote_rule, unknown=options.vote_unknown),
        )
    if boxes is not None:
        others["photo"] = np.array([one.name for one in found], str)
    notes = [*finder.notes, *_notes(place, parts, found)]
    reading = Reading(
        source=source,
        ids=_faces([one.name for one in found]) if boxes is not None else [one.name for one in found],
        columns=others,
        boxes=boxes,
        splits=_splits(parts, [one.path for one in found]),
        classes=classes,
        targets=targets,
        picture=lambda row: images.decode_dataset_image(found[row].read()),
        votes=votes,
        flaw=next((part.flaw for part in parts if part.flaw), ""),
        notes=(*dict.fromkeys(notes), *numbered),
    )
    if votes is None or any(part.has_labels for part in parts):
        return reading
    kept = np.flatnonzero(targets.any(axis=1))
    return replace(reading.take(kept), from_votes=True, left_out=len(targets) - len(kept))


def _tables_and_finder(place: Place) -> tuple[list[str | None], Finder | Index]:
    """Return the tables of a place (None: the place is the table) and what finds the files that they name."""
    if place.kind == "file":
        return [None], Finder(place.path)
    tables: list[str | None] = [*tables_of(place)]
    if not tables:
        raise DataError(
            f"{place.path}: no table in it names its images: expected columns such as path and label"
        )
    return tables, Index(place.tree, place.pictures)


def _notes(place: Place, parts: Sequence[_Rows], found: Sequence[Found]) -> list[str]:
    """Return notes about what was decided and left out, a line each."""
    notes = [note for part in parts for note in part.notes]
    if place.kind == "file":
        return notes
    notes.append(f"labels are read from {', '.join(str(part.name) for part in parts[:4])}, not from folders")
    notes += place.passed_over({*place.pictures, *place.tables})
    left = len(place.pictures) - len({one.name for one in found})
    return notes + ([f"left out {number_of(left, 'image')} that no table names"] if left > 0 else [])


def _joined(parts: Sequence[_Rows], name: str, width: int) -> np.ndarray | None:
    given = [getattr(part, name) for part in parts]
    if all(one is None for one in given):
        return None
    if any(one is None for one in given):
        lacking = next(part.name for part, one in zip(parts, given, strict=True) if one is None)
        raise DataError(
            f"{lacking} has no {name}, other tables beside it have: give one table as the dataset"
        )
    joined: np.ndarray = np.concatenate([one.reshape(-1, width) for one in given])
    return joined


def _other_columns(parts: Sequence[_Rows]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for part in parts for name in part.others)
    empty = [np.full(len(part.files), "") for part in parts]
    return {
        name: np.concatenate([part.others.get(name, none) for part, none in zip(parts, empty, strict=True)])
        for name in names
    }


def _rows(place: Place, table: str | None, options: ReadOptions) -> _Rows:
    source, folder = _source(place, table), _folder(table or "")
    with _table(source) as (name, header, rows):
        pairs = [(line, [cell.strip() for cell in row]) for line, row in rows]
    lines, cells = [line for line, _ in pairs], [row for _, row in pairs]
    notes: tuple[str, ...] = ()
    if not header:
        header, notes = _title(name, cells)
    file = _file_place(header, cells, options, name)
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
    split, of_split = columns.split_place(others, options, name, cells)
    notes += (*of_label, *of_split)
    label, split = (None if one == file else one for one in (label, split))
    used = [
        one for one in (file, label, split, *(box.places if box else ()), *(votes or ())) if one is not None
    ]
    hot: list[int] = []
    if label is None and votes is None:
        hot = columns.one_hot_places(header, cells, [one for one in range(len(header)) if one not in used])
        used += hot
    flaw = ""
    if label is None and not hot and votes is None and (rest := _rest(header, used)):
        named = [one for one in rest if canonical(one) in EMOTIONS_8]
        flaw = (
            f"{name}: the columns {', '.join(named[:4])} hold more than 0 and 1: expected 1 for the class of each "
            f"image, or one column of labels"
            if len(named) > 1
            else f"{name}: no column has the name of a label; it has {', '.join(rest[:8])}: "
            f"say which it is with `label_column=NAME`"
        )
    if box is None and options.box_columns is None:
        notes += columns.unread_boxes([one for place, one in enumerate(header) if place not in used], name)
    names = [""] * len(cells) if label is None else [row[label] for row in cells]
    if hot:
        names = columns.one_hot_names(header, cells, hot, lines, name)
    if nested := next((one for one in names if _NESTED.fullmatch(one)), ""):
        raise DataError(
            f"{name} has the label {nested[:_SHOWN_CELL]}: expected one word or number in each row"
        )
    return _Rows(
        name, folder, lines, [row[file] for row in cells], names,
        [""] * len(cells) if split is None else [row[split] for row in cells],
        columns.other_columns(header, cells, used),
        columns.boxes_of(box, cells, lines, name) if box else None,
        _votes(cells, votes, lines, name) if votes else None,
        label is not None or bool(hot), notes, flaw,
    )  # fmt: skip


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


def _title(name: str, cells: Sequence[Sequence[str]]) -> tuple[list[str], tuple[str, ...]]:
    """Return a header for a table without one; its columns are recognised by their cells.

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
    if "label" not in header and width > 1:
        raise DataError(
            f"{name} has no header, and which of its {width} columns is the label cannot be told: "
            f"add a first line such as path,label"
        )
    return header, (f"{name} has no header; its columns are read as {', '.join(header)}",)


def _file_place(
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
        if rows and all(has_picture_suffix(row[place].strip()) for row in rows[:_TRIED_ROWS])
    ]
    by_name = [columns.find(header, (name,)) for name in columns.PATH]
    places = [place for place in by_name if place is not None]
    return next((place for place in places if place in holds), next(iter(holds or places), None))


def _without_votes_beside(parts: list[_Rows]) -> list[_Rows]:
    """Leave out a table of votes if other tables name the same images."""
    if len(parts) < 2:
        return parts
    votes = [part for part in parts if part.votes is not None and not part.has_labels and not part.folder]
    rest = [part for part in parts if part not in votes]
    if not rest or not votes:
        return parts
    rest[0].notes += (f"{votes[0].name} holds votes and is not read: `votes` reads it",)
    return rest


def _check_apart(parts: Sequence[_Rows], names: Sequence[str], source: str) -> None:
    """Refuse two tables that name the same image."""
    owner: dict[str, str] = {}
    tables = [part.name for part in parts for _ in part.files]
    for name, table in zip(names, tables, strict=True):
        if (first := owner.setdefault(name, table)) != table:
            raise DataError(
                f"{source}: {first} and {table} both name {name}: give the table that counts as the dataset"
            )


def _splits(parts: Sequence[_Rows], names: Sequence[str]) -> list[str]:
    """Return the split of each row: from a column, else from the table's folder or name, else the image's folder.

    Where some rows have a split, those without one have an empty text, and `prepare` refuses them.
    """
    splits: list[str] = []
    start = 0
    for part in parts:
        here = names[start : start + len(part.files)]
        start += len(part.files)
        if any(part.splits):
            splits += part.splits
            continue
        above = (split_name(word) for word in part.folder.split("/")[::-1])
        one = next(filter(None, above), None) or _named_split(part)
        of_images = [split_of(name) for name in here]
        if one and (len(parts) > 1 or not all(of_images)):
            splits += [one] * len(here)
        else:
            splits += [split or "" for split in of_images]
    return splits


def _named_split(part: _Rows) -> str | None:
    """Return the split that the file name of a table says."""
    stem = PurePosixPath(part.name.rpartition(":")[2]).stem
    return split_name(stem) or next(iter(split_word(stem) or ()), None)


def _faces(files: Sequence[str]) -> list[str]:
    """Return a name for each face: the file's, with a number from the second face on."""
    seen: Counter[str] = Counter()
    names = []
    for name in files:
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def _source(place: Place, table: str | None) -> Path | Member:
    if table is None:
        return place.path
    return Member(f"{place.path}:{table}", place.tree.files[table])


def _folder(table: str) -> str:
    return table.rpartition("/")[0]


@contextlib.contextmanager
def _table(source: Path | Member) -> Iterator[tuple[str, list[str], Iterator[tuple[int, list[str]]]]]:
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


def _begin(source: Path | Member) -> tuple[list[str], list[list[str]]]:
    """Return the header of a table and its first rows."""
    with _table(source) as (_, header, rows):
        return header, [row for _, (_, row) in zip(range(_TRIED_ROWS), rows, strict=False)]


def agree(place: Place) -> bool:
    """Return whether the tables and the class folders of a tree give each image the same class."""
    from mien.options import ReadOptions

    listed, stored = read(place, ReadOptions()), folders.read(place, None)
    if stored.flaw or listed.flaw:
        return False
    by_name = dict(zip(place.pictures, stored.targets.argmax(axis=1), strict=True))
    return all(
        canonical(listed.classes[label]) == canonical(stored.classes[by_name[name]])
        for name, label in zip(listed.ids, listed.targets.argmax(axis=1), strict=True)
        if name in by_name
    )
