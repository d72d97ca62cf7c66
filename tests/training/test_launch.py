"""Precision: what `auto` stands for follows from the device. Memory: what is freed is kept."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mien.config import read_recipe
from mien.errors import ConfigError
from mien.training.fit import fit
from mien.training.launch import Place, open_place
from tests.training.tiny import tiny_data

REPOSITORY = Path(__file__).parents[2]


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
from mien.training.fit import fit
from mien.training.launch import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(8):
    torch.ones(2**24).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(24):
    torch.ones(2**24).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    given, kept = (
        int(subprocess.run([sys.executable, "-c", program, how], capture_output=True, check=True).stdout)
        for how in ("given", "kept")
    )
    assert given > 3 * kept, "small blocks may split a freed one, so a few of the 24 tensors need new pages"


PROGRAM = """
import os, signal, sys, torch
from pathlib import Path
from mien.config import read_recipe
from mien.training import loop
from mien.training.fit import fit
from tests.training.test_launch import NOISY, PLAIN
from tests.training.tiny import tiny_data

folder, deadly_epoch, rank = Path(sys.argv[1]), int(sys.argv[2]), int(os.environ["RANK"])
loop.CHECKPOINT_FRACTION = 1.0

def note(row):
    if row.epoch == deadly_epoch and rank == 1:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

def finish(trained, out, **_):  # in place of the export, which other tests run
    torch.save(trained.network.state_dict(), out / "weights.pt")

def judged(row, _):
    (folder / f"rank{rank}").write_text(f"{row.val_loss} {torch.initial_seed()}")

loop.finish = finish
recipe, out = read_recipe("nano", PLAIN), folder / f"machine{rank}"
loop.train(recipe, tiny_data(), out, device="cpu", resume=True, on_epoch=note)
fit(read_recipe("nano", NOISY), tiny_data(), device="cpu", on_epoch=judged)
"""
PLAIN = ["network=lenet", "epochs=3", "batch_size=16", "ema.decay=0", "precision=32-true"]
"""A network without dropout and BatchNorm, which every process has of its own rows."""
NOISY = ["network=mynet_v1", "epochs=1", "batch_size=16"]
"""One with both."""


def two_machines(folder: Path, deadly_epoch: int) -> tuple[list[int], str]:
    """Run the program in two groups of processes, each the ``torchrun`` of a machine; return statuses and stderr."""
    (folder / "program.py").write_text(PROGRAM)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "src"))),
    }
    words = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    words += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    program = [str(folder / "program.py"), str(folder), str(deadly_epoch)]
    with (folder / "stderr").open("w+") as said:
        each = [[*words, f"--node-rank={rank}", *program] for rank in range(2)]
        groups = [subprocess.Popen(one, stderr=said, env=environment) for one in each]
        statuses = [group.wait(timeout=500) for group in groups]
        said.seek(0)
        return statuses, said.read()


def test_two_machines_train_as_one_process_does_and_go_on_after_one_died(tmp_path):
    """The folder of the run is on the first machine only."""
    statuses, said = two_machines(tmp_path, deadly_epoch=2)
    assert statuses == [1, -signal.SIGKILL]
    assert "TrainingError: another process of this run has ended or cannot be reached" in said
    assert (tmp_path / "machine0" / "run" / "checkpoint.pt").exists()
    assert not (tmp_path / "machine1").exists()

    statuses, said = two_machines(tmp_path, deadly_epoch=0)
    assert statuses == [0, 0], said
    assert not (tmp_path / "machine1").exists()
    history = (tmp_path / "machine0" / "run" / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["epoch", "1", "2", "3"]
    alone = fit(read_recipe("nano", PLAIN), tiny_data(), device="cpu").network.state_dict()
    two = torch.load(tmp_path / "machine0" / "weights.pt")
    assert max(float((alone[name] - two[name]).abs().max()) for name in alone) < 1e-5

    # one process judges for both, though each has BatchNorm's statistics of its own rows; dropout differs
    first, second = ((tmp_path / f"rank{rank}").read_text().split() for rank in range(2))
    assert first[0] == second[0]
    assert first[1] != second[1]


class Pair:
    """The first process of two, and what the other one would answer."""

    def __init__(self, monkeypatch, share: float) -> None:
        self.place = Place(torch.device("cpu"), rank=0, world_size=2)
        monkeypatch.setattr(Place, "agreed", lambda _, value: value)
        monkeypatch.setattr(Place, "mean", lambda _, value: value * share)


def test_other_data_on_another_machine_is_refused(monkeypatch):
    Pair(monkeypatch, 1.0).place.check_same("claim")
    with pytest.raises(
        ConfigError, match="have different recipes, datasets or versions of mien: give each machine"
    ):
        Pair(monkeypatch, 0.5).place.check_same("claim")


def test_an_error_of_the_first_process_is_that_of_all(monkeypatch):
    def refuse():
        raise ConfigError("no")

    place = Pair(monkeypatch, 1.0).place
    assert place.decided(lambda: 7) == 7
    with pytest.raises(ConfigError, match="no"):
        place.decided(refuse)
