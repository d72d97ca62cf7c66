"""`benchmark`: which rows there are, what each costs. The timing itself is done in `benchmark.worker` processes.

All rows of one device and number of threads are open at once and measured in turn, a little each, several
rounds: what else happens on the machine then happens to all of them.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import bundle
from mien.classifiers import load_classifier
from mien.errors import ConfigError, did_you_mean
from mien.machine import processor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset

SCHEMA = "mien.benchmark/1"
CALLS_FOR_P99 = 200
"""Two calls lie above the 99th percentile of so many; of fewer it would be the slowest call by another name."""
RUNTIMES = ("torch", "torch compiled", *bundle.GRAPHS)
PROVIDERS = ("cpu", "cuda")
ROUNDS = 5
SECONDS = 0.3
"""Of one row and batch in one round."""


@dataclass(frozen=True)
class Subject:
    """A model that takes part: a bundle, or one ONNX file with its spec."""

    name: str
    model: str
    spec: str = ""
    sizes: tuple[tuple[str, int], ...] = ()
    """Bytes on disk by runtime."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Runtimes it has not, and why."""
    accuracies: tuple[tuple[str, float], ...] = ()
    """By runtime, from its card."""
    accuracy_on: str = ""


@dataclass(frozen=True)
class Timing:
    """One model in one runtime at one batch size."""

    model: str
    runtime: str
    device: str
    threads: int
    batch: int
    n: int
    """Timed calls."""
    p50_ms: float
    """Of one call with the whole batch, its normalisation from pixels included."""
    p95_ms: float
    p99_ms: float | None
    """None of fewer than `CALLS_FOR_P99` calls."""
    faces_per_s: float
    size_bytes: int
    load_s: float
    """From an empty process that has imported nothing of the runtime to the first answer."""
    peak_mib: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Benchmark:
    """The rows, and what they were measured with."""

    machine: str
    versions: dict[str, str]
    rounds: int
    rows: tuple[Timing, ...]
    left_out: dict[str, str]
    accuracy_on: str

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as their schema has them."""
        return {"schema": SCHEMA, **asdict(self)}


def check_options(
    providers: Sequence[str],
    threads: Sequence[int],
    batches: Sequence[int],
    runtimes: Sequence[str] = RUNTIMES,
) -> None:
    """Refuse what a command line may get wrong.

    Raises:
        ConfigError: an unknown provider or runtime, or numbers that are none.
    """
    for what, names, known in (("provider", providers, PROVIDERS), ("runtime", runtimes, RUNTIMES)):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"unknown {what} {name!r}: expected {', '.join(known)}{did_you_mean(name, known)}"
                )
    for option, values in (("--threads", threads), ("--batch", batches)):
        if not values or min(values) < 1:
            raise ConfigError(f"{option} takes numbers from 1, such as 1,2; got {','.join(map(str, values))}")


def subject(model: str, spec: Path | None = None) -> Subject:
    """Return a model as a subject; it is opened once, so that what is wrong with it is said at once.

    Raises:
        BundleError: missing, damaged, foreign, or a graph without a spec.
        ConfigError: a wrong spec.
    """
    if model.endswith(".onnx"):
        name = load_classifier(model, spec=spec).id.name
        absent = tuple((runtime, "one graph only") for runtime in RUNTIMES if runtime != "onnx")
        size = (("onnx", Path(model).stat().st_size),)
        return Subject(name, model, str(spec or ""), size, absent)
    loaded = bundle.load(model)
    load_classifier(model)
    sizes, absent_from = {}, {}
    for runtime in RUNTIMES:
        torch = runtime.startswith("torch")
        if torch and loaded.card.architecture == bundle.ENSEMBLE:
            absent_from[runtime] = "an ensemble runs in ONNX Runtime only"
        elif torch and find_spec("torch") is None:
            absent_from[runtime] = "torch is not installed; it comes with the extra train"
        elif (file := "model.safetensors" if torch else bundle.GRAPHS[runtime]) in loaded.sha256:
            sizes[runtime] = len(loaded.read(file))
        else:
            absent_from[runtime] = f"the bundle has no {file}: `mien export --to {runtime}` makes it"
    accuracies, where = _from_card(loaded.card)
    return Subject(
        loaded.id.name, model, "", tuple(sizes.items()), tuple(absent_from.items()), tuple(accuracies.items()), where
    )  # fmt: skip


def _from_card(card: bundle.Card) -> tuple[dict[str, float], str]:
    """Return accuracies by runtime as the card has them, and on what."""
    plain = next((score for score in card.scores if score.tta == "none"), None)
    if plain is None:
        return {}, ""
    found = dict.fromkeys(("torch", "torch compiled", "onnx"), plain.accuracy)
    for runtime, made in card.exports.items():
        if made.compared_on.data != card.data.name:  # a split of that name, of other pictures
            continue
        for score in made.scores:
            if (score.split, score.tta) == (plain.split, "none"):
                found[runtime] = score.accuracy
    return found, f"{plain.split} of {card.data.name}"


def judged(
    subjects: Sequence[Subject], data: Callable[[Classifier], FaceDataset], split: str
) -> list[Subject]:
    """Return the subjects with accuracies measured on one split, which `data` reads for each of them.

    Raises:
        DataError: no such split, or labels a model does not know.
    """
    from mien.evaluation.evaluate import answers

    made = []
    for one in subjects:
        found, source = {}, ""
        for runtime, _ in one.sizes:
            if runtime.startswith("torch"):
                continue
            classifier = load_classifier(one.model, backend=runtime, spec=one.spec or None)
            rows, logits = answers(classifier, data(classifier), split)
            found[runtime] = float((logits.argmax(axis=1) == rows.truth).mean())
            source = rows.source
        found |= dict.fromkeys(("torch", "torch compiled"), found["onnx"])
        made.append(replace(one, accuracies=tuple(found.items()), accuracy_on=f"{split} of {source}"))
    return made


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
    """Measure every model in every runtime it has; what does not run is left out with its reason.

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
    return Benchmark(machine(), _versions(), rounds, tuple(rows), left_out, where)


def _start(subjects: Sequence[Subject], device: str, threads: int, left_out: dict[str, str]) -> list[_Worker]:
    """Open every row of a group, one after the other, so that none loads while another does."""
    workers = []
    for one in subjects:
        for runtime, size in one.sizes:
            worker = _Worker(one, runtime, device, threads, size)
            if worker.error:
                left_out[worker.name] = worker.error
                worker.close()
            else:
                workers.append(worker)
    return workers


def _measure(
    workers: Sequence[_Worker],
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


class _Worker:
    """A process with one model open in one runtime."""

    def __init__(self, one: Subject, runtime: str, device: str, threads: int, size: int) -> None:
        self.subject, self.runtime, self.device, self.threads, self.size = one, runtime, device, threads, size
        self.name = f"{one.name}, {runtime}, {device}, {threads} threads"
        self.peak: float | None = None
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mien.benchmark.worker"], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        said = self._ask(
            {"model": one.model, "spec": one.spec, "runtime": runtime, "device": device, "threads": threads}
        )
        self.error, self.load_s = said.get("error", ""), said.get("load_s", 0.0)

    def time(self, batch: int, seconds: float, *, warm: bool) -> list[float]:
        """Return milliseconds of calls; none, and an `error`, where they failed."""
        said = self._ask({"batch": batch, "seconds": seconds, "warm": warm})
        self.peak, self.error = said.get("peak_mib", self.peak), said.get("error", self.error)
        return list(said.get("ms", ()))

    def row(self, batch: int, ms: list[float]) -> Timing:
        """Return what was measured at one batch size."""
        p50, p95, p99 = (float(value) for value in np.percentile(ms, (50, 95, 99)))
        slowest = p99 if len(ms) >= CALLS_FOR_P99 else None
        rate = 1000 * batch * len(ms) / sum(ms)
        accuracy = dict(self.subject.accuracies).get(self.runtime)
        return Timing(
            self.subject.name, self.runtime, self.device, self.threads, batch, len(ms), p50, p95, slowest, rate,
            self.size, self.load_s, self.peak, accuracy,
        )  # fmt: skip

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, words: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(words), file=self._process.stdin, flush=True)
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            return {"error": "the process broke down"}
        return answer


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return cores in use, processor, its instructions that decide how the runtimes compare, and system."""
    found = processor(cpuinfo)
    known = f" ({', '.join(found.instructions)})" if found.instructions else ""
    return f"{found.cores} cores of {found.name}{known}, {platform.system()}"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("mien", "onnxruntime", "onnxruntime-gpu", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
