"""``mien data`` and the options that say how a dataset is read, as a user types them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mien import bundle
from mien.cli.command import flag_words
from mien.data.read import opened, read_dataset
from mien.data.reading import ReadOptions
from tests.pictures import tree, write_tree
from tests.typed import refused, run

TINY = ["--set", "epochs=1", "--set", "batch_size=8", "--set", "precision=32-true", "--device", "cpu"]


def test_flags_are_written_back_without_folders():
    options = ReadOptions(labels="a,b", votes="/home/me/votes.csv", skip_corrupt=True, val_fraction=0.2)
    words = ["--labels", "a,b", "--votes", "votes.csv", "--val-fraction", "0.2", "--skip-corrupt"]
    assert flag_words(options) == words
    assert "/home/me/votes.csv" in flag_words(options, folders=True)


def test_info_needs_no_torch_and_counts_real_faces(shared, run_without_torch):
    path = shared / "data" / "fer2013.zip"
    with opened(path, "train", ReadOptions(labels="angry,happy,neutral")) as reading:
        assert np.bincount(reading.targets.argmax(axis=1)).tolist() == [3995, 7215, 4965]  # task D's 16,175
    done = run_without_torch("data", "info", path)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    lines = [line.split() for line in text.splitlines()]
    assert ["class", "train", "test"] in lines
    assert ["disgust", "436", "56"] in lines
    assert ["happy", "7,215", "895"] in lines
    assert ["all", "28,709", "3,589"] in lines
    assert ["imbalance", "16.5", "16.0"] in lines
    assert "fingerprint 2cf22fae" in text


def test_a_dataset_goes_through_convert_train_and_evaluate_with_the_same_options(tmp_path):
    pictures = tree(("angry", "happy", "sad"), each=8) | {"train/sad/bad.png": b"junk"}
    root = write_tree(tmp_path / "faces", pictures)
    options = ["--labels", "good=happy,bad=angry+sad", "--skip-corrupt"]
    info = json.loads(run("data", "info", root, *options, "--json", "-").stdout)
    assert info["imbalance_ratio"] == {"train": 2.0, "test": 2.0}
    done = run("data", "convert", root, tmp_path / "faces.npz", *options)
    assert done.returncode == 0, done.stderr
    assert "48 images" in done.stdout
    assert "left out as corrupt: 1\n  train/sad/bad.png" in done.stdout

    track = ["--track", "tensorboard"]
    done = run("train", "nano", "--data", root, *options, "--out", tmp_path / "run", *track, *TINY)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run" / "run" / "tensorboard").glob("events.*"))
    assert "left out as corrupt: 1 image: train/sad/bad.png" in done.stderr
    card = bundle.load(tmp_path / "run").card
    assert card.labels == ("good", "bad")
    assert card.command.startswith(
        "mien train nano --data faces --labels good=happy,bad=angry+sad --skip-corrupt"
    )
    assert "Left out as corrupt: 1 image." in (tmp_path / "run" / "README.md").read_text()
    assert card.data.fingerprint == read_dataset(tmp_path / "faces.npz").fingerprint()

    judged = [
        run("evaluate", tmp_path / "run", "--split", "test", "--json", "-", "--data", data, *more).stdout
        for data, more in ((root, options), (tmp_path / "faces.npz", []))
    ]
    folder, packed = map(json.loads, judged)
    assert folder["confusion"] == packed["confusion"]
    assert packed["n"] == 24


def test_a_packed_set_with_the_copies_of_a_recipe(tmp_path):
    files = {
        name: data for name, data in tree(each=8).items() if "train/sad" not in name or name.endswith("0.png")
    }
    recipe = tmp_path / "b.toml"
    recipe.write_text('network = "mien_nano"\n[balance]\nenlarge_to_ratio = 1.0\n')
    root, out = write_tree(tmp_path / "set", files), tmp_path / "set.npz"
    done = run("data", "convert", root, out, "--enlarged-by", recipe)
    assert done.returncode == 0, done.stderr
    data = read_dataset(out)
    assert np.bincount(data.truth[data.rows("train")]).tolist() == [8, 8]
    assert sum(name.startswith("copy/") for name in data.ids) == 7
    assert "makes no copies: it needs balance.enlarge_to_ratio" in refused(
        "data", "convert", root, out, "--enlarged-by", "nano"
    )


def test_a_preview_shows_originals_and_their_changes(tmp_path):
    mixing = ["--set", "augment.cutmix_probability=1.0"]
    done = run("data", "preview", "synthetic", "--recipe", "nano", "--out", tmp_path / "p.png", *mixing)
    assert done.returncode == 0, done.stderr
    sheet = np.asarray(Image.open(tmp_path / "p.png"))
    assert sheet.shape == (1916, 834, 3)  # 14 lines, 8 columns, a heading over the originals
    first, others = sheet[26:122, 6:102], [sheet[26:122, 18 + 102 * k : 114 + 102 * k] for k in range(1, 8)]
    assert not any((first == other).all() for other in others)
    cells = first.reshape(48, 2, 48, 2, 3)  # enlarged without smoothing: what is seen is what is there
    assert (cells == cells[:, :1, :, :1]).all()


BAD = {
    "nowhere": (["info", "nowhere"], "no dataset at nowhere: expected a folder or zip"),
    "unknown class": (
        ["info", "synthetic", "--labels", "hapy,sad"],
        "has no class 'hapy'; did you mean happy?",
    ),
    "unknown form": (
        ["info", "synthetic", "--format", "cvs"],
        "unknown --format 'cvs': expected auto",
    ),
    "no votes": (["info", "synthetic", "--votes", "nowhere.csv"], "no votes at nowhere.csv"),
    "targets": (
        ["info", "synthetic", "--targets", "y.npy"],
        "--targets has no effect here: synthetic is a finished dataset",
    ),
    "size": (["convert", "synthetic", "out.npz", "--size-px", "3"], "option input.size_px"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(tmp_path, name):
    words, message = BAD[name]
    line = refused("data", *words, cwd=tmp_path)
    assert line.startswith(f"mien data {words[0]}: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_evaluate_lists_what_it_left_out(tmp_path, tiny_bundle):
    classes = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    root = write_tree(tmp_path / "set", tree(classes, ("test",)) | {"test/sad/bad.png": b"junk"})
    assert "1 corrupt of 22 images" in refused("evaluate", tiny_bundle, "--data", root, "--split", "test")
    words = ["--split", "test", "--skip-corrupt", "--tta", "flip", "--json", "-"]
    done = run("evaluate", tiny_bundle, "--data", root, *words)
    assert json.loads(done.stdout)["tta"] == "flip"
    assert json.loads(done.stdout)["skipped"] == ["test/sad/bad.png"]
