from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mien
from mien.auditing.doubt import doubts
from mien.auditing.quick import out_of_fold
from tests.auditing.planted import texture
from tests.auditing.test_audit import dataset
from tests.fakes import ConstantClassifier

PROBS = np.array([[0.9, 0.1], [0.8, 0.2], [0.15, 0.85], [0.1, 0.9], [0.3, 0.7]])
GIVEN = np.array([0, 0, 0, 1, 1])


def test_confident_learning_by_hand():
    judged = np.ones(5, bool)
    found = doubts(PROBS, GIVEN, judged)
    # usual: (0.9 + 0.8 + 0.15) / 3 = 0.617 for class 0, (0.9 + 0.7) / 2 = 0.8 for class 1; row 4 reaches neither
    assert found.suspect.tolist() == [False, False, True, False, False]
    assert found.estimated.tolist() == [[2, 1], [0, 2]]
    assert found.order().tolist() == [2, 4, 1, 0, 3]
    assert found.suggested.tolist() == [1, 1, 1, 0, 0]
    assert found.accuracy == 0.8


def test_rows_that_are_not_judged_have_no_part():
    found = doubts(PROBS, GIVEN, np.array([True, True, False, True, True]))
    assert not found.suspect.any()
    assert found.estimated.tolist() == [[2, 0], [0, 2]]
    assert found.order().tolist() == [4, 1, 0, 3]
    assert found.accuracy == 1.0


def test_at_most_a_twentieth_is_listed_and_no_label_that_is_most_probable():
    found = doubts(np.tile(PROBS, (20, 1)), np.tile(GIVEN, 20), np.ones(100, bool))
    assert found.suspect.sum() == 20
    assert found.listed().tolist() == [2, 7, 12, 17, 22]
    sure = doubts(np.tile(PROBS[:2], (50, 1)), np.zeros(100, int), np.ones(100, bool))
    assert not len(sure.listed())


def striped(number: int, across: bool) -> np.ndarray:
    """A class that a simple model can learn: stripes across or along a texture."""
    wave = 40 * np.sin(np.arange(48) * 0.9 + number)
    stripes = wave[:, None] if across else wave[None, :]
    return (texture(number)[..., 0] * 0.6 + 40 + stripes).clip(0, 255).astype(np.uint8)[..., None]


def test_the_quick_model_doubts_the_changed_labels_first():
    images = [striped(number, number % 2 == 0) for number in range(101)]
    labels = np.arange(101) % 2
    wrong = {10, 33, 50, 71, 96}
    labels[list(wrong)] = 1 - labels[list(wrong)]
    found = mien.audit(dataset(images, labels))
    listed = found.doubts.listed().tolist()
    assert len(listed) == 5
    assert len(wrong & set(listed)) >= 4  # by chance none or one
    doubtful = [one for one in found.findings if one.kind == "doubtful label"]
    assert [one.image for one in doubtful] == [f"{number}.png" for number in listed]
    assert {(one.label, one.to_do) for one in doubtful} == {
        ("happy", "check: sad?"),
        ("sad", "check: happy?"),
    }


def test_classes_with_too_few_images_are_not_judged_and_that_is_said():
    few = mien.audit(dataset([texture(number) for number in range(7)], [0, 1] * 3 + [0]))
    assert few.doubts is None
    assert "labels were not judged: the classes have too few images for the quick model" in few.notes
    images = [striped(number, number % 2 == 0) for number in range(61)]
    data = dataset(images, [number % 2 for number in range(61)])
    three = mien.FaceDataset(
        **{
            **vars(data),
            "labels": ("happy", "sad", "fear"),
            "targets": np.eye(3, dtype=np.float32)[[number % 2 if number > 5 else 2 for number in range(61)]],
        }
    )
    found = mien.audit(three)
    assert "labels of fear were not judged: too few images for the quick model" in found.notes
    assert found.doubts.judged.sum() == 55


def test_a_model_judges_the_classes_it_knows_and_says_which_images_it_has_learnt(monkeypatch):
    pictures = [texture(number) for number in range(41)]
    three = np.eye(3, dtype=np.float32)[[0] * 20 + [1] * 20 + [2]]
    data = replace(dataset(pictures, [0] * 41), targets=three, labels=("happy", "neutral", "sad"))
    knows_two = ConstantClassifier(
        logits=(0.0, 3.0, 3.0, 9.0), labels=("angry", "happy", "neutral", "contempt")
    )
    found = mien.audit(data, model=knows_two)
    assert found.doubts.judged.tolist() == [True] * 40 + [False]
    assert found.doubts.given_prob[:40] == pytest.approx(0.5)  # among the labels of the data
    assert "labels of sad were not judged: constant does not know them" in found.notes


def test_a_model_that_knows_one_of_the_classes_judges_nothing():
    """Among this class alone, its answer would always be right."""
    data = dataset([texture(number) for number in range(8)], [0, 1] * 4)
    found = mien.audit(data, model=ConstantClassifier(logits=(0.0, 3.0), labels=("angry", "happy")))
    assert found.doubts is None


def test_the_built_in_model_says_how_many_images_it_has_learnt(shared):
    data = mien.read_dataset(shared / "data" / "fer2013.zip", split="test")[:101]
    found = mien.audit(data, model="mien_nano")
    learnt = [note for note in found.notes if "was trained on" in note]
    assert len(learnt) == 1
    assert learnt[0].startswith("mien_nano was trained on ")
    assert "of these 101 images with the labels it judges here" in learnt[0]


def test_a_model_of_another_size_gets_the_images_as_they_are_stored():
    seen = []

    class Larger(ConstantClassifier):
        def logits(self, crops):
            seen.append(crops.shape)
            return super().logits(crops)

    data = dataset([texture(number) for number in range(3)], [0, 1, 0])
    larger = Larger(logits=(0.0, 0.0), labels=("happy", "sad"), size_px=64, channels=3)
    assert mien.audit(data, model=larger, draws=True).data.images.shape == (3, 48, 48, 1)
    assert seen == [(3, 64, 64, 3)]


def test_the_quick_model_knows_nothing_of_labels_drawn_by_chance():
    """Its regression had been fitted to the very labels that it judges: it agreed with 28 % of these, not with 14."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (210, 48, 48, 1), np.uint8)
    truth = np.arange(210) % 7
    probs = out_of_fold(images, truth, np.arange(210), 7, lambda *_: None)
    assert (probs.argmax(axis=1) == truth).mean() < 0.22


def test_the_quick_model_judges_few_groups_that_leave_a_fold_empty():
    groups = np.array([0] * 60 + [1] * 8 + [2] * 8 + [3] * 8)
    images = np.random.default_rng(0).integers(0, 256, (84, 48, 48, 1), np.uint8)
    probs = out_of_fold(images, np.arange(84) % 2, groups, 2, lambda *_: None)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
