"""`train`: a recipe and a dataset in, a bundle out. It reads top to bottom and prints nothing.

After every epoch the whole state goes to ``run/checkpoint.pt``; a resumed run continues from there to the
result the uninterrupted one would have had, bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional

from mien import bundle, files
from mien.config import checked_recipe, facts_of
from mien.data.dataset import HOLDOUT, check_split
from mien.errors import ConfigError, TrainingError
from mien.evaluation.protocol import check_unseen
from mien.history import EpochRow, write_csv
from mien.networks import catalog
from mien.training.batches import Batches, epoch_seed
from mien.training.checkpoint import Checkpoint, Weights
from mien.training.distill import Teachers, load_teachers
from mien.training.finish import Provenance, save_bundle
from mien.training.history import best_epoch, out_of_patience
from mien.training.launch import check_device, open_fabric
from mien.training.losses import objective
from mien.training.optim import build_optimizer, learning_rate, moving_average, set_learning_rate
from mien.training.transfer import freeze, load_start, start_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning.fabric import Fabric

    from mien.bundle import Bundle
    from mien.config import Recipe
    from mien.data.dataset import FaceDataset

REPORT_EVERY_STEPS = 16
CHECKPOINT = "checkpoint.pt"
_START = 2**32 - 1
"""Stands for the epoch before the first: the seed of the fresh weights."""


@dataclass(frozen=True)
class Step:
    """Where a run is: passed to `on_step` every few steps."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    """Mean so far in this epoch."""
    accuracy: float


def train(
    recipe: Recipe,
    data: FaceDataset,
    out: str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    command: str = "",
    on_step: Callable[[Step], None] = lambda _: None,
    on_epoch: Callable[[EpochRow], None] = lambda _: None,
) -> Path:
    """Train a network by `recipe` on `data` and write its bundle into `out`; returns `out`.

    The history is in ``out/run``. `command` is stored as what rebuilds the bundle. Started by ``torchrun``,
    each process trains on its share of every batch and the first one writes.

    Raises:
        ConfigError: unknown network, device not there, or `out` holds another run.
        DataError: a split is missing or too small, or the weights to start from know the images that choose.
        TrainingError: the loss is no longer a number.
        OutputError: `out` can't be written.
    """
    out = Path(out)
    check(recipe, out, device=device, resume=resume)
    fingerprint = data.fingerprint()
    if resume and (out / bundle.CONFIG).exists():
        _check_same_data(out, fingerprint)
        return out
    data, judge_split = _with_judges(recipe, data)
    checkpoint = Checkpoint(files.make_folder(out / "run") / CHECKPOINT, recipe, fingerprint)

    run = _Run(recipe, data, judge_split, open_fabric(device, recipe.precision))
    history, best = checkpoint.load(run.parts) if resume and checkpoint.exists() else ([], {})
    while len(history) < recipe.epochs and not out_of_patience(history, recipe.validation):
        started = time.perf_counter()
        train_loss, train_accuracy = run.train_epoch(history, on_step)
        judged = run.fabric.broadcast(run.judge())  # one process decides for all
        seconds = time.perf_counter() - started
        figures = (run.rate, train_loss, train_accuracy, *judged, seconds)
        history.append(row := EpochRow(len(history) + 1, *figures))
        if best_epoch(history, recipe.validation.monitor) is row:
            best = run.weights()
        if run.fabric.is_global_zero:
            checkpoint.save(run.parts, history, best)
            write_csv(out / "run" / "history.csv", history)
        run.fabric.barrier()
        on_epoch(row)

    if run.fabric.is_global_zero:
        made = Provenance(
            recipe, history, judge_split, command, str(run.fabric.device), str(run.fabric._precision.precision),
            run.fabric.world_size, checkpoint.fingerprint,
        )  # fmt: skip
        save_bundle(out, run.trained(best), data, made)
        checkpoint.remove()
    run.fabric.barrier()
    return out


class _Run:
    """A network with all that moves it: data on the device, optimiser, moving average."""

    def __init__(self, recipe: Recipe, data: FaceDataset, judge_split: str, fabric: Fabric) -> None:
        if recipe.transfer.frozen_epochs and fabric.world_size > 1:
            raise ConfigError("transfer.frozen_epochs: train in one process, or set it to 0")
        self.recipe, self.fabric = recipe, fabric
        judged = data.rows(judge_split)
        data.check_labelled(judged)
        self.batches = Batches(
            data, recipe, fabric.device, rank=fabric.global_rank, world_size=fabric.world_size
        )
        self._judged = torch.from_numpy(judged).to(fabric.device)
        self._loss = objective(recipe.loss, self.batches.counts, self.batches.drawn, fabric.device)
        torch.manual_seed(epoch_seed(recipe.seed, _START))
        self.raw = catalog.build(recipe.network, len(data.labels), recipe.input, recipe.network_options)
        load_start(self.raw, recipe, data.labels)
        self.raw.to(memory_format=torch.channels_last)
        called: nn.Module = torch.compile(self.raw) if recipe.compile else self.raw  # type: ignore[assignment]
        optimizer = build_optimizer(
            self.raw, recipe.optim, backbone_lr_factor=recipe.transfer.backbone_lr_factor
        )
        self.network, self.optimizer = fabric.setup(called, optimizer)
        teachers = load_teachers(recipe)
        self.teachers = Teachers(teachers, recipe, data.labels).to(fabric.device) if teachers else None
        self.average = moving_average(self.raw, recipe.ema.decay) if recipe.ema.decay else None
        self.rate = 0.0

    @property
    def judged(self) -> nn.Module:
        """The network whose weights are judged and shipped."""
        return self.average.module if self.average else self.raw

    @property
    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Everything with a state that a resumed run needs."""
        average = {"average": self.average} if self.average else {}
        return {"network": self.raw, "optimizer": self.optimizer, **average}

    def weights(self) -> Weights:
        """Return a copy of the weights that are judged and shipped."""
        return {name: value.detach().clone() for name, value in self.judged.state_dict().items()}

    def trained(self, weights: Weights) -> nn.Module:
        """Return a copy of the network with these weights, on the CPU."""
        network = copy.deepcopy(self.raw).cpu()
        network.load_state_dict(weights)
        return network

    def train_epoch(self, history: list[EpochRow], on_step: Callable[[Step], None]) -> tuple[float, float]:
        """Train once more on every image; return mean loss and accuracy over all processes.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        recipe, steps, epoch = self.recipe, len(self.batches), len(history)
        torch.manual_seed(epoch_seed(recipe.seed, epoch) + self.fabric.global_rank)  # for dropout
        self.network.train()
        freeze(self.raw, frozen=epoch < recipe.transfer.frozen_epochs)
        sums = torch.zeros(2, device=self.fabric.device)
        for step, (x, y) in enumerate(self.batches.epoch(epoch), start=1):
            progress = (epoch * steps + step - 1) / (recipe.epochs * steps)
            self.rate = learning_rate(recipe.optim, progress, epochs=recipe.epochs, history=history)
            sums += self._train_step(x, y)
            if step % REPORT_EVERY_STEPS == 0 or step == steps:
                loss, accuracy = (sums / step).tolist()
                on_step(Step(epoch + 1, recipe.epochs, step, steps, loss, accuracy))
        means = self.fabric.all_reduce(sums / steps)
        assert isinstance(means, torch.Tensor)
        loss, accuracy = means.tolist()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {epoch + 1}: lower optim.peak_lr or use 32-true"
            )
        return loss, accuracy

    def _train_step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Make one step; return (loss, accuracy) of this process's rows, still on the device."""
        set_learning_rate(self.optimizer, self.rate)
        logits, targets = self.network(x), y
        if self.teachers is not None:
            with self.fabric.autocast():
                targets = y + self.recipe.distillation.share * (self.teachers(x) - y)
        loss = self._loss(logits, targets)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.raw)
        hits = (logits.argmax(1) == y.argmax(1)).float().mean()
        return torch.stack([loss.detach(), hits])

    @torch.inference_mode()
    def judge(self) -> tuple[float, float, float]:
        """Return (cross-entropy, accuracy, macro-F1) on the validation images, in full precision, as they are."""
        network, batches = self.judged.eval(), self.batches
        parts = torch.split(self._judged, self.recipe.validation.batch_size)
        logits = torch.cat([network(batches.to_input(batches.pictures(part))) for part in parts])
        targets = batches.targets[self._judged]
        loss = functional.cross_entropy(logits, targets)
        answers, truth = logits.argmax(1).cpu().numpy(), targets.argmax(1).cpu().numpy()
        return float(loss), float((answers == truth).mean()), float(f1_score(truth, answers, average="macro"))


def validation_split(recipe: Recipe, data: FaceDataset) -> str:
    """Return the split that chooses the epoch; what ``auto`` stands for depends on the data."""
    split = recipe.validation.split
    if split == "auto":
        split = "val" if "val" in data.splits else "test"
    if split == recipe.train_split:
        raise ConfigError(f"validation.split is {split}, the training images: name another, or holdout")
    return split


def _with_judges(recipe: Recipe, data: FaceDataset) -> tuple[FaceDataset, str]:
    """Return the data with the split that chooses the epoch, and its name."""
    split, rule = validation_split(recipe, data), recipe.validation
    check_split(split, (*data.splits, HOLDOUT), data.source)
    if split == HOLDOUT:
        data = data.hold_out(rule.holdout_fraction, rule.holdout_seed, split=recipe.train_split)
    if start := start_bundle(recipe):
        check_unseen(start, data.select(split), split)
    return data, split


def check(recipe: Recipe, out: Path, *, device: str = "auto", resume: bool = False) -> None:
    """Refuse what can be refused before any data is read.

    Raises:
        ConfigError: unknown network, weights that are not there or do not fit, device not there, or `out` holds
            another run.
        FetchError: the hub cannot be reached.
    """
    load_start(catalog.build(recipe.network, 2, recipe.input, recipe.network_options), recipe)
    load_teachers(recipe)
    check_device(device)
    if (out / bundle.CONFIG).exists():
        if not resume:
            raise ConfigError(f"{out} already holds a finished model: choose another --out")
        if not _is_of(recipe, bundle.load(out)):
            raise ConfigError(f"{out} holds a model finished with another recipe: choose another --out")
    elif (out / "run" / CHECKPOINT).exists() and not resume:
        raise ConfigError(
            f"{out} already holds an unfinished run: add --resume to go on with it, or choose another --out"
        )


def _is_of(recipe: Recipe, finished: Bundle) -> bool:
    """Say whether a model was made by this recipe; options that its version did not know stand at their defaults."""
    try:
        return facts_of(checked_recipe(finished.card.recipe)) == facts_of(recipe)
    except ConfigError:  # a recipe of another version, or an ensemble's
        return False


def _check_same_data(out: Path, fingerprint: str) -> None:
    if bundle.load(out).card.data.fingerprint != fingerprint:
        raise ConfigError(f"{out} holds a model finished with another dataset: choose another --out")
