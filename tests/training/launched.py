"""Processes of one run, forked from this one: it imports torch once, where ``torchrun`` does so for each of them.

``launched.py FOLDER`` runs every case of `CASES`, each in a folder of its name, and writes there how its processes
ended.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
from pathlib import Path

import torch
import torch._dynamo  # the first optimiser would import it, in each process anew
from torch import distributed
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from mien.config import read_recipe
from mien.training import fit, loop
from tests.training.tiny import TINY, tiny_data

PLAIN = ["network=lenet", "epochs=3", "batch_size=16", "ema.decay=0", "precision=32-true"]
"""A network without dropout and BatchNorm, which every process has of its own rows."""
NOISY = ["network=mynet_v1", "epochs=1", "batch_size=16"]
"""One with both."""
TYPED = "train nano --data synthetic --device cpu --epochs 3 --batch-size 32 --lr 0.02 --network lenet --out"
STATUSES = "statuses.json"
fork = multiprocessing.get_context("fork")


def alone(folder: Path) -> list[int | None]:
    """Train in one process, which kills itself in the second epoch; the same again goes on."""
    both = [fork.Process(target=one_process, args=(folder, deadly_epoch)) for deadly_epoch in (2, 0)]
    for one in both:
        one.start()
        one.join(200)
    return [one.exitcode for one in both]


def killed(folder: Path) -> list[int | None]:
    """Train on two machines, the second of which is lost in the second epoch."""
    return two_machines(folder, deadly_epoch=2)


def resumed(folder: Path) -> list[int | None]:
    """Go on with the run of `killed`."""
    (folder.parent / "killed" / "machine0").rename(folder / "machine0")
    assert (folder / "machine0" / "run" / loop.CHECKPOINT).exists()
    return two_machines(folder, deadly_epoch=0)


def typed(folder: Path) -> list[int | None]:
    """Run a command in the two processes that ``torchrun --nproc-per-node=2`` starts."""
    config = LaunchConfig(1, 1, 2, start_method="fork", rdzv_backend="c10d", rdzv_endpoint="localhost:0")
    statuses: dict[int, int] = elastic_launch(config, type_command)(str(folder))
    return [statuses[rank] for rank in range(2)]


CASES = (alone, killed, resumed, typed)


def two_machines(folder: Path, deadly_epoch: int) -> list[int | None]:
    """Run two processes as those of two machines; one of them kills itself in this epoch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free.getsockname()[1]),
            "WORLD_SIZE": "2",
        }
    both = [fork.Process(target=one_machine, args=(folder, rank, deadly_epoch)) for rank in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(200)
    return [one.exitcode for one in both]


def one_process(folder: Path, deadly_epoch: int) -> None:
    fit.REPORT_SECONDS, loop.CHECKPOINT_FRACTION, loop.finish = 0.0, 1.0, keep_weights

    def die(step):
        if step.epoch == deadly_epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(row):
        with (folder / "epochs").open("a") as file:
            file.write(f"{row.epoch} ")

    train = {"device": "cpu", "resume": True, "on_step": die, "on_epoch": note}
    loop.train(read_recipe(TINY, PLAIN), tiny_data(), folder / "run", **train)


def keep_weights(trained, out, **_):
    """Stand for the export, which other tests run."""
    torch.save(trained.network.state_dict(), out / "weights.pt")


def one_machine(folder: Path, rank: int, deadly_epoch: int) -> None:
    os.environ["RANK"] = str(rank)
    written_to(folder, rank)
    loop.CHECKPOINT_FRACTION, loop.finish = 1.0, keep_weights

    def note(row):
        if row.epoch == deadly_epoch and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def judged(row, _):
        (folder / f"rank{rank}").write_text(f"{row.val_loss} {torch.initial_seed()}")

    out = folder / f"machine{rank}"
    loop.train(read_recipe(TINY, PLAIN), tiny_data(), out, device="cpu", resume=True, on_epoch=note)
    fit.fit(read_recipe(TINY, NOISY), tiny_data(), device="cpu", on_epoch=judged)
    distributed.destroy_process_group()


def type_command(folder: str) -> int:
    from tests.typed import as_typed, cli

    written_to(Path(folder), int(os.environ["RANK"]))
    with as_typed("mien", *TYPED.split(), f"{folder}/run"):
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


def written_to(folder: Path, rank: int) -> None:
    """Let a file hold what this process prints."""
    for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
        with (folder / f"{name}{rank}").open("w") as file:
            os.dup2(file.fileno(), stream.fileno())


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads does not outlive a fork
    for case in CASES:
        place = Path(sys.argv[1]) / case.__name__
        place.mkdir()
        (place / STATUSES).write_text(json.dumps(case(place)))
