"""`score`: any number of images through a pipeline on many workers, into a folder of Parquet files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import needs
from mien.pipeline import Pipeline
from mien.scale.ledger import opened
from mien.scale.options import ScaleOptions
from mien.scale.shards import Plan, described, first_of
from mien.sinks.tables import columns_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mien.scale.ledger import Ledger
    from mien.scale.shards import Shard
    from mien.scale.work import Done

RAY = ScaleOptions(engine="ray")


@dataclass(frozen=True)
class Scored:
    """Counts of what is in the folder of results."""

    folder: Path
    shards: int
    images: int
    faces: int
    without: int
    """Number of images that could be read and have no face."""
    errors: int
    """Number of images that could not be read; each is a row with its error."""
    done_before: int
    """Number of images that an earlier run had scored."""
    skipped: dict[str, int]
    """Files of the source that are neither images nor tables of images, by kind."""


def score(
    source: object,
    out: str | Path,
    *,
    resume: bool = False,
    options: ScaleOptions = RAY,
    workers: int | None = None,
    on_images: Callable[[int], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    **pipeline: Any,
) -> Scored:
    """Find and classify the faces of many images on the workers of a Ray cluster, into a folder of Parquet files.

    ``mien.scale.score("s3://bucket/photos", "results", detector="yunet")``

    The files ``part-000000.parquet`` and so on have the columns that all tables of mien have, a row for each face,
    and are in the order of the source. `_manifest.jsonl` says which are complete.

    Args:
        source: a folder, image, zip or pattern; a Parquet file with a column of encoded images, or a folder of
            such; a URI of one of these (``s3://``, ``gs://``, ``abfs://``, ``hdfs://``, ``file://``); a ``.txt`` file
            with a path or URI in each line; a `FaceDataset`; whatever `mien.frames` takes, but videos; a list of
            these.
        out: the folder of results, on this machine.
        resume: go on with the run in `out`.
        options: CPU cores and GPUs of each worker, and the address of the cluster.
        workers: number of workers; by default as many as the cluster has room for.
        on_images: called with the number of images that were just done.
        on_note: called with a line about each fault after which something was done again.
        **pipeline: arguments of `Pipeline`; models and files that they name must exist on every machine.

    Raises:
        ConfigError: no such source or cluster, a worker that lacks something or differs, `out` holds another run.
        TrainingError: no worker starts, or workers die again and again.
        OutputError: `out` cannot be written. In each case complete shards stay, and `resume` goes on.
        MissingExtra: the extra `scale` is not installed.
    """
    with needs("scale"):
        from mien.scale.cluster import Workers, connected
    out = Path(out)
    facts = Pipeline(**(pipeline | {"device": "cpu", "threads": 1})).facts
    plan = Plan(source, options.shard_size, skip=out)
    first, shards = first_of(iter(plan))
    head = {
        **facts, "columns": list(columns_of(facts)), "shard_size": options.shard_size,
        "source": described(source),
    }  # fmt: skip

    def results(todo: Iterator[Shard]) -> Iterator[Done]:
        with connected(options, workers):
            running = Workers(options, workers, facts, pipeline, on_note)
            yield from running.results(todo, first.seen() if first else None)

    with opened(out, head, resume=resume) as ledger:
        shard_count, done_before = recorded(ledger, shards, results, on_images)
        totals = ledger.finish(shard_count)
    counts = {name: totals[name] for name in ("images", "faces", "without", "errors")}
    return Scored(out, shard_count, **counts, done_before=done_before, skipped=dict(plan.skipped))


def recorded(
    ledger: Ledger,
    shards: Iterator[Shard],
    results: Callable[[Iterator[Shard]], Iterator[Done]],
    on_images: Callable[[int], None] = lambda _: None,
) -> tuple[int, int]:
    """Put the results of every shard that is not done into a ledger; return how many shards there are in all.

    `results` is called with these shards, if there are any. The second number is that of the images done before.
    """
    all_shards = images_before = 0

    def undone() -> Iterator[Shard]:
        nonlocal all_shards, images_before
        for shard in shards:
            all_shards += 1
            if not ledger.has(shard):
                yield shard
                continue
            images_before += len(shard)
            on_images(len(shard))

    first, todo = first_of(undone())
    for done in results(todo) if first else ():
        ledger.add(done)
        on_images(done.counts["images"])
    return all_shards, images_before
