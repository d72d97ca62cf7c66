"""`train`: a recipe and a dataset in, a bundle out. It reads top to bottom and prints nothing.

After every epoch the whole state goes to ``run/checkpoint.pt``; a resumed run continues from there to the
result the uninterrupted one would have had, bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import copy
import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.nn import functional

from mien import bundle, files
from mien.data.dataset import HOLDOUT
from mien.errors import ConfigError, TrainingError
from mien.networks import catalog
from mien.training.batches import Batches, ToInput, epoch_seed, to_device
from mien.training.finish import Provenance, save_bundle
from mien.training.history import EpochRow, best_epoch, write_csv, write_plot
from mien.training.optim import build_optimizer, learning_rate, moving_average, set_learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.config import Recipe
    from mien.data.dataset import FaceDataset

Weights = dict[str, torch.Tensor]
REPORT_EVERY_STEPS = 16


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


@dataclass
class _State:
    """What a run carries from epoch to epoch, beside the network, its average and the optimiser."""

    history: list[EpochRow] = field(default_factory=list)
    best: Weights = field(default_factory=dict)


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
        DataError: a split is missing or too small.
        TrainingError: the loss is no longer a number.
        OutputError: `out` can't be written.
    """
    catalog.network(recipe.network)
    out = Path(out)
    if resume and (out / bundle.CONFIG).exists():
        return out
    checkpoint = files.make_folder(out / "run") / "checkpoint.pt"
    _check_out(out, checkpoint, resume)
    if recipe.validation.split == HOLDOUT:
        rule = recipe.validation
        data = data.hold_out(rule.holdout_fraction, rule.holdout_seed, split=recipe.train_split)
    training, validation = data.select(recipe.train_split), data.select(recipe.validation.split)

    fabric = _open_fabric(device, recipe.precision)
    torch.manual_seed(epoch_seed(recipe.seed, 2**32 - 1))
    raw = catalog.build(recipe.network, len(data.labels), recipe.input.channels)
    raw = raw.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network, optimizer = fabric.setup(
        torch.compile(raw) if recipe.compile else raw, build_optimizer(raw, recipe.optim)
    )
    average = moving_average(raw, recipe.ema.decay) if recipe.ema.decay else None
    judged: nn.Module = average.module if average else raw
    batches = Batches(
        training, recipe.input, recipe.augment, batch_size=recipe.batch_size, seed=recipe.seed,
        device=fabric.device, rank=fabric.global_rank, world_size=fabric.world_size,
    )  # fmt: skip
    judge = _Judge(validation, recipe, fabric.device)
    parts: dict[str, Any] = {"network": raw, "average": average, "optimizer": optimizer}
    claim = {"recipe": recipe.model_dump_json(), "data": data.fingerprint()}
    state = _load(checkpoint, parts, claim) if resume and checkpoint.exists() else _State()

    for epoch in range(len(state.history), recipe.epochs):
        started = time.perf_counter()
        torch.manual_seed(epoch_seed(recipe.seed, epoch))  # dropout
        network.train()
        steps = len(batches)
        loss_sum = torch.zeros((), device=fabric.device)
        hits = torch.zeros((), device=fabric.device)
        rate = 0.0
        for step, (x, y) in enumerate(batches.epoch(epoch), start=1):
            rate = learning_rate(recipe.optim, (epoch * steps + step - 1) / (recipe.epochs * steps))
            set_learning_rate(optimizer, rate)
            logits = network(x)
            loss = functional.cross_entropy(logits, y, label_smoothing=recipe.loss.label_smoothing)
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            if average is not None:
                average.update_parameters(raw)
            loss_sum += loss.detach()
            hits += (logits.argmax(1) == y.argmax(1)).float().mean()
            if step % REPORT_EVERY_STEPS == 0 or step == steps:
                on_step(Step(epoch + 1, recipe.epochs, step, steps, float(loss_sum / step), float(hits / step)))
        train_loss, train_accuracy = (float(fabric.all_reduce(s / steps)) for s in (loss_sum, hits))
        if not math.isfinite(train_loss):
            raise TrainingError(f"the loss is {train_loss} in epoch {epoch + 1}: lower optim.peak_lr or use 32-true")
        val_loss, val_accuracy = judge(judged)
        row = EpochRow(
            epoch + 1, rate, train_loss, train_accuracy, val_loss, val_accuracy, time.perf_counter() - started
        )
        state.history.append(row)
        if best_epoch(state.history) is row:
            state.best = {name: value.detach().clone() for name, value in judged.state_dict().items()}
        if fabric.is_global_zero:
            _save(checkpoint, parts, claim, state)
            write_csv(out / "run" / "history.csv", state.history)
        fabric.barrier()
        on_epoch(row)

    if fabric.is_global_zero:
        write_plot(out / "run" / "history.png", state.history, f"{recipe.network} on {Path(data.source).name}")
        best = copy.deepcopy(raw).cpu()
        best.load_state_dict(state.best)
        run = Provenance(recipe, state.history, command, str(fabric.device), fabric.world_size)
        save_bundle(out, best, data, run)
        checkpoint.unlink()
    fabric.barrier()
    return out


class _Judge:
    """Loss and accuracy of a network on the validation images, in full precision, without augmentation."""

    def __init__(self, data: FaceDataset, recipe: Recipe, device: torch.device) -> None:
        self._images, self._targets = to_device(data, device)
        self._to_input = ToInput(recipe.input, device)

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> tuple[float, float]:
        """Return (cross-entropy, accuracy)."""
        network.eval()
        logits = torch.cat([network(self._to_input(part.float())) for part in self._images.split(512)]).float()
        loss = functional.cross_entropy(logits, self._targets)
        return float(loss), float((logits.argmax(1) == self._targets.argmax(1)).float().mean())


def _open_fabric(device: str, precision: str) -> Fabric:
    """Open the device; under ``torchrun`` join the other processes."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True, "auto": True}
    if device not in present:
        raise ConfigError(f"unknown device {device!r}: expected one of auto, cpu, cuda, mps")
    if not present[device]:
        raise ConfigError(f"no {device} device on this machine: use --device auto or cpu")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    fabric = Fabric(
        accelerator=device,
        devices=local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def _check_out(out: Path, checkpoint: Path, resume: bool) -> None:
    if not resume and (checkpoint.exists() or (out / bundle.CONFIG).exists()):
        state = "an unfinished run" if checkpoint.exists() else "a finished model"
        raise ConfigError(f"{out} already holds {state}: add --resume to go on with it, or choose another --out")


def _save(path: Path, parts: dict[str, Any], claim: dict[str, str], state: _State) -> None:
    content = {name: part.state_dict() for name, part in parts.items() if part is not None}
    history = [asdict(row) for row in state.history]
    with files.writing(path) as temporary:
        torch.save({**content, "claim": claim, "history": history, "best": state.best}, temporary)


def _load(path: Path, parts: dict[str, Any], claim: dict[str, str]) -> _State:
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged archive raises whatever its bytes provoke
        raise ConfigError(f"{path} is damaged ({error}): remove {path.parent} to start anew") from error
    if content["claim"] != claim:
        what = next(name for name in claim if content["claim"][name] != claim[name])
        raise ConfigError(f"{path.parent} was begun with another {what}: resume with the same, or choose another --out")
    for name, part in parts.items():
        if part is not None:
            part.load_state_dict(content[name])
    return _State([EpochRow(**row) for row in content["history"]], content["best"])
