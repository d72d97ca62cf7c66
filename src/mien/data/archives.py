"""Files below a folder or in an archive, read without unpacking it to disk; hostile archives are refused.

Sizes in a header may be wrong, so bytes are counted while they are unpacked.
"""

from __future__ import annotations

import gzip
import io
import os
import posixpath
import struct
import tarfile
import tempfile
import threading
import zipfile
import zlib
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from mien import files
from mien.data.split_names import split_name, split_word
from mien.errors import DataError
from mien.vision import images
from mien.vision.listing import member_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import ExitStack
    from typing import IO, NoReturn

MEMBER_LIMIT_BYTES = 64 * 2**20
OTHERS_LIMIT_BYTES = 2**40
"""Largest file in a zip that is no picture: it is read in parts, if at all."""
BOMB_RATIO, BOMB_BYTES = 100, 16 * 2**20
"""An archive is refused if it unpacks to more than this many times its size and to more than this many bytes."""
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError),
    *(NotImplementedError, UnicodeDecodeError, struct.error),
)
"""Exceptions that the libraries raise for damaged archives."""
PACKED_BYTES_PER_MEMBER = 16
"""Least packed size of a member of a tar. An archive with more members than its size allows is an attack."""
_METHODS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA", 9: "Deflate64", 93: "Zstandard", 95: "xz"}
_DEBRIS = frozenset(
    (
        *("@eadir", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "system volume information"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "thumbnails", "__pycache__", "ipod photo cache"),
        *("@recycle", "@recently-snapshot", "lrdata", "syncthing", "found.000"),
    )
)  # fmt: skip
"""Files and folders of systems, network drives and photo programs, in lower case."""


class Tree(NamedTuple):
    """Files by their path below a folder or in an archive, each with a function that opens it."""

    source: str
    files: dict[str, Callable[[], IO[bytes]]]
    folders: list[tuple[str, ...]]
    """All known folders, also those without files."""
    debris: int
    """Number of pictures of operating systems and photo programs (thumbnails), which are ignored."""
    repeats: int = 0
    """Number of links to folders that are read under another path."""

    def read(self, name: str) -> bytes:
        """Return the content of one file.

        Raises:
            DataError: it is larger than a picture should be.
        """
        with self.files[name]() as file:
            content = file.read(MEMBER_LIMIT_BYTES + 1)
        if len(content) > MEMBER_LIMIT_BYTES:
            raise DataError(f"{name} is over the limit of {MEMBER_LIMIT_BYTES:,} bytes")
        return content


def folder_tree(root: Path) -> Tree:
    """Return the files below a folder; a link to a folder is followed, if it is not read under another path.

    Raises:
        DataError: a folder that cannot be read: its class would be missing; a link to a folder of another split.
    """
    tree = Tree(str(root), {}, [], 0)
    read_at: dict[str, tuple[str, ...]] = {}
    debris = repeats = 0
    waiting = [root]
    while waiting:  # links come after all real folders, which may be linked to from anywhere
        for place, below, listed in os.walk(waiting.pop(0), onerror=_unreadable):
            parts = Path(place).relative_to(root).parts
            real = os.path.realpath(place)
            if real in read_at:
                _check_link(root, parts, read_at[real])
                repeats += 1
                below.clear()
                continue
            read_at[real] = parts
            below.sort()
            for name in filter(_is_debris_name, below):
                debris += sum(map(has_picture_suffix, _files_below(Path(place, name))))
            below[:] = [name for name in below if not _is_debris_name(name)]
            waiting += [link for name in below if (link := Path(place, name)).is_symlink()]
            tree.folders.append(parts)
            for name in sorted(listed):
                if _is_debris_name(name):
                    debris += has_picture_suffix(name)
                else:
                    tree.files["/".join((*parts, name))] = partial(_open_file, Path(place, name))
    return tree._replace(debris=debris, repeats=repeats, files=dict(sorted(tree.files.items())))


def _check_link(source: Path, link: tuple[str, ...], folder: tuple[str, ...]) -> None:
    """Refuse a link to a folder of another split.

    Raises:
        DataError: names both.
    """
    splits = [next(filter(None, map(_split_in, reversed(parts))), None) for parts in (link, folder)]
    if None not in splits and splits[0] != splits[1]:
        raise DataError(
            f"{source}: {'/'.join(link)} and {'/'.join(folder)} are the same folder, by a link, so the images of "
            f"{splits[0]} would be those of {splits[1]}: remove the link, or put other images in its place"
        )


def _split_in(name: str) -> str | None:
    return split_name(name) or next(iter(split_word(name) or ()), None)


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error


def zip_tree(archive: zipfile.ZipFile, path: Path) -> Tree:
    """Return the files in an open zip.

    Raises:
        DataError: a name that leaves its folder or is in an unknown encoding, an encrypted member, a zip bomb.
    """
    tree, debris = Tree(str(path), {}, [], 0), 0
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        limit = MEMBER_LIMIT_BYTES if has_picture_suffix(info.filename) else OTHERS_LIMIT_BYTES
        name = check_member(info, path, limit_bytes=limit)
        parts = PurePosixPath(name).parts
        if is_debris(PurePosixPath(name)):
            debris += has_picture_suffix(name)
        elif name.endswith("/"):
            tree.folders.append(parts)
        elif parts:
            key = "/".join(parts)
            if key in tree.files:
                raise DataError(f"{path} names {key} 2 times: which one counts? Keep one")
            tree.files[key] = partial(_open_member, archive, info)
    return tree._replace(debris=debris, files=dict(sorted(tree.files.items())))


def tar_tree(path: Path, stack: ExitStack) -> Tree:
    """Return the files in a tar, which is unpacked into a nameless file on disk if it is compressed.

    Raises:
        DataError: a name that leaves its folder, or more bytes or members than the size of the archive allows.
    """
    spool: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    stream = stack.enter_context(unpacked(path))
    while block := stream.read(2**20):
        spool.write(block)
    spool.seek(0)
    tree, debris, turn = Tree(str(path), {}, [], 0), 0, threading.Lock()
    links: dict[str, str] = {}
    with tarfile.open(fileobj=spool, mode="r:") as archive:
        for info in members(archive, path):
            name = check_name(info.name, path)
            parts = PurePosixPath(name).parts
            if is_debris(PurePosixPath(name)):
                debris += has_picture_suffix(name)
            elif info.isdir():
                tree.folders.append(parts)
            elif info.isreg() and not info.issparse() and parts:
                tree.files["/".join(parts)] = partial(_open_slice, spool, turn, info.offset_data, info.size)
            elif info.islnk():
                links["/".join(parts)] = info.linkname
            elif info.issym():
                links["/".join(parts)] = posixpath.join(*parts[:-1], info.linkname)
    repeats = _follow(links, tree, path)
    return tree._replace(debris=debris, repeats=repeats, files=dict(sorted(tree.files.items())))


def _follow(links: Mapping[str, str], tree: Tree, path: Path) -> int:
    """Add the images of a tar that are links to others, and return the number of links to its folders.

    Raises:
        DataError: a link to a folder of another split.
    """
    # A link to a file of the archive is this file; any other is an image that cannot be read.
    for name in filter(has_picture_suffix, links):
        meant, steps = name, 0
        while meant in links and steps <= len(links):
            meant, steps = posixpath.normpath(links[meant]), steps + 1
        tree.files[name] = tree.files.get(meant, partial(_dangling, name, links[name]))
    folders = {str(one) for name in tree.files for one in PurePosixPath(name).parents}
    repeated = {name: meant for name, link in links.items() if (meant := posixpath.normpath(link)) in folders}
    for name, meant in repeated.items():
        _check_link(path, PurePosixPath(name).parts, PurePosixPath(meant).parts)
    return len(repeated)


def members(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar without keeping them.

    Raises:
        DataError: more members than the archive's size allows.
    """
    limit = max(10_000, path.stat().st_size // PACKED_BYTES_PER_MEMBER)
    number = 0
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # tarfile would keep all of them
        number += 1
        if number > limit:
            raise DataError(f"{path} has more than {limit:,} members for its size: is this a bomb?")
        yield info


def regular(path: Path) -> Path:
    """Return a path if it is a file or folder.

    Raises:
        DataError: it is a pipe or a device, which may never end.
    """
    try:
        return files.regular(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def unpacked(path: Path, file: IO[bytes] | None = None) -> IO[bytes]:
    """Open a file, unpacking gzip; the bytes that come out are counted.

    Raises:
        DataError: more bytes come out than `BOMB_RATIO` times the file's size, while reading.
    """
    raw = regular(path).open("rb") if file is None else file
    head = raw.read(2)
    raw.seek(0)
    if head != b"\x1f\x8b":
        return raw
    inner: IO[bytes] = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
    return io.BufferedReader(_Counted(inner, raw, path), 2**16)


class _Counted(io.RawIOBase):
    """An unpacked stream that raises an error beyond its limit of bytes."""

    def __init__(self, stream: IO[bytes], below: IO[bytes], path: Path) -> None:
        self.stream, self.below, self.path = stream, below, path
        self.left = BOMB_RATIO * max(path.stat().st_size, 2**16)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read some bytes."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        content = self.stream.read(len(view))
        self.left -= len(content)
        if self.left < 0:
            raise DataError(f"{self.path} unpacks to more than {BOMB_RATIO} times its size: is this a bomb?")
        view[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the file below, too."""
        self.stream.close()
        self.below.close()
        super().close()


def check_member(info: zipfile.ZipInfo, path: Path, *, limit_bytes: int = MEMBER_LIMIT_BYTES) -> str:
    """Return the name of a zip's member; refuse members that ordinary archives do not have.

    Raises:
        DataError: a name that leaves its folder, encryption, a size out of proportion, a method that
            cannot be unpacked up to a limit.
    """
    name = check_name(_name_of(info, path), path)
    if info.compress_size > path.stat().st_size:  # zipfile would allocate that much memory
        raise DataError(
            f"{path} is damaged: {name} takes {info.compress_size:,} bytes of it, more than it has; download or "
            f"copy it again"
        )
    inflated = info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * max(info.compress_size, 1024)
    if info.file_size > limit_bytes or inflated:
        raise DataError(
            f"{path}: {name} claims to unpack from {info.compress_size:,} to {info.file_size:,} bytes, "
            f"over the limit of {BOMB_RATIO} times or {limit_bytes:,} bytes: is this a zip bomb?"
        )
    if info.flag_bits & 0x1:
        raise DataError(f"{path}: {name} is encrypted: expected a plain zip")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
        raise DataError(
            f"{path}: {name} is packed by {method}: unpack the zip and give the folder, or pack it the usual way"
        )
    return name


def check_name(name: str, path: Path) -> str:
    """Return a member's name with forward slashes.

    Raises:
        DataError: it is empty or leads out of the archive.
    """
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain)
    if not plain.strip("/") or "\0" in plain or parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{path} holds the unsafe name {name!r}: no member may leave its folder")
    return plain


def has_picture_suffix(name: str) -> bool:
    """Return whether a name has the ending of a picture format that can be read."""
    return PurePosixPath(name).suffix.lower() in images.SUFFIXES


def is_picture(name: str) -> bool:
    """Return whether a file's name is that of a picture, and not of a file of the operating system."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return has_picture_suffix(parts.name) and not is_debris(parts)


def is_debris(parts: PurePosixPath) -> bool:
    """Return whether a file or folder belongs to an operating system or photo program, as macOS adds to archives."""
    return any(map(_is_debris_name, parts.parts))


def _is_debris_name(name: str) -> bool:
    plain = name.lower()
    return plain.startswith((".", "__macosx", "._")) or plain in _DEBRIS


def _name_of(info: zipfile.ZipInfo, path: Path) -> str:
    """Return a member's name.

    Raises:
        DataError: its folder, which may be a class, is in an unknown encoding.
    """
    name = member_name(info)
    if info.flag_bits & 0x800 or name != info.filename:
        return name
    folder = name.replace("\\", "/").rpartition("/")[0]
    if not folder.isascii():
        raise DataError(
            f"{path} holds the folder {folder!r}, whose name is in an unknown encoding: unpack it and give the folder"
        )
    return name


def _files_below(folder: Path) -> Iterator[str]:
    for _, _, listed in os.walk(folder):
        yield from listed


def _open_file(path: Path) -> IO[bytes]:
    return io.BytesIO(images.read_file(path)) if has_picture_suffix(path.name) else regular(path).open("rb")


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    return archive.open(info)


def _dangling(name: str, target: str) -> IO[bytes]:
    raise FileNotFoundError(f"{name} is a link to {target}, which is not in the archive")


def _open_slice(file: IO[bytes], turn: threading.Lock, start: int, size: int) -> IO[bytes]:
    with turn:  # threads share the file and its position
        file.seek(start)
        return io.BytesIO(file.read(size))
