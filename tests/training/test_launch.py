"""Precision: what `auto` stands for follows from the device. Memory: what is freed is kept."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mien.training.launch import open_fabric


@pytest.mark.parametrize(
    ("asked", "cpu_has_bf16", "got"),
    [
        ("auto", True, "bf16-mixed"),
        ("auto", False, "32-true"),
        ("32-true", True, "32-true"),
        ("bf16-mixed", False, "bf16-mixed"),
    ],
)
def test_a_cpu_that_only_imitates_bf16_is_not_asked_for_it(asked, cpu_has_bf16, got, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu_has_bf16)
    assert open_fabric("cpu", asked)._precision.precision == got


@pytest.mark.parametrize("gpu_has_bf16", [True, False])
def test_where_there_is_a_gpu_it_is_the_gpu_that_counts(gpu_has_bf16, monkeypatch):
    from mien.training import launch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: gpu_has_bf16)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: not gpu_has_bf16)
    assert launch._computes_in_bf16("auto") == launch._computes_in_bf16("cuda") == gpu_has_bf16
    assert launch._computes_in_bf16("cpu") != gpu_has_bf16


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator's own business elsewhere")
def test_memory_that_was_freed_is_not_taken_from_the_kernel_again():
    """Pages are counted as the kernel hands them over: 4 KiB each, unless it has large ones."""
    program = """
import resource, sys, torch
from mien.training.launch import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(3):
    torch.ones(2**24).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    torch.ones(2**24).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    given, kept = (
        int(subprocess.run([sys.executable, "-c", program, how], capture_output=True, check=True).stdout)
        for how in ("given", "kept")
    )
    assert kept < 100
    assert given > 3 * kept
