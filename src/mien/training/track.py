"""A run's figures, epoch by epoch, to TensorBoard or MLflow through their own libraries."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from mien import files
from mien.errors import ConfigError, OutputError, did_you_mean, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from mien.config import Recipe
    from mien.history import EpochRow

EXPERIMENT = "mien"
MLFLOW_PARAMS = 100
"""Most options that MLflow takes at once."""


def check_trackers(names: Iterable[str]) -> None:
    """Refuse a tracker that there is not.

    Raises:
        ConfigError: it is unknown.
    """
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(
                f"unknown tracker {name!r}: expected {', '.join(TRACKERS)}{did_you_mean(name, TRACKERS)}"
            )


@contextlib.contextmanager
def tracker(name: str, recipe: Recipe, out: Path) -> Iterator[Callable[[EpochRow], None]]:
    """Yield what takes an epoch's figures to ``tensorboard`` or ``mlflow``.

    TensorBoard's events go to ``out/run/tensorboard``. MLflow goes where ``MLFLOW_TRACKING_URI`` says, else to
    ``out/run/mlflow.db``; a resumed run goes on in the same MLflow run. Each epoch is shown once, also if it is
    repeated after an interruption.

    Raises:
        ConfigError: MLflow cannot be reached; OutputError: it no longer can.
        MissingExtra: its library is not installed.
    """
    with TRACKERS[name](recipe, out) as log:
        yield log


@contextlib.contextmanager
def _tensorboard(recipe: Recipe, out: Path) -> Iterator[Callable[[EpochRow], None]]:
    with needs("track"):
        from torch.utils.tensorboard import SummaryWriter

    place = files.make_folder(out / "run" / "tensorboard")
    with contextlib.ExitStack() as opened:
        writers: list[SummaryWriter] = []

        def log(row: EpochRow) -> None:
            # Opened now, because a resumed run repeats epochs after its checkpoint: their old events are hidden.
            if not writers:
                writers.append(opened.enter_context(SummaryWriter(place, purge_step=row.epoch)))
                writers[0].add_text("recipe", f"```json\n{recipe.model_dump_json(indent=2)}\n```")
            for figure, value in _figures(row).items():
                writers[0].add_scalar(figure, value, row.epoch)
            writers[0].flush()

        yield log


@contextlib.contextmanager
def _mlflow(recipe: Recipe, out: Path) -> Iterator[Callable[[EpochRow], None]]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read on import
    with needs("track"):
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    logging.getLogger("mlflow").setLevel(logging.WARNING)

    from mien.training.checkpoint import CHECKPOINT

    folder = files.make_folder(out / "run").resolve()
    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}")
    known = folder / "mlflow_run_id.txt"
    if not (folder / CHECKPOINT).exists():  # the run begins anew, and so do its figures
        known.unlink(missing_ok=True)
    try:
        run_id = known.read_text() if known.exists() else _begin(client, recipe, out)
        files.write(known, run_id)
        client.update_run(run_id, "RUNNING")
        logged = {one.step for one in client.get_metric_history(run_id, "train_loss")}
    except MlflowException as error:
        raise ConfigError(f"MLflow at {client.tracking_uri}: {error}") from error

    @contextlib.contextmanager
    def reached() -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            raise OutputError(f"MLflow at {client.tracking_uri}: {error}; --resume goes on") from error

    def log(row: EpochRow) -> None:
        if row.epoch in logged:  # a resumed run repeats epochs after its checkpoint
            return
        now = int(1000 * time.time())
        with reached():
            figures = [Metric(name, value, now, row.epoch) for name, value in _figures(row).items()]
            client.log_batch(run_id, metrics=figures)

    try:
        yield log
    except BaseException:
        with contextlib.suppress(MlflowException):
            client.set_terminated(run_id, "FAILED")
        raise
    with reached():
        client.set_terminated(run_id)


def _begin(client: MlflowClient, recipe: Recipe, out: Path) -> str:  # type: ignore[name-defined] # noqa: F821
    from mlflow.entities import Param

    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    run_id: str = client.create_run(experiment, run_name=out.resolve().name).info.run_id
    options = [Param(name, str(value)) for name, value in _flat(recipe.model_dump(mode="json"))]
    for first in range(0, len(options), MLFLOW_PARAMS):
        client.log_batch(run_id, params=options[first : first + MLFLOW_PARAMS])
    return run_id


def _flat(options: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _figures(row: EpochRow) -> dict[str, float]:
    figures = asdict(row)
    del figures["epoch"]
    return figures


TRACKERS = {"tensorboard": _tensorboard, "mlflow": _mlflow}
