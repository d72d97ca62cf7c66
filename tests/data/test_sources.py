"""Readers: the forms they know, and the text of every refusal."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from mien.data.sources import read_dataset
from mien.errors import DataError
from mien.preprocess import Preprocess
from tests.pictures import jpeg, photo, png, tree, write_tree, write_zip


def test_folder_and_zip_give_the_same(tmp_path):
    files = tree(("Happiness", "sad", "angry"), each=2)
    folder = read_dataset(write_tree(tmp_path / "set", files))
    zipped = read_dataset(write_zip(tmp_path / "set.zip", files))
    assert folder.labels == zipped.labels == ("angry", "happy", "sad")
    assert folder.images.shape == (12, 48, 48, 1)
    assert folder.ids == zipped.ids
    assert folder.fingerprint() == zipped.fingerprint()
    row = folder.ids.index("train/Happiness/1.png")
    assert folder.labels[folder.truth[row]] == "happy"


def test_a_folder_above_and_files_beside_are_passed_over(tmp_path):
    files = {f"archive/fer/{name}": content for name, content in tree().items()}
    files |= {
        "archive/README.txt": b"hello",
        "__MACOSX/train/happy/._1.png": b"junk",
        "archive/.DS_Store": b"",
    }
    assert len(read_dataset(write_zip(tmp_path / "set.zip", files))) == 12


def test_pictures_of_any_size_and_colour_are_fitted(tmp_path):
    files = tree(each=1) | {"train/happy/large.jpg": jpeg(photo()), "test/sad/odd.png": png(9, (31, 77))}
    data = read_dataset(write_tree(tmp_path, files), Preprocess(size_px=13, channels=3))
    assert data.images.shape == (6, 13, 13, 3)


def test_the_public_archive_as_it_is(shared):
    data = read_dataset(shared / "data" / "fer2013.zip")
    assert data.images.shape == (32298, 48, 48, 1)
    train, test = data.select("train"), data.select("test")
    assert np.bincount(train.truth).tolist() == [3995, 436, 4097, 7215, 4965, 4830, 3171]
    assert np.bincount(test.truth).tolist() == [467, 56, 496, 895, 607, 653, 415]
    assert data.fingerprint().startswith("2cf22fae")


def test_a_name_too_long_for_the_system():
    with pytest.raises(DataError, match="no dataset at aaa"):
        read_dataset("a" * 300)


def test_nothing_there(tmp_path):
    with pytest.raises(
        DataError, match=r"no dataset at .*nowhere: expected a folder or zip .*or the word synthetic"
    ):
        read_dataset(tmp_path / "nowhere")


def test_neither_folder_nor_zip(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="is neither a folder nor a zip"):
        read_dataset(tmp_path / "notes.txt")


def test_an_empty_dataset(tmp_path):
    with pytest.raises(DataError, match=r"no pictures in .*: expected files such as train/happy/1\.jpg"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="no pictures in"):
        read_dataset(write_zip(tmp_path / "empty.zip", {"readme.txt": b""}))


def test_a_missing_class_folder(tmp_path):
    files = tree(("happy", "sad", "fear"))
    files = {name: content for name, content in files.items() if not name.startswith("test/fear")}
    with pytest.raises(DataError, match=r"test/ has no pictures in the class folder 'fear' that train has"):
        read_dataset(write_tree(tmp_path, files))


def test_a_corrupt_picture_in_a_zip_is_named(tmp_path):
    files = tree() | {"train/sad/broken.jpg": jpeg(photo())[:500]}
    with pytest.raises(
        DataError, match=r"corrupt picture train/sad/broken\.jpg in .*set\.zip: .*replace or remove it"
    ):
        read_dataset(write_zip(tmp_path / "set.zip", files))


def test_damaged_bytes_inside_a_zip_are_named(tmp_path):
    path = write_zip(tmp_path / "set.zip", tree())
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"IDAT") + 40] ^= 0xFF  # the archive's own checksum no longer fits
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"corrupt picture train/happy/0\.png in .*Bad CRC-32"):
        read_dataset(path)


def test_a_cut_off_zip(tmp_path):
    path = write_zip(tmp_path / "set.zip", tree())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="is neither a folder nor a zip"):
        read_dataset(path)


@pytest.mark.parametrize(
    "name", ["../evil/train/happy/1.png", "/etc/train/happy/1.png", "train/../../happy/1.png"]
)
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    path = write_zip(tmp_path / "set.zip", tree() | {name: png()})
    with pytest.raises(DataError, match=r"holds the unsafe name .*: no member may leave its folder"):
        read_dataset(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = write_zip(
        tmp_path / "b.zip", tree() | {"train/sad/b.png": bytes(30_000_000)}, zipfile.ZIP_DEFLATED
    )
    with pytest.raises(
        DataError, match=r"train/sad/b\.png claims to unpack from .* to 30,000,000 bytes.*zip bomb\?"
    ):
        read_dataset(path)


def test_duplicate_names_in_a_zip(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for name in [*tree(), "train/sad/0.png"]:
            archive.writestr(name, png())
    with pytest.raises(DataError, match=r"names train/sad/0\.png 2 times: which one counts\? Keep one"):
        read_dataset(path)


def test_one_split_alone_is_the_same_as_selected(tmp_path):
    path = write_zip(tmp_path / "set.zip", tree())
    alone, selected = read_dataset(path, split="test"), read_dataset(path).select("test")
    assert alone.fingerprint() == selected.fingerprint()
    assert alone.ids == selected.ids
    with pytest.raises(DataError, match="no split 'val' in .*: expected one of test, train"):
        read_dataset(path, split="val")
