"""Folds: every training image answered once, by a model without it; test is never read; resumable; joined."""

from __future__ import annotations

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from mien import bundle
from mien.classifiers import load_classifier, probabilities
from mien.cli.folds import check_run, tell_folds, train_folds
from mien.config import read_recipe
from mien.data.answered import read_out_of_fold
from mien.data.duplicates import are_duplicates
from mien.errors import ConfigError, DataError
from mien.evaluation.contenders import enter
from mien.evaluation.protocol import keys_learnt
from mien.statistics import Estimate
from mien.training.finish import WATCHED
from mien.tune.folds import CrossValidation, Fold, cross_validate, divided, fold_recipe
from tests.training.tiny import TINY, tiny_data

SETTINGS = [
    "network=lenet",
    "epochs=1",
    "batch_size=16",
    "optim.peak_lr=0.02",
    "precision=32-true",
    "validation.split=test",
    "validation.keep=best",
    "validation.patience_epochs=1",
]
RECIPE, DATA, K = read_recipe(TINY, SETTINGS), tiny_data(84), 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("folds") / "cv"
    return out, cross_validate(RECIPE, DATA, out, K, device="cpu", command="mien train nano --folds 2")


def rows_of(out):
    with (out / "out_of_fold.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_training_image_is_answered_once_by_a_model_without_it(trained):
    out, _ = trained
    rows, ids = rows_of(out), DATA.select("train").ids
    assert [row["id"] for row in rows] == list(ids)
    for number in (1, 2):
        held = np.array([row["fold"] == str(number) for row in rows])
        assert np.bincount(DATA.truth[DATA.rows("train")][held]).tolist() == [6] * 7, "every class evenly"
        learnt = keys_learnt(bundle.load(out / f"fold{number}"))
        seen = are_duplicates(DATA.select("train").images, learnt)
        assert (seen == ~held).all(), "it has learnt the others and none of these"


def test_test_is_never_read(trained):
    out, found = trained
    for number in (1, 2):
        card = bundle.load(out / f"fold{number}").card
        assert {score.split for score in card.scores} == {"holdout"}
        assert set(card.data.counts) == {"train", "holdout"}
        assert card.calibration.split == "holdout", "not test, which the recipe names"
        assert all(score.protocol.startswith(WATCHED) for score in card.scores), "the fold chose nothing"
    assert found.split == "train"
    assert not set(DATA.select("test").ids) & {row["id"] for row in rows_of(out)}


def test_a_fold_is_trained_to_the_last_epoch_whatever_the_recipe_keeps():
    assert (RECIPE.validation.keep, RECIPE.validation.patience_epochs) == ("best", 1)
    rule = fold_recipe(RECIPE).validation
    assert (rule.split, rule.keep, rule.patience_epochs) == ("holdout", "last", 0)


def test_the_command_says_so_and_refuses_before_it_reads(monkeypatch, tmp_path):
    said, plain = [], read_recipe(TINY, SETTINGS[:-3])
    monkeypatch.setattr("mien.tune.folds.cross_validate", lambda *_, **__: None)
    for recipe in (plain, RECIPE):
        said.append([])
        bar = SimpleNamespace(say=said[-1].append)
        train_folds(recipe, DATA, tmp_path, K, bar, None, dict.fromkeys(("device", "resume", "command"), ""))
    flatter = (
        "each fold keeps its last epoch: an epoch chosen on the held-out images would flatter their answers"
    )
    assert [flatter in lines for lines in said] == [False, True]
    ready = {"device": "cpu", "resume": False}
    check_run(RECIPE, tmp_path / "new", K, **ready)
    with pytest.raises(ConfigError, match="plateau lowers the rate"):
        check_run(read_recipe(TINY, ["optim.schedule=plateau"]), tmp_path / "new", K, **ready)


def test_the_numbers_are_those_of_the_table(trained, capsys):
    out, found = trained
    rows = rows_of(out)
    hits = np.array([row["truth"] == row["prediction"] for row in rows])
    assert found.accuracy.value == pytest.approx(hits.mean())
    for one in found.folds:
        own = np.array([f"fold{row['fold']}" == one.folder for row in rows])
        assert (one.n, one.accuracy) == (own.sum(), pytest.approx(hits[own].mean()))
    probs = read_out_of_fold(out / "out_of_fold.csv", DATA)[DATA.rows("train")]
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-4)
    assert [DATA.labels[place] for place in probs.argmax(axis=1)] == [row["prediction"] for row in rows]
    truth = probs[np.arange(len(rows)), DATA.truth[DATA.rows("train")]]
    assert found.log_loss == pytest.approx(-np.log(truth).mean(), abs=1e-4)
    document = json.loads((out / "folds.json").read_text())
    assert document == json.loads(json.dumps(found.to_dict()))
    tell_folds(found, out)
    out, printed = capsys.readouterr()
    assert not out, "stdout has the folder alone"
    assert f"all 84 images, each by the model without it: accuracy {found.accuracy.value:.1%}" in printed


def test_mean_and_spread_by_hand():
    made = tuple(Fold(f"fold{n}", 3, accuracy, 0.5) for n, accuracy in enumerate((0.2, 0.4, 0.6)))
    found = CrossValidation(
        "x", "train", ("a", "b"), made, Estimate(0.4, 0.3, 0.5), 0.5, 1.0, Estimate(0, 0, 0)
    )
    assert found.spread() == pytest.approx((0.4, 0.2))
    assert found.spread("macro_f1") == (0.5, 0)


def test_the_models_together_are_one(trained):
    out, found = trained
    crops = DATA.select("test").images
    members = [probabilities(load_classifier(out / f"fold{number}").logits(crops)) for number in (1, 2)]
    joined = probabilities(load_classifier(out / "ensemble").logits(crops))
    np.testing.assert_allclose(joined, np.mean(members, axis=0), atol=1e-5)
    made = bundle.load(out / "ensemble")
    assert made.card.scores == ()
    assert made.card.trained_on == ("train",)
    assert are_duplicates(DATA.select("train").images, keys_learnt(made)).all()
    page = (out / "ensemble" / "README.md").read_text()
    assert "2 models, each trained without another of 2 folds" in page
    assert [member["accuracy"] for member in made.card.recipe["members"]] == [
        one.accuracy for one in found.folds
    ]
    assert enter([str(out / "fold*")])[0].group_caveat == (
        "its runs differ in more than the seed: the dataset"
    ), "each has learnt other images"


def test_it_resumes(trained, tmp_path):
    out = shutil.copytree(trained[0], tmp_path / "cv")
    shutil.rmtree(out / "fold2")
    with pytest.raises(ConfigError, match="ensemble joins models of an earlier run: delete it"):
        cross_validate(RECIPE, DATA, out, K, device="cpu", resume=True)
    shutil.rmtree(out / "ensemble")
    (out / "folds.json").unlink()
    with pytest.raises(ConfigError, match="fold1 already holds a finished model"):
        cross_validate(RECIPE, DATA, out, K, device="cpu")
    found = cross_validate(RECIPE, DATA, out, K, device="cpu", resume=True)
    for name in ("fold1", "fold2"):
        assert (out / name / bundle.WEIGHTS).read_bytes() == (trained[0] / name / bundle.WEIGHTS).read_bytes()
    assert found == trained[1]
    assert (out / "ensemble" / bundle.CONFIG).exists()
    with pytest.raises(ConfigError, match="fold1 holds a model finished with another dataset"):
        cross_validate(RECIPE, tiny_data(91), out, K, device="cpu", resume=True)


def test_what_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="folds must be at least 2, got 1"):
        cross_validate(RECIPE, DATA, tmp_path, 1, device="cpu")
    plateau = read_recipe(TINY, [*SETTINGS, "optim.schedule=plateau"])
    with pytest.raises(
        ConfigError, match="plateau lowers the rate by .* set it to one_cycle, cosine, restarts"
    ):
        cross_validate(plateau, DATA, tmp_path, K, device="cpu")
    rare = DATA.take(np.flatnonzero((DATA.truth != 3) | (np.arange(len(DATA)) < 14)))
    with pytest.raises(
        DataError, match=r"the images of '\w+' in synthetic form \d groups?, of which not each of 5 folds"
    ):
        divided(RECIPE, rare, 5)
    with pytest.raises(DataError, match="no split 'train'"):
        cross_validate(RECIPE, DATA.select("test"), tmp_path, 2, device="cpu")
