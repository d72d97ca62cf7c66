"""TensorBoard and MLflow: what they read back is what the run's own history says."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from mien.config import read_recipe
from mien.errors import ConfigError, MissingExtra, OutputError
from mien.history import EpochRow
from mien.training.checkpoint import CHECKPOINT
from mien.training.track import check_trackers, tracker
from tests.training.tiny import TINY

RECIPE = read_recipe(TINY, ["epochs=2"])
ROWS = [EpochRow(1, 0.1, 1.9, 0.2, 1.8, 0.25, 0.2, 3.0), EpochRow(2, 0.05, 1.5, 0.4, 1.6, 0.35, 0.3, 3.0)]


@pytest.fixture(autouse=True)
def no_server_of_the_users(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracker("tensorboard", RECIPE, tmp_path) as log:
        for row in ROWS:
            log(row)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(e.step, round(e.value, 6)) for e in events.Scalars("val_loss")] == [(1, 1.8), (2, 1.6)]
    with tracker("tensorboard", RECIPE, tmp_path) as log:  # resumed from a checkpoint after the first epoch
        log(ROWS[1])
    again = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [e.step for e in again.Scalars("val_loss")] == [1, 2]
    assert set(events.Tags()["scalars"]) >= {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}


def the_run(tmp_path):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("mien").experiment_id])
    return client, run


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's, of SQLAlchemy
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_mlflow_goes_on_in_the_same_run_until_its_server_goes_away(tmp_path, monkeypatch):
    """One database for all of it: MLflow takes seconds to make one."""
    with pytest.raises(KeyboardInterrupt), tracker("mlflow", RECIPE, tmp_path) as log:
        log(ROWS[0])
        raise KeyboardInterrupt
    assert the_run(tmp_path)[1].info.status == "FAILED"
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"x")
    with tracker("mlflow", RECIPE, tmp_path) as log:
        log(ROWS[0])  # again, as the run resumes from an earlier checkpoint
        log(ROWS[1])
    client, run = the_run(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.peak_lr"] == "0.1"
    history = client.get_metric_history(run.info.run_id, "val_accuracy")
    assert [(m.step, m.value) for m in history] == [(1, 0.25), (2, 0.35)]

    from mlflow.exceptions import MlflowException

    def gone(*_, **__):
        raise MlflowException("no route")

    lost = pytest.raises(OutputError, match=r"MLflow at sqlite:.*: no route; --resume goes on")
    with lost, tracker("mlflow", RECIPE, tmp_path) as log:
        monkeypatch.setattr(type(client), "log_batch", gone)
        monkeypatch.setattr(type(client), "set_terminated", gone)
        log(replace(ROWS[1], epoch=3))
    with pytest.raises(OutputError, match="no route"), tracker("mlflow", RECIPE, tmp_path):
        pass  # its end cannot be told either


def test_what_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"unknown tracker 'tensorbord'.*; did you mean tensorboard\?"):
        check_trackers(["tensorbord"])
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", None)
    with (
        pytest.raises(MissingExtra, match=r"mlflow.exceptions is not installed: .*pip install .*\[track\]'"),
        tracker("mlflow", RECIPE, tmp_path),
    ):
        pass
