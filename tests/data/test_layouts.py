"""Official and popular layouts are read as they ship: the right class for every image, the right splits."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest

from mien.data.read import read_dataset
from mien.data.survey import survey
from mien.errors import DataError
from mien.options import ReadOptions
from tests.data.layouts import LAYOUTS
from tests.pictures import write_tree, write_zip


def check(data, truth, splits) -> None:
    assert tuple(sorted(set(data.splits))) == splits
    assert len(data) == len(truth)
    ends = {path.lower(): emotion for path, emotion in truth.items()}
    for name, label in zip(data.ids, data.truth, strict=True):
        mine = name.lower().partition("#")[0]
        found = {emotion for path, emotion in ends.items() if path == mine or path.endswith("/" + mine)}
        found = found or {ends[path] for path in ends if path.rsplit("/", 1)[-1] == mine.rsplit("/", 1)[-1]}
        assert found == {data.labels[label]}, name


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder(tmp_path, name):
    make, splits = LAYOUTS[name]
    files, truth = make()
    options = ReadOptions(group_by=r"(S\d+)_") if name == "CK+48" else ReadOptions()
    check(read_dataset(write_tree(tmp_path / "set", files), options=options), truth, splits)


@pytest.mark.parametrize("name", ["Roboflow", "RAF-DB, Kaggle", "AffectNet, npy", "KDEF"])
def test_a_zip_whose_top_folder_is_called_like_a_split(tmp_path, name):
    make, splits = LAYOUTS[name]
    files, truth = make()
    inside = {f"faces_train_test_v2/{path}": content for path, content in files.items()}
    check(read_dataset(write_zip(tmp_path / "set.zip", inside)), truth, splits)


def test_a_tar_of_class_folders(tmp_path):
    files, truth = LAYOUTS["Training/Training"][0]()
    write_tree(tmp_path / "set", files)
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "set", "set")
    check(read_dataset(tmp_path / "set.tar.gz"), truth, ("test", "train"))


def test_expw_is_cut_to_its_boxes(tmp_path):
    files, _ = LAYOUTS["ExpW"][0]()
    data = read_dataset(write_tree(tmp_path / "set", files))
    assert (data.images.reshape(len(data), -1).std(axis=1) > 20).all(), "faces, not black ground"
    assert all((image[:, :3] > 5).all() for image in data.images), "the box, not the photo"


def test_what_was_decided_is_said(tmp_path):
    files, _ = LAYOUTS["RAF-DB, Kaggle"][0]()
    said = " ".join(survey(write_tree(tmp_path / "set", files)).notes)
    assert "RAF-DB's: 1 surprise, 2 fear" in said
    assert "train_labels.csv" in said


def test_the_list_of_affectnet_alone_finds_its_images_and_cuts_them(tmp_path):
    files, _ = LAYOUTS["AffectNet"][0]()
    write_tree(tmp_path / "set", files)
    data = read_dataset(tmp_path / "set" / "Manually_Annotated_file_lists" / "training.csv")
    assert len(data) == 16
    assert [data.labels[k] for k in data.truth[:4]] == ["neutral", "happy", "sad", "surprise"]
    whole = np.array(data.images)
    path = tmp_path / "set" / "Manually_Annotated_file_lists" / "training.csv"
    assert (read_dataset(path, options=ReadOptions(box_columns="none")).images != whole).any()


@pytest.mark.parametrize(
    ("name", "person"), [("KDEF", slice(1, 4)), ("JAFFE", slice(0, 2)), ("CK+", slice(0, 4))]
)
def test_nobody_is_on_both_sides_of_a_drawn_split(tmp_path, name, person):
    files, _ = LAYOUTS[name][0]()
    data = read_dataset(write_tree(tmp_path / "set", files))
    people = [
        {one.rsplit("/", 1)[-1][person] for one in data.select(split).ids} for split in ("train", "val")
    ]
    assert not people[0] & people[1]
    assert len(people[1]) == 1


def test_labels_of_ckplus_that_are_none(tmp_path):
    files, _ = LAYOUTS["CK+"][0]()
    label = next(name for name in files if name.endswith("_emotion.txt"))
    for content in (b"nine", b"8.0", b"1.5", b""):
        with pytest.raises(DataError, match="expected a class number of CK.*, 0-7"):
            read_dataset(write_tree(tmp_path / "set", {**files, label: content}))
    image = label.replace("Emotion/", "cohn-kanade-images/").replace("_emotion.txt", ".png")
    rest = {name: content for name, content in files.items() if name != image}
    with pytest.raises(DataError, match="which is not there"):
        read_dataset(write_tree(tmp_path / "other", rest))
