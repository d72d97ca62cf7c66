"""Recognise Parquet files without importing the library that reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.data.place import CERTAIN, MAYBE, NO, Place, Sign

if TYPE_CHECKING:
    from mien.data.reading import Reading
    from mien.options import ReadOptions

USES = frozenset(("label_column", "image_column", "box_columns", "split_column"))


def recognise(place: Place) -> Sign:
    """Return a sure sign if a place is a Parquet file, or a folder with some and without images of its own."""
    if place.kind == "folder":
        found = any(name.endswith(".parquet") for name in place.names)
        return Sign((MAYBE if place.has_pictures else CERTAIN) if found else NO)
    return Sign(CERTAIN if place.head.startswith(b"PAR1") else NO)


def read(place: Place, options: ReadOptions) -> Reading:
    """Read the file, or every ``*.parquet`` below the folder.

    Raises:
        MissingExtra: pyarrow is not installed.
        DataError: as `mien.data.parquet.read_parquet`.
    """
    from mien.data.parquet import read_parquet

    return read_parquet(place.path, options)
