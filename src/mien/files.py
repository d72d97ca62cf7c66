"""Writing that never leaves half a file: a temporary name beside the target, then one rename."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO


def write(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` as `replacing` does.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing so that a reader, or a crash at any moment, finds all of it or what was there.

    A link is followed; a device or pipe, such as ``/dev/stdout``, is written to as it is.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    with as_output_error(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        with _staged(target) as (file, temporary):
            yield file
        _put([(temporary, target)])


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files of one folder: all of them are on disk before the first takes its place, in the order given.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full; nothing was changed there.
    """
    staged: list[tuple[Path, Path]] = []
    with as_output_error(folder):
        try:
            for name, content in contents.items():
                with _staged(folder / name) as (file, temporary):
                    file.write(content)
                staged.append((temporary, folder / name))
        except BaseException:
            for temporary, _ in staged:
                temporary.unlink(missing_ok=True)
            raise
        _put(staged)


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """Open a new file beside `target`; after the block it is on disk, or gone if the block or the disk failed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, temporary
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes it private
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _put(staged: list[tuple[Path, Path]]) -> None:
    """Rename each file to its target."""
    try:
        for temporary, target in staged:
            temporary.replace(target)
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Make a folder for results, or say in one line why it can't be written."""
    with as_output_error(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    return path


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Turn what the system says when `path` cannot be written into one line.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {path}: {reason}; nothing was changed there, choose another place"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
