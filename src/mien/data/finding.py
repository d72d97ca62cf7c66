"""Find the image files that a table names: among the files of a tree, or on disk around the table."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mien.data.archives import has_picture_suffix
from mien.errors import DataError
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mien.data.archives import Tree

_WALK_LIMIT = 300_000
"""Most files around a table that are searched for those that it names."""
_SHOWN = 200
"""Characters of a cell that a message shows."""


@dataclass(frozen=True)
class Found:
    """A file that a table names."""

    name: str
    read: Callable[[], bytes]


class _Agreement:
    """Whether the folders in the cells of a table are those of the files that are found for them.

    A table may come from another machine, where all folders had other names. But where the folders of some cells are
    found, a file of the same name in another folder is another image.
    """

    def __init__(self) -> None:
        self.by_folder: set[str] = set()
        self.by_name: dict[str, tuple[str, str]] = {}

    def check(self, table: str, cell: str, place: str, *, agrees: bool) -> None:
        """Remember what was found for a cell that names a folder.

        Raises:
            DataError: the folders of some cells of this table are there, those of others are not.
        """
        if agrees:
            self.by_folder.add(table)
        else:
            self.by_name.setdefault(table, (cell, place))
        if table in self.by_folder and table in self.by_name:
            cell, place = self.by_name[table]
            raise DataError(
                f"{table} names {cell[:_SHOWN]}, which is not there; {place} is in another folder: correct the path, "
                f"or take the line out"
            )


class Index:
    """Finds the images of a tree by the ends of their paths."""

    def __init__(self, tree: Tree, pictures: Sequence[str]) -> None:
        self.tree, self._agreement = tree, _Agreement()
        self.pictures = set(pictures)
        self.by_name: defaultdict[str, list[str]] = defaultdict(list)
        for picture in pictures:
            self.by_name[picture.rpartition("/")[2].lower()].append(picture)

    def find(self, cell: str, folder: str) -> list[str]:
        """Return the images that a cell may mean; only those that fit best."""
        given = _plain(cell)
        for path in (f"{folder}/{given}" if folder else given, given):
            if path in self.pictures:
                return [path]
        name = given.rpartition("/")[2]
        found: list[str] = []
        for variant in _variants(name, aligned_first=True):
            found = self.by_name.get(variant.lower(), [])
            if found:
                break
        if len(found) > 1:
            found = _best([(_common_end(one, given), one) for one in found])
        if len(found) > 1:
            found = _best([(_common_start(one, folder), one) for one in found])
        return found

    def need(self, cell: str, folder: str, table: str) -> Found:
        """Return the one image that a cell means.

        Raises:
            DataError: there is none, or several.
        """
        found = self.find(cell, folder)
        if len(found) > 1:
            raise DataError(
                f"{table} names {cell[:_SHOWN]}, which could be {' or '.join(found[:3])}: give the whole path"
            )
        if not found:
            raise DataError(
                f"{table} names {cell[:_SHOWN]}, which is not there: expected it among the "
                f"{len(self.pictures):,} images of {self.tree.source}"
            )
        if "/" in (given := _plain(cell)) and "/" in found[0]:
            self._agreement.check(table, cell, found[0], agrees=_agree(found[0], given))
        return Found(found[0], partial(self.tree.read, found[0]))


def _plain(cell: str) -> str:
    return cell.replace("\\", "/").removeprefix("./").strip("/")


def _variants(name: str, *, aligned_first: bool = False) -> Iterator[str]:
    """Yield the names that a file may have: RAF-DB's list names photos; their crops are called ``..._aligned``."""
    path = PurePosixPath(name)
    both = [name, f"{path.stem}_aligned{path.suffix}"]
    yield from reversed(both) if aligned_first else both
    if not has_picture_suffix(name):
        yield from (f"{name}{ending}" for ending in (".jpg", ".png", ".jpeg"))


def _best(ranked: list[tuple[int, str]]) -> list[str]:
    most = max(rank for rank, _ in ranked)
    return [one for rank, one in ranked if rank == most]


def _common_end(path: str, given: str) -> int:
    pairs = zip(reversed(path.split("/")), reversed(given.split("/")), strict=False)
    return next((number for number, (one, other) in enumerate(pairs) if one.lower() != other.lower()), 99)


def _agree(path: str, given: str) -> bool:
    """Return whether two paths end in the same folder and name."""
    return [one.lower() for one in path.split("/")[-2:]] == [one.lower() for one in given.split("/")[-2:]]


def _common_start(path: str, folder: str) -> int:
    pairs = zip(path.split("/"), folder.split("/") if folder else (), strict=False)
    return sum(one == other for one, other in pairs)


class Finder:
    """Finds the files that a table on disk names: beside it, in the usual folders, then in all folders around it."""

    def __init__(self, table: Path) -> None:
        folder, above = table.parent, table.parent.parent
        usual = (folder, above, folder / "images", above / "images", folder / "Image" / "aligned")
        more = (
            above / "Image" / "aligned",
            folder / "image",
            above / "image",
            above / "Manually_Annotated_Images",
        )
        self.table, self.folders, self._agreement = table, [*usual, *more], _Agreement()
        self.around: dict[str, list[Path]] | None = None
        self.cut_short = False

    def __call__(self, cell: str, _: str, name: str) -> Found:
        """Return the one file that a cell means.

        Raises:
            DataError: there is none, or several.
        """
        given = Path(cell.replace("\\", "/"))
        for folder in self.folders:
            for variant in _variants(given.name):
                file = folder / given.parent / variant
                if os.path.isfile(file):  # noqa: PTH113 - never raises, whatever the name
                    if len(given.parts) > 1:
                        self._agreement.check(name, cell, str(file), agrees=True)
                    if folder != self.folders[0]:
                        self.folders = [folder, *(one for one in self.folders if one != folder)]
                    return Found(cell, partial(images.read_file, file))
        found = self._around(given)
        if len(found) > 1:
            raise DataError(
                f"{name} names {cell[:_SHOWN]}, which could be "
                f"{' or '.join(map(str, found[:3]))}: give the whole path"
            )
        if not found:
            part = f"; only the first {_WALK_LIMIT:,} files there were looked at" if self.cut_short else ""
            raise DataError(
                f"{name} names {cell[:_SHOWN]}, which is not there: expected it beside the table, "
                f"in {self.table.parent}, or in the folders of {self.table.parent.parent}{part}"
            )
        if len(given.parts) > 1 and found[0].parent != self.table.parent:
            agrees = _agree(found[0].as_posix(), given.as_posix())
            self._agreement.check(name, cell, str(found[0]), agrees=agrees)
        return Found(cell, partial(images.read_file, found[0]))

    def _around(self, given: Path) -> list[Path]:
        if self.around is None:
            self.around = defaultdict(list)
            for number, place in enumerate(_places_around(self.table.parent), start=1):
                if number > _WALK_LIMIT:
                    self.cut_short = True
                    break
                if has_picture_suffix(place.name):
                    self.around[place.name.lower()].append(place)
        found: list[Path] = []
        for variant in _variants(given.name):
            found = found or self.around.get(variant.lower(), [])
        if len(found) > 1:
            best = _best([(_common_end(one.as_posix(), given.as_posix()), str(one)) for one in found])
            found = [Path(one) for one in best]
        return found


def _places_around(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder and below the one above it."""
    above = folder.parent if folder.parent != folder.parent.parent else folder
    for place, below, files in os.walk(above):
        below.sort()
        yield from (Path(place, name) for name in files)
