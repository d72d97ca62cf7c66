"""Images in the rows of Parquet files: they are counted first, then streamed, a few in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mien.errors import ConfigError, ImageError
from mien.scale import storage
from mien.vision import images
from mien.vision.frames import Frame, broken

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "bytes", "image_bytes", "content", "face")
"""Names of columns with images; the first name that a file has is used."""
_ROWS_AT_ONCE = 32


@dataclass(frozen=True)
class Table:
    """A Parquet file whose footer is not read yet."""

    uri: str
    path: str
    name: str
    is_named: bool = False
    """Whether the user named this file. If so, it must have a column of images."""


@dataclass(frozen=True)
class Rows:
    """Rows of one Parquet file, one after another."""

    uri: str
    path: str
    name: str
    """Name of the file in messages and results."""
    column: str
    groups: tuple[int, ...]
    """Numbers of the row groups in which they lie."""
    skip: int
    """Number of rows of the first group that come before them."""
    start: int
    """Number of the first row, counted in the whole file."""
    count: int
    size_bytes: int
    """Size of the whole file."""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, part: slice) -> Rows:
        first, last, _ = part.indices(self.count)
        return replace(self, skip=self.skip + first, start=self.start + first, count=last - first)

    @property
    def claim(self) -> tuple[Any, ...]:
        """Facts that must be the same when a run is resumed."""
        return self.name, self.column, self.start, self.count, self.size_bytes

    def name_of(self, row: int) -> str:
        """Return the name of a row in messages and results: the file and the row's number in it."""
        return f"{self.name}/{self.start + row}"

    def frames(self) -> Iterator[Frame]:
        """Yield each row's image, not decoded yet. If the file is cut off, the other rows are errors."""
        done = 0
        try:
            for value in self._values():
                yield Frame(self.name_of(done), load=partial(_pixels, value))
                done += 1
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            for row in range(done, self.count):
                yield broken(self.name_of(row), f"the Parquet file cannot be read from here on: {reason}")

    def _values(self) -> Iterator[Any]:
        from pyarrow import parquet

        to_skip, to_give = self.skip, self.count
        with storage.open_file(self.uri, self.path) as file:
            source = parquet.ParquetFile(file, buffer_size=1 << 20)
            batches = source.iter_batches(
                _ROWS_AT_ONCE, row_groups=list(self.groups), columns=[self.column], use_threads=False
            )
            for batch in batches:
                values = batch.column(0)[to_skip : to_skip + to_give]
                to_skip = max(0, to_skip - len(batch))
                to_give -= len(values)
                yield from values.to_pylist()
                if not to_give:
                    return


def read_table(table: Table, size: int) -> list[Rows]:
    """Return the rows of a Parquet file in shards of about `size`; none if it has no column of images.

    If possible, a shard ends where a row group ends, because reading a part of a group starts at its beginning.

    Raises:
        ConfigError: it cannot be read, or the user named it and it has no column of images.
    """
    from pyarrow import parquet

    try:
        with storage.open_file(table.uri, table.path) as file:
            meta, size_bytes = parquet.read_metadata(file), file.size()
            schema = meta.schema.to_arrow_schema()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"cannot read the Parquet file {table.name}: {reason}") from error
    known = {name.lower(): name for name in schema.names}
    column = next((known[name] for name in NAMES if name in known and _holds(schema, known[name])), None)
    if column is None and table.is_named:
        raise ConfigError(
            f"{table.name}: expected a column of encoded images named {NAMES[0]}, got {', '.join(schema.names)}"
        )
    if column is None:
        return []
    whole = Rows(table.uri, table.path, table.name, column, (), 0, 0, 0, size_bytes)
    counts = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]
    return list(_cut(whole, counts, size))


def _holds(schema: Any, name: str) -> bool:
    """Return whether a column holds bytes, or the struct of bytes and path that model hubs use."""
    kind = str(schema.field(name).type)
    return kind in ("binary", "large_binary", "binary_view") or (
        kind.startswith("struct<") and "bytes" in kind
    )


def _cut(whole: Rows, counts: list[int], size: int) -> Iterator[Rows]:
    """Cut a file's row groups into shards: several small groups together, or a large one in pieces."""
    start, group = 0, 0
    while group < len(counts):
        groups, rows = [group], counts[group]
        while group + 1 < len(counts) and rows + counts[group + 1] <= size:
            group += 1
            groups.append(group)
            rows += counts[group]
        together = replace(whole, groups=tuple(groups), start=start, count=rows)
        yield from (together[at : at + size] for at in range(0, rows, size))
        start, group = start + rows, group + 1


def _pixels(value: object) -> Any:
    """Decode what a cell holds.

    Raises:
        ImageError: no encoded image.
    """
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise ImageError("no image in this row: its cell has no bytes")
    return images.decode(data)
