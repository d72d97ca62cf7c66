"""Options of scoring on several processes or machines. Importing it is light."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from mien.errors import ConfigError
from mien.options import check_choices, check_least, option

SHARD_SIZE = 4096
MOST_IN_A_SHARD = 1_000_000
"""A worker keeps the rows of a shard in memory, about 1 KB each."""


@dataclass(frozen=True)
class ScaleOptions:
    """How images are scored by several processes, with Ray; see docs/scale.md."""

    engine: str = option(
        "local", "What does the work: this process, or the worker processes of a Ray cluster.",
        choices=("local", "ray"),
    )  # fmt: skip
    address: str | None = option(
        None, "Running Ray cluster, as host:port of its head, or auto; by default one is started on this machine.",
        metavar="HOST:PORT",
    )  # fmt: skip
    shard_size: int = option(
        SHARD_SIZE, "Images in one Parquet file of results: what a killed worker loses at most."
    )
    worker_cpus: int = option(1, "CPU cores that each worker process takes.")
    worker_gpus: float | None = option(
        None,
        "GPUs that each worker process takes; 0.5 lets two share one. By default 1 with --device cuda.",
        metavar="X",
    )

    def __post_init__(self) -> None:
        """Check each option.

        Raises:
            ConfigError: an unknown word, a number out of range, or an address of another kind.
        """
        check_choices(self)
        if not 1 <= self.shard_size <= MOST_IN_A_SHARD:
            raise ConfigError(f"`shard_size` must be from 1 to {MOST_IN_A_SHARD:,}, got {self.shard_size:,}")
        check_least(self, 1, "worker_cpus")
        if self.worker_gpus is not None and not 0 <= self.worker_gpus <= 64:
            raise ConfigError(f"`worker_gpus` must be from 0 to 64, got {self.worker_gpus:g}")
        host, colon, port = (self.address or "auto:1").rpartition(":")
        if self.address != "auto" and not (host and colon and port.isdecimal() and "/" not in host):
            raise ConfigError(
                f"`address` must be auto or host:port, as `ray start --head` prints it, got {self.address!r}"
            )

    @property
    def given(self) -> list[str]:
        """Names of the options that differ from their defaults, but `engine`."""
        return [
            one.name
            for one in fields(self)
            if one.name != "engine" and getattr(self, one.name) != one.default
        ]

    def resources(self, device: str) -> dict[str, Any]:
        """Return what Ray reserves for each worker that runs the model on `device`."""
        gpus = self.worker_gpus if self.worker_gpus is not None else float(device == "cuda")
        return {"num_cpus": self.worker_cpus, "num_gpus": gpus}
