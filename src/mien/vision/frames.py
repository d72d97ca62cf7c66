"""`frames`: whatever a user has becomes a stream of frames, each decoded when its pixels are first asked for.

What cannot be read is a frame with its error, in its place. Files that are passed over are counted by kind.
"""

from __future__ import annotations

import base64
import binascii
import glob
import io
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mien.errors import ConfigError, ImageError
from mien.vision import images
from mien.vision.listing import Archive, Listed, counted, is_zip, list_folder, list_pattern

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import NoReturn, TypeGuard

    from jaxtyping import UInt8

STDIN = "-"
DATA_URI = "data:"
PATH_LIMIT_CHARACTERS = 4096
"""Longest text that can be a path on any system."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture, or one frame of a film; it is decoded, or found to be broken, when it is first asked.

    It pickles unless it comes from an object that does not; decoded pixels are not pickled.
    """

    source: str = ""
    """A path as the user would write it, ``archive.zip/inner/name.jpg`` for a picture in a zip; "": in memory."""
    index: int = 0
    """The number of a film's frame; 0 for a picture."""
    time_s: float | None = None
    load: Callable[[], UInt8[np.ndarray, "h w 3"]] | None = field(default=None, repr=False)
    """Returns the pixels or raises `ImageError`; None: `source` is read as a file."""

    @property
    def image_rgb_u8(self) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels.

        Raises:
            ImageError: it cannot be read or decoded.
        """
        pixels, error = self._decoded
        if pixels is None:
            raise ImageError(error or "no pixels")
        return pixels

    @property
    def error(self) -> str | None:
        """Why it cannot be read or decoded; None: it can."""
        return self._decoded[1]

    @cached_property
    def _decoded(self) -> tuple[UInt8[np.ndarray, "h w 3"] | None, str | None]:
        try:
            return (self.load() if self.load else images.read(self.source)), None
        except ImageError as error:
            return None, str(error)

    def __getstate__(self) -> dict[str, object]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(eq=False)
class Frames:
    """An iterable of frames, new ones on each pass, so that no pixels are kept here; an iterator allows one pass."""

    entries: Iterable[str | Frame] = field(repr=False)
    """Paths of files, and frames that know how to load themselves."""
    total: int | None
    """How many there are; None: not known before the end."""
    skipped: dict[str, int]
    """How many files of folders, patterns and zips were passed over, by kind (`listing.NOUNS`)."""

    def __iter__(self) -> Iterator[Frame]:
        for entry in self.entries:
            yield Frame(entry) if isinstance(entry, str) else replace(entry)


def frames(source: object, *, skip: Path | None = None) -> Frames:
    """Return the frames of whatever `source` is.

    - A path (str or Path): a picture file; a folder, searched throughout; a zip of pictures; a picture in a zip, as
      ``archive.zip/inner/name.jpg``; a pattern with ``*``, ``?`` or ``**``; ``-`` for a file's content on stdin.
    - The content of a file: bytes, bytearray, memoryview, a ``data:`` URI, or a file object opened for bytes.
    - Pixels: a PIL image; a NumPy array, RGB u8 [h, w, 3] or grey u8 [h, w] or [h, w, 1].
    - A list, tuple or iterator of these. An iterator is read as the frames are asked for, and `total` is None.

    Whatever cannot be read, whether a broken file or an argument of a wrong kind, is a frame with its error.
    In folders, patterns and zips, pictures are known by suffix or else by their first bytes; other files are counted
    in `skipped`, hidden ones are not. `skip` is the folder to which results are written: those of an earlier run
    there are counted as "result". Links to folders are followed; a folder that is reached twice is read once.

    Raises:
        ConfigError: a folder, pattern or zip without pictures (from an iterator: when its turn comes).
    """
    if isinstance(source, Frames):
        return source
    search = _Search(skip)
    found = search.entries(source)
    if _is_many(source) and not isinstance(source, Sized):
        return Frames(found, None, search.skipped)
    entries = list(found)
    return Frames(entries, len(entries), search.skipped)


class _Search:
    """What one call of `frames` shares between its sources."""

    def __init__(self, skip: Path | None) -> None:
        self.skip = skip
        self.skipped: Counter[str] = Counter()
        self.archives: dict[str, Archive] = {}

    def entries(self, source: object) -> Iterator[str | Frame]:
        """Yield a path or a frame for each picture of `source`."""
        if isinstance(source, Frame):
            yield source
        elif isinstance(source, str | os.PathLike):
            yield from self._from_path(os.fspath(source))
        elif isinstance(source, bytes | bytearray | memoryview):
            yield Frame(load=partial(images.decode, bytes(source)))
        elif isinstance(source, Image.Image):
            yield Frame(load=partial(images.from_pil, source))
        elif isinstance(source, np.ndarray):
            yield Frame(load=partial(images.from_array, source))
        elif hasattr(source, "read"):
            name = getattr(source, "name", "")
            yield _from_file(source, name if isinstance(name, str) else "")
        elif _is_many(source):
            for each in source:
                yield from self.entries(each)
        else:
            yield _broken("", _wrong_kind(source))

    def _from_path(self, path: str) -> Iterator[str | Frame]:
        if path == STDIN:
            yield _from_file(sys.stdin.buffer, STDIN)
        elif path.startswith(DATA_URI):
            yield Frame(load=partial(_from_uri, path))
        elif reason := _no_path(path):
            yield _broken(path[:60], reason)
        elif os.path.lexists(path):
            yield from self._from_existing(path)
        elif archive := _archive_above(path):
            yield self._member(archive, path[len(archive) + 1 :])
        elif glob.has_magic(path):
            yield from self._from_pattern(path)
        else:
            yield path

    def _from_existing(self, path: str) -> Iterable[str | Frame]:
        if os.path.isdir(path):  # noqa: PTH112 - never raises, whatever the name
            return self._pictures(list_folder(path, self.skip), f"the folder {path}")
        return self._from_zip(path) if is_zip(path) else [path]

    def _from_pattern(self, pattern: str) -> Iterable[str | Frame]:
        """Return what matches; a name with brackets that matches nothing is taken for a missing file."""
        listed = list_pattern(pattern, self.skip)
        if not listed and "*" not in pattern:
            return [pattern]
        return self._pictures(listed, f"the pattern {pattern}")

    def _from_zip(self, path: str) -> Iterable[str | Frame]:
        try:
            listed = self._archive(path).list()
        except ImageError as error:
            return [_broken(path, str(error))]
        return [self._member(path, str(name)) for name in self._pictures(listed, f"the zip {path}")]

    def _archive(self, path: str) -> Archive:
        return self.archives.setdefault(path, Archive(path))

    def _member(self, path: str, name: str) -> Frame:
        return Frame(f"{path}/{name}", load=partial(_from_member, self._archive(path), name))

    def _pictures(self, listed: list[Listed], where: str) -> list[str | Frame]:
        """Keep the pictures, and the folders that cannot be read as broken frames; count the rest.

        Raises:
            ConfigError: there are neither.
        """
        kinds = Counter(item.kind for item in listed)
        if not kinds.pop("image", 0) + kinds.pop("unreadable", 0):
            found = counted(kinds) or "nothing"
            raise ConfigError(f"no pictures in {where}: expected files such as .jpg or .png, found {found}")
        self.skipped.update(kinds)
        return [
            _broken(item.path, item.error) if item.error else item.path
            for item in listed
            if item.kind in ("image", "unreadable")
        ]


def _refuse(message: str) -> NoReturn:
    raise ImageError(message)


def _broken(source: str, message: str) -> Frame:
    return Frame(source, load=partial(_refuse, message))


def _is_many(source: object) -> TypeGuard[Iterable[object]]:
    """Say whether `source` is a list or iterator of sources; tensors and tables, which convert to arrays, are not."""
    single = isinstance(source, str | bytes | bytearray | memoryview | Mapping | Image.Image | os.PathLike)
    return (
        not single
        and isinstance(source, Iterable)
        and not any(map(partial(hasattr, source), ("__array__", "read")))
    )


def _wrong_kind(source: object) -> str:
    if source is None:
        return "expected a picture, got None: cv2.imread returns None for a file that it cannot read; check the path"
    hint = "; convert it to a NumPy array or a list of paths" if hasattr(source, "__array__") else ""
    return f"expected a path, a file's bytes, a PIL image or an array, got {type(source).__name__}{hint}"


def _no_path(text: str) -> str | None:
    """Say why a text cannot be the path of a picture; None: it can."""
    if not text:
        return "expected the path of a picture, got an empty text"
    if len(text) > PATH_LIMIT_CHARACTERS:
        return f"a text of {len(text):,} characters is no path; for base64, write data:image/jpeg;base64,..."
    if text.startswith(("http://", "https://")):
        return "nothing is downloaded here: save the picture, then give its path"
    return None


def _from_file(file: object, source: str) -> Frame:
    """Read an open file at once, so that threads need not share it."""
    if isinstance(file, io.TextIOBase):
        return _broken(source, "the file is opened for text: open it for bytes, mode 'rb'")
    try:
        data = file.read(images.FILE_LIMIT_BYTES + 1)  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:
        return _broken(source, f"cannot read the file: {error}")
    if not isinstance(data, bytes):
        return _broken(source, f"expected a file opened for bytes, reading gave {type(data).__name__}")
    if len(data) > images.FILE_LIMIT_BYTES:
        limit = f"{images.FILE_LIMIT_BYTES:,} bytes for a picture file"
        return _broken(source, f"{source or 'the file'} is over the limit of {limit}")
    return Frame(source, load=partial(images.decode, data))


def _from_member(archive: Archive, name: str) -> UInt8[np.ndarray, "h w 3"]:
    return images.decode(archive.read(name))


def _from_uri(uri: str) -> UInt8[np.ndarray, "h w 3"]:
    head, comma, body = uri.partition(",")
    if not comma or not head.endswith(";base64"):
        raise ImageError(f"expected data:image/...;base64,..., got {uri[:40]}...")
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"the picture in a data: URI is not base64: {error}") from error
    return images.decode(data)


def _archive_above(path: str) -> str | None:
    """Return the zip that a path such as ``archive.zip/inner/name.jpg`` leads into."""
    places = (path[:at] for at, character in enumerate(path) if character == "/" and at)
    return next((place for place in places if os.path.isfile(place) and is_zip(place)), None)  # noqa: PTH113
