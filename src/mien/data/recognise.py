"""Which form of dataset lies at a path. It is told from the content, not from the name."""

from __future__ import annotations

import contextlib
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from mien.data import arrays, lists, packed, pixels
from mien.data.archives import is_picture
from mien.data.synthetic import SYNTHETIC
from mien.data.text import SUFFIXES, open_table
from mien.errors import DataError

if TYPE_CHECKING:
    from mien.options import ReadOptions

KNOWN = "a folder or zip of train/<class>/*, a pixel table, a list of files, arrays, Parquet, a packed file"


def form_of(path: str | Path, options: ReadOptions) -> str:
    """Return the form of what lies at `path`."""
    if str(path) == SYNTHETIC:
        return SYNTHETIC
    if not os.path.exists(path):  # noqa: PTH110 - never raises, whatever the name
        raise DataError(f"no dataset at {path}: expected {KNOWN}, or the word synthetic")
    if options.format != "auto":
        return options.format
    try:
        return _recognised(Path(path))
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise DataError(f"{path} is damaged or cannot be read ({error}): download it again") from error


def _recognised(path: Path) -> str:
    if path.is_dir():
        if any(path.rglob("*.parquet")):
            return "parquet"
        return _recognised_folder(path)
    if is_picture(path.name):
        return "folders"
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start == b"\x93NUMPY":
        return "arrays"
    if zipfile.is_zipfile(path):
        return _recognised_zip(path)
    if start.startswith(b"\x1f\x8b") or path.suffix.lower() in SUFFIXES:
        return _recognised_table(path)
    raise DataError(f"{path} is no form of dataset that is known: expected {KNOWN}")


def _recognised_folder(path: Path) -> str:
    files = [file for file in path.iterdir() if file.is_file()]
    tables = sorted(file.name for file in files if file.suffix in (".csv", ".tsv"))
    if any(file.suffix in (".npy", ".npz") for file in files) or arrays.are_named(tables):
        return "arrays"
    if tables and not any(is_picture(file.name) for file in path.rglob("*")):
        raise DataError(
            f"{path} holds tables and no pictures: name the table you mean, such as {path / tables[0]}"
        )
    return "folders"


def _recognised_zip(path: Path) -> str:
    if packed.is_packed(path):
        return "packed"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(is_picture(name) for name in names):
        return "folders"
    if names and all(name.endswith(".npy") for name in names):
        return "arrays"
    if any(name.lower().endswith((".csv", ".tsv", ".tar.gz")) for name in names):
        return _recognised_table(path)
    return "folders"  # which says what it missed


def _recognised_table(path: Path) -> str:
    if lists.is_raf_db(path):
        return "list"
    first: list[str] = []
    with open_table(path) as table:
        if pixels.is_pixels(table.header):
            return "pixels"
        if lists.is_list(table.header):
            return "list"
        with contextlib.suppress(DataError):  # numbers under a title
            first = next((cells for _, cells in table.rows), table.header)
    if not all(_is_number(cell) for cell in first):
        raise DataError(
            f"{path}: expected columns named emotion and pixels, or path and label, or nothing but numbers; "
            f"got {', '.join(table.header[:6])}"
        )
    return "arrays"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
