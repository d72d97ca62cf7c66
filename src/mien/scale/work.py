"""Work of one process: score a shard, and return its results as the bytes of a Parquet file, with their counts.

This module does not use Ray. The driver writes the file, so workers need no common storage.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import ImageError
from mien.pipeline import Pipeline
from mien.predictions import ImageResult
from mien.sinks.tables import columns_of, same_in_all, write_rows
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mien.scale.shards import Shard

COUNTS = ("images", "rows", "faces", "without", "errors")
"""The counts of a shard; `without` counts the images without a face."""


@dataclass(frozen=True)
class Done:
    """A shard that is scored."""

    number: int
    digest: str
    """The digest of the shard."""
    parquet: bytes
    counts: dict[str, int]


class Scorer:
    """A pipeline, opened once in its process."""

    def __init__(self, arguments: Mapping[str, Any], *, folder: str = "", threads: int = 1) -> None:
        """Open the pipeline with these arguments.

        Args:
            arguments: arguments of `Pipeline`.
            folder: working folder of the driver, for relative paths; used if this machine has it, too.
            threads: number of images that are worked on at once.

        Raises:
            MienError: as `Pipeline` does.
        """
        import cv2

        if folder and Path(folder).is_dir():
            os.chdir(folder)  # allowed, as setting OpenCV's threads: no other code runs in this process
        cv2.setNumThreads(1)
        self.pipeline, self.threads = Pipeline(**arguments), threads

    def refusal(self, facts: Mapping[str, Any], seen: str | None) -> str:
        """Return why this worker must not work: its results would differ, or it sees no images; empty if it may."""
        own = self.pipeline.facts
        for name in facts:
            if own.get(name) != facts[name]:
                return f"has the {name} {_told(own.get(name))}, this machine has {_told(facts[name])}"
        if seen:
            try:
                if seen.lower().endswith(".parquet"):
                    with Path(seen).open("rb"):
                        pass
                else:
                    images.read_file(seen)
            except (ImageError, OSError):
                return f"does not see {seen}: keep the images where every machine sees them, or give a URI"
        return ""

    def score(self, shard: Shard) -> Done:
        """Score every image of a shard; one that cannot be read is a row with its error."""
        results = self.pipeline.stream(shard.frames(), workers=self.threads)
        return done(shard, results, self.pipeline.facts)


def done(shard: Shard, results: Iterable[ImageResult], facts: Mapping[str, Any]) -> Done:
    """Return results as a Parquet file with the columns of every table of mien."""
    same, rows, counts = same_in_all(facts), [], Counter(dict.fromkeys(COUNTS, 0))
    for result in results:
        own = result.to_rows()
        rows += [row | same for row in own]
        is_read = result.error is None
        counts.update(images=1, rows=len(own), faces=len(result.faces), errors=not is_read)
        counts["without"] += is_read and not result.faces
    file = io.BytesIO()
    write_rows(file, rows, columns_of(facts))
    return Done(shard.number, shard.digest, file.getvalue(), dict(counts))


def fatal(shard: Shard, facts: Mapping[str, Any]) -> Done:
    """Return the row of an image on which worker processes died."""
    (frame,) = shard.frames()
    why = "a worker process died on this image, again and again: it is left out"
    return done(shard, [ImageResult(frame.source, frame.index, frame.time_s, error=why)], facts)


def joined(shard: Shard, parts: Sequence[Done], facts: Mapping[str, Any]) -> Done:
    """Return the results of a shard that was scored in parts, in their order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(io.BytesIO(part.parquet)) for part in parts]
    file = io.BytesIO()
    write_rows(file, pa.concat_tables(tables).to_pylist(), columns_of(facts))
    counts = {name: sum(part.counts[name] for part in parts) for name in COUNTS}
    return Done(shard.number, shard.digest, file.getvalue(), counts)


def _told(fact: Any) -> str:
    return f"{fact['name']}@{fact['sha256'][:12]}" if isinstance(fact, dict) else str(fact)
