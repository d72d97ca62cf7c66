"""`train`: a recipe and a dataset in, a bundle out; the run is kept on disk while it lasts.

The whole state goes to ``run/checkpoint.pt`` after an epoch, and the history to ``run/history.csv``. A resumed run
continues from there. Epochs so short that this would take much of their time share a checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mien import __version__, bundle, files
from mien.config import Recipe, facts_of
from mien.data.read import read_given
from mien.errors import ConfigError
from mien.history import EpochRow, write_csv
from mien.networks import catalog
from mien.options import ReadOptions, check_choice
from mien.training.checkpoint import CHECKPOINT, Checkpoint, differences, finished_recipe, settled
from mien.training.finish import finish
from mien.training.fit import State, Step, fit, recipe_of, with_judges
from mien.training.launch import check_device, is_first_process, open_place
from mien.training.transfer import check_sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.data.dataset import FaceDataset

CHECKPOINT_FRACTION = 0.05
"""Most of a run's time that may go into writing checkpoints."""

__all__ = ["CHECKPOINT", "Step", "check", "train"]


def train(
    recipe: Recipe | str,
    data: FaceDataset | str | Path,
    out: str | Path,
    *,
    reading: ReadOptions | None = None,
    device: str = "auto",
    resume: bool = False,
    score: str = "all",
    command: str = "",
    on_step: Callable[[Step], None] = lambda _: None,
    on_epoch: Callable[[EpochRow], None] = lambda _: None,
) -> Path:
    """Train a network by `recipe` on `data` and write its bundle into `out`; returns `out`.

    ``mien.train("nano", "fer2013.zip", out="run1")``

    Args:
        recipe: a recipe, or the name of a shipped one, or a TOML file.
        data: a dataset, or what `mien.read_dataset` can read.
        out: folder of the bundle; the history is in its ``run/``.
        reading: how `data` is read, where it is a path.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        resume: continue an unfinished run in `out`; a finished one stays as it is.
        score: ``all`` judges the model on every labelled split, ``validation`` leaves the test images unread.
        command: what rebuilds the bundle; the card states it.
        on_step: called about every half second.
        on_epoch: called after every epoch.

    Started by ``torchrun``, each process trains on a fraction of every batch. The first one alone reads and writes
    `out`, which may be on its machine only; every machine needs the same data.

    Raises:
        ConfigError: unknown network, device not there, `out` holds another run, or `reading` with a dataset.
        DataError: a split is missing or too small, or a model to learn from has learnt the images that judge.
        TrainingError: the loss is no longer a number, or another process of the run is gone.
        OutputError: `out` can't be written, or another command trains there.
    """
    recipe, out = recipe_of(recipe), Path(out)
    check_choice("score", score, ("all", "validation"))
    check(recipe, out, device=device, resume=resume)
    data = read_given(data, recipe.input, options=reading)
    fingerprint = data.fingerprint()
    place = open_place(device, recipe.precision)
    with place.together(), contextlib.ExitStack() as lock:
        place.check_same(repr((__version__, recipe.model_dump_json(), fingerprint)))
        if place.decided(lambda: resume and _is_finished(out, fingerprint)):
            return out
        data, split = with_judges(recipe, data)  # refused before a folder is made
        teachers = tuple(bundle.load(name).id.sha256 for name in recipe.distillation.teachers)
        checkpoint = Checkpoint(out / "run" / CHECKPOINT, recipe, fingerprint, split, teachers)
        state = place.decided(lambda: _begun(checkpoint, lock, resume=resume))
        keeper = _Keeper(checkpoint, on_epoch)
        trained = fit(recipe, data, device=device, state=state, on_step=on_step, on_epoch=keeper.note)
        if place.is_first:
            write_csv(keeper.history, trained.history)
            finish(trained, out, fingerprint=fingerprint, score=score, command=command)
            checkpoint.remove()
        place.wait()
    return out


def _begun(checkpoint: Checkpoint, lock: contextlib.ExitStack, *, resume: bool) -> State:
    """Lock the folder of the run, and return where the run goes on."""
    lock.enter_context(files.locked(checkpoint.path.parent))
    return checkpoint.load() if resume and checkpoint.exists() else State()


def _is_finished(out: Path, fingerprint: str) -> bool:
    """Say whether a folder holds a finished model.

    Raises:
        ConfigError: it was trained on other data.
    """
    if not (out / bundle.CONFIG).exists():
        return False
    if bundle.load(out).card.data.fingerprint != fingerprint:
        raise ConfigError(f"{out} holds a model finished with another dataset: choose another --out")
    return True


class _Keeper:
    """Writes the state and the history after an epoch, and tells the caller."""

    def __init__(self, checkpoint: Checkpoint, on_epoch: Callable[[EpochRow], None]) -> None:
        self.checkpoint, self.on_epoch = checkpoint, on_epoch
        self.history = checkpoint.path.parent / "history.csv"
        self.due = -math.inf

    def note(self, row: EpochRow, state: Callable[[], State]) -> None:
        """Write what a resumed run needs, if that is due."""
        if is_first_process() and time.monotonic() >= self.due:
            begun, now = time.monotonic(), state()
            self.checkpoint.save(now)
            write_csv(self.history, now.history)
            ended = time.monotonic()
            self.due = ended + (ended - begun) / CHECKPOINT_FRACTION - (ended - begun)
        self.on_epoch(row)


def check(recipe: Recipe, out: Path, *, device: str = "auto", resume: bool = False) -> None:
    """Refuse what can be refused before any data is read.

    Raises:
        ConfigError: unknown network, weights that are not there, device not there, or `out` holds another run.
    """
    catalog.network(recipe.network)
    check_sources(recipe)
    check_device(device)
    if not is_first_process():
        return  # whatever lies in `out` on this machine, the run is in the first process's
    if (out / bundle.CONFIG).exists():
        if not resume:
            raise ConfigError(
                f"{out} already holds a finished model: choose another --out; to train on from its weights, add "
                f"--set transfer.weights={out}"
            )
        _check_same_recipe(recipe, out)
    elif (out / "run" / CHECKPOINT).exists() and not resume:
        raise ConfigError(
            f"{out} already holds an unfinished run: add --resume to go on with it, or choose another --out"
        )


def _check_same_recipe(recipe: Recipe, out: Path) -> None:
    """Refuse to resume a finished model with another recipe: its schedule has ended, so no epoch can be added."""
    card = bundle.load(out).card
    split = card.training.validation_split
    what = differences(finished_recipe(card.recipe, split), settled(facts_of(recipe), split))
    if what:
        raise ConfigError(
            f"{out} holds a model finished with another recipe ({what}): choose another --out; to train on "
            f"from its weights (its schedule has ended), add --set transfer.weights={out}"
        )
