"""Corruptions: worse with strength, the same in any batch, and what they hit."""

from __future__ import annotations

import numpy as np
import pytest

from mien.data.synthetic import draw_dataset
from mien.evaluation.robustness import CORRUPTIONS, STRENGTHS, corrupt, robustness
from mien.preprocess import Preprocess
from tests.evaluation.test_report import Fixed, data, noisy

FACES = draw_dataset(Preprocess(), {"test": 21}).images


def change(kind: str, strength: int) -> float:
    return float(np.abs(corrupt(FACES, kind, strength).astype(float) - FACES).mean())


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_strength_changes_more_than_the_one_before(kind):
    changes = [change(kind, strength) for strength in STRENGTHS]
    assert changes[0] > 0
    assert changes == sorted(changes)
    assert changes[-1] > 1.5 * changes[0]


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_picture_is_corrupted_alike_in_any_batch_and_in_colour(kind):
    np.testing.assert_array_equal(corrupt(FACES[4:6], kind, 3), corrupt(FACES, kind, 3)[4:6])
    colour = corrupt(np.repeat(FACES[:2], 3, axis=3), kind, 2)
    assert colour.shape == (2, 48, 48, 3)
    assert colour.dtype == np.uint8


def test_a_bar_covers_the_eyes_and_leaves_the_mouth():
    eyes, mouth = (corrupt(FACES[:1], f"{part} covered", 5)[0, ..., 0] for part in ("eyes", "mouth"))
    assert (eyes[14:20] == 32).all()
    np.testing.assert_array_equal(eyes[24:], FACES[0, 24:, :, 0])
    assert (mouth[32:43] == 32).all()
    np.testing.assert_array_equal(mouth[:30], FACES[0, :30, :, 0])


def test_little_light_is_dark():
    assert corrupt(np.full((1, 16, 16, 1), 200, np.uint8), "low light", 2).mean() == pytest.approx(60, abs=3)


def test_the_table_holds_what_the_classifier_answers():
    """A classifier that sees nothing loses nothing."""
    truth, logits = noisy(3, 24)
    accuracy = float((logits.argmax(axis=1) == truth).mean())
    section = robustness(Fixed(("x", "y", "z"), logits), data(("x", "y", "z"), truth), accuracy)
    assert [row[0] for row in section.rows] == list(CORRUPTIONS)
    assert all(cell == pytest.approx(accuracy) for row in section.rows for cell in row[1:])
    assert section.facts["mean_corrupted_accuracy"] == pytest.approx(accuracy)
    assert len(section.drawings[0].rows) == 6 * len(CORRUPTIONS)


def test_a_model_that_is_never_right_has_nothing_to_lose():
    logits = np.eye(3)[[1, 2, 0] * 8]
    section = robustness(Fixed(("x", "y", "z"), logits), data(("x", "y", "z"), [0, 1, 2] * 8), 0.0)
    assert section.text.startswith(
        "Mean accuracy over all corruptions 0.0%, none of the pictures as they are is predicted correctly. Costliest"
    )
