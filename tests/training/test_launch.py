"""Precision: what `auto` stands for follows from the device. Memory: what is freed is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mien.training.launch import open_place


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
    assert open_place("cpu", asked).precision == got


@pytest.mark.parametrize("gpu_has_bf16", [True, False])
def test_where_there_is_a_gpu_it_is_the_gpu_that_counts(gpu_has_bf16, monkeypatch):
    from mien.training import launch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: gpu_has_bf16)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: not gpu_has_bf16)
    assert launch._computes_in_bf16("cuda") == gpu_has_bf16
    assert launch._computes_in_bf16("cpu") != gpu_has_bf16


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator's own business elsewhere")
def test_memory_that_was_freed_is_not_taken_from_the_kernel_again():
    """Pages are counted as the kernel hands them over: 4 KiB each, unless it has large ones."""
    program = """
import resource, sys, torch
from mien.training.launch import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(8):
    torch.ones(2**24).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(48):
    torch.ones(2**24).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    given, kept = (
        int(subprocess.run([sys.executable, "-c", program, how], capture_output=True, check=True).stdout)
        for how in ("given", "kept")
    )
    assert given > 6 * kept, "small blocks may split a freed one, so a few of the 48 tensors need new pages"


def test_processes_agree_on_what_decides_and_differ_in_dropout(tmp_path):
    """Each has BatchNorm's statistics of its own rows, which must not make it a judge of its own."""
    program = tmp_path / "program.py"
    program.write_text("""
import os, sys, torch
from pathlib import Path
from mien.config import read_recipe
from mien.training.loop import train
from tests.training.tiny import tiny_data

def note(row):
    if row.epoch == 2:
        figures = f"{row.val_loss} {torch.initial_seed()}"
        (Path(sys.argv[1]) / f"rank{os.environ['RANK']}").write_text(figures)
        torch.distributed.barrier()
        os._exit(0)

settings = ["network=mynet_v1", "epochs=3", "batch_size=16", "ema.decay=0"]
train(read_recipe("nano", settings), tiny_data(), Path(sys.argv[1]) / "run", device="cpu", on_epoch=note)
""")
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    words = [sys.executable, "-m", *launch, str(program), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    one, two = ((tmp_path / f"rank{rank}").read_text().split() for rank in range(2))
    assert one[0] == two[0]
    assert one[1] != two[1]
