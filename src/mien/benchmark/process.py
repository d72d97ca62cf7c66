"""One process for each row of a benchmark: it is started and asked here, and `worker` answers in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.benchmark.timings import Timing
from mien.statistics import percentile

if TYPE_CHECKING:
    from mien.benchmark.subjects import Subject


class RowProcess:
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
        """Return the milliseconds of each call; if the calls fail, an empty list, and `error` is set."""
        said = self._ask({"batch": batch, "seconds": seconds, "warm": warm})
        self.peak, self.error = said.get("peak_mib", self.peak), said.get("error", self.error)
        return list(said.get("ms", ()))

    def row(self, batch: int, ms: list[float]) -> Timing:
        """Return what was measured at one batch size."""
        middle = float(np.median(ms))
        rate = 1000 * batch * len(ms) / sum(ms)
        accuracy = dict(self.subject.accuracies).get(self.runtime)
        return Timing(
            self.subject.name, self.runtime, self.device, self.threads, batch, len(ms), middle,
            percentile(ms, 95), percentile(ms, 99), rate, self.size, self.load_s, self.peak, accuracy,
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
