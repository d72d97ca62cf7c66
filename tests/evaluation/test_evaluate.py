"""Figures worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mien
from mien.classifiers import Classifier
from mien.classifiers.combine import ten_crops, with_tta
from mien.data.dataset import FaceDataset, one_hot
from mien.data.synthetic import draw_dataset
from mien.errors import ConfigError
from mien.evaluation.evaluate import evaluate
from tests.fakes import ConstantClassifier

LABELS = ("angry", "happy", "sad")


class Reader(ConstantClassifier):
    """Answers what the first pixel says: 0, 1 or 2."""

    def __init__(self):
        super().__init__((0.0, 0.0, 0.0), LABELS, size_px=8)

    def logits(self, crops):
        return one_hot(crops[:, 0, 0, 0].astype(int), 3) * np.float32(5)


def data(truth, answers) -> FaceDataset:
    images = np.zeros((len(truth), 8, 8, 1), np.uint8)
    images[:, 0, 0, 0] = answers
    ids = tuple(map(str, range(len(truth))))
    return FaceDataset(
        images, one_hot(np.array(truth), 3), ids, np.full(len(truth), "test"), LABELS, "memory"
    )


def test_every_figure_by_hand():
    report = evaluate(Reader(), data([0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 0, 2]), "test")
    assert report.confusion == ((3, 1, 0), (1, 1, 0), (0, 0, 1))
    assert (report.n, report.accuracy) == (7, pytest.approx(5 / 7))
    angry = report.per_class["angry"]
    assert (angry.precision, angry.recall, angry.f1, angry.support) == (0.75, 0.75, 0.75, 4)
    assert report.balanced_accuracy == pytest.approx((0.75 + 0.5 + 1) / 3)
    assert report.macro_f1 == pytest.approx((0.75 + 0.5 + 1) / 3)
    elsewhere = evaluate(Reader(), replace(data([0], [0]), source="/home/me/faces.zip"), "test")
    assert elsewhere.to_dict()["data"] == "faces.zip"
    document = report.to_dict()
    assert document["schema"] == "mien.evaluation/1"
    assert document["model"]["labels"] == list(LABELS)

    assert repr(report) == (
        "EvalReport(constant on test of memory, tta none: 7 images, accuracy 71.4%, balanced accuracy 75.0%, "
        "macro-F1 75.0%)"
    )
    assert report.to_rows()[0] == {
        "label": "angry",
        "precision": 0.75,
        "recall": 0.75,
        "f1": 0.75,
        "support": 4,
    }


def test_strings_stand_for_models_and_data(tiny_bundle):
    drawn = draw_dataset(mien.load_classifier(tiny_bundle).preprocess)
    by_name = evaluate(str(tiny_bundle), "synthetic", "test")
    assert by_name.to_dict() == evaluate(mien.load_classifier(tiny_bundle), drawn, "test").to_dict()
    few = evaluate(tiny_bundle, "synthetic", "test", reading=mien.ReadOptions(labels="angry,happy"))
    assert few.n == by_name.per_class["angry"].support + by_name.per_class["happy"].support
    with pytest.raises(ConfigError, match="backwards"):
        evaluate(tiny_bundle, "no such data", "test", tta="backwards")


def test_top_k_by_hand():
    fixed = ConstantClassifier((0.0, 2.0, 1.0), LABELS, size_px=8)  # happy before sad before angry
    report = evaluate(fixed, data([0, 1, 2, 2], [0, 0, 0, 0]), "test")
    assert (report.accuracy, report.top_k_accuracy) == (0.25, {"2": 0.75})
    wide = ConstantClassifier((0.0, 2.0, 1.0, 0.5), (*LABELS, "fear"), size_px=8)
    assert evaluate(wide, data([0, 1, 2, 2], [0, 0, 0, 0]), "test").top_k_accuracy == {"2": 0.75, "3": 0.75}
    two = ConstantClassifier((0.0, 2.0), ("angry", "happy"), size_px=8)
    pair = replace(data([0, 1], [0, 0]), labels=two.id.labels, targets=np.eye(2, dtype=np.float32))
    assert evaluate(two, pair, "test").top_k_accuracy == {}
    tied = evaluate(
        ConstantClassifier((0.0, 0.0, 0.0), LABELS, size_px=8), data([0, 1, 2], [0, 0, 0]), "test"
    )
    assert (tied.accuracy, tied.top_k_accuracy) == (pytest.approx(1 / 3), {"2": pytest.approx(2 / 3)})


def test_a_class_that_occurs_nowhere_does_not_count():
    report = evaluate(Reader(), data([0, 0, 1], [0, 0, 1]), "test")
    assert (report.macro_f1, report.balanced_accuracy) == (1.0, 1.0)
    assert report.per_class["sad"].support == 0


def test_a_class_never_predicted_counts_as_zero():
    report = evaluate(Reader(), data([0, 0, 1, 2], [0, 0, 1, 1]), "test")
    assert report.per_class["sad"].f1 == 0
    assert report.macro_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_flip_averages_probabilities():
    class Sided(ConstantClassifier):
        """Sure of the first label for the picture, of the second for its mirror image."""

        def logits(self, crops):
            left = crops[:, 0, 0, 0] > 0
            return np.where(left[:, None], np.float32([2, 0]), np.float32([0, 3])).astype(np.float32)

    crop = np.zeros((1, 8, 8, 1), np.uint8)
    crop[0, 0, 0, 0] = 255
    mean = np.exp(with_tta(Sided(size_px=8), "flip").logits(crop))[0]
    first = (np.e**2 / (1 + np.e**2) + 1 / (1 + np.e**3)) / 2
    assert mean == pytest.approx([first, 1 - first], rel=1e-5)


def test_ten_crops_are_corners_and_centre_and_their_mirrors():
    picture = np.zeros((1, 24, 24, 1), np.uint8)
    picture[0, 0, 0], picture[0, -1, -1], picture[0, 0, -1], picture[0, -1, 0] = 250, 200, 150, 100
    views = list(ten_crops(picture))
    assert len(views) == 10
    assert all(view.shape == picture.shape for view in views)
    corners = [
        tuple(int(view[0, y, x, 0]) for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))) for view in views
    ]
    assert corners[0] == (250, 0, 0, 0)  # cut to 22 pixels, a corner keeps its own pixel and loses the others
    assert corners[1] == (0, 250, 0, 0)
    assert corners[2] == (0, 150, 0, 0)
    assert corners[4] == (0, 0, 100, 0)
    assert corners[6] == (0, 0, 0, 200)
    assert corners[8] == corners[9] == (0, 0, 0, 0)


def test_wrappers_are_classifiers():
    assert isinstance(with_tta(ConstantClassifier(), "ten_crops"), Classifier)
    assert isinstance(with_tta(ConstantClassifier(), "flip"), Classifier)
    assert isinstance(with_tta(ConstantClassifier(), "none"), Classifier)
    with pytest.raises(
        ConfigError,
        match=r"unknown test-time augmentation 'flop': expected none or flip or ten_crops; did you mean flip\?",
    ):
        with_tta(ConstantClassifier(), "flop")
