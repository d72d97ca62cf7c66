"""Text tables: plain, ``.gz``, or inside a ``.zip`` or ``.tar.gz``; rows of cells or of numbers.

A table is read line by line, so its text is never in memory as a whole.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import os
import re
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mien.data.archives import (
    BOMB_RATIO,
    check_member,
    has_picture_suffix,
    is_debris,
    members,
    regular,
    unpacked,
)
from mien.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import IO

    from jaxtyping import Num

LINE_LIMIT_BYTES = 2**24
TABLE_LIMIT_BYTES = 2**40
SUFFIXES = (".csv", ".tsv", ".txt", ".lst")
_USUAL = ("fer2013.csv", "icml_face_data.csv", "train.csv")
_ROWS_AT_ONCE = 256
_SEPARATORS = ",;\t|"
_NAMED_SEPARATOR = re.compile(r'"?sep=([^"])"?', re.IGNORECASE)
_LONG_CELL = 100_000
"""Longer lines are not given to the csv module, whose limit of 131,072 belongs to the whole process."""


class Member(NamedTuple):
    """A table in a folder or an archive that is open."""

    name: str
    """Name in messages."""
    open: Callable[[], IO[bytes]]


class Table(NamedTuple):
    """A table with its header read."""

    name: str
    header: list[str]
    """Names of the columns in lower case, without blanks around them; empty if the table has no header."""
    rows: Iterator[tuple[int, list[str]]]
    """Line number and cells of each row; all rows have the same number of cells."""


@contextlib.contextmanager
def open_table(source: Path | Member, *, headed: bool | None = True) -> Iterator[Table]:
    """Open a table.

    `headed`: whether it has a header; with None, its first row is a header unless it names a picture file.

    Raises:
        DataError: not text, damaged, an empty table, a row of another length.
    """
    with _lines(source) as (name, lines):
        plain = enumerate(lines, start=1)
        start, separator = _start(plain)
        if not start[0][1].strip():
            raise DataError(f"{name} is empty: expected a table with a header")
        numbered = _joined(itertools.chain(start, plain), separator)
        place, first = next(numbered)
        first = first.lstrip("\ufeff")
        cells = _cells(first, separator, name)
        without = not headed if headed is not None else any(map(has_picture_suffix, cells))
        header = [] if without else [cell.strip().lower() for cell in cells]
        before = [(place, first)] if without else []

        def rows() -> Iterator[tuple[int, list[str]]]:
            for number, line in itertools.chain(before, numbered):
                if not line.strip():
                    continue
                row = _cells(line, separator, name)
                if len(row) == len(cells) and not any(map(str.strip, row)):
                    continue
                if len(row) != len(cells):
                    where = "first row" if without else "header"
                    raise DataError(
                        f"{name}: line {number} has {len(row)} cells, expected {len(cells)} as in the {where}"
                    )
                yield number, row

        yield Table(name, header, rows())


def _start(lines: Iterator[tuple[int, str]]) -> tuple[list[tuple[int, str]], str]:
    """Return the first lines of a table that are no comments, and the separator of its cells.

    Excel's line ``sep=;`` names the separator. A line that begins with # is a comment, unless it has as many cells as
    the line after it: then it is a header.
    """
    filled = ((number, line) for number, line in lines if line.strip("\ufeff \r\n"))
    first = next(filled, (0, ""))
    if named := _NAMED_SEPARATOR.fullmatch(first[1].strip("\ufeff \r\n")):
        return [next(filled, (0, ""))], named[1]
    while first[1].lstrip("\ufeff").startswith("#"):
        after = next(filled, (0, ""))
        separator = _separator(after[1])
        if not after[1] or len(first[1].split(separator)) == len(after[1].split(separator)):
            return [first, after], separator
        first = after
    return [first], _separator(first[1].lstrip("\ufeff"))


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
    """Parse numbered lines, each with `width` numbers (0: as many as in the first line).

    Raises:
        DataError: a line with other text or another number of numbers; the message names the first.
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
    """Return the numbers in `text`, in the smallest type that pixels need, or None if it holds anything else.

    `np.fromstring` is fast, and only warns of what it cannot read. Warnings cannot be made errors here: their filters
    belong to all threads. So it gets nothing but digits between single delimiters.
    """
    body, sign = text.strip(), delimiter.strip()
    if not body:
        return np.zeros(0, np.float32)
    is_plain = not body.encode().translate(None, b"0123456789" + delimiter.encode())
    lacks_a_cell = bool(sign) and (sign * 2 in body or body.startswith(sign))
    try:
        if is_plain and not lacks_a_cell:
            values = np.fromstring(body, np.int64, sep=delimiter)
            return values.astype(np.uint8 if values.max() <= 255 else np.float32)
        cells = body.removesuffix(sign)
        return np.loadtxt([cells], np.float32, comments=None, delimiter=sign or None, ndmin=1)
    except ValueError:
        return None


def _separator(line: str) -> str:
    """Return the separator of the cells of a line: a character or, if there is none, blanks."""
    outside = re.sub(r'"[^"]*"|\([^()]*\)|\[[^\[\]]*\]', "", line)
    best = max(_SEPARATORS, key=outside.count)
    return best if best in outside else " " if len(line.split()) > 1 and '"' not in line else ","


def _joined(lines: Iterator[tuple[int, str]], separator: str) -> Iterator[tuple[int, str]]:
    """Join the lines of a quoted cell with line breaks; the line number is that of the first."""
    for number, line in lines:
        if '"' not in line:
            yield number, line
            continue
        whole, size = [line], len(line)
        is_open = _ends_in_quotes(line, separator)
        while is_open:
            _, more = next(lines, (0, ""))
            size += len(more)
            if not more or size > LINE_LIMIT_BYTES:
                break
            whole.append(more)
            is_open = _ends_in_quotes(more, separator, is_open=True)
        yield number, line if len(whole) == 1 else "".join(whole)


def _ends_in_quotes(line: str, separator: str, *, is_open: bool = False) -> bool:
    """Return whether a quoted cell goes on after a line. A quote opens a cell only where one begins."""
    place = line.find('"')
    while place >= 0:
        if not is_open:
            before = line[:place].rstrip(" ")
            is_open = not before or before[-1] == separator
        elif line.startswith('""', place):
            place += 1
        else:
            is_open = False
        place = line.find('"', place + 1)
    return is_open


def _cells(line: str, separator: str, name: str) -> list[str]:
    if separator == " ":
        return line.split()
    if '"' not in line:
        return line.rstrip("\r\n").split(separator)
    if len(line) > _LONG_CELL:
        return _long_cells(line.rstrip("\r\n"), separator)
    try:
        whole = io.StringIO(line, newline="")
        rows = list(csv.reader(whole, delimiter=separator, strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{name}: {error} in {line[:60]!r}") from error
    if len(rows) != 1:
        raise DataError(f"{name}: a quotation mark or a line break stands alone in {line[:60]!r}")
    return rows[0]


def _long_cells(line: str, separator: str) -> list[str]:
    """Split a line at the separators outside of quotes; a doubled quote inside is one."""
    cells, cell = [], ""
    parts = line.split('"')
    for number, part in enumerate(parts):
        if number % 2:
            cell += part
        elif not part and 0 < number < len(parts) - 1:
            cell += '"'
        else:
            pieces = part.split(separator)
            cells += [cell + pieces[0], *pieces[1:-1]][: len(pieces) - 1]
            cell = cell + pieces[0] if len(pieces) == 1 else pieces[-1]
    return [*cells, cell]


@contextlib.contextmanager
def _lines(source: Path | Member) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield the table's name and its lines, unpacked."""
    try:
        with contextlib.ExitStack() as stack:
            name, stream = _stream(source, stack)
            yield name, decoded_lines(name, stream)
    except (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as error:
        place = source if isinstance(source, os.PathLike) else source.name
        raise DataError(f"{place} is damaged or cannot be read ({error}): download it again") from error


def _stream(source: Path | Member, stack: contextlib.ExitStack) -> tuple[str, IO[bytes]]:
    """Return a table's name and its bytes."""
    if isinstance(source, Member):
        return source.name, stack.enter_context(source.open())
    path = regular(source)
    if zipfile.is_zipfile(path):
        archive = stack.enter_context(zipfile.ZipFile(path))
        infos = {info.filename: info for info in archive.infolist()}
        member = _the_table(list(infos), path)
        check_member(infos[member], path, limit_bytes=TABLE_LIMIT_BYTES)
        if member.lower().endswith(INNER):
            copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            _copy(stack.enter_context(archive.open(member)), copy, path)
            return _unpacked_table(path, copy, f"{path}:{member}", stack)
        return f"{path}:{member}", stack.enter_context(archive.open(member))
    return _unpacked_table(path, None, str(path), stack)


INNER = (".tar.gz", ".tgz", ".tar", ".csv.gz", ".tsv.gz")


def _copy(stream: IO[bytes], out: IO[bytes], path: Path) -> None:
    left = BOMB_RATIO * max(path.stat().st_size, 2**16)
    while block := stream.read(2**20):
        left -= len(block)
        if left < 0:
            raise DataError(f"{path} unpacks to more than {BOMB_RATIO} times its size: is this a bomb?")
        out.write(block)
    out.seek(0)


def _unpacked_table(
    path: Path, file: IO[bytes] | None, name: str, stack: contextlib.ExitStack
) -> tuple[str, IO[bytes]]:
    """Open a table that may be packed by gzip and may lie in a tar, which is read once, from its start."""
    stream = stack.enter_context(unpacked(path, file))
    again: IO[bytes] = _Again(block := stream.read(512), stream)  # type: ignore[assignment]
    if block[257:262] != b"ustar":
        if stream.seekable():
            stream.seek(0)
            return name, stream
        return name, again
    archive = stack.enter_context(tarfile.open(fileobj=again, mode="r|"))  # noqa: SIM115
    for member in members(archive, path):
        if member.isfile() and is_table(member.name):
            inner = archive.extractfile(member)
            assert inner is not None
            return f"{name}:{member.name}", inner
    raise DataError(f"{name} holds no table: expected a .csv file in it")


class _Again:
    """A stream whose first bytes were read already; they are read again."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self.first, self.rest = io.BytesIO(first), rest

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes."""
        content = self.first.read(size)
        return content + self.rest.read(size - len(content)) if len(content) < size else content

    def readline(self, limit: int) -> bytes:
        """Return a line, or its first `limit` bytes."""
        line = self.first.readline(limit)
        if line.endswith(b"\n") or len(line) == limit:
            return line
        return line + self.rest.readline(limit - len(line))


def is_table(name: str) -> bool:
    """Return whether a member of an archive is a table, not a readme or a file of the operating system."""
    parts = PurePosixPath(name)
    plain = parts.name.lower()
    return plain.endswith(SUFFIXES) and "readme" not in plain and not is_debris(parts)


def _the_table(names: list[str], path: Path) -> str:
    """Return the one member of an archive that is the dataset."""
    tables = [name for name in names if is_table(name)]
    usual = [name for known in _USUAL for name in tables if name.rsplit("/", 1)[-1] == known]
    if usual or len(tables) == 1:
        return (usual or tables)[0]
    inner = [name for name in names if name.lower().endswith(INNER)]
    inner = [name for name in inner if "fer2013" in name.lower()] or inner
    if len(inner) == 1 and not tables:
        return inner[0]
    raise DataError(
        f"{path} holds {len(tables)} tables ({', '.join(tables[:4]) or 'none'}): unpack it and name the one you mean"
    )


def decoded_lines(name: str, stream: IO[bytes]) -> Iterator[str]:
    """Yield the lines of UTF-8 text.

    Raises:
        DataError: a line is very long, or this is no UTF-8 text with usual ends of lines.
    """
    for number in range(1, 2**62):
        line = stream.readline(LINE_LIMIT_BYTES)
        if not line:
            return
        if len(line) == LINE_LIMIT_BYTES:
            raise DataError(
                f"{name}: line {number} is longer than {LINE_LIMIT_BYTES:,} bytes: is this a table?"
            )
        if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{name} is UTF-16 text, as Excel writes it: save it as CSV UTF-8")
        if number == 1 and b"\r" in line.rstrip(b"\r\n"):
            raise DataError(
                f"{name} ends its lines by carriage returns alone: save it with usual ends of lines"
            )
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name} is not UTF-8 text (byte {line[error.start]:#04x} in line {number}): save it as UTF-8"
            ) from error
