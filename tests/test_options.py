"""Groups of options: what they refuse, and how errors name options in Python and on a command line."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien import bundle
from mien.cli.audit import Fix
from mien.cli.command import check_together, tell_idle_video_options, telling_once
from mien.cli.evaluate import Parts
from mien.errors import ConfigError, DataError
from mien.options import Clip, CropOptions, LookOptions, ReadOptions, RunOptions, TrackOptions
from mien.preprocess import Preprocess
from mien.vision.frames import frames
from tests.training.tiny import tiny_data


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
    with pytest.raises(ConfigError, match="labels says how a dataset is read: give its path as data"):
        ReadOptions(labels="happy,sad").check_used(tiny_data(4))


def test_numbers_below_the_least():
    for made, message in (
        (lambda: LookOptions(workers=0), "workers must be at least 1, got 0"),
        (lambda: CropOptions(workers=0), "workers must be at least 1, got 0"),
        (lambda: RunOptions(threads=0), "threads must be at least 1, got 0"),
        (lambda: Parts(dpi=20), "dpi must be from 50 to 1200, got 20"),
    ):
        with pytest.raises(ConfigError, match=message):
            made()


def test_a_size_of_figures_needs_figures():
    with pytest.raises(ConfigError, match="dpi belongs to the full report: say where"):
        Parts(dpi=300).check(None)
    with pytest.raises(ConfigError, match="dpi belongs to the report on one dataset"):
        Parts(dpi=300).check_single()


def test_only_a_packed_cleaned_set_draws_a_split():
    assert [Fix(Path(name)).is_packed for name in ("x.npz", "x.csv")] == [True, False]
    assert not Fix().is_packed


def test_options_for_videos_say_so_where_there_is_none(tmp_path, capsys):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    stream = frames(tmp_path)
    tell_idle_video_options(stream, Clip(), TrackOptions())
    assert capsys.readouterr() == ("", "")
    tell_idle_video_options(stream, Clip(every=2), TrackOptions(smooth=0))
    assert (
        capsys.readouterr().err
        == "--every, --smooth: without effect, as there is no video, animation or camera\n"
    )


def test_notes_of_data_that_several_models_read_are_told_once(capsys):
    data = replace(tiny_data(4), notes=("`val_fraction` was used",), skipped=("bad.png",))
    read = telling_once(lambda _: data)
    assert read(Preprocess()) is data
    assert read(Preprocess(size_px=64)) is data
    assert capsys.readouterr().err == "--val-fraction was used\nleft out as corrupt: 1 image: bad.png\n"
