"""Batches: crops of all requests share calls of the classifier."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float32, UInt8


class _Job(NamedTuple):
    crops: UInt8[np.ndarray, "n v s s c"]
    done: Future[Any]


class Batcher:
    """One thread that joins crops from several threads into batches, and runs `work` on each batch."""

    def __init__(
        self,
        work: Callable[[UInt8[np.ndarray, "n v s s c"]], Float32[np.ndarray, "n k"]],
        *,
        max_batch: int,
        max_wait_s: float,
        coming: Callable[[], int],
        seen: Callable[[int, float], None],
    ) -> None:
        """Start the thread.

        Args:
            work: function from crops to one row of logits for each.
            max_batch: a batch with this many crops does not wait for more; the crops of one job are never divided.
            max_wait_s: longest time that the first job of a batch waits for others.
            coming: how many further jobs may come soon; if there are none, a batch does not wait.
            seen: called with the number of crops and the seconds of each batch.
        """
        self._work, self._max_batch, self._max_wait_s = work, max_batch, max_wait_s
        self._coming, self._seen = coming, seen
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mien-batches", daemon=True)
        self._thread.start()

    def submit(self, crops: UInt8[np.ndarray, "n v s s c"]) -> Future[Any]:
        """Add crops to a batch; the future gives their rows, or the error of the batch."""
        done: Future[Any] = Future()
        self._jobs.put(_Job(crops, done))
        return done

    def close(self) -> None:
        """Finish all jobs, then end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            jobs, going = self._gather()
            live = [job for job in jobs if job.done.set_running_or_notify_cancel()]
            if live:
                self._answer(live)

    def _gather(self) -> tuple[list[_Job], bool]:
        """Return the jobs of the next batch, and whether there will be another."""
        first = self._jobs.get()
        if first is None:
            return [], False
        jobs, crops, until = [first], len(first.crops), time.monotonic() + self._max_wait_s
        while crops < self._max_batch:
            left = until - time.monotonic() if self._coming() else 0
            try:
                job = self._jobs.get(timeout=left) if left > 0 else self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return jobs, False
            jobs.append(job)
            crops += len(job.crops)
        return jobs, True

    def _answer(self, jobs: list[_Job]) -> None:
        begun = time.perf_counter()
        try:
            rows = self._work(np.concatenate([job.crops for job in jobs]))
        except Exception as error:  # of any kind: those who wait for the result must get it
            for job in jobs:
                job.done.set_exception(error)
            return
        self._seen(len(rows), time.perf_counter() - begun)
        start = 0
        for job in jobs:
            job.done.set_result(rows[start : start + len(job.crops)])
            start += len(job.crops)
