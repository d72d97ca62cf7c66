"""Tables that name picture files and their labels."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.data.columns import PATH, column, taken
from mien.data.reading import Reading, class_targets
from mien.data.text import open_table
from mien.errors import DataError
from mien.labels import RAF_DB_ORDER
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Shaped

_BOX = ("x0", "y0", "x1", "y1")
_RAF_DB_ROW = re.compile(r"((?:train|test)_\w+\.\w+)\s+([1-7])")


def is_list(header: Sequence[str]) -> bool:
    """Say whether a table with this header lists picture files; a contest's test list has no labels."""
    return column(header, PATH) is not None


def is_raf_db(path: Path) -> bool:
    """Say whether a file is RAF-DB's list."""
    return bool(_raf_db_rows(path))


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
            header, file = list(table.header), column(table.header, PATH)
            if file is None:
                raise DataError(
                    f"{path}: expected columns such as path and label, got {', '.join(header[:8])}"
                )
            cells = [[cell.strip() for cell in row] for _, row in table.rows]
        files = [row.pop(file) for row in cells]
        header.pop(file)
        names, splits, columns = taken(header, cells)
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
