"""Files at a URI: whatever Arrow's file systems read, such as s3://, gs://, abfs://, hdfs:// and file://.

A URI may hold a password. So messages and results use `shown(uri)`, never the URI.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from mien.errors import ConfigError, ImageError
from mien.vision import images
from mien.vision.listing import is_hidden, kind_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from jaxtyping import UInt8

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class Stored(NamedTuple):
    """A file below a URI."""

    uri: str
    """The URI as it was given, with a password if it has one."""
    path: str
    """The path inside its file system."""
    name: str
    """Its name in messages and results."""
    kind: str
    """A kind of `mien.vision.listing.Listed`, or "parquet"."""


def is_uri(text: str) -> bool:
    """Return whether a text is the URI of a file system."""
    return _URI.match(text) is not None


def shown(uri: str) -> str:
    """Return a URI without user, password and options."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def files_at(uri: str) -> Iterator[Stored]:
    """Yield the files at or below a URI, in the order of their paths; one folder's names are in memory at a time.

    Raises:
        ConfigError: no such place, no such kind of file system, or it cannot be read.
    """
    files, path = _opened(uri)
    with _as_config_error(uri):
        found = files.get_file_info(path)
    root = shown(uri).rstrip("/")
    if found.type.name == "NotFound":
        raise ConfigError(f"nothing is at {root}: expected a file or a folder")
    if found.is_file:
        yield Stored(uri, found.path, root, _kind(files, found.path, found.base_name))
        return
    cut = len(found.path.rstrip("/"))
    for entry in _below(files, found.path, uri, set()):
        yield Stored(uri, entry.path, root + entry.path[cut:], _kind(files, entry.path, entry.base_name))


def _below(files: Any, folder: str, uri: str, seen: set[str]) -> Iterator[Any]:
    """Yield what is below a folder. On this machine, a folder that links lead to twice is read once.

    A link that leads nowhere is yielded, too: an image that cannot be read.
    """
    from pyarrow.fs import FileSelector

    if files.type_name == "local":
        real = os.path.realpath(folder)
        if real in seen:
            return
        seen.add(real)
    with _as_config_error(uri):
        entries = files.get_file_info(FileSelector(folder))
        if files.type_name == "local":  # where pyarrow passes over links that lead nowhere
            entries += files.get_file_info([str(one) for one in Path(folder).iterdir() if not one.exists()])
    for entry in sorted(entries, key=lambda one: one.base_name):
        if is_hidden(entry.base_name):
            continue
        if entry.is_file or entry.type.name == "NotFound":
            yield entry
        else:
            yield from _below(files, entry.path, uri, seen)


def _kind(files: Any, path: str, name: str) -> str:
    def first_bytes() -> bytes:
        try:
            with files.open_input_stream(path) as stream:
                return bytes(stream.read(images.HEAD_BYTES))
        except OSError:
            return b""

    return "parquet" if name.lower().endswith(".parquet") else kind_by(name, first_bytes)


def read_image(uri: str, path: str, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of an image file, in RGB.

    Raises:
        ImageError: it cannot be read or decoded.
        ConfigError: no such kind of file system, or it cannot be reached.
    """
    try:
        with _opened(uri)[0].open_input_stream(path) as stream:
            data = bytes(stream.read(images.FILE_LIMIT_BYTES + 1))
    except OSError as error:
        raise ImageError(f"cannot read {name}: {_reason(error)}") from error
    if len(data) > images.FILE_LIMIT_BYTES:
        raise ImageError(f"{name} is over the limit of {images.FILE_LIMIT_BYTES:,} bytes for a picture file")
    return images.decode(data)


def open_file(uri: str, path: str) -> Any:
    """Return a file opened for reading at any place; a path of this machine has the URI "".

    Raises:
        OSError: it cannot be opened.
        ConfigError: no such kind of file system, or it cannot be reached.
    """
    if not uri:
        import pyarrow as pa

        return pa.OSFile(path)
    return _opened(uri)[0].open_input_file(path)


@lru_cache(maxsize=64)
def _opened(uri: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    with _as_config_error(uri):
        return FileSystem.from_uri(uri)


class _as_config_error:  # noqa: N801 - reads as a function, and is quicker than a generator
    """Turn Arrow's error about a URI into a ConfigError of one line, without the password in it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        import pyarrow as pa

        if isinstance(error, OSError | pa.ArrowException | ImportError):
            raise ConfigError(
                f"cannot read {shown(self.uri)}: {_reason(error).replace(self.uri, shown(self.uri))}"
            ) from None


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__)[:300]
