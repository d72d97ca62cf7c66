"""`fit` and what stands around it: nothing is written, old runs go on, few epochs are judged, people are told."""

from __future__ import annotations

import math

import pytest
import torch

from mien.config import Resizing, facts_of, read_recipe
from mien.errors import ConfigError
from mien.history import EpochRow
from mien.networks import catalog
from mien.options import RecipeOptions
from mien.preprocess import Preprocess
from mien.results import ClassScores
from mien.training.checkpoint import Checkpoint, differences, finished_recipe
from mien.training.fit import State, fit, recorded
from mien.training.history import best_epoch
from mien.training.launch import Place
from mien.training.summary import duration, warnings
from tests.training.tiny import TINY, tiny_data

SMALL = ["network=lenet", "batch_size=16", "optim.peak_lr=0.01", "precision=32-true"]


def test_fit_writes_nothing_never_sees_test_and_goes_on_from_a_state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe, states = read_recipe(TINY, [*SMALL, "epochs=3", "validation.every_epochs=2"]), []
    whole = fit(recipe, tiny_data(), device="cpu", on_epoch=lambda row, state: states.append(_copy(state())))
    assert not list(tmp_path.iterdir())
    assert (whole.validation_split, whole.kept.epoch) == ("holdout", 3)
    assert [math.isnan(row.val_loss) for row in whole.history] == [True, False, False]
    rest = fit(recipe, tiny_data(), device="cpu", state=states[0])
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, rest.network.state_dict()[name]), name


EARLY = "resizing.early_size_px=24"


def test_smaller_pictures_at_first_and_whole_ones_judge():
    recipe = read_recipe(TINY, ["network=mien_nano", "batch_size=16", "epochs=2", "ema.decay=0", EARLY])
    seen = []
    run = fit(recipe, tiny_data(), device="cpu", on_epoch=lambda row, _: seen.append(row.val_loss))
    assert all(map(math.isfinite, seen))
    whole = fit(recipe.model_copy(update={"resizing": Resizing()}), tiny_data(), device="cpu")
    assert run.history[0].train_loss != whole.history[0].train_loss


@pytest.mark.parametrize("network", ["vit", "mish_cnn"])
def test_a_network_of_one_size_refuses_smaller_pictures(network):
    recipe = read_recipe(TINY, [f"network={network}", "batch_size=16", EARLY])
    with pytest.raises(ConfigError, match=rf"{network} takes no pictures of 24 pixels \(.*\): set resizing"):
        fit(recipe, tiny_data(), device="cpu")


def test_cuda_graphs_exclude_smaller_pictures():
    with pytest.raises(ConfigError, match="pictures of one size"):
        read_recipe(TINY, [EARLY, "cuda_graphs=true"])


def _copy(state: State) -> State:
    import copy

    return copy.deepcopy(state)


def test_an_epoch_that_was_not_judged_is_never_the_best():
    rows = [
        EpochRow(1, 0.1, 1, 0.5, math.nan, math.nan, math.nan, 1),
        EpochRow(2, 0.1, 1, 0.5, 1.0, 0.4, 0.3, 1),
    ]
    assert best_epoch(rows).epoch == best_epoch(rows, "loss").epoch == 2


def test_a_run_of_an_older_version_goes_on_as_it_was_meant(tmp_path):
    """Then `auto` was test and the best epoch was kept; new options stand at their defaults."""
    recipe = read_recipe(TINY, ["validation.split=test", "validation.keep=best"])
    old = facts_of(recipe)
    del old["validation"]["keep"], old["validation"]["every_epochs"], old["augment"]["clip_light"]
    old["validation"]["split"] = "auto"
    assert differences(finished_recipe(old, None), facts_of(recipe)) == ""
    now = read_recipe(TINY)
    assert "validation.split was test, is auto; validation.keep was best, is last" in differences(
        finished_recipe(old, None), facts_of(now)
    )
    average = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 3))
    import json

    claim = {"recipe": json.dumps(old), "dataset": "x"}
    path = tmp_path / "checkpoint.pt"
    torch.save({"parts": {"average": average.state_dict()}, "claim": claim, "history": [], "best": {}}, path)
    state = Checkpoint(path, recipe, "x", "test").load()
    assert state.parts["average"]["steps"] == 0
    assert set(state.parts["average"]["module"]) == {"weight", "bias"}


def test_a_run_goes_on_with_the_same_teachers_alone(tmp_path):
    path, recipe = tmp_path / "checkpoint.pt", read_recipe(TINY)
    Checkpoint(path, recipe, "x", "test", ("aa",)).save(State())
    assert Checkpoint(path, recipe, "x", "test", ("aa",)).load().history == []
    with pytest.raises(
        ConfigError, match="was begun with another teacher: its name is the same, but not the"
    ):
        Checkpoint(path, recipe, "x", "test", ("bb",)).load()


@pytest.mark.parametrize("content", [{}, {"claim": 3}, [1], {"claim": {"recipe": "{"}}])
def test_a_checkpoint_of_another_form_is_one_line(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    with pytest.raises(ConfigError, match=r"checkpoint\.pt is damaged: remove"):
        Checkpoint(path, read_recipe(TINY), "x", "test").load()


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("lr=1", r"optim\.peak_lr"),
        ("optim.lr=1", r"optim\.peak_lr"),
        ("rotation_deg=3", r"augment\.rotation_deg"),
    ],
)
def test_other_programs_words_have_a_hint(setting, hint):
    with pytest.raises(ConfigError, match=f"did you mean {hint}"):
        read_recipe(TINY, [setting])


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 3000])
def test_a_value_that_cannot_be_read_is_one_line(value):
    with pytest.raises(ConfigError):
        read_recipe(TINY, [f"epochs={value}"])


def test_flags_are_settings():
    assert RecipeOptions(epochs=3, lr=0.2).settings(["seed=1"]) == ["epochs=3", "optim.peak_lr=0.2", "seed=1"]
    with pytest.raises(ConfigError, match="lr and --set optim.peak_lr=1 say the same option"):
        RecipeOptions(lr=0.2).settings(["optim.peak_lr=1"])


def test_classes_that_take_all_or_no_answers_are_warned_of():
    from mien.card import Score

    per_class = {name: ClassScores(precision=0, recall=0, f1=0, support=1) for name in "abc"}
    score = Score(split="test", tta="none", n=20, accuracy=0.5, top_k_accuracy={}, macro_f1=0.2,
                  balanced_accuracy=0.3, per_class=per_class,
                  confusion=((9, 0, 1), (8, 0, 0), (1, 0, 1)))  # fmt: skip
    said = warnings(score, ("a", "b", "c"))
    assert "90% of the answers on test are 'a', the class of 50% of its images" in said[0]
    assert said[1:] == ["warning: never predicted on test: b"]


def test_durations():
    assert [duration(s) for s in (7, 600, 11100)] == ["7 s", "10 min", "3 h 5 min"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need CUDA")
def test_a_recorded_network_has_the_same_gradients():
    device = torch.device("cuda")
    torch.manual_seed(0)
    plain = catalog.build("mien_nano", 7, Preprocess()).to(device)
    x = torch.randn(16, 1, 48, 48, device=device)
    graph = catalog.build("mien_nano", 7, Preprocess()).to(device)
    graph.load_state_dict(plain.state_dict())
    replayed = recorded(graph, torch.randn_like(x), Place(device))
    for network in (plain.train(), replayed.train()):
        network(x).square().sum().backward()
    for one, two in zip(plain.parameters(), graph.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, atol=1e-4, rtol=1e-3)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, graph.state_dict()[name], msg=name)
