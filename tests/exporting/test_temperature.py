"""A temperature in a bundle: in the graph, for every backend, replaced by the next one, all or nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from mien import bundle, card
from mien.classifiers import load_classifier, probabilities
from mien.data.synthetic import draw_dataset
from mien.errors import BundleError, ConfigError, DataError, OutputError
from mien.evaluation.calibration import calibrate
from mien.evaluation.evaluate import evaluate
from mien.evaluation.protocol import BEFORE, CHOSEN, FITTED, FITTED_TEMPERATURE, scores
from mien.exporting import quantise, ship
from mien.exporting.agreement import Bound
from mien.exporting.temperature import (
    adapted_prior,
    fitted_biases,
    own_prior,
    read_prior,
    save_calibrated,
    save_prior,
    training_prior,
    with_temperature,
)
from mien.preprocess import Preprocess
from tests.training.tiny import tiny_data

DATA = tiny_data(test=63)


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def test_every_backend_gives_calibrated_logits(copy):
    crops = DATA.images[DATA.rows("test")]
    before = {backend: load_classifier(copy, backend=backend).logits(crops) for backend in ("onnx", "torch")}
    old = bundle.load(copy)
    found = save_calibrated(old, DATA, "test", copy)
    assert not 0.97 < found.temperature < 1.03, "otherwise this test shows nothing"
    new = bundle.load(copy)
    assert new.id.sha256 != old.id.sha256, "another model, by name of its hash"
    assert new.card.temperature == found.temperature
    for backend, logits in before.items():
        after = load_classifier(copy, backend=backend).logits(crops)
        wanted = logits / found.temperature + np.array(found.bias)
        np.testing.assert_allclose(after, wanted, rtol=1e-4, atol=1e-5)
    assert (
        f"by a temperature of {found.temperature:.3f}, then adds a bias to each class, fitted to 63 images of `test`"
        in (copy / "README.md").read_text()
    )
    assert (copy / "run" / "history.csv").exists()


def test_scores_are_measured_anew_where_labels_may_change(copy):
    """Scores of the fitted split come from the new graph; those of others say that they are of before."""
    here = scores(load_classifier(copy), DATA, {"test": CHOSEN})
    elsewhere = here[0].model_copy(update={"split": "val"})
    facts = bundle.load(copy).card.model_copy(update={"scores": (*here, elsewhere)})
    bundle.save(copy, facts, {}, base=bundle.load(copy))
    save_calibrated(bundle.load(copy), DATA, "test", copy, biases=False)
    alone = bundle.load(copy).card
    assert alone.calibration.bias == ()
    assert [score.protocol for score in alone.scores] == [CHOSEN + FITTED_TEMPERATURE] * 2 + [CHOSEN]
    assert alone.scores[0].confusion == facts.scores[0].confusion, "a temperature changes no label"
    save_calibrated(bundle.load(copy), DATA, "test", copy)
    both = bundle.load(copy).card
    assert [score.protocol for score in both.scores] == [CHOSEN + FITTED] * 2 + [CHOSEN + BEFORE]
    judged = evaluate(load_classifier(copy), DATA, "test")
    assert both.scores[0].confusion == judged.confusion != facts.scores[0].confusion


def test_a_score_says_once_what_was_fitted_to_it_whatever_came_between(copy):
    """Fitted, moved to a prior, fitted again; and a figure with fitted biases goes on to say that it has them."""
    made = scores(load_classifier(copy), DATA, {"test": CHOSEN})
    facts = bundle.load(copy).card.model_copy(update={"scores": made})
    bundle.save(copy, facts, {}, base=bundle.load(copy))
    save_calibrated(bundle.load(copy), DATA, "test", copy)
    save_prior(bundle.load(copy), dict.fromkeys(DATA.labels, 1.0), "uniform", copy)
    assert {score.protocol for score in bundle.load(copy).card.scores} == {CHOSEN + FITTED + BEFORE}
    save_calibrated(bundle.load(copy), DATA, "test", copy, biases=False)
    assert {score.protocol for score in bundle.load(copy).card.scores} == {CHOSEN + FITTED_TEMPERATURE}
    save_calibrated(bundle.load(copy), DATA, "test", copy)
    other = replace(DATA, split=np.where(DATA.split == "test", "val", DATA.split))
    save_calibrated(bundle.load(copy), other, "val", copy)
    assert {score.protocol for score in bundle.load(copy).card.scores} == {CHOSEN + FITTED + BEFORE}


def test_a_second_temperature_takes_the_place_of_the_first(copy):
    first = save_calibrated(bundle.load(copy), DATA, "test", copy)
    once = load_classifier(copy).logits(DATA.images[:7])
    second = save_calibrated(bundle.load(copy), DATA, "test", copy)
    assert second.temperature == pytest.approx(first.temperature, rel=1e-3)
    assert second.log_loss == pytest.approx(first.log_loss, rel=1e-4), "before is without any temperature"
    np.testing.assert_allclose(load_classifier(copy).logits(DATA.images[:7]), once, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("target", ["int8", "fp16"])
def test_graphs_made_after_a_temperature_take_the_next_one_too(copy, tmp_path, monkeypatch, target):
    monkeypatch.setattr(quantise, "METHODS", {"minmax": quantise.METHODS["minmax"]})
    monkeypatch.setitem(ship.BOUNDS, target, Bound(equal_labels=0.9, drop=0.05))
    first = save_calibrated(bundle.load(copy), DATA, "test", copy)
    more = draw_dataset(Preprocess(), {"train": 201}, seed=3)
    ship.ship(bundle.load(copy), target, tmp_path / "out", data=more)
    crops = DATA.images[:35]
    before = {one: load_classifier(tmp_path / "out", backend=one).logits(crops) for one in ("onnx", target)}
    np.testing.assert_allclose(before[target], before["onnx"], atol=0.3)
    other = replace(DATA, targets=np.roll(DATA.targets, 1, axis=0))
    second = save_calibrated(bundle.load(tmp_path / "out"), other, "test", tmp_path / "out")
    assert abs(second.temperature / first.temperature - 1) > 0.1, "otherwise this test shows nothing"
    for one, logits in before.items():
        after = load_classifier(tmp_path / "out", backend=one).logits(crops)
        raw = (logits - np.array(first.bias)) * first.temperature
        np.testing.assert_allclose(
            after, raw / second.temperature + np.array(second.bias), rtol=1e-3, atol=1e-3
        )


def test_a_fit_counts_as_a_choice(copy):
    other = replace(DATA, split=np.where(DATA.split == "test", "val", DATA.split))
    save_calibrated(bundle.load(copy), other, "val", copy)
    assert bundle.load(copy).card.chosen_on == ("test", "val")


def test_a_copy_leaves_the_original(tiny_bundle, tmp_path):
    before = bundle.load(tiny_bundle).id
    save_calibrated(bundle.load(tiny_bundle), DATA, "test", tmp_path / "out")
    assert bundle.load(tiny_bundle).id == before
    assert set(bundle.load(tmp_path / "out").sha256) == set(bundle.load(tiny_bundle).sha256)


def test_an_ensemble_can_be_calibrated(tiny_ensemble, tmp_path):
    found = save_calibrated(bundle.load(tiny_ensemble), DATA, "test", tmp_path / "out")
    crops = DATA.images[:5]
    logits = load_classifier(tiny_ensemble).logits(crops) / np.float32(found.temperature)
    wanted = probabilities(logits + np.array(found.bias, np.float32))
    np.testing.assert_allclose(
        probabilities(load_classifier(tmp_path / "out").logits(crops)), wanted, atol=1e-5
    )


def test_what_is_refused(copy, tiny_members, tmp_path):
    with pytest.raises(
        DataError,
        match="tiny was trained on 100% of the images of 'train', so its results there are too good to",
    ):
        save_calibrated(bundle.load(copy), DATA, "train", copy)
    with pytest.raises(ConfigError, match="already holds another model"):
        save_calibrated(bundle.load(copy), DATA, "test", tiny_members[1])
    few = replace(DATA, split=np.where((DATA.split == "test") & (DATA.truth == 2), "other", DATA.split))
    with pytest.raises(
        DataError, match="test of .* has no images of fear, so no bias can be fitted: .*no-biases"
    ):
        save_calibrated(bundle.load(copy), few, "test", copy)
    assert save_calibrated(bundle.load(copy), few, "test", copy, biases=False).bias == ()
    with pytest.raises(BundleError, match="without an output named logits cannot be calibrated"):
        import onnx

        model = onnx.load_from_string(bundle.load(copy).read(bundle.GRAPH))
        for node in model.graph.node:
            for place, name in enumerate(node.output):
                node.output[place] = name.replace("logits", "scores")
        with_temperature(model.SerializeToString(), 2.0)


def test_a_full_disk_leaves_the_bundle_as_it_was(copy, monkeypatch):
    import os

    before, calls = bundle.load(copy).id, []
    real = os.fsync

    def full(handle):
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save_calibrated(bundle.load(copy), DATA, "test", copy)
    monkeypatch.undo()
    assert bundle.load(copy).id == before
    assert not [path for path in copy.iterdir() if path.name.startswith(".")]


def test_of_two_at_once_the_second_is_refused(copy):
    first, second = bundle.load(copy), bundle.load(copy)
    found = save_calibrated(first, DATA, "test", copy)
    with pytest.raises(OutputError, match="another command has changed .* since this one read it"):
        save_calibrated(second, DATA, "test", copy)
    assert bundle.load(copy).card.temperature == found.temperature


def test_a_prior_moves_each_class_by_how_frequent_it_is(copy):
    """Trained on 1 : 1 : 1 or so; twice as many of the first label doubles its odds against every other."""
    crops, labels = DATA.images[:5], bundle.load(copy).id.labels
    before = probabilities(load_classifier(copy).logits(crops))
    trained = np.array([*training_prior(bundle.load(copy)).values()])
    wanted = trained * np.where(np.arange(len(labels)) == 0, 2, 1)
    save_prior(bundle.load(copy), dict(zip(labels, wanted.tolist(), strict=True)), "test", copy)
    for backend in ("onnx", "torch"):
        after = probabilities(load_classifier(copy, backend=backend).logits(crops))
        np.testing.assert_allclose(after[:, 0] / after[:, 1], 2 * before[:, 0] / before[:, 1], rtol=1e-4)
    assert "Class prior (test)" in (copy / "README.md").read_text()
    save_prior(bundle.load(copy), read_prior(bundle.load(copy), "train"), "train", copy)
    np.testing.assert_allclose(probabilities(load_classifier(copy).logits(crops)), before, atol=1e-5)


def test_a_prior_starts_from_what_the_recipe_made_the_network_expect(copy):
    """Half a logit adjustment has done half of what a uniform prior would do."""
    loaded = bundle.load(copy)
    counts = {label: 10 * 4**n for n, label in enumerate(loaded.id.labels)}
    facts = loaded.card.data.model_copy(update={"counts": {"train": counts}})
    recipe = loaded.card.recipe | {"train_split": "train", "loss": {"logit_adjustment_tau": 0.5}}
    calibration = card.Calibration()
    known = replace(loaded, card=loaded.card.model_copy(
        update={"data": facts, "recipe": recipe, "calibration": calibration}
    ))  # fmt: skip
    shares = [*own_prior(known).values()]
    np.testing.assert_allclose(np.divide(shares[1:], shares[:-1]), 2)
    save_prior(known, read_prior(known, "uniform"), "uniform", copy)
    moved = np.diff(bundle.load(copy).card.bias)
    np.testing.assert_allclose(moved, -np.log(2), rtol=1e-6)


def test_a_prior_is_taken_back(copy):
    crops, own = DATA.images[:5], bundle.load(copy).card.calibration
    before = probabilities(load_classifier(copy).logits(crops))
    save_prior(bundle.load(copy), {label: n + 1.0 for n, label in enumerate(DATA.labels)}, "test", copy)
    moved = bundle.load(copy).card
    assert all(score.protocol.endswith(BEFORE) for score in moved.scores)
    save_prior(bundle.load(copy), read_prior(bundle.load(copy), "none"), "none", copy)
    assert bundle.load(copy).card.calibration.model_copy(update={"bias": own.bias}) == own
    np.testing.assert_allclose(probabilities(load_classifier(copy).logits(crops)), before, atol=1e-6)


def test_biases_take_the_frequencies_of_the_images_of_the_fit(copy):
    rows = DATA.select("test")
    few = rows.take(np.concatenate([np.flatnonzero(rows.truth > 0), np.flatnonzero(rows.truth == 0)[:6]]))
    save_calibrated(bundle.load(copy), few, "test", copy)
    own = own_prior(bundle.load(copy))
    np.testing.assert_allclose([*own.values()], np.bincount(few.truth, minlength=len(own)) / len(few))


def test_wrong_priors_are_refused(copy, tmp_path):
    loaded = bundle.load(copy)
    with pytest.raises(ConfigError, match="needs a number from 0 for each of"):
        save_prior(loaded, {"happy": 1.0}, "test", copy)
    with pytest.raises(ConfigError, match="needs a number from 0 for each of .*; got angry=inf"):
        save_prior(loaded, dict.fromkeys(loaded.id.labels, float("inf")), "test", copy)
    (tmp_path / "prior.json").write_text("[1, 2]")
    with pytest.raises(ConfigError, match="expected uniform, train, none, or a JSON file"):
        read_prior(loaded, str(tmp_path / "prior.json"))
    with pytest.raises(DataError, match="1 faces are too few"):
        adapted_prior(loaded, np.full((1, len(loaded.id.labels)), 0.5))


def test_a_comparison_of_before_the_calibration_says_so(copy):
    loaded = bundle.load(copy)
    made = card.Export(held_out=card.Comparison(n=9, equal_labels=0.99, change=0.01))
    bundle.save(
        copy,
        loaded.card.model_copy(update={"exports": {"int8": made}}),
        {"model.int8.onnx": loaded.read(bundle.GRAPH)},
        base=loaded,
    )
    save_calibrated(bundle.load(copy), DATA, "test", copy)
    again = bundle.load(copy)
    assert again.card.exports["int8"].before_calibration
    assert "+1.00 points; measured before the calibration" in again.read(bundle.PAGE).decode()


def test_a_class_that_is_never_the_first_choice_has_a_prior_all_the_same():
    """Votes may give every class a part of some target, and one class never the largest."""
    rows = tiny_data(4)
    found = fitted_biases(
        calibrate(np.zeros((40, 7)), np.arange(40) % 7, biases=True), rows.take(np.arange(2))
    )
    assert min(found["own_prior"].values(), default=1) > 0
