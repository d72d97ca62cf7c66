"""Recipes: checked before anything runs, and the text of every refusal."""

from __future__ import annotations

import pytest

from mien.config import checked_recipe, facts_of, option_paths, read_recipe, recipe_names, recipe_text
from mien.errors import ConfigError
from mien.networks.catalog import NETWORKS


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_parses_and_names_a_network(name):
    assert read_recipe(name).network in NETWORKS


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_states_its_claim(name):
    header = [line for line in recipe_text(name).splitlines() if line.startswith("#")]
    assert any("mien train" in line for line in header)
    assert any("%" in line for line in header)


def test_settings_reach_every_depth_and_type():
    recipe = read_recipe(
        "mien/nano",
        [
            "epochs=3",
            "optim.peak_lr=0.5",
            "optim.name=adamw",
            "augment.erase_side_fraction=[0.1, 0.2]",
            "compile=true",
        ],
    )
    assert (recipe.epochs, recipe.optim.peak_lr, recipe.optim.name, recipe.compile) == (3, 0.5, "adamw", True)
    assert recipe.augment.erase_side_fraction == (0.1, 0.2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.peek_lr=1", r"unknown option optim\.peek_lr; did you mean optim\.peak_lr\?"),
        ("epoch=1", r"unknown option epoch; did you mean epochs\?"),
        ("epochs=0", r"option epochs: Input should be greater than or equal to 1; got 0"),
        ("epochs=many", r"option epochs: .*; got 'many'"),
        (
            "optim.name=adma",
            r"option optim\.name: Input should be 'sgd', 'adam', 'adamw' or 'muon'; got 'adma'",
        ),
        ("resizing.early_size_px=48", r"early_size_px 48 must be less than input\.size_px 48"),
        ("validation.split=train", r"validation.split must differ from train_split \('train'\)"),
        ("optim.peak_lr", r"--set expects key=value, such as optim\.peak_lr=0\.05; got 'optim\.peak_lr'"),
        ("epochs.x=1", r"--set epochs\.x=1: epochs is a value, not a section"),
        ("seed=-1", r"option seed: Input should be greater than or equal to 0; got -1"),
        ("augment.erase_side_fraction=[0.9, 0.1]", r"erase_side_fraction needs 0 <= least <= greatest <= 1"),
        ("balance.copies.mixup_probability=1", r"option balance\.copies: mixup_probability is for batches"),
        ("input.mean=[0.1, 0.2]", r"option input: mean needs 1 value for channels = 1, got 2"),
    ],
)
def test_what_is_refused_and_how(setting, message):
    with pytest.raises(ConfigError, match=message):
        read_recipe("mien/nano", [setting])


def test_one_setting_of_the_copies_leaves_the_others():
    default, turned = (
        read_recipe("nano", s).balance.copies for s in ([], ["balance.copies.rotation_deg=30"])
    )
    assert turned == default.model_copy(update={"rotation_deg": 30})
    assert default.shift_fraction == 0.1


def test_small_pictures_are_less_work():
    """Six tenths of the run at half the side cost a quarter of that."""
    small = read_recipe("nano", ["resizing.early_size_px=24"])
    assert [small.work_until(at) for at in (0, 0.3, 0.6, 1)] == pytest.approx([0, 0.075, 0.15, 0.55])
    assert read_recipe("nano").work_until(0.3) == pytest.approx(0.3)


def test_the_time_left_counts_full_size_pictures_in_full():
    from mien.cli.train import _work_left

    small = read_recipe("nano", ["resizing.early_size_px=24"])
    assert _work_left(small, 0, 30, 100) == pytest.approx((0.55 - 0.075) / 0.075)
    assert _work_left(small, 60, 80, 100) == pytest.approx(1)
    assert _work_left(read_recipe("nano"), 0, 50, 200) == pytest.approx(3)


def test_an_unknown_recipe_names_its_neighbour():
    with pytest.raises(
        ConfigError, match=r"no recipe 'nanno'; did you mean .*: expected a TOML file or a name from"
    ):
        read_recipe("nanno")


def test_recipe_files(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('network = "mynet_v1"\nepochs = 2\n')
    assert read_recipe(str(path)).epochs == 2
    assert read_recipe(path, ["seed=5"]).seed == 5
    with pytest.raises(ConfigError, match="settings are a list such as"):
        read_recipe(path, "seed=5")
    with pytest.raises(ConfigError, match="no recipe '.*gone.toml'"):
        read_recipe(path.with_name("gone.toml"))
    path.write_text("network = \n")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        read_recipe(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8"):
        read_recipe(str(path))
    path.write_text("epochs = 2\n")
    with pytest.raises(ConfigError, match="option network is missing: a recipe must state it"):
        read_recipe(str(path))


def test_options_are_listed_by_path():
    assert {"network", "optim.peak_lr", "input.size_px", "augment.rotation_deg"} <= set(option_paths())


def test_a_card_names_weights_without_the_folders_of_this_machine():
    settings = ["transfer.weights=/home/me/runs/base", 'distillation.teachers=["../a", "mien_nano"]']
    facts = facts_of(read_recipe("nano", settings))
    assert facts["transfer"]["weights"] == "base"
    assert facts["distillation"]["teachers"] == ["a", "mien_nano"]
    assert facts_of(checked_recipe(facts)) == facts
    assert facts_of(read_recipe("nano"))["transfer"]["weights"] == ""
