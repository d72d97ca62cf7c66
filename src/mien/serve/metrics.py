"""Counts and times of the service, in the format of Prometheus. Several processes share them through files."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of prometheus-client: a folder in which processes share their counts."""
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_CROPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "mien_requests", "Requests answered.", ("endpoint", "status"), registry=registry
        )
        self.rejected = Counter("mien_rejected", "Requests refused.", ("reason",), registry=registry)
        self.pictures = Counter("mien_pictures", "Pictures handled.", ("outcome",), registry=registry)
        self.faces = Counter("mien_faces", "Faces classified.", registry=registry)
        self.stage = Histogram(
            "mien_stage_seconds", "Time of a stage: read, find, wait_and_name, name, draw, request.",
            ("stage",), registry=registry, buckets=_SECONDS,
        )  # fmt: skip
        self.batch = Histogram(
            "mien_batch_crops", "Crops in a call of the classifier.", registry=registry, buckets=_CROPS
        )
        self.queue = Gauge(
            "mien_queue_pictures", "Pictures waiting or worked on.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip

    def batched(self, crops: int, seconds: float) -> None:
        """Note one call of the classifier."""
        self.batch.observe(crops)
        self.stage.labels("name").observe(seconds)

    def text(self) -> bytes:
        """Return all counts, of all processes."""
        registry = self._registry
        if os.environ.get(SHARED_FOLDER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
