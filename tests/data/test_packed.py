"""Packed files: the same dataset back, mapped, readable by NumPy alone, refused when damaged."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mien.data.reading import ReadOptions
from mien.data.sources import convert, read_dataset, survey
from mien.errors import DataError
from mien.preprocess import Preprocess
from tests.pictures import tree, write_tree


@pytest.fixture
def pair(tmp_path):
    root = write_tree(tmp_path / "set", tree(("happy", "sad"), each=7))
    return root, tmp_path / "set.npz", convert(root, tmp_path / "set.npz")


def test_the_same_dataset_comes_back(pair):
    root, path, made = pair
    plain, packed = read_dataset(root), read_dataset(path)
    assert packed.fingerprint() == plain.fingerprint() == made.fingerprint()
    assert (packed.ids, packed.labels, packed.splits) == (plain.ids, plain.labels, plain.splits)
    assert (packed.targets == plain.targets).all()
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []


def test_it_is_mapped_and_a_split_is_a_view(pair):
    data = read_dataset(pair[1])
    assert isinstance(data.images, np.memmap)
    part = data.select("train")
    assert part.images.base is not None
    assert np.shares_memory(part.images, data.images)


def test_writing_to_the_mapped_pictures_leaves_the_file_alone(pair):
    _, path, made = pair
    before = path.read_bytes()
    read_dataset(path).images[:] = 7
    assert path.read_bytes() == before
    assert read_dataset(path).fingerprint() == made.fingerprint()


def test_numpy_alone_can_read_it(pair):
    root, path, _ = pair
    with np.load(path) as arrays:
        assert (arrays["images"] == read_dataset(root).images).all()
        assert arrays["ids"][0] == "test/happy/0.png"


def test_rows_stand_in_the_order_of_their_splits(tmp_path):
    (tmp_path / "list.csv").write_text(
        "path,label,split\n"
        + "".join(
            f"{i}.png,{'happy' if i % 3 else 'sad'},{'train' if i % 2 else 'test'}\n" for i in range(12)
        )
    )
    write_tree(tmp_path, {f"{i}.png": data for i, data in enumerate(tree(each=6).values()) if i < 12})
    packed = convert(tmp_path / "list.csv", tmp_path / "set.npz")
    assert packed.split.tolist() == ["test"] * 6 + ["train"] * 6
    plain = read_dataset(tmp_path / "list.csv")
    for row, name in enumerate(packed.ids):
        assert (packed.images[row] == plain.images[plain.ids.index(name)]).all()


def test_other_labels_and_another_size_from_a_packed_file(pair):
    _, path, _ = pair
    small = read_dataset(path, Preprocess(size_px=9), options=ReadOptions(labels="joyful=happy,sad"))
    assert small.images.shape == (28, 9, 9, 1)
    assert small.labels == ("joyful", "sad")
    assert survey(path).form == "packed"


def test_what_was_skipped_is_remembered(tmp_path):
    root = write_tree(tmp_path / "set", tree() | {"train/sad/bad.png": b"junk"})
    convert(root, tmp_path / "set.npz", options=ReadOptions(skip_corrupt=True))
    assert read_dataset(tmp_path / "set.npz").skipped == ("train/sad/bad.png",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"mien.dataset/1", b"mien.dataset/9"),
        (b'"labels": ["happy"', b'"labels": ["happx"'),
        (b"(28, 48, 48, 1)", b"(99, 48, 48, 1)"),
    ],
)
def test_a_damaged_file_is_refused(pair, old, new):
    _, path, _ = pair
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    with pytest.raises(DataError, match=r"is a damaged packed dataset \(.*\): convert it again"):
        read_dataset(path)


_LIMITED = """
import resource, sys
import torch  # its libraries count too, so the limit comes after them
from mien.config import read_recipe
from mien.data.sources import read_dataset
from mien.training.batches import Batches
from mien.preprocess import Preprocess
data = read_dataset(sys.argv[1], Preprocess(size_px=128))
recipe = read_recipe("nano", ["batch_size=8", "input.size_px=128"])
batches = Batches(data, recipe, torch.device("cpu"))
peak = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("RssAnon")).split()[1])
before = peak()
for step, (x, y) in enumerate(batches.epoch(0)):
    if step == 20:
        break
print(data.images.nbytes // 1024, peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_training_takes_batches_from_the_file_not_the_file_into_memory(tmp_path):
    """Memory of the process's own grows by far less than the set has."""
    from mien.data.dataset import FaceDataset, one_hot
    from mien.data.packed import write_packed

    n = 6000
    images = np.memmap(tmp_path / "raw", np.uint8, "w+", shape=(n, 128, 128, 1))
    split = np.array(["train"] * (n - 20) + ["test"] * 20)
    ids = tuple(map(str, range(n)))
    write_packed(
        tmp_path / "set.npz", FaceDataset(images, one_hot(np.arange(n) % 2, 2), ids, split, ("a", "b"))
    )
    run = subprocess.run(
        [sys.executable, "-c", _LIMITED, tmp_path / "set.npz"], capture_output=True, text=True, check=True
    )
    size, grown = map(int, run.stdout.split())
    assert size > 90_000
    assert grown < size / 3
