"""The folder of results: a Parquet file for each shard, and a manifest that says which shards are complete.

A line is added to the manifest after the file of its shard is in place. So however a run ends, a shard is either
in the manifest and complete, or it is scored again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from mien import files
from mien.errors import ConfigError
from mien.scale.work import COUNTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mien.scale.shards import Shard
    from mien.scale.work import Done

SCHEMA = "mien.shards/1"
MANIFEST = "_manifest.jsonl"
"""Readers of Parquet folders ignore names that begin with an underscore."""


class Ledger:
    """Results that grow shard by shard. One run at a time writes to a folder (`opened`)."""

    def __init__(self, folder: Path, head: Mapping[str, Any], *, resume: bool) -> None:
        """Begin the manifest, or go on with it.

        Args:
            folder: for the results; made if needed.
            head: how the results are made; a resumed run must have the same.
            resume: go on with what is there.

        Raises:
            ConfigError: the folder holds other results, or `resume` is not given.
            OutputError: it cannot be written.
        """
        self.folder, self.path = folder, folder / MANIFEST
        self.head = {**head, "schema": SCHEMA}
        self.done: dict[int, dict[str, Any]] = {}
        if self.path.exists():
            self._read(resume=resume)
        elif any(folder.glob("*.parquet")):
            raise ConfigError(f"{folder} holds Parquet files of something else: choose an empty folder")
        with files.as_output_error(folder):
            files.write(self.path, b"".join(map(_line, (self.head, *self.done.values()))))
            self._file = self.path.open("ab", buffering=0)

    def _read(self, *, resume: bool) -> None:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            first, *records = [json.loads(line) for line in lines if line.endswith("\n")]
            self.done = {record["shard"]: _checked(record) for record in records if "shard" in record}
            head = {**first}
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise ConfigError(f"{self.path} is damaged ({error}): choose another folder") from error
        if head.get("schema") != SCHEMA:
            raise ConfigError(f"{self.path} is no manifest of mien: choose another folder")
        if not self.done:
            # The run ended before its first shard, so nothing is lost if it begins again. It may have been killed
            # between a file and its line: such a file must not stay among those of another source.
            with files.as_output_error(self.folder):
                for file in self.folder.glob("part-??????.parquet"):
                    file.unlink()
            return
        if not resume:
            raise ConfigError(
                f"{self.folder} holds results of an earlier run: add `resume` to go on with it, or choose another "
                "folder"
            )
        now = json.loads(_line(self.head))
        for name in now:
            if head.get(name) != now[name]:
                raise ConfigError(
                    f"{self.folder} was begun with another {name} ({_brief(head.get(name))}, this run has "
                    f"{_brief(now[name])}): resume with the same one, or choose another folder"
                )

    def has(self, shard: Shard) -> bool:
        """Return whether a shard is done.

        Raises:
            ConfigError: the shard of this number held other images: the source has changed since.
        """
        record = self.done.get(shard.number)
        if record is not None and (record["digest"], record["images"]) != (shard.digest, len(shard)):
            raise self._changed(f"shard {shard.number} is now {shard.name}")
        return record is not None and (self.folder / record["file"]).is_file()

    def add(self, done: Done) -> None:
        """Put the file of a shard in place, then add its line to the manifest.

        Raises:
            OutputError: one of them cannot be written, such as on a full disk; what is done stays.
        """
        name = f"part-{done.number:06}.parquet"
        record = {"shard": done.number, "file": name, "digest": done.digest, **done.counts}
        files.write(self.folder / name, done.parquet)
        self._append(record)
        self.done[done.number] = record

    def _append(self, record: Mapping[str, Any]) -> None:
        with files.as_output_error(self.path):
            files.append(self._file, _line(record))
            os.fsync(self._file.fileno())

    def finish(self, shards: int) -> dict[str, int]:
        """Write that all shards are done; return the counts over all of them.

        Raises:
            ConfigError: more shards are done than the source has now: it has changed since.
            OutputError: it cannot be written.
        """
        if len(self.done) > shards:
            raise self._changed(f"it has {shards} shards, and {len(self.done)} are done")
        assert len(self.done) == shards, "a shard is missing"
        totals = self.totals
        self._append({"finished": shards, **totals})
        return totals

    @property
    def totals(self) -> dict[str, int]:
        """The counts over all shards that are done."""
        sums = Counter[str](dict.fromkeys(COUNTS, 0))
        for record in self.done.values():
            sums.update({name: record[name] for name in COUNTS})
        return dict(sums)

    def _changed(self, now: str) -> ConfigError:
        return ConfigError(
            f"the source has changed since the run in {self.folder} began: {now}; score what is new into another "
            "folder"
        )

    def close(self) -> None:
        """Close the manifest."""
        self._file.close()


@contextlib.contextmanager
def opened(folder: Path, head: Mapping[str, Any], *, resume: bool) -> Iterator[Ledger]:
    """Open a ledger that no other run can write to.

    Raises:
        ConfigError, OutputError: as `Ledger` does; or another run writes there.
    """
    with files.locked(folder), contextlib.closing(Ledger(folder, head, resume=resume)) as ledger:
        yield ledger


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a shard if it has all that is read of it; KeyError if not."""
    return {name: record[name] for name in ("shard", "file", "digest", *COUNTS)}


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _brief(fact: Any) -> str:
    text = (
        f"{fact['name']}@{fact['sha256'][:12]}" if isinstance(fact, dict) and "sha256" in fact else str(fact)
    )
    return text if len(text) <= 80 else text[:77] + "..."
