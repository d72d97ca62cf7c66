"""Text tables as they come: plain, ``.gz``, or inside a ``.zip`` or ``.tar.gz``; rows of cells or of numbers.

A table is read line by line, so a large one costs its result, not its text.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import tarfile
import warnings
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mien.data.archives import BOMB_RATIO, check_member, is_debris
from mien.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from jaxtyping import Num

LINE_LIMIT_BYTES = 2**24
TABLE_LIMIT_BYTES = 2**40
SUFFIXES = (".csv", ".tsv", ".txt")
_USUAL = ("fer2013.csv", "icml_face_data.csv", "train.csv")
_ROWS_AT_ONCE = 256


class Table(NamedTuple):
    """A table with its header read."""

    name: str
    header: list[str]
    """Lower case, stripped."""
    rows: Iterator[tuple[int, list[str]]]
    """Number of the line and cells of each row that follows, as many as the header has."""


@contextlib.contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """Open a table with a header.

    Raises:
        DataError: not text, damaged, an empty table, a row of another length.
    """
    with _lines(path) as (name, lines):
        header = next(lines, "").lstrip("\ufeff")
        if not header.strip():
            raise DataError(f"{name} is empty: expected a table with a header")
        delimiter = max(",;\t", key=header.count)
        names = [cell.strip().lower() for cell in _cells(header, delimiter, name)]

        def rows() -> Iterator[tuple[int, list[str]]]:
            for number, line in enumerate(lines, start=2):
                if not line.strip():
                    continue
                cells = _cells(line, delimiter, name)
                if len(cells) != len(names):
                    raise DataError(
                        f"{name}: line {number} has {len(cells)} cells, expected {len(names)} as in the header"
                    )
                yield number, cells

        yield Table(name, names, rows())


def numbers_in(path: Path) -> Num[np.ndarray, "n d"]:
    """Read a table of numbers, one row a line, with or without a header.

    Raises:
        DataError: a cell that is no number, rows of different lengths.
    """
    blocks: list[np.ndarray] = []
    with _lines(path) as (name, lines):
        rows = ((number, line.strip("\ufeff \r\n")) for number, line in enumerate(lines, start=1))
        filled = (row for row in rows if row[1])
        first = next(filled, (0, ""))
        values = _parsed(first[1], _delimiter(first[1]))
        if values is None or (
            len(values) > 2 and (values == np.arange(len(values))).all()
        ):  # a header, or pandas' own
            first = next(filled, (0, ""))
        delimiter, width = _delimiter(first[1]), 0
        pending = [first] if first[1] else []
        while pending:
            pending += itertools.islice(filled, _ROWS_AT_ONCE)
            blocks.append(numbers(pending, delimiter, name, width))
            width, pending = blocks[0].shape[1], list(itertools.islice(filled, 1))
    if not blocks:
        raise DataError(f"{path} holds no rows of numbers")
    return np.concatenate(blocks)


def numbers(
    lines: list[tuple[int, str]], delimiter: str, name: str, width: int = 0
) -> Num[np.ndarray, "n d"]:
    """Parse numbered lines of numbers, `width` in each (0: as many as in the first).

    Raises:
        DataError: names the first line that is wrong.
    """
    texts = [text for _, text in lines]
    width = width or texts[0].count(delimiter) + 1
    if all(text.count(delimiter) == width - 1 for text in texts):
        values = _parsed(delimiter.join(texts), delimiter)
        if values is not None and len(values) == width * len(lines):
            return values.reshape(len(lines), width)
    for number, text in lines:
        row = _parsed(text, delimiter)
        if row is None:
            raise DataError(f"{name}: line {number} holds something else than numbers: {text[:60]!r}")
        if len(row) != width:
            raise DataError(
                f"{name}: line {number} has {len(row)} numbers, expected {width} as in the first row"
            )
    raise DataError(f"{name}: expected {width} numbers in each row, one {delimiter!r} between them")


def _delimiter(line: str) -> str:
    return max(",;\t ", key=line.count)


def _parsed(text: str, delimiter: str) -> Num[np.ndarray, " n"] | None:
    """Return the numbers in `text`, in the smallest type that pixels need, None if it holds anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:  # whole numbers parse ten times faster
            values = np.fromstring(text, np.int64, sep=delimiter)
            return values.astype(np.uint8 if values.min() >= 0 and values.max() <= 255 else np.float32)
        except (ValueError, DeprecationWarning):
            pass
        try:
            return np.fromstring(text, np.float32, sep=delimiter)
        except (ValueError, DeprecationWarning):
            return None


def _cells(line: str, delimiter: str, name: str) -> list[str]:
    if '"' not in line:
        return line.rstrip("\r\n").split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration) as error:
        raise DataError(f"{name}: {error} in {line[:60]!r}") from error


@contextlib.contextmanager
def _lines(path: Path) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield the table's name and its lines, whatever it is packed in."""
    try:
        with contextlib.ExitStack() as stack:
            name, stream, limit = _stream(path, stack)
            yield name, _decoded(name, stream, limit)
    except (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged or cannot be read ({error}): download it again") from error


def _stream(path: Path, stack: contextlib.ExitStack) -> tuple[str, IO[bytes], int]:
    """Return a table's name, its bytes, and how many of them are believed."""
    packed_limit = BOMB_RATIO * max(path.stat().st_size, 2**16)
    if zipfile.is_zipfile(path):
        archive = stack.enter_context(zipfile.ZipFile(path))
        infos = {info.filename: info for info in archive.infolist()}
        member = _the_table(list(infos), path)
        check_member(infos[member], path, limit_bytes=TABLE_LIMIT_BYTES)
        inner = stack.enter_context(archive.open(member))
        if member.endswith((".tar.gz", ".tgz")):
            return _in_tar(inner, path, stack, packed_limit)
        return f"{path}:{member}", inner, packed_limit
    with path.open("rb") as file:
        start = file.read(2)
    if start != b"\x1f\x8b":
        return str(path), stack.enter_context(path.open("rb")), TABLE_LIMIT_BYTES
    try:
        return _in_tar(stack.enter_context(path.open("rb")), path, stack, packed_limit)
    except tarfile.ReadError:
        unpacked: IO[bytes] = gzip.open(path)  # type: ignore[assignment]  # noqa: SIM115
        stack.callback(unpacked.close)
        return str(path), unpacked, packed_limit


def _in_tar(
    packed: IO[bytes], path: Path, stack: contextlib.ExitStack, limit: int
) -> tuple[str, IO[bytes], int]:
    """Open the table in a ``.tar.gz``, which is read from its start to its end only."""
    archive = stack.enter_context(tarfile.open(fileobj=packed, mode="r|gz"))  # noqa: SIM115
    for member in archive:
        if member.isfile() and _is_table(member.name):
            inner = archive.extractfile(member)
            assert inner is not None
            return f"{path}:{member.name}", inner, limit
    raise DataError(f"{path} holds no table: expected a .csv file in it")


def _is_table(name: str) -> bool:
    """Say whether a member of an archive is a table, and not a readme or a system's own debris."""
    parts = PurePosixPath(name)
    plain = parts.name.lower()
    return plain.endswith(SUFFIXES) and "readme" not in plain and not is_debris(parts)


def _the_table(names: list[str], path: Path) -> str:
    """Return the one member of an archive that is the dataset."""
    tables = [name for name in names if _is_table(name)]
    usual = [name for known in _USUAL for name in tables if name.rsplit("/", 1)[-1] == known]
    if usual or len(tables) == 1:
        return (usual or tables)[0]
    inner = [name for name in names if name.endswith(("fer2013.tar.gz", "fer2013.tgz"))]
    if inner and not tables:
        return inner[0]
    raise DataError(
        f"{path} holds {len(tables)} tables ({', '.join(tables[:4]) or 'none'}): unpack it and name the one you mean"
    )


def _decoded(name: str, stream: IO[bytes], limit: int) -> Iterator[str]:
    total = 0
    buffered = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    for number in range(1, 2**62):
        line = buffered.readline(LINE_LIMIT_BYTES)
        total += len(line)
        if not line:
            return
        if len(line) == LINE_LIMIT_BYTES:
            raise DataError(
                f"{name}: line {number} is longer than {LINE_LIMIT_BYTES:,} bytes: is this a table?"
            )
        if total > limit:
            raise DataError(f"{name} unpacks to more than {BOMB_RATIO} times its size: is this a bomb?")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name} is not UTF-8 text (byte {line[error.start]:#04x} in line {number}): save it as UTF-8"
            ) from error
