"""What every table of figures states: the machine and the versions."""

from __future__ import annotations

import platform
import statistics
from importlib.metadata import version
from typing import TYPE_CHECKING

from mien.benchmark.timings import machine

if TYPE_CHECKING:
    from pathlib import Path


def describe(*packages: str) -> str:
    """Return one line: cores in use, processor, system, Python and package versions."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{machine()}, Python {platform.python_version()}, {versions}"


def spread(values: list[float], digits: int = 2) -> str:
    """Return ``median (min-max)``."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def opening(doc: str | None) -> str:
    """Return what a page of docs begins with: the command of a benchmark and its explanation, from its docstring."""
    _, command, words = (doc or "").strip().split("\n\n", 2)
    lines = [line.removeprefix("    ") for line in command.splitlines()]
    return "\n".join(["```", *lines, "```", "", words])


def give(page: str, out: Path | None) -> None:
    """Print a page, and write it where it is to go."""
    print(page)
    if out:
        out.write_text(page, encoding="utf-8")
