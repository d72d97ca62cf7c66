"""`fit`: a recipe and a dataset in, a trained network out. It writes nothing and prints nothing.

It trains on one split and judges on the split that `validation_split` names, never on the test images unless the
recipe says so. Checkpoints, histories and trackers are callers: after every epoch they get its figures and a
function that returns the whole state, from which `fit` continues to the result that the uninterrupted run would have
had, bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from mien.config import read_recipe
from mien.data.dataset import HOLDOUT, check_split
from mien.errors import ConfigError, DataError, TrainingError
from mien.evaluation.protocol import check_unseen
from mien.history import EpochRow
from mien.networks import catalog
from mien.statistics import class_figures, confusion
from mien.training.batches import Batches, epoch_seed
from mien.training.distill import Teachers, load_teachers
from mien.training.history import best_epoch, out_of_patience
from mien.training.launch import check_device, open_place
from mien.training.losses import objective
from mien.training.optim import MovingAverage, build_optimizer, learning_rate, momentum, set_step
from mien.training.transfer import freeze, load_start, parents

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.config import Recipe
    from mien.data.dataset import FaceDataset
    from mien.training.launch import Place

REPORT_SECONDS = 0.5
"""`on_step` is called about so often: reading the loss makes the program wait for the device."""
_START = 2**32 - 1
"""Pseudo-epoch whose seed initialises the weights."""

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Step:
    """Where a run is: passed to `on_step` every half second."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    """Mean so far in this epoch."""
    accuracy: float


@dataclass
class State:
    """Everything that a resumed run needs, after a whole epoch."""

    history: list[EpochRow] = field(default_factory=list)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """States of the network, the optimiser and the moving average; empty before the first epoch."""
    best: Weights = field(default_factory=dict)
    """Weights of the best epoch; empty where the last one is kept."""


@dataclass(frozen=True)
class Trained:
    """A trained network and how it came to be."""

    recipe: Recipe
    network: nn.Module
    """With the kept weights, on the CPU."""
    data: FaceDataset
    """What it was trained and judged on, with the hold-out as a split where there is one."""
    history: list[EpochRow]
    kept: EpochRow
    """The epoch of the kept weights."""
    validation_split: str
    """Whose images judged every epoch."""
    place: Place


def recipe_of(recipe: Recipe | str | Path) -> Recipe:
    """Return a recipe as it is, or read the shipped one or the TOML file that is named."""
    return read_recipe(recipe) if isinstance(recipe, str | Path) else recipe


def fit(
    recipe: Recipe | str | Path,
    data: FaceDataset,
    *,
    device: str = "auto",
    state: State | None = None,
    on_step: Callable[[Step], None] = lambda _: None,
    on_epoch: Callable[[EpochRow, Callable[[], State]], None] = lambda *_: None,
) -> Trained:
    """Train a network by `recipe` on `data`.

    ``mien.fit(mien.read_recipe("nano", ["epochs=1"]), mien.read_dataset("synthetic")).history``

    Args:
        recipe: a recipe, or the name of a shipped one, or a TOML file.
        data: images with the splits that the recipe names.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        state: where to continue; None begins anew.
        on_step: called about every half second.
        on_epoch: called after every epoch with its figures and a function that returns the state.

    Raises:
        ConfigError: unknown network or weights, or the device is not there.
        DataError: a split is missing or too small, or a model to learn from has learnt the images that judge.
        TrainingError: the loss is no longer a number.
    """
    recipe = recipe_of(recipe)
    check_device(device)
    data, judge_split = with_judges(recipe, data)
    run = _Run(recipe, data, judge_split, open_place(device, recipe.precision))
    state = run.restored(state or State())
    history, rule = state.history, recipe.validation
    while len(history) < recipe.epochs and not out_of_patience(history, rule):
        started = time.perf_counter()
        epoch = len(history) + 1
        train_loss, train_accuracy = run.train_epoch(history, on_step)
        judged = (math.nan, math.nan, math.nan)
        if epoch % rule.every_epochs == 0 or epoch == recipe.epochs:
            judged = run.place.agreed(run.judge())  # one process decides for all
        seconds = time.perf_counter() - started
        history.append(row := EpochRow(epoch, run.rate, train_loss, train_accuracy, *judged, seconds))
        if rule.keep == "best" and best_epoch(history, rule.monitor) is row:
            state.best = run.weights()
        on_epoch(row, lambda: run.state(state))
        run.place.wait()
    kept = history[-1] if rule.keep == "last" else best_epoch(history, rule.monitor)
    network = run.trained(state.best or run.weights())
    return Trained(recipe, network, data, history, kept, judge_split, run.place)


class _Run:
    """A network with all that moves it: data on the device, optimiser, moving average."""

    def __init__(self, recipe: Recipe, data: FaceDataset, judge_split: str, place: Place) -> None:
        if recipe.transfer.frozen_epochs and place.world_size > 1:
            raise ConfigError("transfer.frozen_epochs: train in one process, or set it to 0")
        self.recipe, self.place = recipe, place
        judged = data.rows(judge_split)
        data.check_labelled(judged)
        self.batches = Batches(data, recipe, place.device, rank=place.rank, world_size=place.world_size)
        self._judged = torch.from_numpy(judged).to(place.device)
        self._loss = objective(recipe.loss, self.batches.counts, self.batches.drawn, place.device)
        torch.manual_seed(epoch_seed(recipe.seed, _START))
        self._bare = catalog.build(recipe.network, len(data.labels), recipe.input, recipe.network_options)
        load_start(self._bare, recipe, data.labels)
        if recipe.resizing.early_size_px:
            self._check_takes(recipe.resizing.early_size_px)
        self.raw = copy.deepcopy(self._bare).to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = MovingAverage(self.raw, recipe.ema.decay) if recipe.ema.decay else None
        self.optimizer = build_optimizer(
            self.raw, recipe.optim, backbone_lr_factor=recipe.transfer.backbone_lr_factor
        )
        teachers = load_teachers(recipe)
        self.teachers = (
            Teachers(teachers, recipe, data.labels, self.batches.drawn).to(place.device) if teachers else None
        )
        self.network = self._called()
        self.rate = 0.0

    def _check_takes(self, side_px: int) -> None:
        """Refuse pictures of a size that the network cannot take."""
        try:
            catalog.check_takes(self._bare, self.recipe.input.channels, side_px)
        except ValueError as error:
            raise ConfigError(
                f"{self.recipe.network} takes no pictures of {side_px} pixels ({error}): "
                "set resizing.early_size_px to 0"
            ) from error

    def _called(self) -> nn.Module:
        """Return what a step calls: the network itself, compiled, recorded or shared by processes."""
        called: nn.Module = torch.compile(self.raw) if self.recipe.compile else self.raw  # type: ignore[assignment]
        recordable = self.place.world_size == 1 and not self.recipe.transfer.frozen_epochs
        if self.recipe.cuda_graphs and self.place.device.type == "cuda" and recordable:
            return recorded(called, self.batches.example(), self.place)
        return self.place.shared(called)

    @property
    def judged(self) -> nn.Module:
        """The network whose weights are judged and shipped."""
        return self.average.module if self.average else self.raw

    @property
    def _parts(self) -> dict[str, Any]:
        average = {"average": self.average} if self.average else {}
        return {"network": self.raw, "optimizer": self.optimizer, **average}

    def state(self, state: State) -> State:
        """Return the state with that of every part; its tensors are the run's own until the next step."""
        state.parts = {name: part.state_dict() for name, part in self._parts.items()}
        return state

    def restored(self, state: State) -> State:
        """Put a state into the parts; return one that the run may change."""
        for name, part in self._parts.items() if state.parts else ():
            part.load_state_dict(state.parts[name])
        return State(list(state.history), state.parts, state.best)

    def weights(self) -> Weights:
        """Return a copy of the weights that are judged and shipped."""
        return {name: value.detach().clone() for name, value in self.judged.state_dict().items()}

    def trained(self, weights: Weights) -> nn.Module:
        """Return the network with these weights, on the CPU."""
        self._bare.load_state_dict(weights)
        return self._bare.to(memory_format=torch.channels_last)

    def train_epoch(self, history: list[EpochRow], on_step: Callable[[Step], None]) -> tuple[float, float]:
        """Train once more on every image; return mean loss and accuracy over all processes.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        recipe, steps, epoch = self.recipe, len(self.batches), len(history)
        torch.manual_seed(epoch_seed(recipe.seed, epoch) + self.place.rank)  # for dropout
        self.network.train()
        freeze(self.raw, frozen=epoch < recipe.transfer.frozen_epochs)
        sums, told = torch.zeros(2, device=self.place.device), time.perf_counter()
        for step, (x, y) in enumerate(self.batches.epoch(epoch), start=1):
            progress = (epoch * steps + step - 1) / (recipe.epochs * steps)
            self.rate = learning_rate(recipe.optim, progress, epochs=recipe.epochs, history=history)
            set_step(self.optimizer, self.rate, momentum(recipe.optim, progress))
            self._train_step(x, y, sums)
            if time.perf_counter() - told >= REPORT_SECONDS or step == steps:
                loss, accuracy = (sums / step).tolist()  # waits for the device
                on_step(Step(epoch + 1, recipe.epochs, step, steps, loss, accuracy))
                told = time.perf_counter()
        loss, accuracy = self.place.mean(sums / steps).tolist()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {epoch + 1}: lower optim.peak_lr, or set precision=32-true"
            )
        return loss, accuracy

    def _train_step(self, x: torch.Tensor, y: torch.Tensor, sums: torch.Tensor) -> None:
        """Make one step, and add (loss, accuracy) of this process's rows to `sums`. Nothing waits for the device."""
        targets = y
        with self.place.autocast():
            logits = self.network(x)
            if self.teachers is not None:
                targets = y + self.recipe.distillation.share * (self.teachers(x) - y)
        logits = logits.float() if self.place.bf16 else logits
        loss = self._loss(logits, targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        with torch.no_grad():
            hits = (logits.argmax(1) == y.argmax(1)).float().mean()
            sums += torch.stack([loss.detach().float(), hits])

    @torch.inference_mode()
    def judge(self) -> tuple[float, float, float]:
        """Return (cross-entropy, accuracy, macro-F1) on the validation images as they are, in the run's precision."""
        network, batches = self.judged.eval(), self.batches
        parts = torch.split(self._judged, self.recipe.validation.batch_size)
        with self.place.autocast():
            logits = torch.cat([network(batches.to_input(batches.pictures(part))) for part in parts]).float()
        targets = batches.targets[self._judged]
        loss = functional.cross_entropy(logits, targets)
        answers, truth = logits.argmax(1).cpu().numpy(), targets.argmax(1).cpu().numpy()
        macro_f1 = class_figures(confusion(truth, answers, targets.shape[1])).macro_f1
        return float(loss), float((answers == truth).mean()), float(macro_f1)


def recorded(network: nn.Module, example: torch.Tensor, place: Place) -> nn.Module:
    """Record a network's forward and backward pass as CUDA graphs, which training replays; judging does not use them.

    A step of a small network is hundreds of kernels that take longer to start than to compute. The recording runs the
    network a few times, so what BatchNorm counted in them is put back.
    """
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    with torch.autocast("cuda", torch.bfloat16, enabled=place.bf16, cache_enabled=False):
        made: nn.Module = torch.cuda.make_graphed_callables(network, (example,))  # type: ignore[assignment]
    network.load_state_dict(before)
    return made


def validation_split(recipe: Recipe, data: FaceDataset) -> str:
    """Return the split that judges every epoch. ``auto`` is ``val`` where there is one, else a hold-out."""
    split = recipe.validation.split
    if split == "auto":
        split = "val" if "val" in data.splits else HOLDOUT
    if split == recipe.train_split:
        raise ConfigError(f"validation.split is {split}, the training images: name another, or holdout")
    return split


def with_judges(recipe: Recipe, data: FaceDataset) -> tuple[FaceDataset, str]:
    """Return the data with the split that judges every epoch, and its name.

    Raises:
        DataError: there is no such split, a model to learn from has learnt its images, or the images are not of the
            size that the recipe states.
    """
    spec, shape = recipe.input, tuple(data.images.shape[1:])
    if shape != (spec.size_px, spec.size_px, spec.channels):
        raise DataError(
            f"{data.source}: expected images of {[spec.size_px, spec.size_px, spec.channels]}, as the recipe's input "
            f"says, got {list(shape)}: read the dataset with recipe.input"
        )
    split, rule = validation_split(recipe, data), recipe.validation
    check_split(split, (*data.splits, HOLDOUT), data.source)
    if split == HOLDOUT and HOLDOUT not in data.splits:
        data = data.hold_out(rule.holdout_fraction, rule.holdout_seed, split=recipe.train_split)
    for model in parents(recipe):
        check_unseen(model, data.select(split), split)
    return data, split
