"""The plan: any source becomes a stream of shards, each a few thousand images that one worker scores together.

A shard can be pickled. Its `digest` identifies its images, so that a resumed run notices if the source has changed.
Shards are made when they are needed: of a list of files, only the names are in memory.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.data.dataset import FaceDataset
from mien.errors import ConfigError
from mien.escapes import encodable
from mien.scale import rows, storage
from mien.scale.rows import Rows, Table
from mien.vision import images
from mien.vision.frames import Frame, broken, frames
from mien.vision.listing import counted, list_folder
from mien.workers import ordered

if TYPE_CHECKING:
    from collections.abc import Iterable

LIST_SUFFIX = ".txt"
_FOOTERS_AT_ONCE = 8
"""Number of Parquet files whose footers are read ahead, because a remote store answers slowly."""


@dataclass(frozen=True)
class Shard:
    """Images that one worker scores together; their results are one file."""

    number: int
    content: tuple[str | Frame, ...] | Rows
    """Paths and frames, or rows of a Parquet file."""

    def __len__(self) -> int:
        return len(self.content)

    @property
    def digest(self) -> str:
        """A hash of the names of these images; not of their pixels."""
        if isinstance(self.content, Rows):
            return _hash([repr(self.content.claim)])
        return _hash(one if isinstance(one, str) else f"{one.source}\0{one.index}" for one in self.content)

    @property
    def name(self) -> str:
        """The first and the last image, for messages."""
        if isinstance(self.content, Rows):
            return f"{self.content.name_of(0)} to {self.content.name_of(len(self) - 1)}"
        first, last = (
            one if isinstance(one, str) else one.source or "an image in memory"
            for one in (self.content[0], self.content[-1])
        )
        return f"{first} to {last}"

    def frames(self) -> Iterator[Frame]:
        """Yield the images, none of which is decoded yet."""
        if isinstance(self.content, Rows):
            return self.content.frames()
        return (Frame(one) if isinstance(one, str) else one for one in self.content)

    def halves(self) -> tuple[Shard, Shard]:
        """Return two shards with half of the images each."""
        middle = len(self) // 2
        return Shard(self.number, self.content[:middle]), Shard(self.number, self.content[middle:])

    def seen(self) -> str | None:
        """Return a file of this shard that this machine can read, or None: a worker must see it, too."""
        if isinstance(self.content, Rows):
            return None if self.content.uri else self.content.path
        paths = (one for one in self.content if isinstance(one, str))
        return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113 - any text


def _hash(names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode(errors="surrogatepass") + b"\n")
    return digest.hexdigest()[:32]


@dataclass
class Plan:
    """An iterable of shards; it can be read once."""

    source: object
    shard_size: int
    skip: Path | None = None
    """The folder of results; its files are not read as a source."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Files of folders that are neither images nor tables of images, by kind."""
    _lists: set[str] = field(default_factory=set, init=False, repr=False)
    """Lists that are being read, so that none reads itself."""

    def __iter__(self) -> Iterator[Shard]:
        """Yield the shards in the order of the source.

        Raises:
            ConfigError: a source is not there, or holds nothing that can be scored.
        """
        numbers = 0
        for content in self._contents():
            yield Shard(numbers, content)
            numbers += 1
        if not numbers:
            found = counted(self.skipped) or "nothing"
            raise ConfigError(f"no images in the source: expected images or Parquet files, found {found}")

    def _contents(self) -> Iterator[tuple[str | Frame, ...] | Rows]:
        """Yield lists of images, each full or ended by a Parquet file, and the rows of Parquet files."""
        images_of: list[str | Frame] = []
        for item in self._with_tables(self._items(self.source)):
            if isinstance(item, Rows) and images_of:
                yield tuple(images_of)
                images_of = []
            if isinstance(item, Rows):
                yield item
                continue
            images_of.append(item)
            if len(images_of) == self.shard_size:
                yield tuple(images_of)
                images_of = []
        if images_of:
            yield tuple(images_of)

    def _with_tables(self, items: Iterator[str | Frame | Table]) -> Iterator[str | Frame | Rows]:
        """Replace each Parquet file by its rows; several footers are read at once."""
        for item in items:
            if not isinstance(item, Table):
                yield item
                continue
            run: list[Table] = [item]
            after: str | Frame | Table | None = None
            for after in items:
                if not isinstance(after, Table):
                    break
                run.append(after)
                after = None
                if len(run) == 64 * _FOOTERS_AT_ONCE:
                    break
            for found in ordered(partial(rows.read_table, size=self.shard_size), run, _FOOTERS_AT_ONCE):
                if not found:
                    self.skipped["table"] += 1
                yield from found
            if isinstance(after, str | Frame):
                yield after

    def _items(self, source: object) -> Iterator[str | Frame | Table]:
        """Yield each image or Parquet file of a source."""
        if isinstance(source, FaceDataset):
            pairs = zip(source.ids, source.images, strict=True)
            yield from (Frame(name, load=partial(images.from_array, image)) for name, image in pairs)
        elif isinstance(source, list | tuple | Iterator):
            for one in source:
                yield from self._items(one)
        elif isinstance(source, str | os.PathLike):
            yield from self._at(os.fspath(source))
        else:
            yield from self._frames(source)

    def _at(self, place: str) -> Iterator[str | Frame | Table]:
        if storage.is_uri(place):
            yield from self._stored(place)
        elif place.lower().endswith(LIST_SUFFIX) and Path(place).is_file():
            if place in self._lists:
                raise ConfigError(f"{place} is a list that names itself")
            self._lists.add(place)
            yield from chain.from_iterable(map(self._at, _lines(place)))
            self._lists.remove(place)
        elif place.lower().endswith(".parquet") and Path(place).is_file():
            yield Table("", place, place, is_named=True)
        elif os.path.isdir(place):  # noqa: PTH112 - never raises, whatever the name
            yield from self._folder(place)
        else:
            yield from self._frames(place)

    def _folder(self, place: str) -> Iterator[str | Frame | Table]:
        for path, kind, error in list_folder(place, [self.skip] if self.skip else ()):
            if kind == "image":
                yield path
            elif kind == "unreadable":
                yield broken(path, error)
            elif path.lower().endswith(".parquet") and kind == "table":
                yield Table("", path, path)
            else:
                self.skipped[kind] += 1

    def _stored(self, uri: str) -> Iterator[Frame | Table]:
        for stored in storage.files_at(uri):
            if stored.kind == "image":
                load = partial(storage.read_image, stored.uri, stored.path, stored.name)
                yield Frame(stored.name, load=load)
            elif stored.kind == "parquet":
                yield Table(stored.uri, stored.path, stored.name)
            else:
                self.skipped[stored.kind] += 1

    def _frames(self, source: object) -> Iterator[str | Frame]:
        """Yield the frames of zips, patterns and images in memory, as `mien.frames` reads them."""
        found = frames(source, skip=self.skip)
        for entry in found.entries:
            if not isinstance(entry, str | Frame):
                raise ConfigError(
                    f"{entry.source} is a video: its frames are followed in order; leave out `engine`"
                )
            yield entry
        self.skipped.update(found.skipped)


def _lines(path: str) -> Iterator[str]:
    """Yield the paths and URIs in a text file, one a line; empty lines are ignored.

    Raises:
        ConfigError: it cannot be read as UTF-8.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            yield from (line.rstrip("\r\n") for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no list of paths, one a line, in UTF-8: {error}") from error


def first_of(shards: Iterator[Shard]) -> tuple[Shard | None, Iterator[Shard]]:
    """Return the first shard, and all shards."""
    head = list(islice(shards, 1))
    return (head[0] if head else None), chain(head, shards)


def described(source: object) -> list[Any]:
    """Return the source as a manifest stores it: names, without passwords and pixels."""
    if isinstance(source, FaceDataset):
        return [source.source]
    if isinstance(source, list | tuple):
        return [one for each in source[:20] for one in described(each)]
    text = os.fspath(source) if isinstance(source, str | os.PathLike) else type(source).__name__
    return [storage.shown(text) if storage.is_uri(text) else encodable(text)]
