"""Recipes over several runs: who belongs together, mean and spread by hand, one answer in every form."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from mien import bundle
from mien.bundle import Card
from mien.cli.compare import _print
from mien.errors import ConfigError
from mien.evaluation.compare import Comparison
from mien.evaluation.comparison_report import write_comparison
from mien.evaluation.contenders import enter
from mien.evaluation.recipes import Recipes, weigh_recipes
from tests.evaluation.test_compare import ABC, compared, model
from tests.evaluation.test_report import noisy, rows_of


def several(n: int = 97) -> Comparison:
    """Two recipes of three runs, the first better, and a model alone."""
    truth, _ = noisy(3, n)
    right = np.eye(3)[truth]
    contenders = []
    for place, (group, skill) in enumerate([("a/seed*", 0.9)] * 3 + [("b/seed*", 0.5)] * 3 + [("", 0.7)]):
        rng = np.random.default_rng(place)
        wrong = np.eye(3)[(truth + rng.integers(1, 3, n)) % 3]
        logits = np.where(rng.random(n)[:, None] < skill, right, wrong)
        name = f"{group.replace('*', str(place)) or 'alone'}"
        contenders.append(model(name, ABC, logits))
        object.__setattr__(contenders[-1], "group", group)
    return compared(ABC, truth, *contenders)


def test_mean_and_spread_by_hand():
    """Runs of 3 and 1 of 4 right: mean 50 %, standard deviation 35.4; the other recipe has 2 and 2 of 4."""
    hits = np.array([[1, 1, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0], [1, 1, 0, 0]], bool)
    found = weigh_recipes(
        ["a", "a", "b", "b"], list("wxyz"), hits, [0.5, 0.7, 0.2, 0.2], ["odd"] * 2 + [""] * 2
    )
    first, second = found.groups
    assert (first.models, first.caveat, second.models) == (("w", "x"), "odd", ("y", "z"))
    assert (first.accuracy, first.accuracy_sd) == pytest.approx((0.5, 0.25 * 2**0.5))
    assert (first.macro_f1, first.macro_f1_sd) == pytest.approx((0.6, 0.1 * 2**0.5))
    assert (second.accuracy, second.accuracy_sd) == (0.5, 0)
    assert found.pairs[0].accuracy.value == 0
    assert found.pairs[0].meaning.startswith("a and b are equally good (2 and 2 runs, 4 images")
    assert weigh_recipes(["", ""], ["x", "y"], hits[:2], [0, 0], ["", ""]) == Recipes()
    assert weigh_recipes(["a", "a", "b", "b"], list("wxyz"), hits[:, :1], [0] * 4, [""] * 4).pairs == ()


def test_every_form_says_the_same(tmp_path, capsys):
    found = several()
    page = write_comparison(found, tmp_path).read_text()
    document = json.loads((tmp_path / "compare.json").read_text())["recipes"]
    first, second = document["groups"]
    accuracies = [one.accuracy.value for one in found.models]
    assert first["accuracy"] == pytest.approx(np.mean(accuracies[:3]))
    assert second["accuracy_sd"] == pytest.approx(np.std(accuracies[3:6], ddof=1))
    assert first["models"] == ["a/seed0", "a/seed1", "a/seed2"]
    listed, pairs = rows_of(tmp_path / "recipes.csv"), rows_of(tmp_path / "recipe_pairs.csv")
    assert float(listed[1]["macro_f1"]) == pytest.approx(second["macro_f1"], rel=1e-4)
    (pair,) = document["pairs"]
    assert float(pairs[0]["accuracy_low"]) == pytest.approx(pair["accuracy"]["low"], rel=1e-4)
    assert pair["meaning"].startswith("a/seed* is better than b/seed* by ")
    assert "(3 and 3 runs, 97 images, p " in pair["meaning"]
    assert pair["meaning"] in page
    assert f"<td>{100 * first['accuracy']:.1f} %</td><td>{100 * first['accuracy_sd']:.1f}</td>" in page
    _print(found)
    printed = capsys.readouterr().out
    table = [line for line in printed.splitlines() if line.startswith(("a/seed*  ", "b/seed*  "))]
    assert [line.split()[1:4] for line in table] == [
        ["3", f"{one['accuracy']:.1%}", f"{100 * one['accuracy_sd']:.1f}"] for one in document["groups"]
    ]
    assert all(len(line) <= 80 for line in table)
    assert pair["meaning"] in printed
    assert "McNemar" not in printed
    assert not [
        line for line in printed.splitlines() if line.startswith("No clear difference between a/seed0")
    ]


def test_the_worse_recipe_may_stand_first():
    found = several()
    order = [3, 4, 5, 0, 1, 2]
    hits = (found.answers == found.truth)[order]
    turned = weigh_recipes(["b"] * 3 + ["a"] * 3, [""] * 6, hits, [0.0] * 6, [""] * 6)
    assert turned.pairs[0].accuracy.value < 0
    assert turned.pairs[0].meaning.startswith("a is better than b by ")


@pytest.fixture(scope="module")
def seeds(tiny_bundle, tmp_path_factory):
    """Folders of four models of two recipes, two seeds each; all are copies of one model."""
    folder = tmp_path_factory.mktemp("seeds")
    for epochs in (2, 3):
        for seed in (0, 1):
            out = shutil.copytree(tiny_bundle, folder / f"e{epochs}" / f"seed{seed}")
            _rewrite(out, seed=seed, epochs=epochs)
    return folder


def _rewrite(out, **options) -> None:
    loaded = bundle.load(out)
    card: Card = loaded.card.model_copy(
        update={"recipe": {**loaded.card.recipe, **options}, "name": out.name}
    )
    bundle.save(out, card, {}, base=loaded)


def test_runs_are_named_by_a_pattern_or_found_by_their_options(seeds, monkeypatch, tmp_path):
    monkeypatch.chdir(seeds)
    entered = enter(["e2/seed*", "e3/seed*", "mien_nano"])
    assert [(one.name, one.group) for one in entered] == [
        ("seed0 (e2/seed0)", "e2/seed*"), ("seed1 (e2/seed1)", "e2/seed*"),
        ("seed0 (e3/seed0)", "e3/seed*"), ("seed1 (e3/seed1)", "e3/seed*"), ("mien_nano", ""),
    ]  # fmt: skip
    assert {one.group_caveat for one in entered} == {""}
    shell = enter(["e2/seed0", "e2/seed1", "e3/seed0", "e3/seed1"])
    assert [one.group for one in shell] == ["e2/seed*"] * 2 + ["e3/seed*"] * 2
    mixed = enter(["e2/seed0", "e3/seed0", "e2/seed1", "e3/seed1"])
    assert [one.group for one in mixed] == ["e2/seed*", "e3/seed*"] * 2
    caveats = {one.group_caveat for one in enter(["e*/seed*"])}
    assert caveats == {"its runs differ in more than the seed: epochs"}
    shutil.copytree("e2/seed0", tmp_path / "copy")
    assert [one.group for one in enter(["e2/seed0", str(tmp_path / "copy")])] == ["", ""], "one run, copied"
    monkeypatch.chdir(tmp_path)
    shutil.copytree("copy", "copy2")
    assert enter(["copy*"])[0].group_caveat == "some of its runs have the same seed"
    with pytest.raises(ConfigError, match=r"'nothing\*' matches no folder: a pattern names two or more runs"):
        enter(["nothing*", "mien_nano"])
    with pytest.raises(ConfigError, match=r"'\*2' matches one folder: a pattern names two or more runs"):
        enter(["*2", "mien_nano"])
    with pytest.raises(ConfigError, match="are one model, named 2 times"):
        enter(["copy*", "copy2"])
