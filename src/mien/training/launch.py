"""Devices, precision and processes, through Lightning Fabric."""

from __future__ import annotations

import ctypes
import os
import sys

import torch
from lightning.fabric import Fabric

from mien.errors import ConfigError

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's `mallopt`, from malloc.h."""


def check_device(device: str) -> None:
    """Refuse a device that is unknown or not there.

    Raises:
        ConfigError: it is neither ``auto``, ``cpu``, ``cuda`` nor ``mps``, or not on this machine.
    """
    present = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device not in present:
        raise ConfigError(f"unknown device {device!r}: expected one of {', '.join(present)}")
    if not present[device]:
        raise ConfigError(f"no {device} device on this machine: use --device auto or cpu")


def open_fabric(device: str, precision: str) -> Fabric:
    """Open a device that `check_device` accepts; under ``torchrun`` join the other processes."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    if precision == "auto":
        precision = "bf16-mixed" if _computes_in_bf16(device) else "32-true"
    fabric = Fabric(
        accelerator=device,
        devices=local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    if fabric.device.type == "cpu":
        keep_freed_memory()
    return fabric


def keep_freed_memory() -> None:
    """Have glibc keep what one step frees for the next one, for the rest of the process; elsewhere do nothing.

    Else large tensors go back to the kernel, which clears their pages anew in every step: a tenth of its time.
    """
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "mallopt"):
        return
    library.mallopt(_M_MMAP_MAX, 0)
    library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    library.mallopt(_M_TOP_PAD, 64 * 2**20)


def _computes_in_bf16(device: str) -> bool:
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "mps" or (device == "auto" and torch.backends.mps.is_available()):
        return False
    return torch.cpu._is_avx512_bf16_supported()
