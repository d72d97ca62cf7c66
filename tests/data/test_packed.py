"""Packed files: the same dataset back, mapped, readable by NumPy alone, refused when damaged."""

from __future__ import annotations

import errno
import io
import mmap
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from mien.data import packed
from mien.data.read import convert, read_dataset
from mien.data.reading import ReadOptions
from mien.data.survey import survey
from mien.errors import DataError, OutputError
from mien.preprocess import Preprocess
from tests.pictures import png, tree, write_tree


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
    owner = data.images
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner.obj, mmap.mmap)
    part = data.select("train")
    assert part.images.base is not None
    assert np.shares_memory(part.images, data.images)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems set no memory aside")
def test_a_file_larger_than_memory_is_mapped(tmp_path):
    """A sparse file, so that it takes no room on the disk; Linux refuses a copy-on-write map of it by default."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with (tmp_path / "sparse").open("wb+") as file:
        file.truncate(4 * memory)
        with packed._private(file) as mapped:
            mapped[3 * memory] = 7
            assert mapped[3 * memory] == 7


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


def repacked(path, **members) -> None:
    """Write a packed file again with some members changed."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", members.pop("method", zipfile.ZIP_STORED)) as archive:
        for name, content in (held | {f"{name}.npy": npy(array) for name, array in members.items()}).items():
            archive.writestr(name, content)


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"targets": np.zeros(28, np.float32)}, "axis 1 is out of bounds"),
        ({"targets": np.full((28, 2), np.nan, np.float32)}, "its targets are no fractions"),
        ({"targets": np.zeros((27, 2), np.float32)}, "its targets do not fit"),
        ({"split": np.arange(28)}, "its parts have different lengths"),
        ({"ids": np.array(["a"])}, "its parts have different lengths"),
        ({"method": zipfile.ZIP_DEFLATED}, "is a damaged packed dataset"),
    ],
)
def test_a_file_at_odds_with_itself_is_refused(pair, members, message):
    repacked(pair[1], **members)
    with pytest.raises(DataError, match=message):
        read_dataset(pair[1])


def test_a_holdout_of_a_set_with_copies_is_refused(pair):
    data = read_dataset(pair[1])
    joined = data.joined(data.images[:3], np.array([14, 15, 16]))
    with pytest.raises(DataError, match="holds copies that a recipe made: a holdout would share images"):
        joined.hold_out(0.2, 0)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    root = write_tree(tmp_path / "set", tree())
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OutputError, match="No space left on device"):
        convert(root, tmp_path / "out" / "set.npz")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unsplit_set_keeps_its_fingerprint_and_its_skipped_pictures(tmp_path):
    files = {f"{label}/{i}.png": png(i) for label in ("happy", "sad") for i in range(20)} | {
        "sad/bad.png": b"junk"
    }
    root, options = write_tree(tmp_path / "set", files), ReadOptions(skip_corrupt=True)
    packed = convert(root, tmp_path / "set.npz", options=options)
    assert packed.fingerprint() == read_dataset(root, options=options).fingerprint()
    assert read_dataset(tmp_path / "set.npz", Preprocess(size_px=9)).skipped == ("sad/bad.png",)


_LIMITED = """
import resource, sys
import torch  # its libraries count too, so the limit comes after them
from mien.config import read_recipe
from mien.data.read import read_dataset
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


def test_groups_of_a_packed_set_are_those_that_the_user_names(pair):
    _, path, _ = pair
    data = read_dataset(path, Preprocess(), options=ReadOptions(group_by=r"(\d)\.png"))
    number = np.array([name[-5] for name in data.ids])
    groups = data.groups(np.arange(len(data)))
    assert [len(set(groups[number == one])) for one in sorted(set(number))] == [1] * 7
    assert len(set(groups)) == 7
