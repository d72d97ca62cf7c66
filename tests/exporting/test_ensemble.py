"""Joined graphs: equal to their members, honest in the card, and refused where members do not fit."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from mien import bundle
from mien.classifiers import load_classifier, probabilities
from mien.classifiers.onnx_runtime import open_graph
from mien.data.synthetic import draw_dataset
from mien.errors import BundleError, ConfigError, DataError
from mien.evaluation.mixture import RULES, combine
from mien.evaluation.protocol import READ_BY_RUN
from mien.exporting import ensemble
from mien.exporting.ensemble import check_members, save_ensemble
from mien.exporting.half import halve
from mien.exporting.temperature import with_temperature
from mien.preprocess import Preprocess
from tests.training.tiny import tiny_data


@pytest.fixture(scope="module")
def members(tiny_members):
    return [bundle.load(member) for member in tiny_members]


@pytest.mark.parametrize("rule", RULES)
def test_the_joined_graph_is_its_members_combined(rule, members, tiny_members, tmp_path):
    data, out = tiny_data(), tmp_path / "joined"
    report = save_ensemble(members, data, "test", out, rule=rule)
    crops = draw_dataset(Preprocess(), {"other": 35}).images
    probs = np.stack([probabilities(load_classifier(path).logits(crops)) for path in tiny_members])
    weights = np.array(report.weights) if rule == "weighted" else np.full(3, 1 / 3)
    ours = probabilities(load_classifier(out).logits(crops))
    np.testing.assert_allclose(ours, combine(probs, rule, weights), atol=1e-5)
    card = bundle.load(out).card
    assert card.parameters == sum(one.card.parameters for one in members)
    assert [one["weight"] for one in card.recipe["members"]] == pytest.approx(list(weights))
    scores = {(s.split, s.tta): s for s in card.scores}
    assert set(scores) == {("test", "none"), ("test", "flip")}
    assert scores["test", "none"].accuracy == pytest.approx(getattr(report, rule))
    assert "chosen on this split" in scores["test", "none"].protocol


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)], ids=["same range", "another range"])
def test_a_member_of_weight_zero_is_left_out(order, members, tiny_members, tmp_path, monkeypatch):
    """The first of them, too, whose number range is then no longer the joined graph's."""
    weights = (0.0, 0.4, 0.6)
    judged = ensemble.judge_mixture
    monkeypatch.setattr(ensemble, "judge_mixture", lambda *given: replace(judged(*given), weights=weights))
    ordered = [members[place] for place in order]
    save_ensemble(ordered, tiny_data(), "test", tmp_path / "joined", rule="weighted")
    joined, crops = bundle.load(tmp_path / "joined"), tiny_data().images[:11]
    probs = np.stack([probabilities(load_classifier(tiny_members[place]).logits(crops)) for place in order])
    ours = probabilities(load_classifier(tmp_path / "joined").logits(crops))
    np.testing.assert_allclose(ours, combine(probs, "weighted", np.array(weights)), atol=1e-5)
    assert joined.card.parameters == sum(one.card.parameters for one in ordered[1:])
    assert [one["weight"] for one in joined.card.recipe["members"]] == list(weights)


def test_members_see_their_own_number_range(members):
    assert members[2].preprocess.gain_offset() != members[0].preprocess.gain_offset()


def test_an_ensemble_joins_ensembles(members, tiny_ensemble, tmp_path):
    both = [bundle.load(tiny_ensemble), members[0]]
    save_ensemble(both, tiny_data(), "test", tmp_path / "both")
    crops = tiny_data().images[:11]
    parts = [probabilities(load_classifier(tiny_ensemble).logits(crops))]
    parts.append(probabilities(load_classifier(tmp_path / "both").logits(crops)) * 2 - parts[0])
    np.testing.assert_allclose(parts[1].sum(axis=1), 1, atol=1e-4)
    assert (parts[1] > -1e-4).all()
    card = bundle.load(tmp_path / "both").card
    assert (card.training.trained_on, card.training.chosen_on) == (("train",), ("test",))
    assert {score.split for score in card.scores} == {"test"}, "none of the pictures that members learnt"


def test_what_an_ensemble_was_chosen_on_is_not_forgotten(members, tiny_ensemble, tmp_path):
    data = tiny_data(70, 35)
    other = replace(data, split=np.where(data.split == "test", "val", data.split))
    save_ensemble([bundle.load(tiny_ensemble), members[0]], other, "val", tmp_path / "both")
    card = bundle.load(tmp_path / "both").card
    assert card.training.chosen_on == ("test", "val"), "the second one only here, the first by its members"


def test_what_the_options_of_a_member_were_chosen_on_is_not_forgotten(members, tmp_path):
    """Without it, the card of an ensemble would say of such a split that nothing was chosen on it."""
    data = tiny_data(70, 70)
    tests = np.flatnonzero(data.split == "test")
    names = data.split.astype("<U4")
    names[tests[::2]] = "val"
    card = members[1].card
    known = card.model_copy(update={"recipe": {**card.recipe, "options_chosen_on": "test images: the shape"}})
    save_ensemble(
        [members[0], replace(members[1], card=known)], replace(data, split=names), "test", tmp_path / "both"
    )
    made = bundle.load(tmp_path / "both")
    assert {score.protocol for score in made.card.scores if score.split == "val"} == {READ_BY_RUN}
    page = made.read(bundle.PAGE).decode()
    assert re.search(
        "Of the members' recipes, these options were chosen before, on .*test images: the shape.", page
    )


def test_pictures_that_a_member_learnt_choose_nothing(members, tmp_path):
    with pytest.raises(DataError, match="tiny was trained on 100% of the images of 'train', so its results"):
        save_ensemble(members, tiny_data(), "train", tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_the_card_says_when_the_best_member_is_better(members, tmp_path, monkeypatch):
    def worse(probs, truth):
        return replace(judge(probs, truth), mean=0.1, members=(0.5, 0.4, 0.3))

    judge = ensemble.judge_mixture
    monkeypatch.setattr(ensemble, "judge_mixture", worse)
    save_ensemble(members, tiny_data(), "test", tmp_path / "joined")
    page = (tmp_path / "joined" / "README.md").read_text()
    assert "10.0 %, its best member 50.0 %. **It is worse than its best member there.**" in page


def test_no_torch_behind_it(tiny_ensemble):
    with pytest.raises(
        BundleError, match="model joined is an ensemble, so it runs in ONNX Runtime only: .* members instead"
    ):
        load_classifier(tiny_ensemble, backend="torch")


def test_members_that_are_sure_leave_finite_logits(members, tmp_path):
    sure = [
        altered(one, tmp_path / str(n), with_temperature(one.graph("onnx"), 1e-4))
        for n, one in enumerate(members)
    ]
    graph, first = ensemble.join(sure, "mean", np.full(3, 1 / 3)), members[0]
    for made in (graph, halve(graph, first.id.labels, first.preprocess)):
        logits = open_graph(first.id, first.preprocess, made).logits(tiny_data().images)
        assert logits.min() == pytest.approx(-87.3, abs=0.1)


def altered(one, folder, graph=b"another", **changes):
    bundle.save(folder, one.card.model_copy(update=changes), {bundle.GRAPH: graph})
    return bundle.load(folder)


def test_what_is_refused(members, tmp_path, monkeypatch):
    first, other = members[:2]
    spec = first.preprocess
    for given, rule, message in [
        ([first], "mean", "an ensemble needs at least two bundles"),
        ([first, other], "median", r"unknown rule 'median'.*: expected mean, weighted, vote"),
        ([first, first], "mean", "tiny is named twice: a member counts once"),
        (
            [first, altered(other, tmp_path / "labels", labels=("happy", "sad"))],
            "mean",
            "lenet answers happy, sad; tiny answers angry",
        ),
        (
            [first, altered(other, tmp_path / "size", preprocess=spec.model_copy(update={"size_px": 64}))],
            "mean",
            "lenet takes other pictures than tiny: size_px = 64, here 48: members of an ensemble must see the same",
        ),
    ]:
        with pytest.raises(ConfigError, match=message):
            check_members(given, rule)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="already holds a finished model"):
        save_ensemble([first, other], tiny_data(), "test", tmp_path / "taken")
    monkeypatch.setattr(ensemble, "combine", lambda probs, *_: probs[0])
    with pytest.raises(BundleError, match=r"the joined graph differs from its members by .* it is not kept"):
        save_ensemble([first, other], tiny_data(), "test", tmp_path / "run")
    assert not (tmp_path / "run").exists()
