"""Groups of options: what they refuse, and how errors name options in Python and on a command line."""

from __future__ import annotations

import pickle

import pytest

from mien import bundle
from mien.cli.command import check_together
from mien.errors import ConfigError, DataError
from mien.options import ReadOptions, RunOptions


def test_an_error_names_the_field_in_python_and_the_flag_on_a_command_line():
    with pytest.raises(ConfigError) as caught:
        ReadOptions(val_fraction=2)
    assert str(caught.value) == "val_fraction must be between 0 and 1, got 2"
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        shown = error.with_flags({"val_fraction": "--val-fraction"})
        assert shown == "--val-fraction must be between 0 and 1, got 2"


@pytest.mark.parametrize(
    ("marked", "python", "terminal"),
    [
        ("add `votes=FILE`", "add votes=FILE", "add --votes FILE"),
        ("add `skip_corrupt=True`", "add skip_corrupt=True", "add --skip-corrupt"),
        ("`seed` has no flag here", "seed has no flag here", "seed has no flag here"),
        ("run `mien fetch yunet`", "run `mien fetch yunet`", "run `mien fetch yunet`"),
        ("the votes of 3 images", "the votes of 3 images", "the votes of 3 images"),
    ],
)
def test_options_in_backticks(marked, python, terminal):
    error = DataError(marked)
    assert str(error) == python
    assert error.with_flags({"votes": "--votes", "skip_corrupt": "--skip-corrupt"}) == terminal


def test_the_backends_are_the_graphs_of_a_bundle_and_torch():
    (choices,) = [
        field.metadata["choices"]
        for field in RunOptions.__dataclass_fields__.values()
        if field.name == "backend"
    ]
    assert choices == (*bundle.GRAPHS, "torch")


def test_an_unknown_word_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError) as caught:
        ReadOptions(format="parket")
    assert str(caught.value) == (
        "unknown format 'parket': expected auto, folders, pixels, list, names, affectnet, ck+, arrays, "
        "parquet, packed; did you mean parquet?"
    )


def test_options_of_reading_need_a_dataset():
    ReadOptions().check_used(None)
    ReadOptions(val_fraction=0.3).check_used("faces.zip")
    with pytest.raises(
        ConfigError, match="val_fraction says how a dataset is read: give data too, or leave it out"
    ):
        ReadOptions(val_fraction=0.3).check_used(None)
    with pytest.raises(ConfigError, match="labels says how a dataset is read"):
        check_together(None, None, ReadOptions(labels="happy,sad"))
