"""Parquet as the model hubs write it: picture structs, class names in the metadata, splits in file names."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mien.data import parquet as parquet_module
from mien.data.read import read_dataset
from mien.errors import DataError
from mien.options import ReadOptions
from tests.pictures import png

NAMES = ["sad", "happy"]
HUB = {b"huggingface": json.dumps({"info": {"features": {"label": {"names": NAMES}}}}).encode()}


def write(path, labels=(0, 1) * 5, *, struct=True, metadata=None, **more):
    pictures = [png(i, (13, 11)) for i in range(len(labels))]
    column = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(pictures)] if struct else pictures
    table = pa.table({"image": column, "label": list(labels), **more}).replace_schema_metadata(metadata)
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(table, path, row_group_size=3)
    return path


def test_a_folder_of_the_hub(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / "data" / f"{split}-00000-of-00001.parquet", metadata=HUB)
    data = read_dataset(tmp_path / "data")
    assert data.labels == ("happy", "sad")
    assert set(data.splits) == {"train", "test"}
    assert [data.labels[k] for k in data.select("train").truth] == ["sad", "happy"] * 5
    again = read_dataset(write(tmp_path / "train.parquet", metadata=HUB))
    assert (again.images == data.select("train").images).all()  # across row groups, in order


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("csv-train", "csv-test"),
        ("training", "testing"),
        ("fer2013_train", "fer2013_test"),
        ("test/train", "test/test"),
    ],
)
def test_the_split_is_a_word_of_the_files_name(tmp_path, train, test):
    for split in (train, test):
        write(tmp_path / f"{split}.parquet", metadata=HUB)
    assert dict(Counter(read_dataset(tmp_path).split.tolist())) == {"train": 10, "test": 10}


def test_a_column_named_set(tmp_path):
    data = read_dataset(
        write(tmp_path / "faces.parquet", ["joy", "sad"] * 5, set=["train"] * 6 + ["test"] * 4)
    )
    assert list(data.split).count("test") == 4


def test_a_few_rows_are_in_memory_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_module, "_ROWS_AT_ONCE", 2)
    read, real = [], parquet_module._Part.value

    def value(part, row):
        found = real(part, row)
        read.append(len(part.values))
        return found

    monkeypatch.setattr(parquet_module._Part, "value", value)
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", metadata=HUB)
    assert len(read_dataset(tmp_path)) == 20
    assert max(read) == 2


@pytest.mark.parametrize("struct", [True, False])
def test_names_and_a_split_column(tmp_path, struct):
    labels = ["joy", "sad"] * 5
    path = write(
        tmp_path / "set.parquet",
        labels,
        struct=struct,
        split=["train", "train", "test", "test"] * 2 + ["train"] * 2,
    )
    data = read_dataset(path)
    assert data.labels == ("happy", "sad")
    assert np.bincount(data.select("test").truth).tolist() == [2, 2]


def test_rows_without_a_label(tmp_path):
    data = read_dataset(write(tmp_path / "train.parquet", (0, 1, 0, 1, -1, None), metadata=HUB))
    assert data.targets.any(axis=1).tolist() == [True] * 4 + [False] * 2


def test_what_is_refused(tmp_path):
    path = write(tmp_path / "a.parquet", (0, 1, 2, 1), metadata=HUB)
    with pytest.raises(DataError, match="unknown class number 2: the file names 0 to 1"):
        read_dataset(path)
    (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="is a damaged Parquet file"):
        read_dataset(tmp_path / "cut.parquet")
    parquet.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "text.parquet")
    with pytest.raises(DataError, match="expected a column named image, got text, label"):
        read_dataset(tmp_path / "text.parquet")
    table = pa.table({"image": [png(), b"junk", None, png()] * 5, "label": [0, 1] * 10})
    parquet.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match="10 corrupt of 20 images in .*first train/0000001: not a picture"):
        read_dataset(tmp_path / "train.parquet")


def test_the_extra_that_is_missing(tmp_path, monkeypatch):
    import sys

    path = write(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "mien.data.parquet", raising=False)
    from mien.errors import MissingExtra

    with pytest.raises(MissingExtra, match=r"pyarrow is not installed: .*pip install .*\[data\]'"):
        read_dataset(path)


def test_columns_follow_the_rules_of_every_table(tmp_path):
    more = {
        "emotion": ["happy", "sad"] * 5,
        "fold": list(range(5)) * 2,
        "subject": [f"s{i // 2}" for i in range(10)],
    }
    data = read_dataset(
        write(tmp_path / "a.parquet", [3, 4] * 5, **more),
        options=ReadOptions(group_column="subject", val_fraction=0.3),
    )
    assert data.labels == ("happy", "sad"), "the column that names expressions"
    assert any("read from the column emotion; label says something else" in note for note in data.notes)
    assert any("fold holds numbers and is not read as the split" in note for note in data.notes)
    assert set(data.splits) == {"train", "val"}
    sides = set(zip(data.columns["subject"].tolist(), data.split.tolist(), strict=True))
    assert len(sides) == 5, "each person lies in one split"
