"""What this machine is: its processor, the cores in use, and the instructions that decide how fast a model runs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "amx_int8": "AMX-INT8",
    "asimddp": "dot product",
    "i8mm": "I8MM",
}
"""What Linux calls the instructions that decide what 8 and 16 bits bring, and what their makers do."""


@dataclass(frozen=True)
class Processor:
    """A processor, as the system names it."""

    name: str
    cores: int
    """Logical cores that this process may use."""
    instructions: tuple[str, ...] | None
    """Those that matter here; None where the system does not tell (macOS, Windows)."""


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """Return the processor of this machine."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    named = facts.get("model name") or platform.processor() or platform.machine()
    flags = facts.get("flags", facts.get("Features"))
    known = (
        None
        if flags is None
        else tuple(name for flag, name in _INSTRUCTIONS.items() if flag in flags.split())
    )
    affinity = getattr(os, "sched_getaffinity", None)
    return Processor(named, len(affinity(0)) if affinity else os.cpu_count() or 1, known)
