"""Tables of results: CSV, JSON lines, Parquet; a row for each face, appended image by image."""

from __future__ import annotations

import csv
import json
import os
from typing import TYPE_CHECKING, Any

from mien import files
from mien.errors import ConfigError, needs
from mien.escapes import csv_cell, csv_lines, csv_text
from mien.predictions import table_columns
from mien.sinks.done import Done
from mien.vision.sampling import is_repeatable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import IO

    from mien.predictions import ImageResult

_WHOLE_NUMBERS = ("index", "width", "height", "face", "faces", "views", "track")
_TEXTS = ("source", "error", "detector", "label", "model", "finder", "tracking", "clip", "hidden")


class Table:
    """A file with a row for each face, written image by image.

    The name's ending gives the form: ``.csv``, ``.jsonl`` or ``.parquet``. Parquet cannot be appended to: its rows
    are kept as JSON lines beside it until `close` converts them.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], *, resume: bool = False) -> None:
        """Open the file, or read what an earlier run wrote into it; `begin` changes it. `facts` are the pipeline's.

        Raises:
            ConfigError: another ending, or the table to go on with was made by another model, detector or setting.
            OutputError: it cannot be written.
        """
        form = path.suffix.lower()
        if form not in (".csv", ".jsonl", ".parquet"):
            raise ConfigError(f"a table's name ends in .csv, .jsonl or .parquet, got {path.name!r}")
        if form == ".parquet":
            with needs("data"):
                import pyarrow  # noqa: F401 - must be there before the work begins
        self.path, self._csv = path, form == ".csv"
        self._same, self.columns = same_in_all(facts), columns_of(facts)
        self.lines = path.with_name(f"{path.name}.part.jsonl") if form == ".parquet" else path
        """The file that grows."""
        self._is_begun = False
        self.last_tracks: dict[str | None, int] = {}
        """The highest number of a track in an earlier run's rows of each source; None: that do not come again."""
        self.done = Done()
        """Images that may come again, of which an earlier run wrote every row; `write` ignores them."""
        files.make_folder(path.parent)
        with files.as_output_error(path):
            if resume and path.exists() and not self.lines.exists():
                self._write_lines()
            self._file = files.open_to_append(self.lines)
            try:
                self._kept_bytes = self._read_earlier() if resume else 0
            except BaseException:
                self._file.close()
                raise

    def write(self, result: ImageResult) -> None:
        """Append the rows of one image at once; an image that is there already is ignored.

        Raises:
            OutputError: it cannot be written.
        """
        self.begin()
        if (result.source, result.index) not in self.done:
            with files.as_output_error(self.path):
                rows = (self._encoded(row | self._same) for row in result.to_rows())
                files.append(self._file, b"".join(rows))

    def close(self, *, whole: bool = True) -> None:
        """Close the file. Parquet is made now, unless the run was interrupted (`whole` is false) and may be resumed.

        Raises:
            OutputError: it cannot be written.
        """
        if whole:
            self.begin()
        self._file.close()
        if whole and self.lines != self.path:
            _write_parquet(self.path, read_rows(self.lines), self.columns)
            self.lines.unlink()

    def __enter__(self) -> Table:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(whole=kind is None)

    def begin(self) -> None:
        """Drop an earlier run's image that was not written to its end, or write the header of a new file.

        `write` does it, too.

        Raises:
            OutputError: it cannot be written.
        """
        if self._is_begun:
            return
        self._is_begun = True
        with files.as_output_error(self.path):
            if self.lines.is_file():
                os.truncate(self.lines, self._kept_bytes)
            if not self._kept_bytes and self._csv:
                files.append(self._file, _csv_line(self.columns))

    def _read_earlier(self) -> int:
        """Note what an earlier run did, and return the number of bytes to keep: those of complete images."""
        kept = 0
        for row, end in _placed_rows(self.lines):
            self._check(row)
            source = row["source"] if is_repeatable(row["source"]) else None
            if row.get("track"):
                self.last_tracks[source] = max(self.last_tracks.get(source, 0), row["track"])
            if _is_last(row):
                kept = end
                if source is not None:
                    self.done.add(source, row["index"])
        return kept

    def _write_lines(self) -> None:
        """Turn the Parquet file of a finished run into lines again."""
        with files.replacing(self.lines) as lines:
            for row in _parquet_rows(self.path):
                self._check(row)
                lines.write(self._encoded(row))

    def _check(self, row: Mapping[str, Any]) -> None:
        """Refuse a row of an earlier run that this one cannot go on with.

        Raises:
            ConfigError: it is no row, or was made by another model or in another way, or has other columns.
        """
        if not _is_row(row):
            raise _no_table(self.path, "a row without source, index or error")
        if {name: row.get(name) for name in self._same} != self._same or not row.keys() <= {*self.columns}:
            raise ConfigError(
                f"{self.path} holds results of {_told(row)}, this run has {_told(self._same)}: write to another "
                "file, or do not resume"
            )
        if self._csv and tuple(row) != self.columns:
            raise ConfigError(
                f"{self.path} has other columns than this version writes: write to another file, or do not resume"
            )

    def _encoded(self, row: Mapping[str, Any]) -> bytes:
        if self._csv:
            return _csv_line(row.get(name) for name in self.columns)
        return json.dumps({name: row.get(name) for name in self.columns}, ensure_ascii=False).encode() + b"\n"


def same_in_all(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last columns of a table: how its results were made, the same in every row."""
    model = facts["model"]
    same = {
        "model": f"{model['name']}@{model['sha256'][:12]}",
        "views": facts["views"],
        "finder": facts["detector"],
        "uncertain_below": facts["uncertain_below"],
    }
    return same | {name: facts[name] for name in ("tracking", "clip", "hidden") if name in facts}


def columns_of(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of all columns of a table."""
    own = table_columns(facts["model"]["labels"], tracked="tracking" in facts)
    return (*own, *same_in_all(facts))


def _told(row: Mapping[str, Any]) -> str:
    """Return in words how results were made."""
    tracking = f", tracks ({row['tracking']})" if row.get("tracking") else ""
    tracking += f", frames: {row['clip']}" if row.get("clip") else ""
    tracking += f", faces hidden by {row['hidden']}" if row.get("hidden") else ""
    return (
        f"{row.get('model')} (detector {row.get('finder')}, views: {row.get('views')}, uncertain below "
        f"{row.get('uncertain_below')}{tracking})"
    )


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table of CSV or JSON lines; a last line that was not written to its end is left out.

    Raises:
        ConfigError: it is no such table.
    """
    return (row for row, _ in _placed_rows(path))


def _placed_rows(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each row, and the byte of the file at which it ends."""
    end = 0

    def lines(file: IO[bytes]) -> Iterator[str]:
        nonlocal end
        for line in file:
            if line.endswith(b"\n"):
                end += len(line)
                yield line.decode()

    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".csv":
                for row in csv.DictReader(lines(file)):
                    if None not in row.values():  # a line cut inside a quoted text lacks its other cells
                        yield {name: _typed(name, cell) for name, cell in row.items()}, end
            else:
                for line in lines(file):
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise TypeError(f"expected an object in each line, got {line[:20].strip()!r}")
                    yield row, end
    except (ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
        raise _no_table(path, error) from error


def _no_table(path: Path, reason: object) -> ConfigError:
    told = next(iter(str(reason).splitlines()), "")
    return ConfigError(f"{path} is no table of results ({told}): write to another file, or do not resume")


def _is_row(row: object) -> bool:
    """Return whether a row has the cells that identify it."""
    return (
        isinstance(row, dict)
        and "error" in row
        and isinstance(row.get("source"), str)
        and isinstance(row.get("index"), int)
    )


def _is_last(row: Mapping[str, Any]) -> bool:
    """Return whether a row is the last of its image; rows of older versions, without `faces`, count as last."""
    return row.get("faces") in (None, 0, row.get("face"))


def _typed(name: str, cell: str | None) -> str | int | float | None:
    if not cell and name != "source":
        return None
    if name in _TEXTS:
        return csv_text(cell or "")
    return int(cell or 0) if name in _WHOLE_NUMBERS else float(cell or 0)


def _csv_line(cells: Iterable[object]) -> bytes:
    return csv_lines([map(csv_cell, cells)]).encode()


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]], columns: Iterable[str]) -> None:
    with files.replacing(path) as file:
        write_rows(file, rows, columns)


def write_rows(file: IO[bytes], rows: Iterable[dict[str, Any]], columns: Iterable[str]) -> None:
    """Write rows as Parquet into an open file, a part at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def kind(name: str) -> pa.DataType:
        return pa.string() if name in _TEXTS else pa.int64() if name in _WHOLE_NUMBERS else pa.float64()

    schema = pa.schema([(name, kind(name)) for name in columns])
    with pq.ParquetWriter(file, schema) as writer:
        for part in _parts(rows):
            writer.write_table(pa.Table.from_pylist(part, schema))


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:  # damaged bytes, or another type of column
        raise _no_table(path, error) from error


def _parts(rows: Iterable[dict[str, Any]], size: int = 10_000) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
