"""`frames`: whatever a user has becomes a stream of frames, each decoded when its pixels are first asked for.

What cannot be read is a frame with its error, in its place. Files that are passed over are counted by kind.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import glob
import io
import os
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mien.errors import ConfigError, ImageError
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeGuard

    from jaxtyping import UInt8

STDIN = "-"
DATA_URI = "data:"
RESULT_SUFFIX = ".faces.jpg"
"""How the names of annotated pictures end."""
MEMBER_LIMIT = 1_000_000
"""Most files in one zip."""
PATH_LIMIT_CHARACTERS = 4096
"""Longest text that can be a path on any system."""
SUFFIXES_BY_KIND = {
    "video": ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv",
    "text": ".htm .html .log .md .rst .txt .xml .yaml .yml .toml .ini",
    "table": ".csv .json .jsonl .npy .npz .parquet .tsv .xls .xlsx",
    "model": ".ckpt .h5 .keras .onnx .pb .pt .pth .safetensors .tflite",
    "archive": ".7z .bz2 .gz .rar .tar .tgz .xz .zip",
    "heic": ".heic .heif .hif",
}
KINDS = {suffix: kind for kind, suffixes in SUFFIXES_BY_KIND.items() for suffix in suffixes.split()}
NOUNS = {
    "video": ("video", "videos"),
    "text": ("text", "texts"),
    "table": ("table", "tables"),
    "model": ("model", "models"),
    "archive": ("archive", "archives"),
    "heic": (
        "HEIC picture (not read here, convert to JPEG)",
        "HEIC pictures (not read here, convert to JPEG)",
    ),
    "result": ("result of an earlier run", "results of an earlier run"),
    "other": ("other file", "other files"),
}
"""For each kind of file that is passed over: one of them, several of them."""


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
            raise ImageError(error)
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
    """An iterable of frames; each pass makes new ones, so that no pixels are kept here."""

    entries: Iterable[str | Frame] = field(repr=False)
    """Paths of files, and frames that know how to load themselves."""
    total: int | None
    """How many there are; None: not known before the end."""
    skipped: dict[str, int]
    """How many files of folders, patterns and zips were passed over, by kind (`NOUNS`)."""

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


def counted(skipped: Mapping[str, int]) -> str:
    """Put a count of files by kind into words: ``3 videos, 1 text``."""
    return ", ".join(f"{number} {NOUNS[kind][number > 1]}" for kind, number in skipped.items() if number)


class _Search:
    """What one call of `frames` shares between its sources."""

    def __init__(self, skip: Path | None) -> None:
        self.results = None if skip is None else Path(os.path.realpath(skip))
        self.skipped: Counter[str] = Counter()
        self.archives: dict[str, _Archive] = {}

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
            yield _from_file(source)
        elif _is_many(source):
            for each in source:
                yield from self.entries(each)
        else:
            yield _broken("", _wrong_kind(source))

    def _from_path(self, path: str) -> Iterator[str | Frame]:
        if path == STDIN:
            yield replace(_from_file(sys.stdin.buffer), source=STDIN)
        elif path.startswith(DATA_URI):
            yield Frame(load=partial(_from_uri, path))
        elif reason := _no_path(path):
            yield _broken(path[:60], reason)
        elif os.path.isdir(path):  # noqa: PTH112 - never raises, whatever the name
            yield from self._pictures(self._walk(path), f"the folder {path}")
        elif os.path.lexists(path):
            yield from self._from_zip(path) if _is_zip(path) else [path]
        elif archive := _archive_above(path):
            yield self._archive(archive).frame(path[len(archive) + 1 :])
        elif glob.has_magic(path) and (listed := self._matching(path) or "*" in path):
            yield from self._pictures(listed if isinstance(listed, list) else [], f"the pattern {path}")
        else:
            yield path

    def _pictures(self, listed: list[tuple[str | Frame, str]], where: str) -> list[str | Frame]:
        """Keep the pictures and count the rest.

        Raises:
            ConfigError: there are no pictures.
        """
        kinds = Counter(kind for _, kind in listed)
        pictures = kinds.pop("image", 0)
        if not pictures:
            held = counted(kinds) or "nothing"
            raise ConfigError(f"no pictures in {where}: expected files such as .jpg or .png, found {held}")
        self.skipped.update(kinds)
        return [entry for entry, kind in listed if kind == "image"]

    def _walk(self, root: str) -> list[tuple[str | Frame, str]]:
        """List the files below a folder with their kinds, sorted; a folder that cannot be read is a broken frame."""
        listed: list[tuple[str | Frame, str]] = []
        seen: set[str] = set()

        def unreadable(error: OSError) -> None:
            reason = f"cannot read the folder {error.filename}: {error.strerror}"
            listed.append((_broken(error.filename, reason), "image"))

        for place, below, names in os.walk(str(Path(root)), followlinks=True, onerror=unreadable):
            real = os.path.realpath(place)
            below[:] = [] if real in seen else sorted(name for name in below if not _is_hidden(name))
            if real not in seen:
                seen.add(real)
                listed += self._files(place, names, Path(real), Path(os.path.realpath(root)))
        return sorted(listed, key=lambda item: _source(item[0]).split(os.sep))  # noqa: PTH206 - fast

    def _files(
        self, place: str, names: list[str], real: Path, real_root: Path
    ) -> Iterator[tuple[str | Frame, str]]:
        """Yield the files `names` of the folder `place` with their kinds."""
        out = self.results
        inside = out is not None and real_root in out.parents and (real == out or out in real.parents)
        beside = out == real
        for name in names:
            if not _is_hidden(name):
                path = os.path.join(place, name).removeprefix(f".{os.sep}")  # noqa: PTH118 - ten times as fast
                result = inside or (beside and name.endswith(RESULT_SUFFIX))
                yield path, "result" if result else _kind(name, partial(_first_bytes, path))

    def _matching(self, pattern: str) -> list[tuple[str | Frame, str]]:
        """List what matches a pattern: files, and the files below folders; ``**`` is any number of folders."""
        parts = Path(pattern).parts
        if "**" in parts:
            fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
            root = str(Path(*parts[:fixed]))
            depth = 0 if root == "." else len(Path(root).parts)
            return [
                item
                for item in self._walk(root)
                if _matches(Path(_source(item[0])).parts[depth:], parts[fixed:])
            ]
        listed: dict[str, tuple[str | Frame, str]] = {}
        for path in sorted(glob.glob(pattern)):  # noqa: PTH207 - hidden files are left out
            place, name = os.path.split(path)
            real = Path(os.path.realpath(place))
            items = (
                self._walk(path) if os.path.isdir(path) else self._files(place, [name], real, real)  # noqa: PTH112
            )
            listed |= {_source(item[0]): item for item in items}
        return list(listed.values())

    def _archive(self, path: str) -> _Archive:
        return self.archives.setdefault(path, _Archive(path))

    def _from_zip(self, path: str) -> list[str | Frame]:
        """Return the pictures of a zip by name; one that is damaged or encrypted throughout is one broken frame."""
        archive = self._archive(path)
        try:
            members = archive.file.infolist()
        except _ZIP_ERRORS as error:
            return [_broken(path, f"cannot read {path} as a zip, is it damaged or not complete? {error}")]
        if len(members) > MEMBER_LIMIT:
            return [_broken(path, f"{path} holds {len(members):,} files, over the limit of {MEMBER_LIMIT:,}")]
        names = sorted({info.filename for info in members if not info.filename.endswith("/")})
        listed: list[tuple[str | Frame, str]] = [
            (archive.frame(name), _kind(name, partial(archive.first_bytes, name)))
            for name in names
            if not any(map(_is_hidden, name.split("/")))
        ]
        if members and all(info.flag_bits & 1 for info in members if not info.is_dir()):
            return [_broken(path, f"{path} is encrypted: unpack it, then give the folder")]
        return self._pictures(listed, f"the zip {path}")


class _Archive:
    """A zip, opened when first read; threads may share it, and it pickles as its path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[type[_Archive], tuple[str]]:
        return _Archive, (self.path,)

    @cached_property
    def file(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    def frame(self, name: str) -> Frame:
        return Frame(f"{self.path}/{name}", load=partial(self.picture, name))

    def picture(self, name: str) -> UInt8[np.ndarray, "h w 3"]:
        return images.decode(self.read(name, images.FILE_LIMIT_BYTES))

    def first_bytes(self, name: str) -> bytes:
        try:
            return self.read(name, images.HEAD_BYTES)
        except ImageError:
            return b""

    def read(self, name: str, count: int) -> bytes:
        """Return the first `count` bytes of a member.

        Raises:
            ImageError: it is missing, damaged, encrypted, too large, or packed by a method without a limit.
        """
        where = f"{self.path}/{name}"
        try:
            info = self.file.getinfo(name)
            if info.flag_bits & 1:
                raise ImageError(f"{where} is encrypted: unpack it first")
            if info.compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):  # others unpack without limit
                raise ImageError(f"{where} is packed by an unusual method: pack it again, by deflate")
            if info.file_size > images.FILE_LIMIT_BYTES:
                limit = f"{images.FILE_LIMIT_BYTES:,} bytes for a picture file"
                raise ImageError(f"{where} is over the limit of {limit}")
            with self.file.open(info) as member:
                return member.read(count)
        except KeyError as error:
            raise ImageError(f"cannot read {where}: the zip {self.path} holds no such file") from error
        except _ZIP_ERRORS as error:
            raise ImageError(f"cannot read {where}, is the zip damaged? {error}") from error


_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, IndexError, NotImplementedError, OSError),
    *(OverflowError, RuntimeError, ValueError),
)
"""What `zipfile` raises for damaged files."""


def _refuse(message: str) -> NoReturn:
    raise ImageError(message)


def _broken(source: str, message: str) -> Frame:
    return Frame(source, load=partial(_refuse, message))


def _source(entry: str | Frame) -> str:
    return entry if isinstance(entry, str) else entry.source


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


def _from_file(file: object) -> Frame:
    """Read an open file at once, so that threads need not share it."""
    source = name if isinstance(name := getattr(file, "name", ""), str) else ""
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


def _from_uri(uri: str) -> UInt8[np.ndarray, "h w 3"]:
    head, comma, body = uri.partition(",")
    if not comma or not head.endswith(";base64"):
        raise ImageError(f"expected data:image/...;base64,..., got {uri[:40]}...")
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"the picture in a data: URI is not base64: {error}") from error
    return images.decode(data)


def _first_bytes(path: str) -> bytes:
    """Return the first bytes of a regular file; of others none: a pipe would be waited for."""
    try:
        if os.path.isfile(path):  # noqa: PTH113 - never raises
            with open(path, "rb") as file:  # noqa: PTH123
                return file.read(images.HEAD_BYTES)
    except OSError:
        pass
    return b""


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - called for every file of a folder


def _kind(name: str, first_bytes: Callable[[], bytes]) -> str:
    """Return "image" or the kind of another file, by its suffix or, where that says nothing, by its first bytes."""
    suffix = _suffix(name)
    if suffix in images.SUFFIXES:
        return "image"
    kind = KINDS.get(suffix, "other")
    if kind in ("other", "heic"):  # pictures are often misnamed .heic
        found = images.format_of(first_bytes())
        return {None: kind, "HEIC": "heic"}.get(found, "image")
    return kind


def _is_hidden(name: str) -> bool:
    """Say whether a file or folder is hidden or a system's own."""
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db", "desktop.ini")


def _is_zip(path: str) -> bool:
    suffix = _suffix(path)
    return suffix == ".zip" or (suffix not in images.SUFFIXES and _first_bytes(path).startswith(b"PK\3\4"))


def _archive_above(path: str) -> str | None:
    """Return the zip that a path such as ``archive.zip/inner/name.jpg`` leads into."""
    places = (path[:at] for at, character in enumerate(path) if character == "/" and at)
    return next((place for place in places if os.path.isfile(place) and _is_zip(place)), None)  # noqa: PTH113


def _matches(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Say whether the parts of a path match those of a pattern."""
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_matches(names[at:], parts[1:]) for at in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatch(names[0], parts[0]) and _matches(names[1:], parts[1:])
