"""Precision: what `auto` stands for follows from the device. Memory: what is freed is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mien import bundle
from mien.config import read_recipe
from mien.errors import ConfigError
from mien.training.fit import fit
from mien.training.launch import Place, open_place
from tests.training.launched import PLAIN, STATUSES
from tests.training.tiny import TINY, tiny_data

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
import os, resource, torch
from mien.training.launch import keep_freed_memory

def work(times):
    for _ in range(times):
        torch.ones(2**24).sum()

for how in ("given", "kept"):
    if os.fork() == 0:
        if how == "kept":
            keep_freed_memory()
        work(8)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        work(24)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, flush=True)
        os._exit(0)
    os.wait()
"""
    words = [sys.executable, "-c", program]
    counted = subprocess.run(
        words, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=True
    )
    given, kept = map(int, counted.stdout.split())
    assert given > 3 * kept, "small blocks may split a freed one, so a few of the 24 tensors need new pages"


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The folder in which `launched.py` has run its cases."""
    folder = tmp_path_factory.mktemp("launched")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "src"))),
    }
    words = [sys.executable, "-m", "tests.training.launched", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr
    return folder


def ended(folder: Path) -> tuple[list[int], list[str], list[str]]:
    """Return the status of each process, and what each printed on stdout and stderr."""
    stdout, stderr = (
        [(folder / f"{name}{rank}").read_text() for rank in range(2)] for name in ("stdout", "stderr")
    )
    return json.loads((folder / STATUSES).read_text()), stdout, stderr


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, torch.Tensor]:
    """Weights of the recipe that `launched.py` disturbs."""
    return fit(read_recipe(TINY, PLAIN), tiny_data(), device="cpu").network.state_dict()


def test_a_killed_run_goes_on_to_the_same_weights(launched, undisturbed):
    assert json.loads((launched / "alone" / STATUSES).read_text()) == [-signal.SIGKILL, 0]
    assert (launched / "alone" / "epochs").read_text() == "1 2 3 "
    found = torch.load(launched / "alone" / "run" / "weights.pt")
    for name, value in undisturbed.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0)


def test_two_machines_train_as_one_process_does_and_go_on_after_one_died(launched, undisturbed):
    """The folder of the run is on the first machine only."""
    statuses, _, said = ended(launched / "killed")
    assert statuses == [1, -signal.SIGKILL]
    assert "TrainingError: another process of this run has ended or cannot be reached" in said[0]
    assert not (launched / "killed" / "machine1").exists()

    statuses, _, said = ended(launched / "resumed")
    assert statuses == [0, 0], said
    assert not (launched / "resumed" / "machine1").exists()
    history = (launched / "resumed" / "machine0" / "run" / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["epoch", "1", "2", "3"]
    two = torch.load(launched / "resumed" / "machine0" / "weights.pt")
    assert max(float((undisturbed[name] - two[name]).abs().max()) for name in two) < 1e-5

    # one process judges for both, though each has BatchNorm's statistics of its own rows; dropout differs
    first, second = ((launched / "resumed" / f"rank{rank}").read_text().split() for rank in range(2))
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_the_command_on_two_processes_trains_one_model(launched):
    """As on two GPUs, on two CPU processes: one writes and tells, both take part."""
    statuses, stdout, stderr = ended(launched / "typed")
    assert statuses == [0, 0], stderr
    assert stdout == [f"{launched / 'typed' / 'run'}\n", ""]
    assert [said.count("epoch   3/3") for said in stderr] == [1, 0]
    card = bundle.load(launched / "typed" / "run").card
    assert card.training.processes == 2
    assert card.command.startswith("torchrun --nproc-per-node=2 -m mien train nano")
    assert card.scores[0].accuracy > 0.25  # chance: 0.14


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
