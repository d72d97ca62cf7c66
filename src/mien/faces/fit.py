"""Train the face detector on drawn scenes, with hard negatives that the network itself finds."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import threading
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mien import files
from mien.detectors.mien import STRIDE
from mien.errors import DataError, TrainingError
from mien.faces.material import Material, check_material, fingerprint, read_backgrounds, read_material
from mien.faces.network import Detector, loss
from mien.faces.scenes import Spot, draw
from mien.faces.targets import targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jaxtyping import Float32, UInt8

    Batch = tuple[UInt8[np.ndarray, "b 1 s s"], Float32[np.ndarray, "b 6 y x"]]


@dataclass(frozen=True)
class Plan:
    """The settings of a run."""

    steps: int = 28_000
    batch: int = 48
    peak_lr: float = 3e-3
    weight_decay: float = 1e-3
    warm_up_steps: int = 300
    decay: float = 0.3
    """Fraction of the steps, at the end, in which the learning rate falls to zero; before, it is constant. So a run
    can be made longer as long as its learning rate has not begun to fall."""
    ema: float = 0.997
    seed: int = 0
    chunk_steps: int = 200
    """Steps between two checkpoints; hard negatives are looked for at the same moments."""
    hard_kept: int = 3000


@dataclass(frozen=True)
class Sources:
    """The three archives that scenes are drawn from."""

    heads: Path
    faces: Path
    backgrounds: Path

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each archive.

        Raises:
            DataError: one cannot be read.
        """
        return {name: fingerprint(path) for name, path in vars(self).items()}


def pool_of(begin: Callable[..., None], *given: object) -> ProcessPoolExecutor:
    """Return a pool of one new process."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, initializer=begin, initargs=given)


MINED = 24
"""Backgrounds that are searched for hard negatives after each chunk."""
AHEAD = 8
"""Batches between a batch and its mirror image."""
_material: list[Material] = []


def end_with_parent() -> None:
    """End this process when its parent process has ended, even by a kill."""
    parent = multiprocessing.parent_process()
    assert parent

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _begin() -> None:
    end_with_parent()
    cv2.setNumThreads(1)


def _read(sources: Sources) -> None:
    """Read the material in the worker: the errors of a job come to the run, those of a worker's beginning do not.

    Also what is held out, so that an image of it that cannot be read is an error before the training.
    """
    archives = vars(sources)
    read_material(**archives, held_out=True)
    _material.append(read_material(**archives))


def _batch(seed: int, step: int, size: int, hard: list[Spot]) -> Batch:
    """Draw the scenes of one step and their targets."""
    rng = np.random.default_rng((seed, step))
    scenes = [draw(_material[0], rng, hard) for _ in range(size)]
    images = np.stack([scene.image_u8 for scene in scenes])[:, None]
    return images, np.stack([targets(scene) for scene in scenes])


def _batches(
    pool: ProcessPoolExecutor, plan: Plan, first: int, last: int, hard: list[Spot]
) -> Iterator[Batch]:
    """Yield the batches of the steps first..last-1, drawn ahead by the worker.

    Drawing takes as long as a training step. So every batch is used twice: some steps later mirrored and in other
    light.
    """
    waiting = deque(pool.submit(_batch, plan.seed, step, plan.batch, hard) for step in range(first, last, 2))
    rng = np.random.default_rng((plan.seed, first, 2))
    again: deque[Batch] = deque()
    for _ in range(last - first):
        if waiting and len(again) <= AHEAD:
            again.append(waiting.popleft().result())
            yield again[-1]
        else:
            yield mirrored(again.popleft(), rng)


def mirrored(batch: Batch, rng: np.random.Generator) -> Batch:
    """Return a batch mirrored: its scenes, also darker or brighter, and its targets (`mien.faces.targets`)."""
    images, wanted = (array[..., ::-1].copy() for array in batch)
    wanted[:, 2] *= -1
    gain, offset = rng.uniform(0.7, 1.2, (2, len(images), 1, 1, 1)) * np.array([1, 20]).reshape(2, 1, 1, 1, 1)
    changed = (images - 128.0) * gain + 128 + (offset - 19)
    outside = images == 128
    return np.where(outside, 128, np.clip(changed, 0, 255)).astype(np.uint8), wanted


def learning_rate(plan: Plan, step: int) -> float:
    """Return the learning rate of a step: a short warmup, then constant, at the end a linear fall to zero."""
    rise = (step + 1) / plan.warm_up_steps
    fall = (plan.steps - step) / (plan.decay * plan.steps)
    return plan.peak_lr * min(1.0, rise, fall)


class _State:
    """Network, moving average, optimiser, steps done and hard negatives: what a checkpoint holds."""

    def __init__(self, plan: Plan) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            self.network = Detector().to(memory_format=torch.channels_last)
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(plan.ema),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": plan.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, plan.peak_lr)
        self.done = 0
        self.hard: list[Spot] = []
        self.sources: dict[str, str] = {}
        """Fingerprints of the archives: hard negatives are places in these backgrounds."""

    @property
    def averaged(self) -> Detector:
        """The network with averaged weights."""
        assert isinstance(self.average.module, Detector)
        return self.average.module

    def load(self, path: Path, plan: Plan) -> None:
        """Continue from a checkpoint.

        Raises:
            TrainingError: the checkpoint is of a run with other settings or archives or with more steps, or cannot
                be read.
        """
        try:
            kept = torch.load(path, weights_only=True)
            settings = kept["plan"]
        except Exception as error:  # a damaged file makes torch raise exceptions of many kinds
            raise TrainingError(
                f"cannot read the checkpoint {path}: {error}; choose another `out`"
            ) from error
        if settings | {"steps": plan.steps} != asdict(plan):
            raise TrainingError(f"{path.parent} holds a run with other settings: choose another `out`")
        before = kept.get("sources", self.sources)
        if other := [name for name, one in self.sources.items() if before[name] != one]:
            raise TrainingError(
                f"{path.parent} holds a run with other {' and '.join(other)}: give the same archives, or choose "
                f"another `out`"
            )
        constant = round((1 - plan.decay) * settings["steps"])
        if plan.steps > settings["steps"] and kept["step"] > constant:
            raise TrainingError(
                f"{path.parent} holds a run whose learning rate has begun to fall (after {constant:,} of "
                f"{settings['steps']:,} steps): it cannot be made longer; choose another `out`"
            )
        if kept["step"] > plan.steps:
            raise TrainingError(
                f"{path.parent} holds a run of {kept['step']:,} steps: give `steps` at least as many, or choose "
                f"another `out`"
            )
        self.network.load_state_dict(kept["network"])
        self.average.load_state_dict(kept["average"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.done, self.hard = kept["step"], [Spot(int(row[0]), *row[1:]) for row in kept["hard"]]

    def save(self, path: Path, plan: Plan) -> None:
        """Write a checkpoint and move it into place."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "sources": self.sources,
        }
        with files.replacing(path) as handle:
            torch.save(
                state | {"plan": asdict(plan), "step": self.done, "hard": [list(spot) for spot in self.hard]},
                handle,
            )


def fit(sources: Sources, out: Path, plan: Plan, *, resume: bool, tell: Callable[[str], None]) -> Detector:
    """Train and return the averaged network; a checkpoint in `out` is kept after every chunk.

    Raises:
        DataError: an archive cannot be used, or holds fewer backgrounds than `MINED`.
        TrainingError: the folder holds a run and `resume` is false, or a run that `_State.load` refuses.
    """
    grounds = read_backgrounds(sources.backgrounds, held_out=False)
    if len(grounds) < MINED:
        raise DataError(
            f"{sources.backgrounds.name} holds {len(grounds)} images for training, and each eighth one is held out: "
            f"expected at least {MINED} for training"
        )
    check_material(sources.heads, sources.faces)
    files.make_folder(out)
    path, state = out / "checkpoint.pt", _State(plan)
    state.sources = sources.fingerprints()
    if path.exists():
        if not resume:
            raise TrainingError(
                f"{out} holds a run: give `resume=True` to continue it, or choose another `out`"
            )
        state.load(path, plan)
    pool = pool_of(_begin)
    try:
        pool.submit(_read, sources).result()
        while state.done < plan.steps:
            started, last = time.monotonic(), min(state.done + plan.chunk_steps, plan.steps)
            mean = _train(state, plan, _batches(pool, plan, state.done, last, state.hard))
            state.done = last
            new = mine(state.averaged, grounds, np.random.default_rng((plan.seed, last, 1)))
            state.hard = (state.hard + new)[-plan.hard_kept :]
            state.save(path, plan)
            seconds = round(time.monotonic() - started, 1)
            row = {"step": last, "loss": round(mean, 4), "hard": len(new), "seconds": seconds}
            with files.as_output_error(out), (out / "history.jsonl").open("a", encoding="utf-8") as history:
                history.write(json.dumps(row) + "\n")
            tell(f"step {last}/{plan.steps}  loss {mean:.4f}  new hard negatives {len(new)}  {seconds} s")
    except BrokenProcessPool as error:
        raise TrainingError(
            f"the process that draws scenes was killed, maybe because memory ran out: the same call with "
            f"`resume=True` goes on after step {state.done:,}"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, the scenes that are still planned are not drawn
    return state.averaged


def _train(state: _State, plan: Plan, batches: Iterator[Batch]) -> float:
    """Take a step for each batch; return the mean loss."""
    state.network.train()
    losses = []
    for step, batch in enumerate(batches, state.done):
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(plan, step)
        image, wanted = (torch.from_numpy(array) for array in batch)
        value = loss(state.network(image.float().contiguous(memory_format=torch.channels_last)), wanted)
        state.optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
        state.optimiser.step()
        state.average.update_parameters(state.network)
        losses.append(float(value.detach()))
    return float(np.mean(losses))


@torch.no_grad()
def mine(
    network: Detector,
    backgrounds: list[UInt8[np.ndarray, "_ _"]],
    rng: np.random.Generator,
    count: int = MINED,
) -> list[Spot]:
    """Return places in `count` backgrounds that the network takes for a face with a probability above .1.

    Backgrounds are grey images [h, w], each of its own size. Of one background there are at most 8 places.

    Raises:
        ValueError: fewer backgrounds than `count`.
    """
    network.eval()
    found = []
    for number in rng.choice(len(backgrounds), count, replace=False).tolist():
        image, scale = backgrounds[number], float(np.exp(rng.uniform(math.log(0.5), math.log(2.2))))
        size = [max(32, round(side * scale) // 16 * 16) for side in reversed(image.shape)]
        small = torch.from_numpy(cv2.resize(image, size, interpolation=cv2.INTER_AREA))[None, None].float()
        heat = torch.sigmoid(network(small)[0, 0])
        peak = (heat == torch.nn.functional.max_pool2d(heat[None, None], 3, 1, 1)[0, 0]) & (heat > 0.1)
        for y, x in peak.nonzero()[:8].tolist():
            fx, fy = size[0] / image.shape[1], size[1] / image.shape[0]
            found.append(Spot(number, (x + 0.5) * STRIDE / fx, (y + 0.5) * STRIDE / fy, scale))
    return found
