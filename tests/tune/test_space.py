"""Spaces: what a file says, what is refused in one line, and recipes that survive being written."""

from __future__ import annotations

import tomllib

import pytest

from mien.config import checked_recipe, read_recipe
from mien.errors import ConfigError
from mien.tune.results import to_toml
from mien.tune.space import Choice, Range, Space, read_space, with_values
from tests.training.tiny import TINY

RECIPE = read_recipe(TINY)


def write(tmp_path, text: str):
    (tmp_path / "space.toml").write_text(text)
    return tmp_path / "space.toml"


def test_a_space_reads_like_a_recipe(tmp_path):
    text = """
        epochs = 3
        batch_size = [64, 128]
        optim.peak_lr = { low = 0.01, high = 0.5, log = true }
        network_options.widths = [[[16], [32]], [[32], [64]]]
        network_options.first_stride = { low = 1, high = 2 }
        [augment]
        rotation_deg = { low = 0, high = 30, step = 10 }
        copies_per_image = { low = 1, high = 4 }
    """
    found = read_space(write(tmp_path, text))
    assert found.options == {
        "batch_size": Choice((64, 128)),
        "optim.peak_lr": Range(0.01, 0.5, log=True),
        "network_options.widths": Choice(([[16], [32]], [[32], [64]])),
        "network_options.first_stride": Range(1, 2, whole=True),
        "augment.rotation_deg": Range(0, 30, step=10),
        "augment.copies_per_image": Range(1, 4, whole=True),
    }
    assert found.fixed == {"epochs": 3}
    assert found.base(RECIPE).epochs == 3
    found.check(read_recipe(TINY, ["network=plain", "network_options={}"]))
    kept = {"network_options.widths": "[[32], [64]]", "batch_size": 64}
    assert found.restored(kept) == {"network_options.widths": [[32], [64]], "batch_size": 64}


BAD = {
    "no TOML": ("x = ", "cannot be read as TOML: Invalid value"),
    "nothing varies": ("epochs = 3", "has nothing to vary: expected a range"),
    "no high": ("optim.peak_lr = { low = 1 }", r"optim\.peak_lr: a range needs low and high"),
    "unknown key": ("optim.peak_lr = { low = 1, hihg = 2 }", "a range has no 'hihg': .*did you mean high"),
    "turned": ("optim.peak_lr = { low = 2, high = 1 }", "low must be below high, got 2 and 1"),
    "equal": ("optim.peak_lr = { low = 2, high = 2 }", "low must be below high"),
    "words": ('optim.peak_lr = { low = "a", high = 1 }', "low must be a number, got 'a'"),
    "true": ("optim.peak_lr = { low = 0, high = true }", "high must be a number, got True"),
    "infinite": ("optim.peak_lr = { low = 0, high = inf }", "high must be a number, got inf"),
    "log of zero": ("optim.peak_lr = { low = 0, high = 1, log = true }", "a logarithm needs low above 0, got 0"),
    "log is a word": ('optim.peak_lr = { low = 0, high = 1, log = "yes" }', "log must be true or false, got 'yes'"),
    "log and step": ("epochs = { low = 1, high = 9, log = true, step = 2 }", "log and step exclude each other"),
    "wide step": ("epochs = { low = 1, high = 9, step = 9 }", "step must lie between 0 and high - low = 8, got 9"),
    "halves": ("epochs = { low = 1.5, high = 9 }", "expected whole numbers, got low = 1.5"),
    "one value": ("optim.name = ['sgd']", "a list needs two values or more"),
    "twice": ("optim.name = ['sgd', 'sgd']", "a value stands twice"),
    "a date": ("optim.name = ['sgd', 2026-01-01]", "expected a list of numbers, words or lists"),
    "the seed": ("seed = [1, 2]", "must not vary seed: another seed is luck"),
    "the judges": ("validation.split = ['test', 'holdout']", r"must not vary validation\.split: all trials"),
    "the input": ("input.size_px = [32, 48]", r"must not vary input\.size_px: the images are read once"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_bad_files_are_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=rf"^space .*space\.toml.*{message}") as caught:
        read_space(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read as TOML: No such file"):
        read_space(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optim.peak_rl": Range(0.1, 1)}, r"unknown option optim\.peak_rl; did you mean optim\.peak_lr\?"),
        ({"optim.peak_lr": Range(-1, 1)}, r"option optim\.peak_lr: Input should be greater than 0; got -1"),
        ({"augment.flip_probability": Range(0, 2)}, "less than or equal to 1; got 2"),
        ({"optim.name": Choice(("sgd", "lion"))}, r"option optim\.name: .*; got 'lion'"),
        ({"epochs.more": Choice((1, 2))}, r"unknown option epochs\.more: epochs is a value, not a section"),
    ],
)
def test_what_the_recipe_refuses_is_told_before_anything_runs(options, message):
    with pytest.raises(ConfigError, match=message):
        Space(options, {}).check(RECIPE)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"optim.peak_lr": 1e-7, "optim.schedule": "cosine", "compile": True},
        {"balance.enlarge_to_ratio": 0.5, "balance.copies.rotation_deg": 0.0, "balance.copies.crop_fraction": 0.1},
        {"network_options.widths": [[16, 32], 64], "network_options.activation": 'mi"sh', "input.mean": (0.1,)},
        {"distillation.teachers": ("a/b", "c d"), "augment.erase_side_fraction": (0.1, 0.2)},
    ],
)  # fmt: skip
def test_a_recipe_survives_being_written(values):
    recipe = with_values(RECIPE, values)
    assert checked_recipe(tomllib.loads(to_toml(recipe))) == recipe


@pytest.mark.parametrize(
    "name", ["models/été", "模型/run", "run \U0001f600", "a\x7fb", 'a "b"\\c', "tab\tnew\nline"]
)
def test_a_best_recipe_is_written_whatever_names_are_in_it(name):
    """A name outside the first plane of Unicode failed after the last trial, each time it was resumed."""
    recipe = with_values(RECIPE, {"transfer.weights": name, "options_chosen_on": name})
    assert checked_recipe(tomllib.loads(to_toml(recipe).encode().decode())) == recipe


def test_an_option_is_said_in_one_place(tmp_path):
    space = read_space(write(tmp_path, "epochs = 3\nbatch_size = [64, 128]"))
    assert space.base(RECIPE, ["seed=4"]).epochs == 3
    for setting in ("epochs=9", "batch_size = 32"):
        with pytest.raises(ConfigError, match=rf"the space has .*, and {setting} is given, too"):
            space.base(RECIPE, [setting])
