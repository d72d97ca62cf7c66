"""Where a run computes: the device, the precision, and the processes that share its batches.

Processes are those that ``torchrun`` starts. It needs nothing but torch: Lightning's Fabric did the same and took
twice as long to import as torch itself (docs/architecture.md).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed

from mien.errors import ConfigError, MienError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's `mallopt`, from malloc.h."""
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """A device, whether it computes in bf16, and which of how many processes this one is."""

    device: torch.device
    bf16: bool = False
    rank: int = 0
    world_size: int = 1

    @property
    def precision(self) -> str:
        """``bf16-mixed`` or ``32-true``, as recipes name them."""
        return "bf16-mixed" if self.bf16 else "32-true"

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def autocast(self) -> torch.autocast:
        """Return the context in which matrix products and convolutions compute in bf16, if the run does."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def shared(self, network: nn.Module) -> nn.Module:
        """Return the network so that its gradients are means over all processes."""
        if self.world_size == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(network, device_ids=devices)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all processes."""
        if self.world_size > 1:
            distributed.all_reduce(values)
        return values / self.world_size

    def agreed(self, value: T) -> T:
        """Return the first process's value in all of them."""
        if self.world_size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def decided(self, decide: Callable[[], T]) -> T:
        """Return what the first process decides, in all of them: only it looks at the folder of the run.

        Raises:
            MienError: that of the first process, in all of them.
        """
        if self.world_size == 1:
            return decide()
        value, error = None, None
        if self.is_first:
            try:
                value = decide()
            except MienError as refused:
                error = refused
        value, error = self.agreed((value, error))
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def check_same(self, claim: str) -> None:
        """Refuse processes of which one trains on other data or by another recipe; `claim` is a hash of both.

        Raises:
            ConfigError: in all processes.
        """
        is_same = torch.tensor(float(self.agreed(claim) == claim), device=self.device)
        if float(self.mean(is_same)) < 1:
            raise ConfigError(
                "the processes of this run have different recipes, datasets or versions of mien: give each machine "
                "the same command, and a copy of the same packed file"
            )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Turn what torch raises when another process is gone into one line.

        Raises:
            TrainingError: another process of the run has ended, or cannot be reached.
        """
        try:
            yield
        except RuntimeError as error:
            is_lost = isinstance(error, distributed.DistError) or "gloo" in str(error).lower()
            if self.world_size == 1 or not is_lost:
                raise
            raise TrainingError(
                "another process of this run has ended or cannot be reached: its own error may say why; start the "
                "command of every machine again with `resume`"
            ) from error

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.world_size > 1:
            distributed.barrier()


def is_first_process() -> bool:
    """Say whether this is the process that writes: the only one, or ``torchrun``'s first."""
    return os.environ.get("RANK", "0") == "0"


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


def open_place(device: str, precision: str) -> Place:
    """Open a device that `check_device` accepts; under ``torchrun`` join the other processes."""
    if device == "auto":
        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    bf16 = _computes_in_bf16(device) if precision == "auto" else precision == "bf16-mixed"
    rank, world = (
        int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))
    )
    place = torch.device(device)
    if device == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    elif device == "cpu":
        keep_freed_memory()
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        atexit.register(distributed.destroy_process_group)
    return Place(place, bf16, rank, world)


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
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and torch.cpu._is_avx512_bf16_supported()
