"""`frames`: any source becomes a stream of frames, each decoded when its pixels are first used.

What cannot be read is a frame with its error, in its place. Files that are not pictures are counted by kind.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import glob
import io
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mien.errors import ConfigError, ImageError
from mien.escapes import encodable
from mien.install import install_command
from mien.options import Clip
from mien.vision import images
from mien.vision.held import InMemory, Stored
from mien.vision.listing import (
    Archive,
    Listed,
    counted,
    first_bytes,
    is_film,
    is_zip,
    kind_of,
    list_folder,
    list_pattern,
)
from mien.vision.sampling import ALL, CAMERA, STDIN, has_extra, is_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeGuard

    from jaxtyping import UInt8

    from mien.vision.animations import Animation
    from mien.vision.sampling import Moving

DATA_URI = "data:"
_END = object()
PATH_LIMIT_CHARACTERS = 4096
"""Longest text that can be a path on any system."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture, or one frame of a film; it is decoded, or found to be broken, when its pixels are first used.

    It can be pickled unless it comes from an object that cannot; decoded pixels are not pickled.
    """

    source: str = ""
    """A path as the user would write it, ``archive.zip/inner/name.jpg`` for a picture in a zip; "": in memory. It is
    `encodable`, so a path in another encoding than UTF-8 becomes a part of `load`."""
    index: int = 0
    """The number of a film's frame; 0 for a picture."""
    time_s: float | None = None
    load: Callable[[], UInt8[np.ndarray, "h w 3"]] | None = field(default=None, repr=False)
    """Function that returns the pixels or raises `ImageError`; if it is None, `source` is read as a file.
    It is called later, maybe in another thread and more than once, so it must not use a buffer that changes."""

    def __post_init__(self) -> None:
        if (name := encodable(self.source)) != self.source:
            object.__setattr__(self, "load", self.load or Stored(partial(images.read_file, self.source)))
            object.__setattr__(self, "source", name)

    @property
    def image_rgb_u8(self) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels, RGB from 0 to 255.

        Raises:
            ImageError: the frame cannot be read or decoded.
        """
        pixels, error = self._decoded
        if pixels is None:
            raise ImageError(error or "no pixels")
        return pixels

    @property
    def error(self) -> str | None:
        """Why the frame cannot be read or decoded; None if it can."""
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
    """An iterable of frames. Each pass makes new frames, so no pixels are kept here; an iterator allows one pass."""

    entries: Iterable[str | Frame | Moving] = field(repr=False)
    """Paths of files, frames with their own `load`, and sources of many frames such as videos."""
    total: int | None
    """Number of frames; None if it is not known before the end, as with videos."""
    skipped: dict[str, int]
    """Number of files in folders, patterns and zips that were not used, by kind (`listing.NOUNS`)."""
    _stopped: bool = field(default=False, init=False, repr=False)

    def __iter__(self) -> Iterator[Frame]:
        self._stopped = False
        for entry in self.entries:
            for frame in _frames_of(entry):
                if self._stopped:
                    return
                yield frame

    @property
    def moving(self) -> list[Moving]:
        """The videos, animations, cameras and network streams; empty if an iterator gives the sources."""
        found = self.entries if isinstance(self.entries, list) else []
        return [entry for entry in found if not isinstance(entry, str | Frame)]

    @property
    def live(self) -> bool:
        """Whether a camera or network stream is among them, which ends only when it is stopped."""
        return any(one.live for one in self.moving)

    @property
    def expected(self) -> int | None:
        """Estimated number of frames, from the headers of videos; None if it is not known."""
        if self.total is not None or not isinstance(self.entries, list):
            return self.total
        counts = [one.expected for one in self.moving]
        known = [count for count in counts if count is not None]
        still = len(self.entries) - len(counts)
        return None if len(known) < len(counts) else still + sum(known)

    def stop(self) -> None:
        """End after the current frame. Any thread may call this."""
        self._stopped = True
        for one in self.moving:
            one.stop()


def frames(
    source: object, *, skip: str | Path | Sequence[str | Path] | None = None, clip: Clip = ALL
) -> Frames:
    """Return the frames of a source of any kind.

    ``[frame.source for frame in mien.frames("photos/")]``

    - A path (str or Path): a picture file; a folder, searched throughout; a zip of pictures; a picture in a zip, as
      ``archive.zip/inner/name.jpg``; a pattern with ``*``, ``?`` or ``**``; ``-`` for a file's content on stdin.
    - The content of a file: bytes, bytearray, memoryview, a ``data:`` URI, or a file object opened for bytes.
    - A video file, with the extra `video`; an animated GIF or WebP; a network stream, ``rtsp://...`` or
      ``http://...``; a camera, as its number or ``camera:0``. They give the frames that `clip` chooses.
    - Pixels: a PIL image; a NumPy array, RGB u8 [h, w, 3] or grey u8 [h, w] or [h, w, 1].
    - `Frames`, and a list, tuple or iterator of all these. An iterator (or another object that can only be iterated
      over) is read only as far as frames are used, and `total` is None. What it gives is copied, decoded or read
      before it is asked for the next, so it may use one buffer again and again, or remove a file after its turn.

    A source that cannot be read, be it a broken file or an argument of a wrong kind, is a frame with its error. In
    folders, patterns and zips, pictures are recognised by suffix or else by their first bytes. Other files are
    counted in `skipped`; hidden ones are not. `skip` is the folder (or folders) to which results are written: results
    of an earlier run there are counted as "result". So are annotated pictures and crops in other folders of results;
    they are read only if such a folder is named itself, and holds no photos. Links to folders are followed; a folder
    that is reached twice is read once.

    Raises:
        ConfigError: a folder, pattern or zip without pictures (from an iterator: when its turn comes), or `skip` or
            `clip` with `Frames`, which are made already.
        MissingExtra: a video is named, and the extra `video` is not installed.
    """
    if isinstance(source, Frames):
        _check_made(skip, clip)
        return source
    folders = [skip] if isinstance(skip, str | Path) else skip or []
    search = _Search([Path(one) for one in folders], clip)
    found = search.entries(source)
    if _is_many(source) and not isinstance(source, Collection):
        return Frames(found, None, search.skipped)
    entries = list(found)
    is_counted = all(isinstance(entry, str | Frame) for entry in entries)
    return Frames(entries, len(entries) if is_counted else None, search.skipped)


def _check_made(skip: object, clip: Clip) -> None:
    if skip or clip != ALL:
        raise ConfigError("`skip` and `clip` choose frames when Frames are made: give them there")


def video(
    source: object, *, every: int = 1, fps: float | None = None, start: float = 0.0, end: float | None = None
) -> Frames:
    """Return the frames of a video, animation, camera or stream that these options choose; see `Clip`.

    ``mien.predict(mien.video("film.mp4", fps=5))``

    Raises:
        ConfigError: an option is out of range, or `source` is something else.
        MissingExtra: the extra `video` is not installed.
    """
    found = frames(source, clip=Clip(every, fps, start, end))
    if isinstance(found.entries, list) and not found.moving:
        got = repr(source) if isinstance(source, str | Path) else type(source).__name__
        why = next((one.error for one in found), None) if found.total == 1 else None
        raise ConfigError(
            f"expected a video, an animation, a camera or a stream, got {got:.60}"
            f"{f' ({why})' if why else '; for images: mien.frames'}"
        )
    return found


def _frames_of(entry: str | Frame | Moving) -> Iterable[Frame]:
    if isinstance(entry, str):
        return [Frame(entry)]
    return [replace(entry)] if isinstance(entry, Frame) else entry


class _Search:
    """State that all sources of one call of `frames` share."""

    def __init__(self, skip: Sequence[Path], clip: Clip) -> None:
        self.skip, self.clip = skip, clip
        self.skipped: Counter[str] = Counter()
        self.archives: dict[str, Archive] = {}

    def entries(self, source: object) -> Iterator[str | Frame | Moving]:
        """Yield a path or a frame for each picture of `source`."""
        if isinstance(source, Frame | Frames):
            yield from self._made(source)
        elif isinstance(source, str | os.PathLike):
            yield from self._from_path(os.fspath(source))
        elif isinstance(source, bytes | bytearray | memoryview):
            yield self._from_content(bytes(source), "")
        elif isinstance(source, int) and not isinstance(source, bool):
            yield self._from_camera(source)
        elif isinstance(source, Image.Image):
            yield Frame(load=InMemory(images.from_pil, source))
        elif isinstance(source, np.ndarray):
            yield Frame(load=InMemory(images.from_array, source))
        elif hasattr(source, "read"):
            name = getattr(source, "name", "")
            yield self._from_file(source, name if isinstance(name, str) else "")
        elif _is_many(source):
            every = chain.from_iterable(map(self.entries, source))
            yield from every if isinstance(source, Collection) else self._passing(source)
        else:
            yield broken("", _wrong_kind(source))

    def _passing(self, sources: Iterable[object]) -> Iterator[str | Frame | Moving]:
        """Yield what an iterator gives, taken over; of a PIL image of several pictures, the current one.

        So each picture of `PIL.ImageSequence.Iterator` is a frame. If the iterator gives the first picture and does
        not move the image on, an error says that the others were not given.
        """
        unmoved: tuple[Image.Image, str] | None = None
        for each in chain(sources, [_END]):
            if unmoved and not unmoved[0].tell():
                advice = "to give all, PIL.ImageSequence.Iterator(image)"
                yield broken("", f"{unmoved[1]}, of which only the first was given: {advice}")
            unmoved = None
            if isinstance(each, Image.Image):
                yield _taken_over(Frame(load=InMemory(partial(images.from_pil, is_chosen=True), each)))
                with contextlib.suppress(Exception):  # of a damaged image, which is a frame with its error
                    if not each.tell() and (several := images.several_in(each)):
                        unmoved = each, several
            elif each is not _END:
                yield from map(_taken_over, self.entries(each))

    def _made(self, source: Frame | Frames) -> Iterable[str | Frame | Moving]:
        if isinstance(source, Frame):
            return [source]
        _check_made(self.skip, self.clip)
        self.skipped.update(source.skipped)
        return source.entries

    def _from_path(self, path: str) -> Iterator[str | Frame | Moving]:
        if path == STDIN:
            yield self._from_file(sys.stdin.buffer, STDIN)
        elif path.startswith(CAMERA):
            yield self._from_camera(path.removeprefix(CAMERA))
        elif is_address(path):
            yield self._film(path)
        elif path.startswith(DATA_URI):
            yield Frame(load=partial(_from_uri, path))
        elif reason := _no_path(path):
            yield broken(path[:60], reason)
        elif os.path.lexists(path):
            yield from self._from_existing(path)
        elif archive := _archive_above(path):
            yield self._member(archive, path[len(archive) + 1 :])
        elif glob.has_magic(path):
            yield from self._from_pattern(path)
        elif path.isdecimal():
            yield broken(path, f"no file {path} here; camera number {path} is written {CAMERA}{path}")
        else:
            yield path

    def _from_existing(self, path: str) -> Iterable[str | Frame | Moving]:
        if os.path.isdir(path):  # noqa: PTH112 - never raises, whatever the name
            return self._pictures(list_folder(path, self.skip), f"the folder {path}")
        return self._from_zip(path) if is_zip(path) else [self._from_file_at(path, kind_of(path))]

    def _from_file_at(self, path: str, kind: str) -> str | Moving:
        """Return a video or animation to read, or the path of a picture (or of a file that is read as one)."""
        if kind == "video":
            return self._film(path)
        return self._animation(path, partial(first_bytes, path), partial(images.read_file, path)) or path

    def _animation(
        self, source: str, first_bytes: Callable[[], bytes], read: Callable[[], bytes]
    ) -> Animation | None:
        """Return a file as an animation if its suffix and its content are those of one."""
        from mien.vision.animations import SUFFIXES, Animation, is_animated

        if source.lower().endswith(SUFFIXES) and is_animated(first_bytes(), read):
            return Animation(read, source, self.clip)
        return None

    def _film(self, place: str | bytes, source: str | None = None) -> Moving:
        from mien.vision.films import Film

        return Film(place, source, self.clip)

    def _from_content(self, data: bytes, source: str) -> Frame | Moving:
        """Return the frame, video or animation that the content of a file holds."""
        from mien.vision.animations import Animation, is_animated

        if is_film(data[: images.HEAD_BYTES]):
            return self._film(data, source)
        read = partial(bytes, data)
        if is_animated(data[: images.HEAD_BYTES], read):
            return Animation(read, source, self.clip)
        return Frame(source, load=partial(images.decode, data))

    def _from_file(self, file: object, source: str) -> Frame | Moving:
        """Read an open file at once, so that threads need not share it."""
        if isinstance(file, io.TextIOBase):
            return broken(source, "the file is opened for text: open it for bytes, mode 'rb'")
        try:
            data = file.read(images.FILE_LIMIT_BYTES + 1)  # type: ignore[attr-defined]
        except (OSError, ValueError) as error:
            return broken(source, f"cannot read the file: {error}")
        if not isinstance(data, bytes):
            return broken(source, f"expected a file opened for bytes, reading gave {type(data).__name__}")
        if len(data) > images.FILE_LIMIT_BYTES:
            limit = f"{images.FILE_LIMIT_BYTES:,} bytes for a picture file"
            return broken(source, f"{source or 'the file'} is over the limit of {limit}")
        return self._from_content(data, source)

    def _from_camera(self, number: str | int) -> Frame | Moving:
        from mien.vision.live import Camera

        try:
            return Camera(int(number), self.clip)
        except ValueError:
            return broken(
                f"{CAMERA}{number}", f"expected a camera's number, as {CAMERA}0, got {CAMERA}{number}"
            )

    def _from_pattern(self, pattern: str) -> Iterable[str | Frame | Moving]:
        """Return the files that match; a name with brackets that matches nothing is treated as a missing file."""
        listed = list_pattern(pattern, self.skip)
        if not listed and "*" not in pattern:
            return [pattern]
        return self._pictures(listed, f"the pattern {pattern}")

    def _from_zip(self, path: str) -> Iterable[str | Frame | Moving]:
        try:
            listed = self._archive(path).list()
        except ImageError as error:
            return [broken(path, str(error))]
        return [
            self._member(path, str(name)) for name in self._pictures(listed, f"the zip {path}", inside=True)
        ]

    def _archive(self, path: str) -> Archive:
        return self.archives.setdefault(path, Archive(path))

    def _member(self, path: str, name: str) -> Frame | Moving:
        archive, source = self._archive(path), f"{path}/{name}"
        animation = self._animation(source, partial(archive.first_bytes, name), partial(archive.read, name))
        return animation or Frame(source, load=Stored(partial(archive.read, name)))

    def _pictures(
        self, listed: list[Listed], where: str, *, inside: bool = False
    ) -> list[str | Frame | Moving]:
        """Keep the pictures and videos, and the folders that cannot be read as broken frames; count the rest.

        Videos `inside` a zip are counted, and without the extra `video` all videos.

        Raises:
            ConfigError: there is nothing to keep.
        """
        has_films = not inside and has_extra()
        kept_kinds = {"image", "unreadable", *(["video"] if has_films else [])}
        kinds = Counter(item.kind for item in listed)
        if not sum(kinds.pop(kind, 0) for kind in kept_kinds):
            expected = "such as .jpg or .png" if not has_films else "such as .jpg, .png or .mp4"
            wanted = "pictures or videos" if has_films else "pictures"
            hint = f"; to read videos: {install_command('video')}" if kinds["video"] and not inside else ""
            hint += "; to read results, name their folder and write to another" if kinds["result"] else ""
            found = counted(kinds) or "nothing"
            raise ConfigError(f"no {wanted} in {where}: expected files {expected}, found {found}{hint}")
        self.skipped.update(kinds)
        kept = [item for item in listed if item.kind in kept_kinds]
        if inside:
            return [broken(item.path, item.error) if item.error else item.path for item in kept]
        return [
            broken(item.path, item.error) if item.error else self._from_file_at(item.path, item.kind)
            for item in kept
        ]


def _taken_over(entry: str | Frame | Moving) -> Frame | Moving:
    """Return what an iterator gave so that it does not depend on what the iterator does next.

    Videos need nothing: their frames are decoded before the iterator is asked for its next source.
    """
    entry = Frame(entry) if isinstance(entry, str) else entry
    if not isinstance(entry, Frame):
        return entry
    load = entry.load or Stored(partial(images.read_file, entry.source))
    try:
        return replace(entry, load=load.taken_over()) if isinstance(load, InMemory | Stored) else entry
    except ImageError as error:
        return broken(entry.source, str(error), entry.index, entry.time_s)


def _refuse(message: str) -> NoReturn:
    raise ImageError(message)


def broken(source: str, message: str, index: int = 0, time_s: float | None = None) -> Frame:
    """Return a frame with an error, in place of a source that cannot be read."""
    return Frame(source, index, time_s, load=partial(_refuse, message))


def _is_many(source: object) -> TypeGuard[Iterable[object]]:
    """Return whether `source` is a list or iterator of sources; tensors and tables, which become arrays, are not."""
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
    """Return why a text cannot be the path of a picture, or None if it can."""
    if not text:
        return "expected the path of a picture, got an empty text"
    if len(text) > PATH_LIMIT_CHARACTERS:
        return f"a text of {len(text):,} characters is no path; for base64, write data:image/jpeg;base64,..."
    return None


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
