"""`Place`: a path that may hold a dataset, and the facts by which the forms of datasets are recognised."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from mien.data.archives import (
    Tree,
    folder_tree,
    has_picture_suffix,
    is_debris,
    members,
    regular,
    tar_tree,
    unpacked,
    zip_tree,
)
from mien.errors import DataError, number_of
from mien.vision import images

if TYPE_CHECKING:
    from contextlib import ExitStack

NO, MAYBE, LIKELY, CERTAIN = range(4)
TABLES = (".csv", ".tsv", ".lst", ".jsonl", ".txt")
_TEXTS = (
    "csv",
    "tsv",
    "lst",
    "jsonl",
    "txt",
    "json",
    "xml",
    "yaml",
    "yml",
    "md",
    "rst",
    "html",
    "pdf",
    "py",
    "log",
)
_BINARIES = (
    "ipynb",
    "sh",
    "npy",
    "npz",
    "mat",
    "pkl",
    "h5",
    "hdf5",
    "parquet",
    "zip",
    "tar",
    "gz",
    "rar",
    "7z",
)
_OTHERS = ("doc", "docx", "xls", "xlsx", "ini", "db", "cfg", "toml", "pt", "pth", "onnx", "mp4", "avi", "mov")
_NEVER_PICTURES = frozenset(f".{ending}" for ending in (*_TEXTS, *_BINARIES, *_OTHERS))
"""Endings of files that are never pictures, so their first bytes need not be read."""
_ANSWERS = re.compile(r"submission|prediction|predicted|(^|[\W_])preds?[\W_]", re.IGNORECASE)
_LOOKED_AT = 2000
"""Most members of a compressed tar whose names are read before it is unpacked."""


class Sign(NamedTuple):
    """How sure it is that a form can read a place."""

    sure: int
    """`NO`, `MAYBE`, `LIKELY` or `CERTAIN`."""
    against: str = ""
    """Why not: what is missing, and which option or column would help."""


@dataclass
class Place:
    """A file or folder; each fact about it is read once."""

    path: Path
    stack: ExitStack
    """Context that closes files and archives opened here."""

    def __post_init__(self) -> None:
        """Refuse files that may never end.

        Raises:
            DataError: it is a pipe or a device.
        """
        regular(self.path)

    @cached_property
    def kind(self) -> str:
        """Return its kind by its first bytes: ``folder``, ``zip``, ``tar`` (also packed by gzip) or ``file``."""
        if self.path.is_dir():
            return "folder"
        if zipfile.is_zipfile(self.path):
            return "zip"
        return "tar" if _is_tar(self.path) else "file"

    @cached_property
    def head(self) -> bytes:
        """Return the first bytes of a file."""
        if self.kind == "folder":
            return b""
        with self.path.open("rb") as file:
            return file.read(images.HEAD_BYTES)

    @cached_property
    def archive(self) -> zipfile.ZipFile:
        """Return the open zip."""
        return self.stack.enter_context(zipfile.ZipFile(self.path))

    @cached_property
    def names(self) -> list[str]:
        """Return the names of the files in it, without unpacking it; of a compressed tar the first ones."""
        if self.kind == "zip":
            return [info.filename for info in self.archive.infolist()]
        if self.kind == "tar":
            return _names_in_tar(self.path)
        return list(self.tree.files)

    @cached_property
    def tree(self) -> Tree:
        """Return the files in it; a single file is a tree of one."""
        if self.kind == "folder":
            return folder_tree(self.path)
        if self.kind == "zip":
            return zip_tree(self.archive, self.path)
        if self.kind == "tar":
            return tar_tree(self.path, self.stack)
        return Tree(str(self.path), {self.path.name: lambda: io.BytesIO(images.read_file(self.path))}, [], 0)

    @cached_property
    def has_pictures(self) -> bool:
        """Return whether there are files with a picture's name; a compressed tar is not unpacked for this."""
        return any(has_picture_suffix(name) and not is_debris(PurePosixPath(name)) for name in self.names)

    @cached_property
    def pictures(self) -> list[str]:
        """Return the pictures, recognised by their ending or, if it is unknown, by their first bytes."""
        return [name for name in self.tree.files if has_picture_suffix(name) or self._begins_as_picture(name)]

    @cached_property
    def tables(self) -> list[str]:
        """Return the files that may be tables, without `answers` and text files that belong to one picture each."""
        stems = {PurePosixPath(name).stem for name in self.pictures}
        return [
            name
            for name in self.tree.files
            if name.lower().endswith(TABLES)
            and not (name.lower().endswith(".txt") and PurePosixPath(name).stem in stems)
            and "readme" not in name.lower()
            and name not in self.answers
        ]

    @cached_property
    def answers(self) -> list[str]:
        """Return the tables that, by their names, hold answers of a model or of a contest's sample, and no labels."""
        names = [name for name in self.tree.files if name.lower().endswith(TABLES)]
        return [name for name in names if _ANSWERS.search(name.rpartition("/")[2])]

    def passed_over(self, read: set[str]) -> tuple[str, ...]:
        """Return a line for each reason why files are left out: files that are neither pictures nor in `read`."""
        kinds: Counter[str] = Counter()
        heic = 0
        for name in self.tree.files:
            if name in read:
                continue
            suffix = PurePosixPath(name).suffix.lower()
            if suffix in (".heic", ".heif"):
                heic += 1
            else:
                kinds[suffix or "no ending"] += 1
        said = []
        if heic:
            said.append(f"left out {number_of(heic, 'HEIC image')}: {images.HEIC_HINT}")
        if kinds:
            ends = ", ".join(f"{suffix} {count:,}" for suffix, count in kinds.most_common(6))
            said.append(f"left out {number_of(kinds.total(), 'file')} not read as images: {ends}")
        if self.tree.debris:
            said.append(
                f"left out {number_of(self.tree.debris, 'image')} of system folders, such as thumbnails"
            )
        if self.tree.repeats:
            links = number_of(self.tree.repeats, "link")
            said.append(f"left out {links} to folders that are read under another path")
        return tuple(said)

    def _begins_as_picture(self, name: str) -> bool:
        if PurePosixPath(name).suffix.lower() in _NEVER_PICTURES:
            return False
        with self.tree.files[name]() as file:
            kind = images.format_of(file.read(images.HEAD_BYTES))
        return kind is not None and kind != "HEIC"


def beside_images(place: Place, end: str) -> Sign:
    """Return a sure sign if files with this ending lie beside images."""
    found = place.kind != "file" and place.has_pictures and any(name.endswith(end) for name in place.names)
    return Sign(CERTAIN if found else NO)


def _is_tar(path: Path) -> bool:
    """Return whether a file is a tar, plain or packed by gzip; its name does not matter."""
    try:
        with unpacked(path) as stream:
            return stream.read(262)[257:] == b"ustar"
    except (OSError, EOFError, DataError):
        return False


def _names_in_tar(path: Path) -> list[str]:
    import tarfile

    names: list[str] = []
    with unpacked(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for info in members(archive, path):
            names.append(info.name)
            if len(names) >= _LOOKED_AT or has_picture_suffix(info.name) or info.size > 2**20:
                break
    return names
