"""Writing that never leaves half a file: a temporary name beside the target, then one rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO


TEMPORARY = ".tmp-"
"""How the name of a file begins that is not whole yet."""
_TEMPORARY_NAME = re.compile(re.escape(TEMPORARY) + "[0-9a-f]{16}")
_HOLDER_BYTES = 64


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
            with path.open("wb") as device:
                yield device
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, file = _temporary(target.parent)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def append(file: IO[bytes], content: bytes) -> None:
    """Append to a file that was opened without a buffer, all of it or with an error.

    Such a file takes less than it is given when the disk fills up, and raises nothing.

    Raises:
        OSError: the disk is full; a part of `content` may be at the end of the file.
    """
    if file.write(content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def open_to_append(path: Path) -> IO[bytes]:
    """Open a file for `append`, locked: one command at a time adds to it. The lock ends when it is closed.

    Raises:
        OutputError: another command is adding to it.
        OSError: it cannot be opened.
    """
    file = path.open("ab", buffering=0)
    if path.is_file() and not _lock(file.fileno()):
        file.close()
        raise OutputError(
            f"another command is writing to {path}: nothing was changed; repeat this one when that has ended, or "
            "name another file"
        )
    return file


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Give a new folder in the system's place for temporary files; it goes away at the end.

    Raises:
        OutputError: there is no such place, or its disk is full.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=prefix) as folder:
            yield Path(folder)
    except OSError as error:
        raise OutputError(
            f"cannot write temporary files: {error.strerror or error}; TMPDIR=FOLDER names another place for them"
        ) from error


@contextlib.contextmanager
def together(folder: Path, last: str, *, replaces: bool = False) -> Iterator[Path]:
    """Replace several files of `folder` as one: give a folder inside it to write them into, below the same names.

    At the end the file called `last` goes away, the others are moved into place, then the new `last`. So where `last`
    is, all files are of one run. An error, a full disk or a kill before the end leaves what was there.

    `replaces`: files of an earlier call that this one did not write go away, such as a table that only some reports
    have. Their names are kept in a hidden file; files that others put there stay.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    with as_output_error(folder):
        stage, handle = _temporary_folder(make_folder(folder))
    try:
        yield stage
        with as_output_error(folder):
            earlier = _remembered(stage, folder, last) if replaces else []
        _move(stage, folder, last)
        for name in earlier:
            if (folder / name).is_file():
                with as_output_error(folder / name):
                    (folder / name).unlink()
    except OutputError as error:
        raise OutputError(str(error).replace(str(stage), str(folder))) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _temporary_folder(folder: Path) -> tuple[Path, int | None]:
    """Return a new folder, and the handle that keeps it locked."""
    while True:
        path = folder / f"{TEMPORARY}{secrets.token_hex(8)}"
        path.mkdir()
        if fcntl is None:  # a folder has no handle on Windows
            return path, None
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # taken for a killed command's, between the two calls
            continue
        if _lock(handle):
            return path, handle
        os.close(handle)


def _remembered(stage: Path, folder: Path, last: str) -> list[str]:
    """Write the names of the files of this call, and return those that only an earlier call wrote."""
    kept = f".{last}.files"
    now = sorted(path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file())
    (stage / kept).write_text("\n".join(now) + "\n", encoding="utf-8", errors="surrogateescape")
    if not (folder / kept).is_file():
        return []
    before = (folder / kept).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    inside = folder.resolve()
    own = [name for name in before if (folder / name).resolve().is_relative_to(inside)]
    return [name for name in own if name and name not in now]


def _move(stage: Path, folder: Path, last: str) -> None:
    """Move all files of `stage` to their places in `folder`, `last` at the end."""
    names = sorted(path.relative_to(stage) for path in stage.rglob("*") if path.is_file())
    assert Path(last) in names, f"{last} was not written"
    try:
        (folder / last).unlink(missing_ok=True)
        for name in sorted(names, key=lambda name: name == Path(last)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).replace(folder / name)
    except OSError as error:
        raise OutputError(
            f"cannot write {folder / name}: {error.strerror or error}; without {last}, files there may be of two "
            f"runs: repeat the command, or choose another place"
        ) from error


def _temporary(folder: Path) -> tuple[Path, IO[bytes]]:
    """Return a new file that is locked while it is open, so that `_sweep` can tell it from what a killed one left."""
    while True:
        path = (
            folder / f"{TEMPORARY}{secrets.token_hex(8)}"
        )  # not made of the target's name, which may be long
        file = path.open("xb")
        if _lock(file.fileno()):
            return path, file
        file.close()  # taken for a killed command's, between the two calls


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one command at a time change the files of a folder; what is made of its path is removed if it stays empty.

    The lock ends with the process, however that ends. It is not held on Windows, nor on a file system without
    locks: to go on without one is better than to lose the result of a long run.

    Raises:
        OutputError: another command holds it, or the folder cannot be written.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    path = make_folder(folder) / ".lock"
    with as_output_error(folder):
        file = path.open("a+b", buffering=0)  # nothing is left to write when it is closed
    with file:
        if not _lock(file.fileno()):
            raise OutputError(
                f"another command is writing into {folder}{_holder(file)}: nothing was changed; repeat this one when "
                f"that has ended"
            )
        try:
            with as_output_error(folder):
                file.truncate(0)
                file.write(f"process {os.getpid()}".encode())
            yield
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds something
                for one in made:
                    one.rmdir()


def _holder(file: IO[bytes]) -> str:
    """Return who holds the lock, in brackets, as far as the file tells."""
    file.seek(0)
    named = re.fullmatch(rb"process \d{1,10}", file.read(_HOLDER_BYTES))
    return f" ({named[0].decode()})" if named else ""


def _sweep(folder: Path) -> None:
    """Remove the temporary files and folders that killed commands left; those of commands that run are locked."""
    for path in folder.glob(f"{TEMPORARY}*") if fcntl else ():
        if not _TEMPORARY_NAME.fullmatch(path.name) or path.is_symlink():
            continue
        with contextlib.suppress(OSError):  # in use, or a file system without locks
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.is_file():
                    path.unlink()
            finally:
                os.close(handle)


def _lock(handle: int) -> bool:
    """Take the lock of an open file; False if another command has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return os.fstat(handle).st_nlink > 0  # not one that its last holder has just removed


def regular(path: Path) -> Path:
    """Return `path` if reading it comes to an end: it is a file or a folder, or there is nothing.

    Raises:
        OSError: it is a pipe, a socket or a device; opening the first two waits, and the third may have no end.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, expected a file", str(path))
    return path


def make_folder(path: Path) -> Path:
    """Make a folder for results, or say in one line why it can't be written; what killed commands left goes."""
    with as_output_error(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
        _sweep(path)
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
