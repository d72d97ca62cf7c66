"""`benchmark`: time all rows of one device and number of threads, in turn, a short time each, in several rounds.

So other work on the machine disturbs all rows alike. Each row is timed in its own process (`process`, `worker`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mien.benchmark.process import RowProcess
from mien.benchmark.subjects import RUNTIMES
from mien.benchmark.timings import Benchmark, Timing, machine, versions
from mien.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.benchmark.subjects import Subject

PROVIDERS = ("cpu", "cuda")
ROUNDS = 5
SECONDS = 0.3
"""Seconds for which one row and batch size are timed in one round."""


def check_options(
    providers: Sequence[str],
    threads: Sequence[int],
    batches: Sequence[int],
    runtimes: Sequence[str] = RUNTIMES,
) -> None:
    """Check options.

    Raises:
        ConfigError: an unknown provider or runtime, or numbers below 1.
    """
    for what, names, known in (("provider", providers, PROVIDERS), ("runtime", runtimes, RUNTIMES)):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"unknown {what} {name!r}: expected {', '.join(known)}{did_you_mean(name, known)}"
                )
    for option, values in (("threads", threads), ("batch", batches)):
        if not values or min(values) < 1:
            raise ConfigError(
                f"`{option}` takes numbers from 1, such as 1,2; got {','.join(map(str, values))}"
            )


def benchmark(
    subjects: Sequence[Subject],
    *,
    providers: Sequence[str] = ("cpu",),
    threads: Sequence[int] = (1,),
    batches: Sequence[int] = (1, 8, 64),
    runtimes: Sequence[str] = RUNTIMES,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    listen: Callable[[str], None] = lambda _: None,
) -> Benchmark:
    """Measure every model in every runtime that it has; rows that fail are left out and listed with the reason.

    Raises:
        ConfigError: `check_options`.
    """
    check_options(providers, threads, batches, runtimes)
    names = [one.name for one in subjects]
    if len(set(names)) < len(names):  # told apart by their folders
        subjects = [replace(one, name=one.model) for one in subjects]
    rows: list[Timing] = []
    subjects = [
        replace(one, sizes=tuple((name, size) for name, size in one.sizes if name in runtimes))
        for one in subjects
    ]
    left_out = {
        f"{one.name}, {name}": reason for one in subjects for name, reason in one.left_out if name in runtimes
    }
    for device in providers:
        for number in threads:
            listen(f"{device}, {number} thread{'s' if number > 1 else ''}")
            workers = _start(subjects, device, number, left_out)
            try:
                rows += _measure(workers, sorted(batches), rounds, seconds, listen, left_out)
            finally:
                for worker in workers:
                    worker.close()
    where = " / ".join(dict.fromkeys(one.accuracy_on for one in subjects if one.accuracy_on))
    return Benchmark(machine(), versions(), rounds, tuple(rows), left_out, where)


def _start(
    subjects: Sequence[Subject], device: str, threads: int, left_out: dict[str, str]
) -> list[RowProcess]:
    """Open every row of a group, one after the other, so that no two rows load at the same time."""
    workers = []
    for one in subjects:
        for runtime, size in one.sizes:
            worker = RowProcess(one, runtime, device, threads, size)
            if worker.error:
                left_out[worker.name] = worker.error
                worker.close()
            else:
                workers.append(worker)
    return workers


def _measure(
    workers: Sequence[RowProcess],
    batches: Sequence[int],
    rounds: int,
    seconds: float,
    listen: Callable[[str], None],
    left_out: dict[str, str],
) -> list[Timing]:
    rows = []
    for batch in batches:
        listen(f"  batch {batch}")
        times: list[list[float]] = [[] for _ in workers]
        for turn in range(rounds):
            for worker, found in zip(workers, times, strict=True):
                found += worker.time(batch, seconds, warm=turn == 0)
        for worker, found in zip(workers, times, strict=True):
            if worker.error:
                left_out[f"{worker.name}, batch {batch}"], worker.error = worker.error, ""
            else:
                rows.append(worker.row(batch, found))
    return rows
