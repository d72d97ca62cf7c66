"""Tables whose rows are pictures: pixels in a cell (``fer2013.csv`` and its kin) or in many."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from mien.data.arrays import flat_shape
from mien.data.columns import taken
from mien.data.reading import Reading, class_targets, whole_numbers
from mien.data.text import Table, numbers, open_table
from mien.errors import DataError
from mien.labels import FER2013_CSV_ORDER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float32, UInt8

_ROWS_AT_ONCE = 256
_PIXEL = re.compile(r"pixel[ _-]?\d+")


def is_pixels(header: Sequence[str]) -> bool:
    """Say whether a table with this header has a column of pixels, or one for each pixel beside others."""
    return bool(_pixel_places(header))


def read_pixels(path: Path) -> Reading:
    """Read ``emotion,pixels,Usage`` in any order; a contest's test file has no emotion, others no usage.

    Numbers in the emotion column have the meaning they have in ``fer2013.csv``. Beside a column for each pixel,
    ``label,pixel0,pixel1...``, they are numbers only.

    Raises:
        DataError: a row of another length, a pixel that is no whole number up to 255, an unknown class number.
    """
    blocks: list[UInt8[np.ndarray, "_ d"]] = []
    cells: list[list[str]] = []
    with open_table(path) as table:
        header, places = table.header, _pixel_places(table.header)
        if not places:
            raise DataError(f"{table.name}: expected a column named pixels, got {', '.join(header[:8])}")
        others = [place for place in range(len(header)) if place not in set(places)]
        pending: list[tuple[int, str]] = []
        for number, row in table.rows:
            pending.append((number, " ".join([row[place].strip() for place in places])))
            cells.append([row[place].strip() for place in others])
            if len(pending) == _ROWS_AT_ONCE:
                blocks.append(_pixels(pending, table, blocks))
                pending = []
        if pending:
            blocks.append(_pixels(pending, table, blocks))
    if not blocks:
        raise DataError(f"{path} has a header and no rows")
    flat, shape = np.concatenate(blocks), flat_shape(blocks[0].shape[1], str(path))
    names, splits, columns = taken([header[place] for place in others], cells)
    meant = _fer2013_targets if len(places) == 1 else class_targets
    classes, targets = meant(names, str(path))
    return Reading(
        source=str(path),
        ids=[f"row/{row:07d}" for row in range(len(cells))],
        splits=splits,
        classes=classes,
        targets=targets,
        picture=lambda row: flat[row].reshape(shape),
        columns=columns,
        by_row=True,
    )


def _pixel_places(header: Sequence[str]) -> list[int]:
    """Return the columns that hold pixels; a table of nothing but such columns is an array with a title."""
    if "pixels" in header:
        return [header.index("pixels")]
    each = [place for place, name in enumerate(header) if _PIXEL.fullmatch(name)]
    return each if len(each) < len(header) else []


def _pixels(
    pending: list[tuple[int, str]], table: Table, blocks: list[UInt8[np.ndarray, "_ d"]]
) -> UInt8[np.ndarray, "n d"]:
    """Parse the pixel cells of some rows."""
    values = numbers(pending, " ", table.name, blocks[0].shape[1] if blocks else 0)
    wrong = ~((values >= 0) & (values <= 255) & (values == np.floor(values)))
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        raise DataError(
            f"{table.name}: pixel {place} of line {pending[row][0]} is {values[row, place]:g}: "
            f"expected a whole number, 0-255"
        )
    return values.astype(np.uint8)


def _fer2013_targets(names: list[str], source: str) -> tuple[tuple[str, ...], Float32[np.ndarray, "n k"]]:
    """Return classes and targets, numbers read as ``fer2013.csv`` means them."""
    names = whole_numbers(names)
    if not all(name.isdecimal() or not name for name in names):
        return class_targets(names, source)
    for row, name in enumerate(names):
        if name and (len(name) > 1 or int(name) >= len(FER2013_CSV_ORDER)):
            raise DataError(
                f"{source}: line {row + 2} has the class number {name[:9]}: expected 0-6, which mean "
                f"{', '.join(FER2013_CSV_ORDER)}"
            )
    numbered = np.array([int(name) if name else -1 for name in names], int)
    targets = np.eye(len(FER2013_CSV_ORDER), dtype=np.float32)[numbered] * (numbered >= 0)[:, None].astype(
        np.float32
    )
    present = [number for number in range(len(FER2013_CSV_ORDER)) if not names or (numbered == number).any()]
    if 2 <= len(present) < len(FER2013_CSV_ORDER):  # a subset of the classes, such as a contest's
        return tuple(FER2013_CSV_ORDER[number] for number in present), targets[:, present]
    return FER2013_CSV_ORDER, targets
