"""Names of files that are odd: every table that mien writes about them can be read again."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import mien
from mien.data.answered import read_out_of_fold
from mien.data.folding import write_folds
from mien.tune.folds import _table
from tests.auditing.planted import png, texture
from tests.pictures import ODD_NAMES, write_tree

LABELS = ("happy", "=sad")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    files = {
        f"train/{label}/{name}.png": png(texture(100 * number + place))
        for number, label in enumerate(LABELS)
        for place, name in enumerate(ODD_NAMES)
    }
    return write_tree(tmp_path_factory.mktemp("odd") / "faces", files)


def test_folds_as_lists(folder, tmp_path):
    write_folds(folder, tmp_path / "out", 2, as_lists=True)
    whole = mien.read_dataset(folder)
    listed = mien.read_dataset(tmp_path / "out" / "fold_1.csv")
    assert [name.split("/faces/")[1] for name in listed.ids] == list(whole.ids)
    assert (listed.images == whole.images).all()
    assert [listed.labels[truth] for truth in listed.truth] == [whole.labels[truth] for truth in whole.truth]
    with (tmp_path / "out" / "folds.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == list(whole.ids)


def test_out_of_fold_probabilities(folder, tmp_path):
    data = mien.read_dataset(folder)
    logits = np.random.default_rng(0).normal(size=data.targets.shape)
    text = _table(data, logits, np.zeros(len(data), int))
    (tmp_path / "t.csv").write_bytes(text.encode())
    exp = np.exp(logits)
    np.testing.assert_allclose(
        read_out_of_fold(tmp_path / "t.csv", data), exp / exp.sum(1, keepdims=True), atol=1e-5
    )
