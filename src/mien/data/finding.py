"""Find the image files that a table names: among the files of a tree, or on disk around the table.

All images of one table come from one place. The table's own folder is searched first, with all folders below it; the
folders above are searched only if no image of the table is there. The path in a cell is tried first. If no file is
there, files of the same name in other folders are looked for, because the table may come from another machine.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mien.data.archives import has_picture_suffix, is_picture
from mien.data.split_names import split_name
from mien.errors import DataError
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from mien.data.archives import Tree

_WALK_LIMIT = 300_000
"""Most files around a table that are searched for those that it names."""
_SHOWN = 200
"""Characters of a cell that a message shows."""
_USUAL = ("", "images", "Image/aligned", "image")
_ABOVE = (*_USUAL, "Manually_Annotated_Images")
"""Folders from which the paths of a table may start: in the table's own folder, and in the one above it."""


@dataclass(frozen=True)
class Found:
    """A file that a table names."""

    name: str
    path: str
    """Its path in the dataset, without folders of the machine: its folders may name the split."""
    read: Callable[[], bytes]


def split_of(path: str) -> str | None:
    """Return the split that the folders of an image name."""
    return _split_of_folder(path.rpartition("/")[0])


@lru_cache(maxsize=10_000)
def _split_of_folder(folder: str) -> str | None:
    return next((split for part in reversed(folder.split("/")) if (split := split_name(part))), None)


class _Names:
    """Paths of images by their file names, whatever their case and Unicode form."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._paths: defaultdict[str, list[str]] = defaultdict(list)
        for path in paths:
            self._paths[_key(posixpath.basename(path))].append(path)

    def called(self, name: str, *, aligned_first: bool = True) -> list[str]:
        """Return all paths whose file has this name; if there is none, those with the first of its variants."""
        return [path for key in self._keys(name, aligned_first=aligned_first) for path in self._paths[key]]

    def in_folder(self, cell: str) -> list[str]:
        """Return the same for the name in a cell; only those in a folder called as in the cell, if there are any."""
        folder, _, name = cell.rpartition("/")
        keys, last = self._keys(name, aligned_first=True), _key(unquote(posixpath.basename(folder)))
        near = [path for key in keys for path in self._by_folder.get((key, last), ())] if folder else []
        return near or [path for key in keys for path in self._paths[key]]

    @cached_property
    def _by_folder(self) -> defaultdict[tuple[str, str], list[str]]:
        found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for key, paths in self._paths.items():
            for path in paths:
                folder = posixpath.basename(posixpath.dirname(path))
                found[key, _key(unquote(folder))].append(path)
        return found

    def _keys(self, name: str, *, aligned_first: bool) -> list[str]:
        for one in dict.fromkeys((name, unquote(name))) if self._paths else ():
            for variants in _variants(one, aligned_first=aligned_first):
                keys = [key for key in map(_key, variants) if key in self._paths]
                if keys:
                    return keys
        return []


@dataclass
class _Scope:
    """A folder in which the images of a table are looked for, with all folders below it."""

    where: Callable[[], str]
    """Return the folder, for messages."""
    bases: Sequence[str]
    """Folders from which the paths of a table may start."""
    directly_in: Callable[[str], _Names]
    """Return the images directly in a folder."""
    anywhere: Callable[[], _Names]
    """Return the images in all folders."""

    def as_given(self, cells: Sequence[str]) -> list[list[str]]:
        """Return the images at the paths in the cells, from the first base that has any of them."""
        for base in self.bases:
            found = [self._at(base, cell) for cell in cells]
            if any(found):
                return found
        return []

    def _at(self, base: str, cell: str) -> list[str]:
        for path in dict.fromkeys((cell, unquote(cell))):
            folder, name = posixpath.split(path)
            found = self.directly_in(posixpath.join(base, folder)).called(name, aligned_first=False)
            if found:
                return [one for one in found if posixpath.basename(one) == name] or found
        return []

    def by_name(self, cells: Sequence[str], split: str | None) -> list[list[str]]:
        """Return the images with the names in the cells, from all folders; only those that fit best."""
        return [_best(self.anywhere().in_folder(cell), cell, split) for cell in cells]


def _located(
    cells: Sequence[str], table: str, split: str | None, scopes: Sequence[_Scope]
) -> tuple[_Scope, list[str]]:
    """Return where the images of a table are, and the path of each.

    Raises:
        DataError: an image is not there, several could be meant, or they are not all in one place.
    """
    for scope in scopes:
        if any(found := scope.as_given(cells)):
            return scope, _one_each(found, cells, table, scope)
        found = scope.by_name(cells, split)
        # Other datasets have folders of the same names: above the table's own folder, these show nothing.
        own = scope is scopes[0]
        fits = (
            "/" not in cell or (own and _agrees(one[0], cell))
            for one, cell in zip(found, cells, strict=True)
            if one
        )
        if any(fits):
            return scope, _in_one_place(found, cells, table, split, scope)
    for scope in scopes:
        if any(found := scope.by_name(cells, split)):
            return scope, _in_one_place(found, cells, table, split, scope)
    if cells:
        raise _missing(table, cells[0], scopes[-1])
    return scopes[0], []


def _one_each(found: Sequence[Sequence[str]], cells: Sequence[str], table: str, scope: _Scope) -> list[str]:
    """Return the one image that each cell means.

    Raises:
        DataError: there is none, or several, or it is that of another cell.
    """
    owner: dict[str, str] = {}
    for paths, cell in zip(found, cells, strict=True):
        if not paths:
            others = scope.anywhere().called(posixpath.basename(cell))
            raise _elsewhere(table, cell, others[0]) if others else _missing(table, cell, scope)
        if len(paths) > 1:
            raise DataError(
                f"{table} names {cell[:_SHOWN]}, which could be {' or '.join(paths[:3])}: give the whole path"
            )
        if (first := owner.setdefault(paths[0], cell)) != cell:
            raise DataError(
                f"{table} names {first[:_SHOWN]} and {cell[:_SHOWN]}, and only {paths[0]} is there: correct the "
                f"path, or take the line out"
            )
    return [paths[0] for paths in found]


def _in_one_place(
    found: Sequence[Sequence[str]], cells: Sequence[str], table: str, split: str | None, scope: _Scope
) -> list[str]:
    """Return the one image that each cell means, of images that were found by name.

    A table may come from another machine, where all folders had other names. But where the folders of some cells are
    found, or the folder of the table's split, a file of the same name in another folder is another image.

    Raises:
        DataError: as `_one_each`, or an image is in another folder than the others.
    """
    paths = _one_each(found, cells, table, scope)
    in_folder = [_agrees(path, cell) for path, cell in zip(paths, cells, strict=True)]
    in_split = [split_of(path) in (None, split) if split else None for path in paths]
    for fits in (in_folder, in_split):
        if True in fits and False in fits:
            odd = fits.index(False)
            raise _elsewhere(table, cells[odd], paths[odd])
    return paths


def _missing(table: str, cell: str, scope: _Scope) -> DataError:
    return DataError(f"{table} names {cell[:_SHOWN]}, which is not there: expected it {scope.where()}")


def _elsewhere(table: str, cell: str, path: str) -> DataError:
    return DataError(
        f"{table} names {cell[:_SHOWN]}, which is not there; {path} is in another folder: correct the path, or "
        f"take the line out"
    )


class Index:
    """Finds the images of a tree that its tables name."""

    notes: tuple[str, ...] = ()

    def __init__(self, tree: Tree, pictures: Sequence[str]) -> None:
        self.tree, self.pictures = tree, pictures
        self._below = cache(self._names_below)
        self._in: defaultdict[str, list[str]] = defaultdict(list)
        for picture in pictures:
            self._in[_key(posixpath.dirname(picture))].append(picture)
        self._directly_in = cache(lambda folder: _Names(self._in.get(_key(folder), ())))

    def _names_below(self, folder: str) -> _Names:
        return _Names(one for one in self.pictures if not folder or one.startswith(f"{folder}/"))

    def has(self, cell: str) -> bool:
        """Return whether there is an image with the name in a cell."""
        return bool(self._below("").called(posixpath.basename(_plain(cell))))

    def find(self, cells: Sequence[str], folder: str, table: str, split: str | None) -> list[Found]:
        """Return the image that each cell of a table means.

        Args:
            cells: the paths or names in the table.
            folder: the folder of the table in the tree.
            table: the name of the table, for messages.
            split: the split that the name of the table says; None if it says none.

        Raises:
            DataError: an image is not there, several could be meant, or they are not all in one place.
        """
        parts = folder.split("/") if folder else []
        above = ["/".join(parts[:size]) for size in range(len(parts), -1, -1)]
        given = [_plain(cell).strip("/") for cell in cells]
        _, paths = _located(given, table, split, [self._scope(one) for one in above])
        return [Found(path, path, partial(self.tree.read, path)) for path in paths]

    def _scope(self, folder: str) -> _Scope:
        among = f"among the {len(self.pictures):,} images of {self.tree.source}"
        return _Scope(
            where=lambda: f"in {folder} or a folder below it" if folder else among,
            bases=(folder,),
            directly_in=lambda one: self._directly_in(posixpath.normpath(one) if one else ""),
            anywhere=lambda: self._below(folder),
        )


class Finder:
    """Finds the images that a table on disk names: in its folder and below, else in the folder above and below it."""

    def __init__(self, table: Path) -> None:
        self._folder = table.parent.absolute()
        self._above = self._folder.parent
        self._in, self._below = cache(_names_in), cache(self._names_below)
        self._cut_short = ""
        self.notes: tuple[str, ...] = ()

    def find(self, cells: Sequence[str], _: str, table: str, split: str | None) -> list[Found]:
        """Return the file that each cell of a table means; arguments and errors are those of `Index.find`."""
        roots = [self._folder]
        scopes = [self._scope(self._folder, _USUAL, "or in a folder below it")]
        if self._above != self._above.parent:  # the root of the disk is not searched
            roots.append(self._above)
            scopes.append(self._scope(self._above, _ABOVE, f"or in a folder of {self._above}"))
        given = [_plain(cell) for cell in cells]
        scope, paths = _located(given, table, split, scopes)
        files = [roots[scopes.index(scope)] / path for path in paths]
        real = [os.path.normpath(file) for file in files]
        folder = str(self._folder)
        if not all(one.startswith(f"{folder}/") for one in real):
            # Folders that all images share are those of the machine or the user, and name no split.
            folder = os.path.commonpath([posixpath.dirname(one) for one in real])
            if scope is not scopes[0]:
                place = os.path.relpath(folder, self._folder)
                self.notes = (f"the images of {table} are not in its folder: they are read from {place}",)
        start = len(posixpath.join(folder, ""))
        return [
            Found(cell, one[start:], partial(images.read_file, file))
            for cell, one, file in zip(given, real, files, strict=True)
        ]

    def _scope(self, root: Path, bases: Sequence[str], more: str) -> _Scope:
        return _Scope(
            where=lambda: f"beside the table, in {self._folder}, {more}{self._cut_short}",
            bases=bases,
            directly_in=lambda folder: self._in(root, folder),
            anywhere=lambda: self._below(root),
        )

    def _names_below(self, root: Path) -> _Names:
        files = _files_below(root)
        names = _Names(path for path in itertools.islice(files, _WALK_LIMIT) if is_picture(path))
        if next(files, None) is not None:
            self._cut_short = f"; only the first {_WALK_LIMIT:,} files there were looked at"
        return names


def _names_in(root: Path, folder: str) -> _Names:
    """Return the files in a folder on disk; none if there is no such folder, whatever its name."""
    try:
        with os.scandir(root / folder) as entries:
            return _Names(posixpath.join(folder, one.name) for one in entries if one.is_file())
    except (OSError, ValueError):
        return _Names()


def _files_below(root: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, from this folder on."""
    start = len(posixpath.join(root, ""))
    for place, below, files in os.walk(root):
        below.sort()
        yield from (posixpath.join(place[start:], name) for name in files)


def _plain(cell: str) -> str:
    """Return a path with forward slashes, as those of Windows are read, too."""
    return cell.replace("\\", "/").removeprefix("./")


def _key(name: str) -> str:
    """Return a name as it is compared: macOS writes accents apart from their letters, Windows ignores case."""
    return unicodedata.normalize("NFC", name).lower()


def _variants(name: str, *, aligned_first: bool) -> Iterator[tuple[str, ...]]:
    """Yield the names that a file may have; of names that are yielded together, none is better.

    RAF-DB's list names photos; their crops are called ``..._aligned``. Some lists leave out the ending.
    """
    stem, ending = posixpath.splitext(name)
    aligned = f"{stem}_aligned{ending}"
    yield from ((aligned,), (name,)) if aligned_first else ((name,), (aligned,))
    if not has_picture_suffix(name):
        yield tuple(f"{name}{ending}" for ending in images.SUFFIXES)


def _best(paths: list[str], cell: str, split: str | None) -> list[str]:
    """Return the paths whose folders fit best to those in a cell, then to the split of the table."""
    if len(paths) < 2:
        return paths
    ranks = [(*_alike(path, cell), split is not None and split_of(path) == split) for path in paths]
    return [path for path, rank in zip(paths, ranks, strict=True) if rank == max(ranks)]


def _alike(path: str, cell: str) -> tuple[int, bool]:
    """Return how many folders above the file are called alike in both, and whether these are all of the path's."""
    folders, given = ([_key(unquote(part)) for part in one.split("/")[-2::-1]] for one in (path, cell))
    pairs = zip(folders, given, strict=False)
    alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return alike, alike == len(folders)


def _agrees(path: str, cell: str) -> bool | None:
    """Return whether an image is in the folder that a cell names; None if one of them names no folder."""
    return _alike(path, cell)[0] > 0 if "/" in path and "/" in cell else None
