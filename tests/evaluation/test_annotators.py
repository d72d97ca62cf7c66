"""Beside the annotators: every number worked by hand from four pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.errors import DataError
from mien.evaluation.annotators import annotators
from mien.evaluation.report import judge, write_report
from mien.labels import FERPLUS_VOTE_ORDER
from tests.evaluation.test_report import Fixed, data, noisy

LABELS = ("angry", "happy", "sad")


def ballots(*counts: dict[str, int]) -> np.ndarray:
    rows = np.zeros((len(counts), 10), np.float32)
    for row, votes in zip(rows, counts, strict=True):
        for name, n in votes.items():
            row[FERPLUS_VOTE_ORDER.index(name)] = n
    return rows


def test_four_pictures_by_hand():
    votes = ballots(
        dict(happy=10),  # answered happy: with all
        dict(happy=6, sad=3, angry=1),  # answered sad: a minority of 3 in 10
        dict(sad=4, neutral=5, unknown=1),  # only sad counts; answered angry: nobody's
        dict(neutral=8, happy=1),  # one vote for a label of the model: left out
    )
    rows = replace(data(LABELS, [1, 0, 2, 1]), votes=votes)
    probs = np.array([[0.0, 1.0, 0.0], [0.1, 0.3, 0.6], [0.8, 0.1, 0.1], [0, 1, 0]])
    facts = annotators(probs, rows).facts
    assert facts["images"] == 3
    assert facts["mean_share_of_annotators_who_give_the_models_answer"] == pytest.approx((1 + 0.3 + 0) / 3)
    assert facts["mean_share_who_give_the_labels_answer"] == pytest.approx((1 + 0.1 + 1) / 3)
    pairs = (1 + (6 * 5 + 3 * 2) / 90 + 1) / 3
    assert facts["mean_share_of_annotator_pairs_who_agree"] == pytest.approx(pairs)
    assert facts["model_sides_with_a_minority"]["value"] == pytest.approx(1 / 3)
    assert facts["model_answers_what_nobody_voted_for"]["value"] == pytest.approx(1 / 3)
    assert facts["label_is_a_minority_vote"]["value"] == pytest.approx(1 / 3)
    assert facts["mean_total_variation_distance"] == pytest.approx((0 + 0.3 + 0.9) / 3)


def test_jensen_shannon_is_scipys():
    from scipy.spatial.distance import jensenshannon

    rng = np.random.default_rng(0)
    votes = rng.integers(0, 6, (17, 10)).astype(np.float32) + ballots(*[dict(happy=2)] * 17)
    rows = replace(data(LABELS, [0] * 17), votes=votes)
    probs = rng.dirichlet((1, 1, 1), 17)
    shares = votes[:, [FERPLUS_VOTE_ORDER.index(name) for name in LABELS]]
    shares = shares / shares.sum(axis=1, keepdims=True)
    theirs = np.mean([jensenshannon(p, q, base=2) for p, q in zip(shares, probs, strict=True)])
    assert annotators(probs, rows).facts["mean_jensen_shannon_distance"] == pytest.approx(theirs)


def test_bands_hold_every_picture_once():
    votes = ballots(*(dict(happy=n, sad=10 - n) for n in range(11)), dict(angry=3, happy=3, sad=3))
    rows = replace(data(LABELS, [1] * 12), votes=votes)
    section = annotators(np.tile([0.2, 0.5, 0.3], (12, 1)), rows)
    assert [(row[0], row[1]) for row in section.rows] == [
        *(("up to 40 %", 1), ("up to 50 %", 1), ("up to 60 %", 2), ("up to 70 %", 2)),
        *(("up to 80 %", 2), ("up to 90 %", 2), ("all", 2)),
    ]
    assert section.rows[-1][2].value == 1
    assert section.rows[-1][3].value == 0.5


def test_no_votes_for_these_labels():
    rows = replace(data(("good", "bad"), [0, 1]), votes=ballots(dict(happy=9), dict(sad=9)))
    with pytest.raises(DataError, match="no picture of memory has two votes for good, bad"):
        annotators(np.full((2, 2), 0.5), rows)


def test_a_report_with_votes_has_the_part(tmp_path):
    truth, logits = noisy(3, 31)
    rows = replace(data(LABELS, truth), votes=ballots(*[dict(happy=5, sad=5)] * 31))
    page = write_report(judge(Fixed(LABELS, logits), rows, "test"), tmp_path).read_text()
    assert "Beside the annotators" in page
    assert "two annotators agree with each other 44% of the time" in page
