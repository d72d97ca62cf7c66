"""A search: the best is found and written, trials that fall behind end, nothing is lost, test is never seen."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest

from mien.cli.tune import _print, _teller
from mien.config import read_recipe
from mien.errors import ConfigError, DataError, OutputError, TrainingError
from mien.evaluation import render
from mien.files import locked
from mien.history import EpochRow
from mien.training.history import best_epoch
from mien.tune import search as searching
from mien.tune.report import write_search
from mien.tune.search import search
from mien.tune.space import Choice, Range, Space
from tests.guard.test_states import check
from tests.training.tiny import TINY, tiny_data

RECIPE = read_recipe(TINY, ["epochs=4", "validation.split=test", "network=lenet", "batch_size=16"])
DATA = tiny_data(140)
LR = "optim.peak_lr"
SPACE = Space({LR: Range(1e-4, 1.0, log=True), "batch_size": Choice((8, 16))}, {"epochs": 3})


def learnable(recipe, epoch: int) -> float:
    """Return an accuracy that is highest at a rate of 0.01 and rises with the epochs."""
    return (0.9 - 0.2 * abs(math.log10(recipe.optim.peak_lr) + 2)) * epoch / recipe.epochs


@pytest.fixture
def fitted(monkeypatch):
    """Train nothing: return the recipes and datasets that would have been trained."""
    calls = []

    def fake(recipe, data, *, device, on_epoch):
        calls.append((recipe, data))
        rows = []
        for epoch in range(1, recipe.epochs + 1):
            value = learnable(recipe, epoch)
            rows.append(EpochRow(epoch, 0.1, 1, 0.5, 2 - value, value, value / 2, 1))
            on_epoch(rows[-1], None)
        return SimpleNamespace(kept=best_epoch(rows))

    monkeypatch.setattr(searching, "fit", fake)
    return calls


def test_the_best_is_found_and_every_form_says_the_same(tmp_path, fitted, capsys):
    told = []
    found = search(RECIPE, DATA, SPACE, tmp_path, trials=12, on_trial=told.append)
    complete = [one for one in found.trials if one.is_complete]
    assert found.best.value == max(one.value for one in complete)
    assert found.best.value == pytest.approx(learnable(found.recipe, 3))
    assert (found.recipe.optim.peak_lr, found.recipe.epochs) == (found.best.params[LR], 3)
    assert found.recipe.batch_size == found.best.params["batch_size"]
    assert [one.number for one in found.trials] == list(range(1, 13)) == [one.number for one in told]
    assert sum(found.importance.values()) == pytest.approx(1)
    assert found.importance[LR] > 0.6, "the batch size changes nothing"

    best = write_search(found, tmp_path)
    assert read_recipe(str(best)) == found.recipe
    assert f"accuracy {found.best.value:.4f}\n# on {found.n_judged} images of holdout" in best.read_text()
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["accuracy"]) for row in rows] == pytest.approx(
        [one.value for one in found.trials], rel=1e-5
    )
    document = json.loads((tmp_path / "search.json").read_text())
    assert document == json.loads(json.dumps(found.to_dict()))
    assert document["best"]["trial"] == found.best.number
    for name in ("history", "importance", "options"):
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / "figures" / f"{name}.svg").exists()
    _print(found, best, ["a b", "--group-column", "who"])
    printed = capsys.readouterr().out
    assert f"best: trial {found.best.number}, accuracy {found.best.value:.2%} on " in printed
    assert f"next: mien train {best} --data 'a b' --group-column who --out run" in printed


def test_no_trial_sees_the_test_images(tmp_path, fitted):
    found = search(RECIPE, DATA, SPACE, tmp_path, trials=2)
    for recipe, data in fitted:
        assert recipe.validation.split == "holdout"
        assert set(data.split) == {"train", "holdout"}
        assert not set(data.ids) & set(DATA.select("test").ids)
    assert found.recipe.validation.split == "holdout"
    assert len(fitted[0][1]) == 140


def test_trials_that_fall_behind_end_early(tmp_path, fitted):
    """After ten trials near the best rate, ten bad ones: these end after the first epoch that may end them."""
    good = Space({LR: Range(0.009, 0.011)}, {"epochs": 8})
    search(RECIPE, DATA, good, tmp_path, trials=10)
    with searching._opened(tmp_path / "study.db") as study:
        for _ in range(3):
            study.enqueue_trial({LR: 0.009})
        job = searching._Job(good.base(RECIPE), DATA, good, tmp_path / "study.db", "cpu", 0, math.inf)
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(f"{__name__}.learnable", lambda recipe, epoch: 0.01 * epoch)
            study.optimize(lambda trial: searching._tried(trial, job), n_trials=3)
        ended = study.get_trials()[-3:]
    assert [one.state.name for one in ended] == ["PRUNED"] * 3
    assert [max(one.intermediate_values) for one in ended] == [2] * 3


def test_it_goes_on_where_it_was_interrupted(tmp_path, fitted, monkeypatch):
    real = searching._tried

    def killed(trial, job):
        if trial.number == 3:
            raise KeyboardInterrupt
        return real(trial, job)

    monkeypatch.setattr(searching, "_tried", killed)
    with pytest.raises(KeyboardInterrupt):
        search(RECIPE, DATA, SPACE, tmp_path, trials=6)
    monkeypatch.setattr(searching, "_tried", real)
    with searching._opened(tmp_path / "study.db") as study:
        study.ask()  # as a process that was killed outright leaves a trial
    with pytest.raises(ConfigError, match="already holds a study: add resume=True"):
        search(RECIPE, DATA, SPACE, tmp_path, trials=6)
    found = search(RECIPE, DATA, SPACE, tmp_path, trials=6, resume=True)
    assert len(found.trials) == 6
    assert [one.number for one in found.trials] == [1, 2, 3, 6, 7, 8], "two were lost and are made up for"
    again = search(RECIPE, DATA, SPACE, tmp_path, trials=6, resume=True)
    assert again.trials == found.trials
    with pytest.raises(ConfigError, match="holds a study of another space: resume with the same one"):
        search(RECIPE, DATA, Space({LR: Range(0.1, 1)}, {"epochs": 3}), tmp_path, resume=True)
    with pytest.raises(ConfigError, match="holds a study of another dataset"):
        search(RECIPE, tiny_data(147), SPACE, tmp_path, resume=True)
    with pytest.raises(ConfigError, match="holds a study of another recipe"):
        search(RECIPE.model_copy(update={"seed": 1}), DATA, SPACE, tmp_path, resume=True)


def test_the_same_seed_makes_the_same_trials(tmp_path, fitted):
    made = [search(RECIPE, DATA, SPACE, tmp_path / str(n), trials=4, seed=n // 2).trials for n in range(3)]
    values = [[dict(one.params) for one in trials] for trials in made]
    assert values[0] == values[1]
    assert values[0] != values[2]


def test_values_that_cannot_be_are_counted_and_told(tmp_path, monkeypatch, fitted, capsys):
    fake = searching.fit

    def picky(recipe, data, **options):
        if recipe.batch_size == 8:
            raise TrainingError("the loss is nan")
        return fake(recipe, data, **options)

    monkeypatch.setattr(searching, "fit", picky)
    found = search(RECIPE, DATA, SPACE, tmp_path / "some", trials=8)
    bad = [one for one in found.trials if one.error]
    assert 0 < len(bad) < 8
    assert {one.state for one in bad} == {"impossible"}
    assert {one.params["batch_size"] for one in found.trials if not one.error} == {16}
    write_search(found, tmp_path / "some")
    _print(found, tmp_path, "synthetic")
    printed = capsys.readouterr().out
    assert f"{len(bad)} impossible" in printed
    assert f"trial {bad[0].number} failed: the loss is nan" in printed
    with pytest.raises(ConfigError, match="none of 2 trials came to an end: the loss is nan"):
        search(RECIPE, DATA, Space({LR: Range(0.1, 1)}, {"batch_size": 8}), tmp_path / "none", trials=2)


def test_of_a_loss_the_lowest_is_the_best(tmp_path, fitted, monkeypatch):
    by_loss = RECIPE.model_copy(
        update={"validation": RECIPE.validation.model_copy(update={"monitor": "loss"})}
    )
    found = search(by_loss, DATA, SPACE, tmp_path, trials=6)
    losses = {row["trial"]: row["loss"] for row in found.to_rows() if row["state"] == "complete"}
    assert min(losses, key=losses.__getitem__) == found.best.number
    assert losses[found.best.number] == -found.best.value > 0
    assert f"cross-entropy {losses[found.best.number]:.4f}" in write_search(found, tmp_path).read_text()
    monkeypatch.setattr(render, "rendered", lambda *_: b"<svg></svg>")
    two = [found, replace(found, split="other")]
    check(tmp_path / "killed", lambda folder, number: write_search(two[number - 1], folder), "best.toml")


def test_what_is_refused(tmp_path, fitted):
    with pytest.raises(ConfigError, match="trials must be at least 1, got 0"):
        search(RECIPE, DATA, SPACE, tmp_path, trials=0)
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        search(RECIPE, DATA, SPACE, tmp_path, workers=0)
    with pytest.raises(ConfigError, match="minutes must be above 0, got -1"):
        search(RECIPE, DATA, SPACE, tmp_path, minutes=-1)
    with pytest.raises(ConfigError, match="holds no study to go on with"):
        search(RECIPE, DATA, SPACE, tmp_path, resume=True)
    with pytest.raises(ConfigError, match="unknown device 'tpu'"):
        search(RECIPE, DATA, SPACE, tmp_path, device="tpu")
    with pytest.raises(DataError, match="no split 'train'"):
        search(RECIPE, DATA.select("test"), SPACE, tmp_path)
    with locked(tmp_path), pytest.raises(OutputError, match="another command is writing into"):
        search(RECIPE, DATA, SPACE, tmp_path)
    (tmp_path / "study.db").write_bytes(b"no database" * 99)
    with pytest.raises(
        ConfigError, match=r"study\.db is damaged, or no study of this version: .*choose another out"
    ):
        search(RECIPE, DATA, SPACE, tmp_path, resume=True)
    assert not fitted


def test_a_deadline_begins_no_trial(tmp_path, fitted):
    with pytest.raises(ConfigError, match="none of 0 trials came to an end: no trial was begun in time"):
        search(RECIPE, DATA, SPACE, tmp_path, minutes=1e-9)


def test_a_line_for_each_trial():
    said = []

    class Bar:
        say = staticmethod(said.append)

        def __call__(self, steps):
            done.append(steps)

    done = []
    make = searching.Trial
    tell = _teller("accuracy", (), 3, Bar())
    tell(make(1, {LR: 0.0123456}, 0.5, True, 3, 1.0))
    tell(make(2, {LR: 0.1}, 0.4, True, 3, 1.0))
    tell(make(3, {LR: 0.1}, 0.6, False, 2, 1.0))
    assert said == [
        "  1/3  trial 1, complete: accuracy 50.00%  * best  peak_lr=0.0123",
        "  2/3  trial 2, complete: accuracy 40.00%  peak_lr=0.1",
        "  3/3  trial 3, ended early: accuracy 60.00% in epoch 2  peak_lr=0.1",
    ]
    assert done == [0, 1, 1, 1]


def test_after_an_interruption_the_best_is_that_of_all_trials():
    said, done, make = [], [], searching.Trial

    class Bar:
        say = staticmethod(said.append)

        def __call__(self, steps):
            done.append(steps)

    tell = _teller("accuracy", (make(1, {}, 0.5, True, 3, 1.0), make(2, {}, 0.9, False, 1, 1.0)), 4, Bar())
    tell(make(4, {LR: 0.1}, 0.4, True, 3, 1.0))  # number 3 was interrupted
    tell(make(5, {LR: 0.1}, 0.6, True, 3, 1.0))
    assert said == [
        "  3/4  trial 4, complete: accuracy 40.00%  peak_lr=0.1",
        "  4/4  trial 5, complete: accuracy 60.00%  * best  peak_lr=0.1",
    ]
    assert done == [2, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": Choice(("mien_nano", "nonesuch"))}, "unknown network 'nonesuch'"),
        ({"network_options.widhts": Choice(([[8], [8]],))}, "widhts"),
    ],
)
def test_a_network_is_checked_before_anything_runs(tmp_path, fitted, options, message):
    with pytest.raises(ConfigError, match=message):
        search(RECIPE, DATA, Space(options, {}), tmp_path)
    assert not fitted
    assert searching.trials_of(tmp_path) == ()


def test_two_workers_share_a_study(tmp_path):
    """Real processes and real training: so many trials as were asked for, none twice, all told of."""
    told = []
    quick = Space({LR: Range(0.01, 0.1)}, {"epochs": 1, "precision": "32-true"})
    found = search(RECIPE, DATA, quick, tmp_path, trials=3, workers=2, device="cpu", on_trial=told.append)
    assert len(found.trials) == 3 == len({one.params[LR] for one in found.trials})
    assert sorted(one.number for one in told) == [1, 2, 3]
    assert found.best.epochs == 1
