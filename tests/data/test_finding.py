"""Which files a table means: its own, never those of another dataset, person or split that have the same names."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np
import pytest

from mien.data.read import read_dataset, read_split
from mien.errors import DataError
from mien.preprocess import Preprocess
from tests.pictures import png, write_tree, write_zip

OWN, OTHER = 0, 1000
"""First seeds of the images that a table means, and of others with the same names."""


def images(folder: str, first: int = OWN, *, but: int | None = None, n: int = 6) -> dict[str, bytes]:
    """Return numbered images in a folder, without one of them."""
    return {f"{folder}{i}.png": png(first + i) for i in range(n) if i != but}


def table(*names: str, header: str = "file,label") -> bytes:
    """Return a table of these images, happy and sad in turn."""
    return "\n".join(
        [header, *(f"{name},{('happy', 'sad')[i % 2]}" for i, name in enumerate(names))]
    ).encode()


NUMBERED = table(*(f"{i}.png" for i in range(6)))


def read(path):
    return read_split(path, Preprocess(), "all")


def seeds(data) -> list[int]:
    """Return the seed of each image."""
    first = [*range(OWN, OWN + 20), *range(OTHER, OTHER + 20)]
    known = {cv2.imdecode(np.frombuffer(png(seed), np.uint8), 0).tobytes(): seed for seed in first}
    return [known[image.tobytes()] for image in data.images]


def split(data) -> dict[str, str]:
    return dict(zip(data.ids, data.split.tolist(), strict=True))


# Images below the table's own folder come first


@pytest.mark.parametrize("other", ["images/", "B/x/", "", "faces/"])
def test_the_images_below_a_table_are_meant_and_not_those_of_a_dataset_beside_it(tmp_path, other):
    files = images("A/faces/") | images(other, OTHER) | {"A/list.csv": NUMBERED}
    root = write_tree(tmp_path / "set", files)
    for place in (root / "A" / "list.csv", root):
        data = read(place)
        assert seeds(data) == [0, 1, 2, 3, 4, 5]
        assert not any("not in its folder" in note for note in data.notes)


@pytest.mark.parametrize("own", ["A/", "A/faces/", "A/images/"])
@pytest.mark.parametrize("other", ["B/happy/", "images/", ""])
def test_an_image_of_another_dataset_does_not_stand_in_for_one_that_is_missing(tmp_path, own, other):
    files = images(own, but=5) | images(other, OTHER) | {"A/list.csv": NUMBERED}
    root = write_tree(tmp_path / "set", files)
    for place in (root / "A" / "list.csv", root):
        with pytest.raises(DataError, match=r"list\.csv names 5\.png, which is not there"):
            read(place)


def test_a_test_image_does_not_stand_in_for_a_train_image_that_is_missing(tmp_path):
    files = images("train/", but=5) | images("test/", OTHER) | {"train/list.csv": NUMBERED}
    root = write_tree(tmp_path / "set", files)
    with pytest.raises(DataError, match=r"names 5\.png, which is not there: expected it beside the table"):
        read(root / "train" / "list.csv")
    with pytest.raises(
        DataError, match=r"names 5\.png, which is not there: expected it in train or a folder"
    ):
        read(root)


def test_a_test_image_does_not_stand_in_where_the_name_of_the_table_says_its_split(tmp_path):
    files = images("images/train/", but=5) | images("images/test/", OTHER) | {"lists/train.csv": NUMBERED}
    root = write_tree(tmp_path / "set", files)
    for place in (root / "lists" / "train.csv", root):
        with pytest.raises(
            DataError, match=r"names 5\.png, which is not there; images/test/5\.png is in anoth"
        ):
            read(place)


def test_an_image_in_a_folder_does_not_stand_in_for_one_beside_the_others(tmp_path):
    files = images("", but=5) | {"old/5.png": png(OTHER), "list.csv": NUMBERED}
    root = write_tree(tmp_path / "set", files)
    for place in (root / "list.csv", root):
        with pytest.raises(
            DataError, match=r"names 5\.png, which is not there; old/5\.png is in another folder"
        ):
            read(place)


def test_names_of_images_that_are_spread_over_folders(tmp_path):
    files = (
        {f"A/person{i % 3}/{i}.png": png(i) for i in range(6)}
        | images("B/", OTHER)
        | {"A/list.csv": NUMBERED}
    )
    root = write_tree(tmp_path / "set", files)
    for place in (root / "A" / "list.csv", root):
        assert seeds(read(place)) == [0, 1, 2, 3, 4, 5]


def test_images_from_the_nearest_folder_above_a_table(tmp_path):
    files = (
        images("A/faces/") | images("B/faces/", OTHER) | images("", OTHER) | {"A/labels/list.csv": NUMBERED}
    )
    root = write_tree(tmp_path / "set", files)
    assert seeds(read(root / "A" / "labels" / "list.csv")) == [0, 1, 2, 3, 4, 5]
    assert seeds(read(root)) == [0, 1, 2, 3, 4, 5]
    (root / "A" / "faces" / "5.png").unlink()
    with pytest.raises(DataError, match=r"names 5\.png, which is not there"):
        read(root)


def test_images_outside_the_folder_of_a_table_are_said(tmp_path):
    root = write_tree(tmp_path / "set", images("images/") | {"labels/list.csv": NUMBERED})
    (note,) = read(root / "labels" / "list.csv").notes
    assert note.endswith("list.csv are not in its folder: they are read from ../images")
    (root / "labels" / "list.csv").write_bytes(table(*(f"../images/{i}.png" for i in range(6))))
    data = read(root / "labels" / "list.csv")
    assert (seeds(data), data.notes) == ([0, 1, 2, 3, 4, 5], ()), "the table says so itself"
    assert seeds(read(root)) == [0, 1, 2, 3, 4, 5]


def test_a_path_from_the_folder_above_counts_more_than_a_name(tmp_path):
    """Such a table beside previews of its images; but a folder above may also be that of another dataset."""
    lines = table(*(f"faces/{i}.png" for i in range(6)))
    root = write_tree(
        tmp_path / "a", images("faces/") | images("meta/small/", OTHER) | {"meta/list.csv": lines}
    )
    assert seeds(read(root / "meta" / "list.csv")) == [0, 1, 2, 3, 4, 5]
    assert seeds(read(root)) == [0, 1, 2, 3, 4, 5]
    root = write_tree(tmp_path / "b", images("A/x/faces/") | images("faces/", OTHER) | {"A/list.csv": lines})
    assert seeds(read(root / "A" / "list.csv")) == [0, 1, 2, 3, 4, 5]
    assert seeds(read(root)) == [0, 1, 2, 3, 4, 5]


def test_two_lines_of_a_table_that_only_one_image_fits(tmp_path):
    lines = table("/old/a/0.png", "/old/b/0.png", "/old/a/1.png", "/old/a/2.png")
    root = write_tree(tmp_path / "set", images("x/") | {"list.csv": lines})
    for place in (root / "list.csv", root):
        with pytest.raises(DataError, match=r"old/a/0\.png and .*old/b/0\.png, and only x/0\.png is there"):
            read(place)


# Names without an ending


@pytest.mark.parametrize("endings", [("jpg", "png"), ("png", "PNG"), ("bmp", "png")])
@pytest.mark.parametrize("folder", ["", "faces/"])
def test_a_name_without_an_ending_that_two_files_have(tmp_path, endings, folder):
    files = {f"{folder}{i}.{ending}": png(i) for i in range(6) for ending in endings}
    root = write_tree(
        tmp_path / "set", files | {"list.csv": table(*map(str, range(6)), header="image,label")}
    )
    for place in (root / "list.csv", root):
        with pytest.raises(
            DataError, match=rf"names 0, which could be {folder}0\.\w+ or {folder}0\.\w+: give"
        ):
            read(place)


@pytest.mark.parametrize("ending", ["jpg", "png", "PNG", "bmp"])
def test_names_without_an_ending(tmp_path, ending):
    files = {f"faces/{i}.{ending}": png(i) for i in range(6)}
    root = write_tree(
        tmp_path / "set", files | {"list.csv": table(*map(str, range(6)), header="image,label")}
    )
    for place in (root / "list.csv", root):
        assert seeds(read(place)) == [0, 1, 2, 3, 4, 5]


# Paths of Windows and of other machines


@pytest.mark.parametrize("above", ["", ".\\", "C:\\Users\\me\\fer\\"])
def test_paths_of_windows_keep_the_split(tmp_path, above):
    names = [
        f"{split}\\{('happy', 'sad')[i % 2]}\\{split[:2]}{i}.png"
        for split in ("train", "test")
        for i in (0, 1)
    ]
    files = {name.replace("\\", "/"): png(i) for i, name in enumerate(names)}
    lines = table(*(above + name for name in names))
    root = write_tree(tmp_path / "set", files | {"list.csv": lines})
    for place in (root / "list.csv", root):
        data = read_dataset(place)
        assert data.split.tolist() == ["train", "train", "test", "test"]
        assert not any("\\" in name for name in data.ids)


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_of_the_machine_is_no_split(tmp_path, there):
    """A user called dev: their paths are found by name on another machine, or are there."""
    home = f"{tmp_path}/home" if there else "/home"
    files = {f"home/dev/data/imgs/{i}.png": png(i) for i in range(20)} if there else images("set/imgs/", n=20)
    lines = table(*(f"{home}/dev/data/imgs/{i}.png" for i in range(20)))
    write_tree(tmp_path, files | {"set/list.csv": lines})
    data = read_dataset(tmp_path / "set" / "list.csv")
    assert sorted(data.split.tolist()) == ["train"] * 18 + ["val"] * 2


def test_folders_of_splits_in_absolute_paths(tmp_path):
    names = [f"{tmp_path}/dev/faces/{split}/{i}.png" for split in ("train", "test") for i in range(4)]
    files = {name.removeprefix(f"{tmp_path}/"): png(i) for i, name in enumerate(names)}
    write_tree(tmp_path, files | {"set/list.csv": table(*names)})
    data = read_dataset(tmp_path / "set" / "list.csv")
    assert data.split.tolist() == ["train"] * 4 + ["test"] * 4
    assert data.notes == ()


# Splits


@pytest.mark.parametrize("above", ["", "labels/"])
def test_a_table_for_each_split_where_both_have_the_same_names(tmp_path, above):
    files = images("train/") | images("test/", OTHER)
    root = write_tree(
        tmp_path / "set", files | {f"{above}{one}_labels.csv": NUMBERED for one in ("train", "test")}
    )
    data = read_dataset(root)
    assert dict(zip(data.ids, seeds(data), strict=True)) == {
        f"{one}/{i}.png": first + i for one, first in (("train", OWN), ("test", OTHER)) for i in range(6)
    }
    assert all(name.startswith(one) for name, one in split(data).items())
    alone = read(root / above / "test_labels.csv")
    assert seeds(alone) == [OTHER + i for i in range(6)]


# Ways to write a name


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_that_the_table_and_the_files_write_in_two_ways(tmp_path, forms):
    of_table, of_files = (
        [unicodedata.normalize(form, f"Zoë/José_{i}.png") for i in range(6)] for form in forms
    )
    files = {name: png(i) for i, name in enumerate(of_files)} | {"list.csv": table(*of_table)}
    root = write_tree(tmp_path / "set", files)
    for place in (root / "list.csv", root, write_zip(tmp_path / "set.zip", files)):
        assert seeds(read(place)) == [0, 1, 2, 3, 4, 5]


def test_names_of_web_addresses(tmp_path):
    files = {f"my faces/happy face {i}.png": png(i) for i in range(6)}
    files |= {"my faces/50%25.png": png(6), "my faces/50%.png": png(7)}
    lines = table(*(f"my%20faces/happy%20face%20{i}.png" for i in range(6)), "my faces/50%25.png")
    root = write_tree(tmp_path / "set", files | {"list.csv": lines})
    for place in (root / "list.csv", root):
        assert seeds(read(place)) == [0, 1, 2, 3, 4, 5, 6], "a name that is there is taken as it is"
