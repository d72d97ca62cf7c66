"""One classifier on several datasets, from answers worked out by hand."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from mien.data.dataset import FaceDataset, one_hot
from mien.errors import ConfigError, DataError
from mien.evaluation.across import across, is_clear
from mien.evaluation.across_report import write_across
from tests.fakes import ConstantClassifier

LABELS = ("angry", "happy", "sad")


class Reader(ConstantClassifier):
    """Answers what the crop's first pixel says: 0, 1, 2; its second best answer is the next label."""

    def __init__(self):
        super().__init__((0.0,) * 3, LABELS, size_px=8)

    def logits(self, crops):
        said = crops[:, 0, 0, 0].astype(int)
        return np.float32(2 * np.eye(3)[said] + np.eye(3)[(said + 1) % 3])


def data(labels, truth, answers, source, notes=()):
    n = len(truth)
    images = np.zeros((n, 8, 8, 1), np.uint8)
    images[:, 0, 0, 0] = answers
    split = np.full(n, "test")
    return FaceDataset(
        images, one_hot(np.array(truth), len(labels)), tuple(map(str, range(n))), split, labels, source, notes=notes
    )  # fmt: skip


def two():
    first = data(
        LABELS, [0] * 20 + [1] * 20 + [2] * 20, [0] * 18 + [1] * 2 + [1] * 20 + [2] * 10 + [0] * 10, "x/a.zip"
    )
    # happy 15 of 20; angry 10 of 10, and of `bored`, which the model does not know, 7 images
    truth = [1] * 20 + [0] * 10 + [2] * 7
    second = data(
        ("angry", "happy", "bored"), truth, [1] * 15 + [2] * 5 + [0] * 10 + [1] * 7, "x/b.zip", ("a note",)
    )
    return [(first, "test"), (second, "test")]


def test_figures_and_what_moved():
    found = across(Reader(), two())
    one, other = found.datasets
    assert found.shared == ("angry", "happy")
    assert (one.accuracy.value, other.accuracy.value) == (48 / 60, 25 / 30)
    assert one.balanced_accuracy.value == pytest.approx((0.9 + 1 + 0.5) / 3)
    assert one.shared_balanced_accuracy.value == pytest.approx((0.9 + 1) / 2)
    assert other.balanced_accuracy == other.shared_balanced_accuracy
    assert other.balanced_accuracy.value == pytest.approx((1 + 0.75) / 2)
    assert one.limited_accuracy == one.accuracy
    assert other.limited_accuracy.value == 25 / 30, (
        "not sad, then angry: the next label, which is wrong as well"
    )
    assert other.left_out == {"bored": 7}
    assert other.notes == (
        "a note",
        "left out 7 images of bored: the model has no such label",
        "has no images of sad: such an answer counts as a mistake (5 of 30 images)",
    )
    assert one.moved == {}
    assert {label: round(moved.value, 9) for label, moved in other.moved.items()} == {
        "angry": 0.1,
        "happy": -0.25,
    }
    assert is_clear(other.moved["happy"])
    assert not is_clear(other.moved["angry"])
    (line,) = found.summary()
    assert line.startswith("From A to B: balanced accuracy on the 2 shared classes moves by -7.5 points (")
    assert line.endswith("; recall moved clearly for happy -25 points.")


def test_every_form_says_the_same(tmp_path):
    found = across(Reader(), two())
    text = write_across(found, tmp_path / "out").read_text()
    document = json.loads((tmp_path / "out" / "across.json").read_text())
    assert document == json.loads(json.dumps(found.to_dict()))
    assert document["datasets"][1]["moved"]["happy"]["value"] == pytest.approx(-0.25)
    with (tmp_path / "out" / "across.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["dataset"], row["images"], row["accuracy"]) for row in rows] == [
        ("a.zip", "60", "0.8"), ("b.zip", "30", "0.833333"),
    ]  # fmt: skip
    with (tmp_path / "out" / "recall.csv").open(newline="") as file:
        moved = {(row["class"], row["dataset"]): row["moved"] for row in csv.DictReader(file)}
    assert moved == {
        ("angry", "A"): "", ("angry", "B"): "0.1", ("happy", "A"): "", ("happy", "B"): "-0.25", ("sad", "A"): "",
    }  # fmt: skip
    assert r"b.zip & test & 30 & 2 & 83.3" in (tmp_path / "out" / "across.tex").read_text()
    for words in ("80.0 %", "83.3 %", "left out 7 images of bored", "−25.0", "a note"):
        assert words in text


def test_what_is_refused():
    with pytest.raises(ConfigError, match="needs two or more, got 1"):
        across(Reader(), two()[:1])
    alien = data(("angry", "bored"), [0, 1], [0, 1], "c.zip")
    with pytest.raises(DataError, match="constant knows 1 of the classes angry, bored of c.zip"):
        across(Reader(), [*two(), (alien, "test")])
