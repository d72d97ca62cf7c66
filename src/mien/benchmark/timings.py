"""The result of a benchmark: a `Timing` for each row, and the machine and versions."""

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
    """Number of timed calls."""
    p50_ms: float
    """Median time of one call with the whole batch, in ms; the normalisation of pixels is included."""
    p95_ms: float | None
    """None if there are too few calls (`statistics.percentile`); the same for `p99_ms`."""
    p99_ms: float | None
    faces_per_s: float
    size_bytes: int
    load_s: float
    """Seconds from a new process, which has not imported the runtime, to the first answer."""
    peak_mib: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Benchmark:
    """All rows, and the machine and versions."""

    machine: str
    versions: dict[str, str]
    rounds: int
    rows: tuple[Timing, ...]
    left_out: dict[str, str]
    accuracy_on: str

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a dictionary for JSON, with the name of their schema."""
        return {"schema": SCHEMA, **asdict(self)}


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return one line: cores in use, processor, those of its instructions that matter for speed, and system."""
    found = processor(cpuinfo)
    known = f" ({', '.join(found.instructions)})" if found.instructions else ""
    return f"{found.cores} cores of {found.name}{known}, {platform.system()}"


def versions() -> dict[str, str]:
    """Return the versions of the packages that matter for speed, by name."""
    found = {"python": platform.python_version()}
    for package in ("mien", "onnxruntime", "onnxruntime-gpu", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
