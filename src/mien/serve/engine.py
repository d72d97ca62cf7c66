"""The work behind the endpoints: threads find faces, shared batches classify them, threads draw.

Requests of all clients share one `Batcher`. Pixels are freed as soon as crops are cut. A picture that is to be drawn
is decoded again, so the waiting pictures need little memory.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.detectors.whole import Whole
from mien.errors import ImageError
from mien.predictions import ImageResult
from mien.serve.batches import Batcher
from mien.serve.gate import Gate
from mien.vision import images
from mien.vision.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

    from mien.pipeline import Pipeline
    from mien.results import Face
    from mien.serve.bodies import Picture
    from mien.serve.metrics import Metrics
    from mien.serve.options import LimitOptions

    Found = tuple[ImageResult, list[Face], UInt8[np.ndarray, "n v s s c"] | None]
    """The result of a picture (or the error), its faces, and their crops."""


class Engine:
    """Pictures in, results out, for one event loop."""

    def __init__(
        self, pipeline: Pipeline, limits: LimitOptions, metrics: Metrics, workers: int | None = None
    ) -> None:
        self.pipeline, self.limits, self.metrics = pipeline, limits, metrics
        self.gate = Gate(limits.queue, limits.max_body_bytes)
        self._whole = Whole()
        self._facts = pipeline.facts
        self._threads = pipeline.workers_for(None, workers)
        self._searched = 0  # pictures, or groups of crops, that may still bring a job
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="mien-find")
        self._batcher = Batcher(
            pipeline.name,
            max_batch=limits.max_batch,
            max_wait_s=limits.max_wait_ms / 1000,
            coming=lambda: self._searched,
            seen=metrics.batched,
        )

    def close(self) -> None:
        """Finish the pictures that are worked on and end the threads."""
        self._pool.shutdown(cancel_futures=True)
        self._batcher.close()

    def facts(self, *, crops: bool) -> dict[str, Any]:
        """Return what a reader must know of the results; `crops`: each picture was taken as one face."""
        return {**self._facts, **({"detector": self._whole.name} if crops else {})}

    async def results(self, pictures: Sequence[Picture], *, crops: bool) -> list[ImageResult]:
        """Return the result of each picture, in order; one that cannot be read has its `error`.

        Raises:
            Problem: 429, the queue is full.
        """
        with self.gate.admit(len(pictures)):
            self.metrics.queue.set(self.gate.pictures)
            try:
                groups = (
                    [pictures] if crops else [[one] for one in pictures]
                )  # a crop takes too little time for a thread of its own
                found = await asyncio.gather(*(self._results(group, crops) for group in groups))
                return [result for results in found for result in results]
            finally:
                self.metrics.queue.set(self.gate.pictures - len(pictures))

    async def drawn(self, result: ImageResult) -> bytes:
        """Return the picture with boxes and labels as JPEG."""
        return await self._in_thread("draw", lambda: images.encode_jpeg(result.without_pixels().annotated()))

    async def _results(self, pictures: Sequence[Picture], crops: bool) -> list[ImageResult]:
        """Return the results of pictures that one thread takes together."""
        self._searched += 1
        try:
            found: list[Found] = await self._in_thread(
                "find", lambda: [self._find(one, crops) for one in pictures]
            )
            for result, _, _ in found:
                self.metrics.pictures.labels("unreadable" if result.error else "ok").inc()
            cuts = [cut for _, faces, cut in found if faces and cut is not None]
            if not cuts:
                return [result for result, _, _ in found]
            begun = time.perf_counter()
            job = self._batcher.submit(np.concatenate(cuts))
        finally:
            self._searched -= 1
        rows = (await asyncio.wrap_future(job)).tolist()
        self.metrics.stage.labels("wait_and_name").observe(time.perf_counter() - begun)
        self.metrics.faces.inc(len(rows))
        each = iter(rows)
        return [
            replace(result, faces=self.pipeline.labelled(faces, [next(each) for _ in faces]))
            for result, faces, _ in found
        ]

    async def _in_thread(self, stage: str, work: Any) -> Any:
        def timed() -> Any:
            begun = time.perf_counter()
            try:
                return work()
            finally:
                took.append(time.perf_counter() - begun)

        took: list[float] = []
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, timed)
        finally:
            for seconds in took:
                self.metrics.stage.labels(stage).observe(seconds)
                self.gate.took(seconds / self._threads)

    def _find(self, picture: Picture, crops: bool) -> Found:
        """Decode a picture, find its faces and cut their crops; its pixels are freed at the end."""
        load = partial(images.decode, picture.data, pixel_limit=self.limits.max_pixels)
        empty = ImageResult(picture.name, frame=Frame(picture.name, load=load))
        try:
            image = load()
            faces = self._whole.detect(image) if crops else self.pipeline.find(image)
            if len(faces) > self.limits.max_faces:
                raise ImageError(f"{len(faces)} faces, the limit of a picture is {self.limits.max_faces}")
            cut = self.pipeline.crops(image, faces)
        except ImageError as error:
            return replace(empty, error=str(error)), [], None
        height, width = image.shape[:2]
        return replace(empty, width=width, height=height), faces, cut
