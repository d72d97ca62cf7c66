"""`search`: many trials of a recipe with other values of some options, and the best of them as a recipe.

Optuna chooses the values (TPE, Bergstra et al. 2011) and ends trials that are worse than the median of the earlier
ones at the same epoch. Every trial is a `fit`, validated on a hold-out of the training images or on ``val``; the test
images are taken out before anything runs. All trials are kept in a SQLite file, from which a later call goes on.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mien import files
from mien.config import facts_of
from mien.data.dataset import HOLDOUT
from mien.errors import ConfigError, DataError, MienError, TrainingError, needs
from mien.training.fit import fit, with_judges
from mien.training.history import figure
from mien.training.launch import check_device
from mien.tune.results import Search, Trial
from mien.tune.space import Space, with_values

with needs("tune"):
    import optuna
    from optuna.trial import TrialState
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mien.config import Recipe
    from mien.data.dataset import FaceDataset
    from mien.history import EpochRow

STUDY = "study.db"
NAME = "mien"
WARM_UP = 0.25
"""Fraction of the epochs before which no trial is ended."""
_LOCK_SECONDS = 60
"""How many seconds a worker waits while another one writes into the study."""
_POLL_SECONDS = 1.0
_OVER = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class _Job:
    """What every worker needs to make trials."""

    recipe: Recipe
    data: FaceDataset
    space: Space
    study: Path
    device: str
    seed: int
    deadline: float
    """When no further trial begins, in seconds as `time.time` counts them."""


def search(
    recipe: Recipe,
    data: FaceDataset,
    space: Space,
    out: str | Path,
    *,
    trials: int = 20,
    minutes: float | None = None,
    workers: int = 1,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> Search:
    """Try values of `space` until there are `trials` of them, and return all trials.

    Args:
        recipe: the options that the space does not vary.
        data: images with the splits that the recipe names; ``test`` is not used.
        space: which options vary, and how.
        out: folder of the study, ``study.db``.
        trials: number of trials, those of earlier calls included.
        minutes: no trial begins after this many minutes.
        workers: processes that train at the same time; they share the processor's threads equally.
        seed: seed for the choice of values. With one worker, the same seed makes the same trials.
        device: as `mien.train`.
        resume: go on with the study in `out`.
        on_trial: called with each trial that has ended.

    Raises:
        ConfigError: an option out of range, a study of something else in `out`, or no trial that was completed.
        DataError: as `mien.train`.
        OutputError: `out` cannot be written, or another command uses it.
    """
    out = Path(out)
    for name, value in (("trials", trials), ("workers", workers)):
        if value < 1:
            raise ConfigError(f"`{name}` must be at least 1, got {value}")
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"`minutes` must be above 0, got {minutes:g}")
    check_device(device)
    check_place(out, resume=resume)
    recipe = search_recipe(space.base(recipe))
    space.check(recipe)
    data, split = judged(recipe, data)
    deadline = math.inf if minutes is None else time.time() + 60 * minutes
    with files.locked(out), _quiet():
        path = out / STUDY
        with _opened(path) as study:
            _claim(study, out, recipe, space, data)
            _end_stale(study)
            done = len(study.get_trials(states=_OVER, deepcopy=False))
        job = _Job(recipe, data, space, path, device, seed + done, deadline)
        tickets = max(0, trials - done)
        if workers == 1 or tickets < 2:
            _work(job, _counted(tickets), on_trial)
        else:
            _work_together(job, tickets, min(workers, tickets), on_trial)
        with _opened(path) as study:
            return _result(study, recipe, space, data, split)


def trials_of(out: Path) -> tuple[Trial, ...]:
    """Return the trials of the study in a folder that have ended; empty if there is no study.

    Raises:
        ConfigError: the file is no study.
    """
    if not (out / STUDY).exists():
        return ()
    with _quiet(), _opened(out / STUDY) as study:
        return _ended(study)


def search_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe as trials use it: a recipe that judges on ``test`` is judged on a hold-out."""
    if recipe.validation.split != "test":
        return recipe
    return with_values(recipe, {"validation.split": HOLDOUT})


def judged(recipe: Recipe, data: FaceDataset) -> tuple[FaceDataset, str]:
    """Return the images to train on and to validate on, without any others, and the name of the validation split.

    Raises:
        DataError: there is no such split.
    """
    data, split = with_judges(recipe, data)
    return data.take(np.flatnonzero(np.isin(data.split, [recipe.train_split, split]))), split


def check_place(out: Path, *, resume: bool) -> None:
    """Refuse a folder with a study if `resume` is not given, and one without a study if it is.

    Raises:
        ConfigError: says which.
    """
    if (out / STUDY).exists() and not resume:
        raise ConfigError(
            f"{out} already holds a study: add `resume=True` to go on with it, or choose another `out`"
        )
    if resume and not (out / STUDY).exists():
        raise ConfigError(
            f"{out} holds no study to go on with: leave `resume` out, or name its folder with `out`"
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[optuna.Study]:
    """Open the study, or begin one.

    Raises:
        ConfigError: the file is no study.
    """
    url = URL.create("sqlite", database=str(path)).render_as_string()
    try:
        storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _LOCK_SECONDS}})
    except (SQLAlchemyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{path} is damaged, or no study of this version: {reason}; choose another `out`"
        ) from error
    try:
        yield optuna.create_study(storage=storage, study_name=NAME, direction="maximize", load_if_exists=True)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _claim(study: optuna.Study, out: Path, recipe: Recipe, space: Space, data: FaceDataset) -> None:
    """Write into a new study what it searches; for an old study, check that it is the same.

    Raises:
        ConfigError: it was begun with something else.
    """
    own = {"recipe": facts_of(recipe), "space": space.to_dict(), "dataset": data.fingerprint()}
    for name, value in own.items():
        there = study.user_attrs.get(name)
        if there is None:
            study.set_user_attr(name, value)
        elif there != json.loads(json.dumps(value)):
            raise ConfigError(
                f"{out} holds a study of another {name}: resume with the same one, or choose another `out`"
            )


def _end_stale(study: optuna.Study) -> None:
    """End the trials of a call that was killed. This call holds the lock, so no other process works on them."""
    for trial in study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING), deepcopy=False):
        study.tell(trial.number, state=TrialState.FAIL)


def _counted(number: int) -> Callable[[], bool]:
    """Return a function that returns True `number` times, then False."""
    left = iter(range(number))
    return lambda: next(left, None) is not None


def _work(job: _Job, ticket: Callable[[], bool], on_trial: Callable[[Trial], None]) -> None:
    """Make trials until `ticket` returns False or the time is over."""
    warm_up = max(1, round(WARM_UP * job.recipe.epochs))
    with _opened(job.study) as study:
        study.sampler = optuna.samplers.TPESampler(seed=job.seed)
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=warm_up)
        while time.time() < job.deadline and ticket():
            study.optimize(
                lambda trial: _tried(trial, job),
                n_trials=1,
                callbacks=[lambda _, made: on_trial(Trial.of(made))],
            )


def _tried(trial: optuna.Trial, job: _Job) -> float:
    """Train once and return the figure of the kept epoch, the higher the better."""
    monitor = job.recipe.validation.monitor

    def on_epoch(row: EpochRow, _: object) -> None:
        value = figure(row, monitor)
        if math.isnan(value):
            return
        trial.report(value, row.epoch)
        if row.epoch < recipe.epochs and trial.should_prune():
            raise optuna.TrialPruned

    try:
        recipe = with_values(job.recipe, job.space.drawn(trial))
        trained = fit(recipe, job.data, device=job.device, on_epoch=on_epoch)
    except (
        ConfigError,
        DataError,
        TrainingError,
    ) as error:  # values that do not fit together, or do not learn
        trial.set_user_attr("error", str(error))
        raise optuna.TrialPruned from error
    trial.set_user_attr("kept_epoch", trained.kept.epoch)
    return figure(trained.kept, monitor)


def _work_together(job: _Job, tickets: int, workers: int, on_trial: Callable[[Trial], None]) -> None:
    """Let several processes make trials, and call `on_trial` with each that has ended.

    Raises:
        MienError: the error of a worker.
        TrainingError: a worker was killed.
    """
    context = multiprocessing.get_context("spawn")
    left, errors = context.Value("i", tickets), context.SimpleQueue()
    threads = max(1, torch.get_num_threads() // workers)
    made = [
        context.Process(target=_worker, args=(job, number, threads, left, errors), daemon=True)
        for number in range(workers)
    ]
    with _opened(job.study) as study:
        told = {one.number for one in study.get_trials(deepcopy=False)}
        try:
            for one in made:
                one.start()
            while any(one.is_alive() for one in made):
                made[0].join(_POLL_SECONDS) if made[0].is_alive() else time.sleep(_POLL_SECONDS)
                _tell(study, told, on_trial)
        finally:
            for one in made:
                one.terminate()
                one.join()
        _tell(study, told, on_trial)
    if not errors.empty():
        raise errors.get()
    codes = [one.exitcode for one in made if one.exitcode]
    if codes:
        raise TrainingError(
            f"a worker ended with status {codes[0]} (a negative one is a signal: is memory short?): fewer `workers`; "
            f"the trials so far are kept, `resume=True` goes on"
        )


def _worker(job: _Job, number: int, threads: int, left: Any, errors: Any) -> None:
    """What a process of `_work_together` does."""
    torch.set_num_threads(threads)

    def ticket() -> bool:
        with left.get_lock():
            left.value -= 1
            return bool(left.value >= 0)

    with _quiet():
        try:
            _work(_Job(**{**vars(job), "seed": job.seed + 7919 * number}), ticket, lambda _: None)
        except MienError as error:
            errors.put(error)


def _tell(study: optuna.Study, told: set[int], on_trial: Callable[[Trial], None]) -> None:
    for one in study.get_trials(states=_OVER, deepcopy=False):
        if one.number not in told:
            told.add(one.number)
            on_trial(Trial.of(one))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Switch off the line that Optuna prints for each trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _ended(study: optuna.Study) -> tuple[Trial, ...]:
    return tuple(Trial.of(one) for one in study.get_trials(states=_OVER, deepcopy=False))


def _result(study: optuna.Study, recipe: Recipe, space: Space, data: FaceDataset, split: str) -> Search:
    made = _ended(study)
    complete = [one for one in made if one.is_complete]
    if not complete:
        reason = next((one.error for one in made if one.error), "no trial was begun in time")
        raise ConfigError(f"none of {len(made)} trials came to an end: {reason}")
    best = max(complete, key=lambda one: (one.value, -one.number))
    return Search(
        data=data.source,
        split=split,
        n_judged=len(data.rows(split)),
        monitor=recipe.validation.monitor,
        space=space,
        trials=made,
        best=best,
        recipe=with_values(recipe, space.restored(best.params)),
        importance=_importance(study) if len(complete) > 3 else {},
    )


def _importance(study: optuna.Study) -> dict[str, float]:
    """Return the fraction of variance of each option (fANOVA, Hutter et al. 2014); empty if it cannot be computed."""
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (RuntimeError, ValueError):  # all trials have the same figure
        return {}
    return {path: float(value) for path, value in found.items()}
