"""What every table of figures states: the machine and the versions."""

from __future__ import annotations

import platform
import statistics
from importlib.metadata import version

from mien.benchmark.timings import machine


def describe(*packages: str) -> str:
    """Return one line: cores in use, processor, system, Python and package versions."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{machine()}, Python {platform.python_version()}, {versions}"


def spread(values: list[float], digits: int = 2) -> str:
    """Return ``median (min-max)``."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"
