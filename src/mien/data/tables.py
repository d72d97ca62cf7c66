"""Tables whose rows are pictures: pixels in a cell (``fer2013.csv`` and its kin) or in many, or a list of files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.data.arrays import flat_shape
from mien.data.reading import SPLIT_COLUMNS, Reading, class_targets, whole_numbers
from mien.data.text import Table, numbers, open_table
from mien.errors import DataError
from mien.labels import FER2013_CSV_ORDER, RAF_DB_ORDER
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Shaped, UInt8

_LABEL = ("emotion", "label", "expression", "class", "target")
_PATH = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_name"),
    *("img", "img_path", "img_name", "pth", "subdirectory_filepath", "name"),
)
_BOX = ("x0", "y0", "x1", "y1")
_ROWS_AT_ONCE = 256
_PIXEL = re.compile(r"pixel[ _-]?\d+")
_RAF_DB_ROW = re.compile(r"((?:train|test)_\w+\.\w+)\s+([1-7])")


def is_pixels(header: Sequence[str]) -> bool:
    """Say whether a table with this header has a column of pixels, or one for each pixel beside others."""
    return bool(_pixel_places(header))


def is_list(header: Sequence[str]) -> bool:
    """Say whether a table with this header lists picture files; a contest's test list has no labels."""
    return _column(header, _PATH) is not None


def is_raf_db(path: Path) -> bool:
    """Say whether a file is RAF-DB's list."""
    return bool(_raf_db_rows(path))


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
    names, splits, columns = _taken([header[place] for place in others], cells)
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


def read_list(path: Path) -> Reading:
    """Read a table that names picture files and their labels, or RAF-DB's ``train_00001.jpg 5``.

    Files are looked for beside the table and in the folders that AffectNet and RAF-DB keep them in. A list
    without labels can be answered, but neither trained nor judged on. Where there are columns x0, y0, x1 and y1,
    in pixels, each row is a face in that box, and a file may have several rows.

    Raises:
        DataError: no column for the path, a file that is nowhere, or a box that is none.
    """
    columns: dict[str, Shaped[np.ndarray, " n"]] = {}
    boxes = None
    if raf_db := _raf_db_rows(path):
        classes, targets = class_targets([RAF_DB_ORDER[int(number) - 1] for _, number in raf_db], str(path))
        files = [name for name, _ in raf_db]
        splits = [name.split("_")[0] for name in files]
    else:
        with open_table(path) as table:
            header, file = list(table.header), _column(table.header, _PATH)
            if file is None:
                raise DataError(
                    f"{path}: expected columns such as path and label, got {', '.join(header[:8])}"
                )
            cells = [[cell.strip() for cell in row] for _, row in table.rows]
        files = [row.pop(file) for row in cells]
        header.pop(file)
        names, splits, columns = _taken(header, cells)
        classes, targets = class_targets(names, str(path))
        if (boxes := _boxes(columns, path)) is not None:
            columns["photo"] = np.array(files, str)
    found = _Finder(path.parent)
    places = [found(name, path) for name in files]
    return Reading(
        source=str(path),
        ids=files if boxes is None else _faces(files),
        columns=columns,
        boxes=boxes,
        splits=splits,
        classes=classes,
        targets=targets,
        picture=lambda row: images.decode_dataset_image(images.read_file(places[row])),
    )


def _boxes(columns: dict[str, Shaped[np.ndarray, " n"]], path: Path) -> Float32[np.ndarray, "n 4"] | None:
    """Take the boxes out of a list's other columns, where it has them."""
    if not set(_BOX) <= set(columns):
        return None
    cells = np.stack([columns.pop(name) for name in _BOX], axis=1)
    for row, box in enumerate(cells):
        try:
            x0, y0, x1, y1 = map(float, box)
        except ValueError:
            x0 = y0 = x1 = y1 = float("nan")
        if not (np.isfinite([x0, y0]).all() and x0 < x1 < np.inf and y0 < y1 < np.inf):
            raise DataError(
                f"{path}: line {row + 2} has the box {' '.join(box)}: expected x0 < x1 and y0 < y1, in pixels"
            )
    return cells.astype(np.float32)


def _faces(files: list[str]) -> list[str]:
    """Return a name for each face: the file's, with a number from the second face on."""
    seen: Counter[str] = Counter()
    names = []
    for name in files:
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


class _Finder:
    """Finds a listed file; remembers in which folder the last one was."""

    def __init__(self, folder: Path) -> None:
        above = folder.parent
        self.folders = [
            folder,
            above,
            folder / "images",
            folder / "Image" / "aligned",
            above / "Image" / "aligned",
        ]

    def __call__(self, name: str, table: Path) -> Path:
        given = Path(name.replace("\\", "/"))
        for folder in self.folders:
            for file in (folder / given, folder / f"{given.stem}_aligned{given.suffix}"):
                if file.is_file():
                    self.folders.remove(folder)
                    self.folders.insert(0, folder)
                    return file
        raise DataError(
            f"{table} names {name}, which is not there: expected it beside the table, in {table.parent}"
        )


def _raf_db_rows(path: Path) -> list[tuple[str, str]]:
    """Return (file, number) pairs if every line of a small file looks like RAF-DB's list."""
    if path.suffix != ".txt":
        return []
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    matches = [_RAF_DB_ROW.fullmatch(line.strip()) for line in lines]
    return [(match[1], match[2]) for match in matches if match] if all(matches) else []


def _taken(
    header: Sequence[str], cells: list[list[str]]
) -> tuple[list[str], list[str], dict[str, Shaped[np.ndarray, " n"]]]:
    """Return the labels, the splits (empty where there are none) and all other columns by name."""
    label, split = _column(header, _LABEL), _column(header, SPLIT_COLUMNS)
    names, splits = (["" if place is None else row[place] for row in cells] for place in (label, split))
    others = {
        name: np.array([row[place] for row in cells], str)
        for place, name in enumerate(header)
        if place not in (label, split)
    }
    return names, splits, others


def _pixel_places(header: Sequence[str]) -> list[int]:
    """Return the columns that hold pixels; a table of nothing but such columns is an array with a title."""
    if "pixels" in header:
        return [header.index("pixels")]
    each = [place for place, name in enumerate(header) if _PIXEL.fullmatch(name)]
    return each if len(each) < len(header) else []


def _column(header: Sequence[str], known: Sequence[str]) -> int | None:
    return next((header.index(name) for name in known if name in header), None)


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
