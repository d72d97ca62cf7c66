"""Hostile bytes: readers answer with a dataset or a DataError, quickly, and never with much memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.data.read import read_dataset
from mien.data.reading import ReadOptions
from mien.errors import DataError
from mien.preprocess import Preprocess
from tests.data.test_tables import table
from tests.pictures import png, tree, write_tree

NAMES = ("a.csv", "a.npy", "a.npz", "a.txt", "a.zip", "a.lst", "a.jsonl", "a.tar", "a.csv.gz")
FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
OWN_BYTES = 24_000_000  # a line of a table may take 16 MiB, whatever a header claims
"""What reading even a tiny file takes: buffers, decoders, message texts."""


def answers(path, content: bytes, **options) -> None:
    """Read bytes as a dataset: fine or refused, and in memory in proportion to their size."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        read_dataset(path, Preprocess(size_px=8), options=ReadOptions(**options))
    except DataError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 * len(content) + OWN_BYTES


@pytest.fixture(scope="module", autouse=True)
def imports(tmp_path_factory) -> None:
    """Read one of each first: what is imported on first use is not the memory of reading."""
    undivided = {f"{label}/{i}.png": png(i, (40, 40)) for label in ("happy", "sad") for i in range(10)}
    read_dataset(write_tree(tmp_path_factory.mktemp("first"), undivided), Preprocess(size_px=8))
    for name, content in SEEDS.items():
        path = tmp_path_factory.mktemp("first") / name
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            read_dataset(path, Preprocess(size_px=8))


def mutated(whole: bytes):
    """Cut, doubled, overwritten: a valid file with a few things wrong."""
    place = st.integers(0, len(whole) - 1)
    change = st.tuples(place, st.binary(min_size=1, max_size=8))
    return st.tuples(st.lists(change, max_size=4), st.none() | place).map(lambda how: _change(whole, *how))


def _change(whole: bytes, changes, cut) -> bytes:
    for place, new in changes:
        whole = whole[:place] + new + whole[place + len(new) :]
    return whole[:cut]


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros((6, 8, 8), np.uint8), y=np.arange(6) % 2)
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((6, 8, 8), np.float32))
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in tree(each=1):
            archive.writestr(name, png(1, (8, 8)))
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in tree(each=1):
            info = tarfile.TarInfo(name)
            info.size = len(png(1, (8, 8)))
            archive.addfile(info, io.BytesIO(png(1, (8, 8))))
    return buffer.getvalue()


def _beside() -> bytes:
    """Return a zip of flat images and a table with one column per class."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train/_classes.csv", "filename, happy, sad\n0.png, 1, 0\n1.png, 0, 1\n")
        for number in range(2):
            archive.writestr(f"train/{number}.png", png(number, (8, 8)))
    return buffer.getvalue()


def _parquet() -> bytes:
    """Return a file of the hub's kind, images as bytes with class names in its metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    meta = {b"huggingface": b'{"info": {"features": {"label": {"names": ["happy", "sad"]}}}}'}
    rows = pa.table(
        {"image": [png(i, (8, 8)) for i in range(6)], "label": [0, 1] * 3}
    ).replace_schema_metadata(meta)
    buffer = io.BytesIO()
    parquet.write_table(rows, buffer)
    return buffer.getvalue()


def _affectnet() -> bytes:
    """Return a zip of AffectNet's images and arrays of annotations."""
    buffer, number = io.BytesIO(), io.BytesIO()
    np.save(number, np.array("1"))
    with zipfile.ZipFile(buffer, "w") as archive:
        for place in range(2):
            archive.writestr(f"train_set/images/{place}.png", png(place, (8, 8)))
            archive.writestr(f"train_set/annotations/{place}_exp.npy", number.getvalue())
    return buffer.getvalue()


CSV = table().encode()
SEEDS = {
    "set.csv": CSV,
    "set.csv.gz": gzip.compress(CSV),
    "x.npy": _npy(),
    "set.npz": _npz(),
    "set.zip": _zip(),
    "set.tar.gz": _tar(),
    "beside.zip": _beside(),
    "set.parquet": _parquet(),
    "affectnet.zip": _affectnet(),
    "label.lst": b"a.jpg 0 1 1 9 9 80.5 3\nb.jpg 0 1 1 9 9 80.5 4\n",
    "metadata.jsonl": b'{"file_name": "a.png", "label": 1}\n{"file_name": "b.png", "label": "x"}\n',
    "list.csv": b"path,label\na.png,1\nb.png,2\n",
    "list_patition_label.txt": b"train_1.jpg 3\ntest_1.jpg 4\n",
}


@pytest.mark.parametrize("name", SEEDS)
def test_a_good_file_with_wrong_bytes(tmp_path, name):
    @FUZZ
    @given(mutated(SEEDS[name]))
    def holds(content):
        answers(tmp_path / name, content)

    holds()


@pytest.mark.parametrize(
    "form", ["auto", "folders", "pixels", "list", "names", "affectnet", "ck+", "arrays", "packed"]
)
def test_any_bytes_read_as_any_form(tmp_path, form):
    @FUZZ
    @given(
        st.binary(max_size=2000),
        st.sampled_from(NAMES),
    )
    def holds(content, name):
        answers(tmp_path / name, content, format=form)

    holds()


@FUZZ
@given(st.text(max_size=400))
def test_any_text_as_a_table(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("fuzz") / "set.csv"
    answers(path, text.encode("utf-8", "surrogatepass"))
    answers(path, ("emotion,pixels,Usage\n" + text).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("rows", [2000])
def test_a_large_table_costs_less_than_four_times_its_size(tmp_path, rows):
    pixels = " ".join(["128"] * 48 * 48)
    lines = [f"{3 + i // 2 % 2},{pixels},{'Training' if i % 4 else 'PublicTest'}" for i in range(rows)]
    content = "\n".join(["emotion,pixels,Usage", *lines])
    answers(tmp_path / "large.csv", content.encode())
    numbers = "\n".join(",".join(["0.501961"] * 2304) for _ in range(rows // 4))
    answers(tmp_path / "x.csv", numbers.encode(), labels="a,b")


def test_the_memory_check_can_fail(tmp_path, monkeypatch):
    import mien.data.pixels

    real = mien.data.pixels.read
    monkeypatch.setattr("mien.data.pixels.read", lambda *given: (bytearray(40_000_000), real(*given))[1])
    with pytest.raises(AssertionError):
        answers(tmp_path / "set.csv", CSV)
