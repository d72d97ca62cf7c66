"""Hostile inputs that once worked, or would: each is one line in little time, whatever room reads it."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import struct
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mien
from mien import bundle, files
from mien.classifiers import load_classifier
from mien.classifiers.spec import read_spec
from mien.config import read_recipe
from mien.data.read import read_dataset
from mien.data.text import open_table
from mien.detectors import bundle as detector_bundle
from mien.errors import BundleError, ConfigError, ImageError, MienError, OutputError
from mien.evaluation.report import judge, write_report
from mien.exporting.temperature import read_prior
from mien.history import read_csv
from mien.options import ReadOptions
from mien.preprocess import Preprocess
from mien.serve.guard import read_keys
from mien.training import loop
from mien.training.loop import train
from mien.training.transfer import _from_disk
from tests.pictures import png, tree
from tests.training.tiny import TINY, tiny_data

SMALL = Preprocess(size_px=8)
RECIPE = ["epochs=1", "batch_size=16", "precision=32-true", "validation.split=test"]


@contextmanager
def within(seconds: int):
    """Fail where the work takes longer, as a read that waits for a pipe does."""

    def late(*_):
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def dataset(path, **options):
    return read_dataset(path, SMALL, options=ReadOptions(**options))


def frame_error(path):
    (result,) = mien.predict(str(path), detector="whole")
    raise ImageError(result.error)


def first_row(path):
    with open_table(path) as table:
        next(iter(table.rows))


READERS = {
    **{
        f"x.{end}": dataset
        for end in ("csv", "csv.gz", "zip", "tar.gz", "npy", "npz", "parquet", "jsonl", "")
    },
    "table.csv": first_row,
    "recipe.toml": lambda path: read_recipe(str(path)),
    "spec.json": read_spec,
    "prior.json": lambda path: read_prior(bundle.load("default"), str(path)),
    "keys.txt": read_keys,
    "model.onnx": load_classifier,
    "detector.json": lambda path: detector_bundle.read(path.parent / "detector"),
    "photo.jpg": frame_error,
    "photos.zip": frame_error,
    "film.mp4": frame_error,
}


@pytest.mark.parametrize("kind", ["pipe", "endless"])
@pytest.mark.parametrize("name", READERS)
def test_no_reader_waits_for_a_pipe_or_reads_an_endless_device(tmp_path, name, kind):
    path = tmp_path / name
    if name == "detector.json":
        path = tmp_path / "detector" / "config.json"
        path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with within(20), pytest.raises(MienError, match=r"pipe or (a )?device|expected a TOML file|no trained"):
        READERS[name](tmp_path / name)


def test_a_pipe_among_the_files_of_a_dataset(tmp_path):
    for name, content in tree().items():
        files.write(tmp_path / name, content)
    os.mkfifo(tmp_path / "train" / "sad" / "notes")
    with within(20), pytest.raises(MienError, match="notes: it is a pipe or a device, expected a file"):
        dataset(tmp_path)


def test_a_zip_whose_header_lies_about_a_size(tmp_path):
    """64 MiB of zeros that claim to be 3,000 bytes: only so many are unpacked."""
    *good, bad = tree(each=1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in good:
            archive.writestr(name, png(1, (8, 8)))
        archive.writestr(bad, bytes(2**26))
    content = bytearray(buffer.getvalue())
    for mark, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = content.rfind(mark) + offset
        content[at : at + 4] = struct.pack("<I", 3000)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(MienError, match="1 corrupt of"):
        dataset(tmp_path / "a.zip")


def test_a_member_without_a_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        nameless = zipfile.ZipInfo("x")
        nameless.filename = ""
        archive.writestr(nameless, b"a")
        for name, content in tree(each=1).items():
            archive.writestr(name, content)
    with pytest.raises(MienError, match="holds the unsafe name ''"):
        dataset(tmp_path / "a.zip")


def test_a_column_for_each_of_150528_values_is_read_in_linear_time(tmp_path):
    """Four rows took more than 30 s when each cell cost a pass over all columns."""
    side = 224
    header = ",".join(["label", "split", *(f"pixel{number}" for number in range(3 * side * side))])
    row = ",".join(["207"] * (3 * side * side))
    lines = [f"{label},train,{row}" for label in ("happy", "sad")]
    (tmp_path / "wide.csv").write_text("\n".join([header, *lines]))
    with within(60):
        data = dataset(tmp_path / "wide.csv")
    assert (len(data), data.images.min(), data.images.max()) == (2, 207, 207)


def test_parquet_that_repeats_one_image_without_end(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    number = 500_000
    images = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(number, np.int32)), pa.array([png(1, (99, 99))])
    )
    parquet.write_table(
        pa.table({"image": images, "label": np.zeros(number, np.int64)}), tmp_path / "a.parquet"
    )
    with pytest.raises(MienError, match=r"claims 500,000 rows in [\d,]+ bytes: is this a bomb"):
        dataset(tmp_path / "a.parquet")


def test_a_parquet_label_that_is_not_utf_8(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    labels = pa.Array.from_buffers(pa.string(), 6, pa.array([b"\xff\xfe", b"a"] * 3).buffers())
    parquet.write_table(
        pa.table({"image": [png(i) for i in range(6)], "label": labels}), tmp_path / "a.parquet"
    )
    with pytest.raises(MienError, match="a label is not UTF-8 text"):
        dataset(tmp_path / "a.parquet")


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def rehashed(folder: Path, name: str, content: bytes) -> None:
    """Put a file into a bundle so that its config vouches for it, as whoever can write the folder can."""
    (folder / name).write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"][name] = files.sha256(content)
    (folder / "config.json").write_text(json.dumps(config))


def broken_weights(original: bytes, kind: str) -> bytes:
    from safetensors.torch import load, save

    if kind == "bytes":
        return b"\xff" * 64
    if kind == "header":
        return struct.pack("<Q", 2**60) + original[8:]
    weights = load(original)
    first = min(name for name in weights if name.endswith("weight"))  # a counter may be missing
    if kind == "shape":
        weights[first] = weights[first].flatten()[:2].clone()
    else:
        del weights[first]
    return save(weights)


@pytest.mark.parametrize("kind", ["bytes", "header", "shape", "missing"])
def test_wrong_weights_in_a_bundle_are_one_line(copy, kind):
    original = (copy / "model.safetensors").read_bytes()
    rehashed(copy, "model.safetensors", broken_weights(original, kind))
    with pytest.raises(BundleError) as caught:
        load_classifier(copy, backend="torch")
    assert "\n" not in str(caught.value)


def test_a_pth_with_wrong_bytes_is_one_line_or_weights(tmp_path):
    import torch

    torch.save({"conv.weight": torch.zeros(3, 5), "other": [1, "two"]}, tmp_path / "a.pth")
    content, draw = (tmp_path / "a.pth").read_bytes(), random.Random(0)
    refused = []
    for _ in range(80):
        broken = bytearray(content)
        for _ in range(3):
            broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
        (tmp_path / "b.pth").write_bytes(broken)
        try:
            _from_disk(str(tmp_path / "b.pth"))
        except MienError as error:
            refused.append(str(error))
    assert not any("\n" in message for message in refused)
    assert len(refused) > 20


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"format":' * 5_000, '{"format": "mien.bundle/1", "card": ' + "[" * 5_000, "9" * 5_000],
)
def test_a_config_that_nests_without_end_is_one_line(copy, text):
    (copy / "config.json").write_text(text)
    with pytest.raises(BundleError, match="is not a mien bundle config"):
        bundle.load(copy)


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a." * 5_000 + "b = 1", "epochs = " + "9" * 5_000])
def test_a_recipe_that_nests_without_end_is_one_line(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError):
        read_recipe(str(tmp_path / "a.toml"))


def test_names_that_look_like_formulas_train_and_are_judged(tmp_path):
    """Matplotlib read dollar signs as mathematics, and a run of such a dataset could never end."""
    name = "fer $x_{$ 2013"
    drawn = tiny_data()
    labels = ("costs $x_{$", *drawn.labels[1:])
    data = replace(drawn, source=f"{tmp_path}/{name}", labels=labels)
    out = train(read_recipe(TINY, RECIPE), data, tmp_path / name, device="cpu")
    page = write_report(judge(load_classifier(out), data, "test"), tmp_path / "report $_{$")
    assert "costs $x_{$" in page.read_text()
    assert name in (out / "README.md").read_text()
    made = [path for folder in (out, page.parent) for path in folder.rglob("*") if path.is_file()]
    assert len(made) > 20
    telling = [path.name for path in made if str(tmp_path).encode() in path.read_bytes()]
    assert telling == [], "names, not the folders of this machine"


def test_a_kill_between_checkpoint_and_history_loses_no_row(tmp_path, monkeypatch):
    recipe, data = read_recipe(TINY, [*RECIPE, "epochs=2"]), tiny_data()

    def killed(*_):
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(loop, "write_csv", killed)
        train(recipe, data, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out" / "run" / "history.csv").exists()
    train(recipe, data, tmp_path / "out", device="cpu", resume=True)
    assert [row.epoch for row in read_csv(tmp_path / "out" / "run" / "history.csv")] == [1, 2]


def test_two_runs_into_one_folder(tmp_path):
    recipe = read_recipe(TINY, RECIPE)
    with (
        files.locked(tmp_path / "out" / "run"),
        pytest.raises(OutputError, match="another command is writing"),
    ):
        train(recipe, tiny_data(), tmp_path / "out", device="cpu")
