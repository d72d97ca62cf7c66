from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

import mien
from mien.data.folding import write_folds
from mien.data.reading import ReadOptions
from mien.errors import ConfigError, DataError
from tests.auditing.planted import png, texture
from tests.pictures import write_tree


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """13 images of each class to divide, of which some are copies, and 3 for the test."""
    files = {f"{split}/{label}/{number:02}.png": png(texture(100 * c + number))
             for split, numbers in (("train", range(11)), ("val", range(11, 13)), ("test", range(20, 23)))
             for c, label in enumerate(("happy", "sad")) for number in numbers}  # fmt: skip
    files["train/happy/00_copy.png"] = files["train/happy/00.png"]
    files["val/happy/01_copy.png"] = files["train/happy/01.png"]
    return write_tree(tmp_path_factory.mktemp("folds") / "faces", files)


def parts(out):
    """Return the fold of each image from the table."""
    with (out / "folds.csv").open() as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_every_image_is_val_once_and_test_is_the_same_in_all(folder, tmp_path):
    made = write_folds(folder, tmp_path, 3)
    folds = [mien.read_dataset(tmp_path / name) for name in made.files]
    assert made.files == ("fold_1.npz", "fold_2.npz", "fold_3.npz")
    held = [
        name for data in folds for name, split in zip(data.ids, data.split, strict=True) if split == "val"
    ]
    assert sorted(held) == sorted(name for name in folds[0].ids if not name.startswith("test/"))
    for data in folds:
        assert {name for name, split in zip(data.ids, data.split, strict=True) if split == "test"} == {
            name for name in data.ids if name.startswith("test/")
        }
    for counts in made.counts:
        assert min(counts["val"].values()) >= 3
    assert "the split val of the source is divided together with train" in made.notes


def test_copies_are_in_one_part_and_the_table_says_so(folder, tmp_path):
    write_folds(folder, tmp_path, 4)
    rows = parts(tmp_path)
    for one, copy in (
        ("train/happy/00.png", "train/happy/00_copy.png"),
        ("train/happy/01.png", "val/happy/01_copy.png"),
    ):
        assert (rows[one]["fold"], rows[one]["group"]) == (rows[copy]["fold"], rows[copy]["group"])
    assert rows["test/sad/20.png"]["fold"] == ""
    assert {row["fold"] for row in rows.values()} == {"", "1", "2", "3", "4"}


def test_lists_name_the_files(folder, tmp_path):
    write_folds(folder, tmp_path / "out", 2, as_lists=True)
    first, second = (mien.read_dataset(tmp_path / "out" / f"fold_{number}.csv") for number in (1, 2))
    packed = mien.read_dataset(folder)
    assert (first.images == packed.images).all()
    assert np.array_equal(first.split == "val", (second.split == "train"))
    assert set(first.split) == {"train", "val", "test"}


def test_a_source_without_splits_is_divided_whole(folder, tmp_path):
    made = write_folds(folder / "train", tmp_path, 2, options=mien.ReadOptions(group_by=r"(\d)\D*\.png"))
    assert made.n_divided == 23
    assert made.n_groups <= 10
    rows = parts(tmp_path)
    for digit in "0123456789":
        assert (
            len(
                {row["fold"] for name, row in rows.items() if name.split(".")[0].rstrip("_copy")[-1] == digit}
            )
            <= 1
        )


@pytest.mark.parametrize(
    ("k", "options", "error", "said"),
    [
        (1, {}, ConfigError, "folds must be at least 2, got 1"),
        (
            3,
            {"val_fraction": 0.2},
            ConfigError,
            "val_fraction has no effect here: folds says how large val is",
        ),
        (
            14,
            {},
            DataError,
            r"'happy' to divide are in 13 groups, which does not give each of 14 folds one: fewer folds",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused(folder, tmp_path, k, options, error, said):
    with pytest.raises(error, match=said):
        write_folds(folder, tmp_path, k, options=mien.ReadOptions(**options))


def test_a_packed_set_keeps_its_size(tmp_path):
    data = mien.FaceDataset(
        images=np.stack([texture(number, 64) for number in range(13)]),
        targets=np.eye(2, dtype=np.float32)[np.arange(13) % 2],
        ids=tuple(map(str, range(13))), split=np.array(["train"] * 13), labels=("happy", "sad"),
    )  # fmt: skip
    from mien.data.packed import write_packed

    write_packed(tmp_path / "all.npz", data)
    write_folds(tmp_path / "all.npz", tmp_path / "out", 2)
    assert mien.data.packed.read_packed(tmp_path / "out" / "fold_1.npz").images.shape == (13, 64, 64, 1)


def test_without_training_images_nothing_is_divided(folder, tmp_path):
    files = {f"test/{label}/{n}.png": png(texture(n)) for label in ("happy", "sad") for n in range(3)}
    with pytest.raises(DataError, match="has no split train to divide: its splits are test"):
        write_folds(write_tree(tmp_path / "only", files), tmp_path / "out", 2)


def test_a_list_reads_as_its_source_was_read_by_options(tmp_path):
    """The label was a column that was named, and boxes were not to be cut: the list has no words for either."""
    rows = [f"{n:02}.png,{('happy', 'sad')[n % 2]},{'abc'[n % 3]},5,5,30,30" for n in range(24)]
    table = "\n".join(["path,emotion,mood,x0,y0,x1,y1", *rows]).encode()
    files = {f"{n:02}.png": png(texture(n)) for n in range(24)}
    write_tree(tmp_path, files | {"list.csv": table})
    options = ReadOptions(label_column="mood", box_columns="none")
    source = mien.read_dataset(tmp_path / "list.csv", options=replace(options, val_fraction=0.3))
    made = write_folds(tmp_path / "list.csv", tmp_path / "out", 2, options=options, as_lists=True)
    data = mien.read_dataset(tmp_path / "out" / "fold_1.csv")
    assert data.labels == source.labels == ("a", "b", "c")
    for number, name in enumerate(data.ids):
        row = [one.rpartition("/")[2] for one in source.ids].index(name.rpartition("/")[2])
        assert data.truth[number] == source.truth[row]
        assert (data.images[number] == source.images[row]).all()
    assert data.columns["source_emotion"].tolist()[:2] == ["happy", "sad"]
    assert "the columns emotion, x0, y0, x1, y1 of the source are called source_... in the list" in made.notes
