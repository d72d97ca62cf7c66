"""Drawn faces: the same for the same seed, different for another, told apart by their look."""

from __future__ import annotations

import numpy as np

from mien.data.synthetic import draw_dataset, draw_face
from mien.labels import EMOTIONS_7
from mien.preprocess import Preprocess


def test_seeded_and_balanced():
    one, two, other = (draw_dataset(Preprocess(), {"train": 21, "test": 14}, seed) for seed in (0, 0, 1))
    assert one.fingerprint() == two.fingerprint() != other.fingerprint()
    assert np.bincount(one.select("train").truth).tolist() == [3] * 7
    assert one.labels == EMOTIONS_7
    assert len(set(one.ids)) == 35


def test_expressions_differ_more_than_the_noise():
    """With everything else drawn alike, two expressions differ in more pixels than the noise would move."""
    faces = {e: draw_face(e, np.random.default_rng(7)).astype(float) for e in EMOTIONS_7}
    for a in EMOTIONS_7:
        for b in EMOTIONS_7:
            changed = (np.abs(faces[a] - faces[b]) > 40).sum()
            assert (changed == 0) == (a == b), (a, b, changed)
