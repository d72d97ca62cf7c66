"""Tables whose rows are images: all pixels in one cell (as in ``fer2013.csv``), or a column for each pixel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from mien.data import columns
from mien.data.arrays import flat_shape, in_pixel_order
from mien.data.numberings import names_beside
from mien.data.place import CERTAIN, NO, Place, Sign
from mien.data.reading import Reading, class_targets, whole_numbers
from mien.data.split_flags import splits_of
from mien.data.text import INNER, SUFFIXES, Table, is_table, numbers, open_table
from mien.errors import DataError
from mien.labels import FER2013_CSV_ORDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

    from mien.options import ReadOptions

USES = frozenset(("label_column", "image_column", "split_column"))
_ROWS_AT_ONCE = 256
_PIXEL = re.compile(r"(pixel|px|p)[ _-]?\d+")
_PIXELS = ("pixels", "pixel", "pixelvalues", "imagepixels", "imagedata")
_BETWEEN = re.compile(r"[\s,;\[\]()]+")


def recognise(place: Place) -> Sign:
    """Return how sure it is that a place is such a table: a file, or an archive with one and without pictures."""
    if place.kind == "folder" or (place.kind in ("zip", "tar") and place.has_pictures):
        return Sign(NO)
    if place.kind == "zip" and not any(
        is_table(name) or name.lower().endswith(INNER) for name in place.names
    ):
        return Sign(NO)
    if place.kind == "file" and place.path.suffix.lower() not in (*SUFFIXES, ".gz"):
        return Sign(NO)
    with open_table(place.path) as table:
        if pixel_places(table.header):
            return Sign(CERTAIN)
        shown = ", ".join(table.header[:6])
        return Sign(NO, f"{table.name} has no column named pixels, nor pixel0, pixel1 and so on, but {shown}")


def read(place: Place, options: ReadOptions) -> Reading:
    """Read ``emotion,pixels,Usage`` in any order; a contest's test file has no emotion, others no usage.

    Class numbers are read as in ``fer2013.csv`` if all of 0 to 6 occur and no other; else they stay numbers.

    Raises:
        DataError: a row of another length, or a pixel that is no whole number up to 255.
    """
    path, source = place.path, str(place.path)
    blocks: list[UInt8[np.ndarray, "_ d"]] = []
    cells: list[list[str]] = []
    with open_table(path) as table:
        header = table.header
        places = pixel_places(header, options, table.name)
        if not places:
            raise DataError(
                f"{table.name}: expected a column named pixels (or `image_column=NAME`), got {', '.join(header[:8])}"
            )
        taken = set(places)
        rest = [place for place in range(len(header)) if place not in taken]
        pending: list[tuple[int, str]] = []
        for number, row in table.rows:
            pending.append((number, " ".join([row[place].strip() for place in places])))
            cells.append([row[place].strip() for place in rest])
            if len(pending) == _ROWS_AT_ONCE:
                blocks.append(_pixels(pending, table, blocks))
                pending = []
        if pending:
            blocks.append(_pixels(pending, table, blocks))
    if not blocks:
        raise DataError(f"{path} has a header and no rows")
    flat, shape = np.concatenate(blocks), flat_shape(blocks[0].shape[1], source)
    if 0 < flat.max(initial=0) <= 1:
        raise DataError(
            f"{source}: all pixels are 0 or 1: expected whole numbers, 0-255; multiply them by 255"
        )
    head = [header[place] for place in rest]
    label, of_label = columns.label_place(head, options, source, cells)
    splits, of_splits, of_split = splits_of(head, options, source, cells)
    names = ["" if label is None else row[label] for row in cells]
    others = columns.other_columns(head, cells, [*of_splits, *([] if label is None else [label])])
    names, notes = names_beside(names, others)
    if not notes and len(places) == 1:
        names, notes = _meant(names)
    classes, targets = class_targets(names, source)
    if not targets.any() and len(places) == 1:  # a contest's test file
        classes, targets = FER2013_CSV_ORDER, np.zeros((len(names), len(FER2013_CSV_ORDER)), np.float32)
    picture, note = in_pixel_order(flat, shape, source)
    return Reading(
        source=source,
        ids=[f"row/{row:07d}" for row in range(len(cells))],
        splits=splits or [""] * len(cells),
        classes=classes,
        targets=targets,
        picture=picture,
        columns=others,
        by_row=True,
        notes=(*notes, *note, *of_label, *of_split),
        flaw=_unnamed(head, label, source),
    )


def pixel_places(header: Sequence[str], options: ReadOptions | None = None, source: str = "") -> list[int]:
    """Return the columns of pixels, in their order; a table with only such columns is an array with a header."""
    if options and options.image_column:
        return [columns.named(header, "image_column", options.image_column, source)]
    if (one := columns.find(header, _PIXELS)) is not None:
        return [one]
    each = [place for place, name in enumerate(header) if _PIXEL.fullmatch(name)]
    each.sort(key=lambda place: int(re.sub(r"\D", "", header[place])))  # their numbers count, not their order
    return each if 4 <= len(each) < len(header) else []


def _unnamed(header: Sequence[str], label: int | None, source: str) -> str:
    """Return why a table has no labels although it has a column that could hold them."""
    rest = [
        name for name in header if not columns.is_index(name) and columns.plain(name) not in columns.SPLIT
    ]
    if (
        label is not None
        or not rest
        or set(map(columns.plain, rest)) <= {"id", "imageid", "imgid", "image", "name"}
    ):
        return ""
    return (
        f"{source}: no column has the name of a label; it has {', '.join(header[:8])}: "
        f"say which it is with `label_column=NAME`"
    )


def _meant(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the labels, with names for class numbers that can only be FER2013's, and notes about numbers."""
    names = whole_numbers(names)
    found = {name for name in names if name}
    if not found or not all(name.isdecimal() for name in found):
        return names, ()
    if found != set("0123456"):
        return names, (
            "the class numbers stay numbers: only if all of 0 to 6 occur, and no other, are they read as FER2013's "
            "(`labels` names them, as in `labels=angry=0,happy=1`)",
        )
    meaning = ", ".join(f"{number} {name}" for number, name in enumerate(FER2013_CSV_ORDER))
    return [FER2013_CSV_ORDER[int(name)] if name else "" for name in names], (
        f"the class numbers are read as in fer2013.csv: {meaning}",
    )


def _pixels(
    pending: list[tuple[int, str]], table: Table, blocks: list[UInt8[np.ndarray, "_ d"]]
) -> UInt8[np.ndarray, "n d"]:
    """Parse the pixel cells of some rows: whole numbers, between them blanks, commas or brackets."""
    width = blocks[0].shape[1] if blocks else 0
    if not _usual(pending[0][1]):
        pending = [(number, _BETWEEN.sub(" ", text).strip()) for number, text in pending]
    try:
        values = numbers(pending, " ", table.name, width)
    except DataError:
        tidy = [(number, _BETWEEN.sub(" ", text).strip()) for number, text in pending]
        if tidy == pending:
            raise
        values = numbers(tidy, " ", table.name, width)
    wrong = ~((values >= 0) & (values <= 255) & (values == np.floor(values)))
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        raise DataError(
            f"{table.name}: pixel {place} of line {pending[row][0]} is {values[row, place]:g}: "
            f"expected a whole number, 0-255"
        )
    return values.astype(np.uint8, copy=False)


def _usual(text: str) -> bool:
    return "," not in text and "[" not in text and "  " not in text
