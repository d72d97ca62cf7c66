"""What every table of figures states: the machine and the versions."""

from __future__ import annotations

import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path


def describe(*packages: str) -> str:
    """Return one line: processor, cores in use, system, Python and package versions."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    processor = names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{cores} cores of {processor}, {platform.system()}, Python {platform.python_version()}, {versions}"
    )


def spread(values: list[float], digits: int = 2) -> str:
    """Return ``median (min-max)``."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"
