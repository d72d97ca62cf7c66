"""What a benchmark found: one `Timing` a row, and what they were measured with."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mien.machine import processor

SCHEMA = "mien.benchmark/1"


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
    p95_ms: float | None
    """None of too few calls for it (`statistics.percentile`), as `p99_ms`."""
    p99_ms: float | None
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


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return cores in use, processor, its instructions that decide how the runtimes compare, and system."""
    found = processor(cpuinfo)
    known = f" ({', '.join(found.instructions)})" if found.instructions else ""
    return f"{found.cores} cores of {found.name}{known}, {platform.system()}"


def versions() -> dict[str, str]:
    """Return the versions of what decides speed, by name."""
    found = {"python": platform.python_version()}
    for package in ("mien", "onnxruntime", "onnxruntime-gpu", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
