"""List the files of a folder, a pattern or a zip, each with its kind.

Pictures are recognised by suffix or else by their first bytes. Hidden files are left out. Nothing is decoded here.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import zipfile
import zlib
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mien import files
from mien.errors import ImageError
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

RESULT_SUFFIX, FILM_SUFFIX = ".faces.jpg", ".faces.mp4"
"""How the names of annotated pictures and videos end."""
JOURNAL, DOCUMENT = "predictions.jsonl", "predictions.json"
"""Names of the table and the document in a folder of results."""
CROPS_JOURNAL = ".predictions.jsonl"
"""Name of the table in a folder of crops: hidden, because such a folder is often used as images of faces."""
EXPLANATIONS = "explanations.jsonl"
"""Name of the table in a folder of explanations."""
_MARKS = {
    **dict.fromkeys((JOURNAL, CROPS_JOURNAL, EXPLANATIONS), b'{"source": '),
    DOCUMENT: b'{\n  "schema": "mien.predictions/',
}
"""Files that show that a folder holds results, and how each begins if it is not empty yet."""
_RESULTS = (
    RESULT_SUFFIX,
    FILM_SUFFIX,
    ".explained.png",
    ".part.mp4",
    ".timeline.html",
    ".timeline.png",
    ".timeline.csv",
)
_CROP = re.compile(r"\.face\d+\.png$")
MEMBER_LIMIT = 1_000_000
"""Most files in one zip."""
NOUNS = {
    "video": ("video", "videos"),
    "sound": ("sound file", "sound files"),
    "text": ("text", "texts"),
    "table": ("table", "tables"),
    "model": ("model", "models"),
    "archive": ("archive", "archives"),
    "heic": ("HEIC picture (convert it to JPEG)", "HEIC pictures (convert them to JPEG)"),
    "result": ("result of an earlier run", "results of an earlier run"),
    "other": ("other file", "other files"),
}
"""Names of the kinds of files that are not pictures: singular and plural."""
_SUFFIXES = {
    "sound": ".aac .aif .aiff .amr .flac .m4a .m4b .mka .mp3 .oga .ogg .opus .wav .wma",
    "video": ".3gp .asf .avi .f4v .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .vob .webm .wmv",
    "text": ".htm .html .ini .log .md .rst .toml .txt .xml .yaml .yml",
    "table": ".csv .json .jsonl .npy .npz .parquet .tsv .xls .xlsx",
    "model": ".ckpt .h5 .keras .onnx .pb .pt .pth .safetensors .tflite",
    "archive": ".7z .bz2 .gz .rar .tar .tgz .xz .zip",
    "heic": ".heic .heif .hif",
}
_KINDS = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, IndexError, NotImplementedError, OSError),
    *(OverflowError, RuntimeError, ValueError),
)
"""Exceptions that `zipfile` raises for damaged files."""


_FILM = re.compile(
    rb"....ftyp(?!M4[AB] |avi[fs]|hei[cmsx]|hev[cmsx]|mif1|msf1)|....moov|\x1a\x45\xdf\xa3|RIFF....AVI |FLV\x01|"
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11|\0\0\x01\xba|G[\x00\x40][\x00-\x1f]",
    re.DOTALL,
)
"""The first bytes of MP4 and MOV, Matroska and WebM, AVI, FLV, ASF, MPEG and its transport streams."""


class Listed(NamedTuple):
    """A file, not opened yet."""

    path: str
    kind: str
    """"image", a key of `NOUNS`, or "unreadable"."""
    error: str = ""
    """Why it is unreadable."""


def counted(kinds: Mapping[str, int]) -> str:
    """Return counts of files by kind as text, most frequent first: ``3 videos, 1 text``."""
    order = sorted(kinds.items(), key=lambda item: -item[1])
    return ", ".join(f"{number:,} {NOUNS[kind][number > 1]}" for kind, number in order if number)


def list_folder(root: str, results: Sequence[Path] = ()) -> list[Listed]:
    """List the files below a folder in the order of their paths; a folder that cannot be read is "unreadable".

    Links to folders are followed; a folder that is reached twice, as in a circle, is listed once. `results` are the
    folders that this run writes to. If one lies below `root`, all files in it are of the kind "result"; if it is
    `root` itself, only the annotated pictures and the crops of faces are. So are those in other folders of results,
    which the tables in them show; but if `root` is such a folder and holds no photos, its pictures are listed.
    """
    earlier = _Earlier(root, results)
    return earlier.settled(_in_order(_walked(root, earlier)))


def _walked(root: str, earlier: _Earlier) -> list[Listed]:
    listed: list[Listed] = []
    seen: set[str] = set()

    def unreadable(error: OSError) -> None:
        listed.append(
            Listed(error.filename, "unreadable", f"cannot read the folder {error.filename}: {error.strerror}")
        )

    for place, below, names in os.walk(str(Path(root)), followlinks=True, onerror=unreadable):
        real = os.path.realpath(place)
        below[:] = [] if real in seen else [name for name in sorted(below) if not is_hidden(name)]
        if real not in seen:
            seen.add(real)
            listed += _files(place, names, earlier.test(place))
    return listed


def list_pattern(pattern: str, results: Sequence[Path] = ()) -> list[Listed]:
    """List the files that match a pattern, and the files below folders that do; ``**`` is any number of folders."""
    parts = Path(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    top = str(Path(*parts[:fixed]))
    earlier = _Earlier(top, results)
    if "**" in parts:  # glob would follow circular links
        listed = _in_order(_walked(top, earlier))
        matching = [item for item in listed if _matches(Path(item.path).parts[fixed:], parts[fixed:])]
        return earlier.settled(matching)
    found: dict[str, Listed] = {}
    beside: dict[str, list[str]] = {}
    for path in glob.iglob(pattern):  # noqa: PTH207 - Path.glob does not leave out hidden files
        place, name = os.path.split(path)
        if os.path.isdir(path):  # noqa: PTH112 - Path takes ten times as long
            found |= {item.path: item for item in _walked(path, earlier)}
        else:
            beside.setdefault(place, []).append(name)
    for place, names in beside.items():
        found |= {item.path: item for item in _files(place, names, earlier.test(place))}
    return earlier.settled(_in_order(found.values()))


def kind_of(path: str) -> str:
    """Return the kind of one file, as in `Listed`."""
    return kind_by(Path(path).name, partial(first_bytes, path))


def is_film(head: bytes) -> bool:
    """Return whether a file's first bytes are those of a video."""
    return _FILM.match(head) is not None


def is_zip(path: str) -> bool:
    """Return whether a file is a zip, by its suffix or its first bytes."""
    suffix = _suffix(path)
    return suffix == ".zip" or (suffix not in images.SUFFIXES and first_bytes(path).startswith(b"PK\3\4"))


def member_name(info: zipfile.ZipInfo) -> str:
    """Return the name of a zip's member. Many programs write UTF-8 without the flag for it."""
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


class Archive:
    """A zip, opened when first read. Threads may share it; only its path is pickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[type[Archive], tuple[str]]:
        return Archive, (self.path,)

    @cached_property
    def _file(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(files.regular(Path(self.path)))

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        return {member_name(info): info for info in self._file.infolist()}

    def list(self) -> list[Listed]:
        """List the members by name.

        Raises:
            ImageError: it is damaged, encrypted throughout, or holds too many files.
        """
        try:
            members = {name: info for name, info in self._members.items() if not name.endswith("/")}
        except _ZIP_ERRORS as error:
            raise ImageError(f"cannot read the zip {self.path}: {_reason(error)}") from error
        if len(members) > MEMBER_LIMIT:
            raise ImageError(
                f"{self.path} holds over {MEMBER_LIMIT:,} files: unpack it, then give the folder"
            )
        if members and all(info.flag_bits & 1 for info in members.values()):
            raise ImageError(f"{self.path} is encrypted: unpack it, then give the folder")
        return [
            Listed(name, kind_by(name, partial(self.first_bytes, name)))
            for name in sorted(members)
            if not any(map(is_hidden, name.split("/")))
        ]

    def read(self, name: str, count: int = images.FILE_LIMIT_BYTES) -> bytes:
        """Return at most the first `count` bytes of a member.

        Raises:
            ImageError: it is missing, damaged, encrypted, too large, or compressed by another method than deflate,
                the only one that can be unpacked up to a limit.
        """
        where = f"{self.path}/{name}"
        try:
            info = self._members[name]
            if info.flag_bits & 1:
                raise ImageError(f"{where} is encrypted: unpack it first")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ImageError(f"{where} is compressed by a method not read here: use deflate")
            if info.file_size > images.FILE_LIMIT_BYTES:
                limit = f"{images.FILE_LIMIT_BYTES:,} bytes for a picture file"
                raise ImageError(f"{where} is over the limit of {limit}")
            with self._file.open(info) as member:
                return member.read(count)
        except KeyError as error:
            raise ImageError(f"cannot read {where}: the zip {self.path} has no such member") from error
        except _ZIP_ERRORS as error:
            raise ImageError(f"cannot read {where}: {_reason(error)}") from error

    def first_bytes(self, name: str) -> bytes:
        """Return the first bytes of a member; an empty text if it cannot be read."""
        try:
            return self.read(name, images.HEAD_BYTES)
        except ImageError:
            return b""


def _in_order(listed: Iterable[Listed]) -> list[Listed]:
    return sorted(listed, key=lambda item: item.path.split(os.sep))  # noqa: PTH206 - Path takes ten times as long


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or f"damaged or not complete ({error or type(error).__name__})"


def _files(place: str, names: list[str], is_result: Callable[[str], bool]) -> Iterator[Listed]:
    """Yield the files `names` of the folder `place` with their kinds."""
    for name in names:
        if not is_hidden(name):
            path = os.path.join(place, name).removeprefix(f".{os.sep}")  # noqa: PTH118 - Path takes ten times as long
            yield Listed(path, "result" if is_result(name) else kind_by(name, partial(first_bytes, path)))


class _Earlier:
    """Tells results of earlier runs from photos, below one folder that the user named."""

    def __init__(self, top: str, written: Sequence[Path]) -> None:
        """`written` are the folders that this run writes to."""
        self._top, self._real_top = Path(top), Path(os.path.realpath(top))
        self._written = [Path(os.path.realpath(one)) for one in written]
        self._shown: dict[Path, Path | None] = {}

    def test(self, place: str) -> Callable[[str], bool]:
        """Return a function: whether a file of this name in the folder `place` is a result."""
        real = Path(os.path.realpath(place))
        below = [out for out in self._written if self._real_top in out.parents]
        if any(out in (real, *real.parents) for out in below):
            return lambda _: True
        if real in self._written or self._shown_by(Path(place)):
            return lambda name: bool(name.endswith(_RESULTS) or _CROP.search(name))
        return lambda _: False

    def settled(self, listed: list[Listed]) -> list[Listed]:
        """Return the list, with the results in the named folder as what they are if there are no photos.

        Who names a folder of results wants its pictures. Who names photos does not want them twice.
        """
        if self._real_top in self._written or any(item.kind in ("image", "video") for item in listed):
            return listed
        return [
            Listed(path, kind_of(path)) if kind == "result" and self._shown_by(Path(path).parent) == self._top
            else Listed(path, kind, error)
            for path, kind, error in listed
        ]  # fmt: skip

    def _shown_by(self, place: Path) -> Path | None:
        """Return the nearest folder of results: this one, or one above it up to the named one; None if none is."""
        if place not in self._shown:
            is_marked = any(_begins(place / name, mark) for name, mark in _MARKS.items())
            above = None if place in (self._top, place.parent) else self._shown_by(place.parent)
            self._shown[place] = place if is_marked else above
        return self._shown[place]


def _begins(path: Path, mark: bytes) -> bool:
    """Return whether a file is there and begins in this way, as far as it is written."""
    head = first_bytes(str(path))[: len(mark)]
    return path.is_file() and mark.startswith(head)


def first_bytes(path: str) -> bytes:
    """Return the first bytes of a regular file; of others an empty text, because reading a pipe would wait."""
    try:
        if Path(path).is_file():
            with Path(path).open("rb") as file:
                return file.read(images.HEAD_BYTES)
    except (OSError, ValueError):
        pass
    return b""


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - Path takes ten times as long


def kind_by(name: str, first_bytes: Callable[[], bytes]) -> str:
    """Return a file's kind by its suffix; if that is missing, unknown or HEIC, by its first bytes."""
    suffix = _suffix(name)
    if suffix in images.SUFFIXES:
        return "image"
    kind = _KINDS.get(suffix, "other")
    if kind not in ("other", "heic"):
        return kind
    head = first_bytes()
    if kind == "other" and is_film(head):
        return "video"
    return {None: kind, "HEIC": "heic"}.get(images.format_of(head), "image")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or was added by the operating system."""
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db", "desktop.ini")


def _matches(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Return whether the parts of a path match those of a pattern."""
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_matches(names[at:], parts[1:]) for at in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatch(names[0], parts[0]) and _matches(names[1:], parts[1:])
