"""Workers on Ray: one process for each, on this machine or a cluster; each gets a new shard when it is free.

The driver is the process of the command; it alone writes results, so no common storage is needed. The workers are
plain actors, not Ray Data: a shard must be exactly one file of results, made once, and Ray Data's writer does not
promise that after a crash (docs/scale.md).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, no_type_check

from mien import __version__
from mien.errors import ConfigError, MienError, TrainingError, needs
from mien.scale.work import Done, fatal, joined

with needs("scale"):
    import ray
    from ray.exceptions import RayError, RayTaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mien.scale.options import ScaleOptions
    from mien.scale.shards import Shard

AHEAD = 2
"""Shards handed to each worker, so that it never waits for the driver."""
DEATHS = 2
"""After this many workers died on the same images, these are scored in halves, to find the image that kills."""
MOST_FATAL = 5
"""Most images that may kill workers; if there are more, the cause is another one, such as too little memory."""
CONNECT_S, STALL_S = 5.0, 120.0
"""Longest wait in seconds for an answer of the cluster, and for a worker to start if none works."""
_OBJECT_STORE_BYTES = 256 * 2**20
"""Results wait here for the driver: two shards of about a megabyte for each worker."""
_STATISTICS = "RAY_USAGE_STATS_ENABLED"


@contextlib.contextmanager
def connected(options: ScaleOptions, workers: int | None) -> Iterator[None]:
    """Join the cluster, or start one on this machine with as many cores as its workers take; leave it at the end.

    A cluster that the program has joined already is used, and stays joined. Ray sends no usage statistics from here.

    Raises:
        ConfigError: no cluster at that address, or it cannot be joined.
    """
    if ray.is_initialized():
        yield
        return
    if options.address and options.address != "auto":
        _check_answers(options.address)
    local = {"num_cpus": workers * options.worker_cpus} if workers else {}
    own = {
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        **local,
    }
    with _quiet(), _without_statistics(), _as_config_error(options.address):
        joined_at = {"address": options.address} if options.address else own
        ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **joined_at)
    try:
        with _quiet():
            yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would try for two minutes, then end the process."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"no Ray cluster answers at {address} ({reason}): start one with ray start --head, or leave out `address`"
        ) from error


@contextlib.contextmanager
def _as_config_error(address: str | None) -> Iterator[None]:
    """Turn any exception of Ray, even SystemExit, into a ConfigError of one line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        where = f"join the Ray cluster at {address}" if address else "start Ray on this machine"
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"cannot {where}: {reason or type(error).__name__}") from error


@contextlib.contextmanager
def _without_statistics() -> Iterator[None]:
    """Set, for the processes that Ray starts, that they send no usage statistics."""
    before = os.environ.get(_STATISTICS)
    os.environ[_STATISTICS] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_STATISTICS]
        else:
            os.environ[_STATISTICS] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the lines that Ray prints about its start and about workers that died."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def worker_class() -> type:
    """Return the class of the workers. Ray sends its code to each machine, so it can report what a machine lacks."""

    @no_type_check  # in tests, the shape checker would wrap its methods in functions that cannot be pickled
    class Worker:
        def ready(self, version: str, facts: dict[str, Any], seen: str | None, given: dict[str, Any]) -> str:
            """Load the model; return why this machine cannot work, or nothing."""
            import importlib
            import platform

            where = f"the worker on {platform.node()}"
            try:
                found = importlib.import_module("mien").__version__
                if found != version:
                    return f"{where} has mien {found}, this machine has {version}: install the same version"
                work = importlib.import_module("mien.scale.work")
                importlib.import_module("pyarrow.parquet")
                self.scorer = work.Scorer(**given)
                refusal = self.scorer.refusal(facts, seen)
            except ModuleNotFoundError as error:
                return f"{where} has no {error.name}: install mien with the extra scale there"
            except Exception as error:
                if type(error).__module__ != "mien.errors":
                    raise
                return f"{where}: {error}"
            return f"{where} {refusal}" if refusal else ""

        def score(self, shard: Any) -> Any:
            """Score a shard."""
            return self.scorer.score(shard)

    return Worker


@dataclass(eq=False)
class _Task:
    """A shard; after workers died on it, a part of one."""

    shard: Shard
    part: Shard
    offset: int = 0
    deaths: int = 0


@dataclass(eq=False)
class _Worker:
    actor: Any
    is_ready: bool = False
    tasks: deque[_Task] = field(default_factory=deque)
    """Tasks that it was given. The driver takes the first one for the running one; its result may be on its way."""

    def may_have(self, task: _Task) -> bool:
        """Return whether it may get this task.

        A task on which a worker died must be the only one of its worker, so that another death is caused by it.
        """
        return not self.tasks or not (task.deaths or any(one.deaths for one in self.tasks))


class Workers:
    """Worker processes, each with the model loaded once."""

    def __init__(
        self,
        options: ScaleOptions,
        workers: int | None,
        facts: Mapping[str, Any],
        arguments: Mapping[str, Any],
        on_note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Plan the workers; they start when `results` is called.

        Args:
            options: CPU cores and GPUs of each worker.
            workers: how many; by default as many as the cluster has room for.
            facts: facts of the pipeline on this machine; those of each worker must be equal.
            arguments: arguments of `Pipeline`.
            on_note: called with a line about each worker that died.

        Raises:
            ConfigError: no machine of the cluster has the CPU cores and GPUs that one worker takes.
        """
        self.facts, self.on_note = dict(facts), on_note
        resources = options.resources(str(arguments.get("device", "cpu")))
        room = _room(resources)
        if not room:
            wanted = ", ".join(f"{value:g} {name[4:].upper()}" for name, value in resources.items() if value)
            raise ConfigError(f"no machine of the Ray cluster has room for a worker, which takes {wanted}")
        self.count = workers or room
        self._class: Any = ray.remote(**resources, max_restarts=0, scheduling_strategy="SPREAD")(
            worker_class()
        )
        self._given = {
            "arguments": dict(arguments), "folder": str(Path.cwd()), "threads": options.worker_cpus,
        }  # fmt: skip
        self._workers: list[_Worker] = []
        self._tasks: dict[Any, tuple[_Worker, _Task | None]] = {}
        self._again: deque[_Task] = deque()
        self._parts: dict[int, dict[int, tuple[int, Done]]] = {}
        self._fatal = 0

    def results(self, shards: Iterator[Shard], seen: str | None = None) -> Iterator[Done]:
        """Yield the results of each shard as soon as it is done, in any order; free workers get new shards.

        A worker that dies is replaced, and its shards are done again. `seen` is a file that every worker must see.

        Raises:
            ConfigError: a worker lacks something, or differs from this machine.
            TrainingError: no worker starts, or workers die again and again.
        """
        self._seen, last = seen, time.monotonic()
        try:
            while True:
                self._hand_out(shards)
                if not any(task for _, task in self._tasks.values()) and not self._again and self._is_at_end:
                    return
                refs, _ = ray.wait(list(self._tasks), num_returns=1, timeout=STALL_S / 24)
                for ref in refs:
                    last = time.monotonic()
                    yield from self._received(ref)
                if not any(worker.is_ready for worker in self._workers) and time.monotonic() - last > STALL_S:
                    raise TrainingError(
                        f"no worker started within {STALL_S:g} s: has the cluster lost its machines? What is done "
                        "stays; the same command with `resume` goes on"
                    )
        finally:
            for worker in self._workers:
                ray.kill(worker.actor)

    def _hand_out(self, shards: Iterator[Shard]) -> None:
        """Start the workers that are missing, and give each the shards that it may have."""
        self._is_at_end = False
        while len(self._workers) < self.count:
            worker = _Worker(self._class.remote())
            self._workers.append(worker)
            ready = worker.actor.ready.remote(__version__, self.facts, self._seen, self._given)
            self._tasks[ready] = (worker, None)
        for _ in range(AHEAD):
            for worker in self._workers:
                if worker.is_ready and len(worker.tasks) < AHEAD:
                    task = self._next(shards)
                    if task is None:
                        return
                    if not worker.may_have(task):
                        self._again.appendleft(task)
                        continue
                    worker.tasks.append(task)
                    self._tasks[worker.actor.score.remote(task.part)] = (worker, task)

    def _next(self, shards: Iterator[Shard]) -> _Task | None:
        if self._again:
            return self._again.popleft()
        shard = next(shards, None)
        self._is_at_end = shard is None
        return None if shard is None else _Task(shard, shard)

    def _received(self, ref: Any) -> Iterator[Done]:
        """Take the result of a worker, or note that the worker died."""
        worker, task = self._tasks.pop(ref, (None, None))
        if worker is None:
            return
        try:
            answer = ray.get(ref)
        except RayTaskError as error:
            cause = error.cause if hasattr(error, "cause") else None
            raise (cause if isinstance(cause, MienError) else error) from None
        except RayError as error:
            yield from self._died(worker, error)
            return
        if task is None:
            if answer:
                raise ConfigError(answer)
            worker.is_ready = True
            return
        worker.tasks.remove(task)
        yield from self._whole(task, answer)

    def _whole(self, task: _Task, done: Done) -> Iterator[Done]:
        """Yield the results of a shard if this was its last missing part."""
        if task.part is task.shard:
            yield done
            return
        parts = self._parts.setdefault(task.shard.number, {})
        parts[task.offset] = (len(task.part), done)
        if sum(length for length, _ in parts.values()) == len(task.shard):
            del self._parts[task.shard.number]
            yield joined(task.shard, [parts[offset][1] for offset in sorted(parts)], self.facts)

    def _died(self, worker: _Worker, error: RayError) -> Iterator[Done]:
        """Put the shards of a dead worker back; the one that it worked on counts as the cause."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        self._tasks = {ref: pair for ref, pair in self._tasks.items() if pair[0] is not worker}
        blamed = worker.tasks.popleft() if worker.tasks else None
        self._again.extendleft(reversed(worker.tasks))
        if blamed is None:
            self.on_note("a worker died before it had work; another one is started")
            return
        blamed.deaths += 1
        self.on_note(f"a worker died; it had images {blamed.part.name}, which are scored again")
        if blamed.deaths < DEATHS + (len(blamed.part) == 1):  # an image on its own has two more chances
            self._again.appendleft(blamed)
        elif len(blamed.part) > 1:
            first, second = blamed.part.halves()
            for half, offset in ((second, blamed.offset + len(first)), (first, blamed.offset)):
                self._again.appendleft(_Task(blamed.shard, half, offset, DEATHS - 1))
        else:
            self._fatal += 1
            if self._fatal > MOST_FATAL:
                raise TrainingError(
                    f"workers died on {self._fatal} images, last {blamed.part.name}: have they too little memory? "
                    "What is done stays; the same command with `resume` goes on"
                ) from error
            yield from self._whole(blamed, fatal(blamed.part, self.facts))


def _room(resources: Mapping[str, float]) -> int:
    """Return for how many workers the machines of the cluster have room."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    wanted = {names[name]: value for name, value in resources.items() if value}
    machines = [
        node["Resources"]
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]
    return sum(
        min(int(machine.get(name, 0) / value) for name, value in wanted.items()) for machine in machines
    )
