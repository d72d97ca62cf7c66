"""Splits, holdouts, label maps and fingerprints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.data.dataset import FaceDataset, one_hot
from mien.errors import ConfigError, DataError
from mien.labels import EMOTIONS_7


def dataset(per_class=(70, 20, 10), test=7) -> FaceDataset:
    truth = np.repeat(np.arange(3), per_class)
    truth = np.concatenate([truth, np.arange(test) % 3])
    n = len(truth)
    images = np.random.default_rng(0).integers(0, 256, (n, 5, 3, 1), np.uint8)
    split = np.array(["train"] * sum(per_class) + ["test"] * test)
    labels = ("angry", "happy", "sad")
    return FaceDataset(images, one_hot(truth, 3), tuple(f"row{i}" for i in range(n)), split, labels, "memory")


def test_select_keeps_rows_together():
    data = dataset()
    test = data.select("test")
    assert (len(test), test.ids[0], test.splits) == (7, "row100", ("test",))
    assert (test.images == data.images[100:]).all()
    assert (test.truth == data.truth[100:]).all()


def test_a_wrong_split_name_lists_the_right_ones():
    with pytest.raises(
        DataError, match=r"no split 'tset' in memory: expected one of train, test; did you mean test\?"
    ):
        dataset().select("tset")


def test_a_holdout_is_stratified_and_repeatable():
    data = dataset().hold_out(0.1, seed=0)
    held = data.select("holdout")
    assert np.bincount(held.truth).tolist() == [7, 2, 1]
    assert held.ids == dataset().hold_out(0.1, seed=0).select("holdout").ids
    assert held.ids != dataset().hold_out(0.1, seed=1).select("holdout").ids
    assert len(data.select("train")) == 90
    assert len(data.select("test")) == 7


def test_other_classes_have_no_say_in_a_holdout():
    data = dataset()
    without_angry = data.take(np.flatnonzero(data.truth != 0))
    fewer = without_angry.hold_out(0.1, seed=0).select("holdout")
    whole = data.hold_out(0.1, seed=0).select("holdout")
    assert fewer.ids == tuple(name for name, label in zip(whole.ids, whole.truth, strict=True) if label != 0)


def test_a_class_by_another_name_holds_out_the_same_pictures():
    data = dataset()
    renamed = replace(data, labels=tuple(f"my_{name}" for name in data.labels))
    assert (
        renamed.hold_out(0.1, seed=0).select("holdout").ids
        == data.hold_out(0.1, seed=0).select("holdout").ids
    )


def test_duplicates_are_held_out_together_and_at_their_rate():
    data = dataset((200, 0, 0))
    data.images[100:120] = data.images[80:100]
    data.images[200] = data.images[80]  # of the test split: it stays there
    rates = []
    for seed in range(20):
        held = data.hold_out(0.1, seed=seed)
        chosen, rest = held.select("holdout"), held.select("train")
        assert not set(map(bytes, chosen.images)) & set(map(bytes, rest.images))
        assert (len(chosen), held.split[200]) == (20, "test")
        rates.append(sum(80 <= int(name[3:]) < 120 for name in chosen.ids) / 20)
    assert np.mean(rates) == pytest.approx(40 / 200)


def test_faces_of_one_photo_and_the_users_groups_are_held_out_together():
    data = dataset((60, 40, 0), test=0)
    photos, persons = np.array([f"{row // 2}.jpg" for row in range(100)]), np.array(["ann"] * 3 + [""] * 97)
    data = replace(data, columns={"photo": photos, "split_group": persons})
    for seed in range(5):
        held = data.hold_out(0.2, seed=seed).split == "holdout"
        assert (held[::2] == held[1::2]).all()
        assert len(set(held[:4])) == 1, "rows 0-2 are one person, rows 2 and 3 one photo"
        assert held.sum() == 20


@pytest.mark.parametrize("fraction", [0.0, 1.0, 3.0, -0.5])
def test_a_holdout_of_nothing_or_all_is_refused(fraction):
    with pytest.raises(ConfigError, match="expected a fraction between 0 and 1 to hold out, got"):
        dataset().hold_out(fraction, 0)


def test_images_without_a_label_change_no_class_of_a_holdout():
    data = dataset(per_class=(50, 50, 100), test=0)
    bare = data.targets.copy()
    bare[100:] = 0
    for seed in range(4):
        held = replace(data, targets=bare).hold_out(0.2, seed).select("holdout")
        assert [(held.given == number).sum() for number in (0, 1, -1)] == [10, 10, 20]


def test_rows_may_be_counted_from_the_end():
    taken = dataset().take(np.array([-2, -1]))
    assert taken.ids == ("row105", "row106")
    assert (taken.images == dataset().images[-2:]).all()


def test_an_empty_holdout_is_refused():
    with pytest.raises(
        DataError, match="a holdout of 0.001 of 'train' in memory is empty: raise the fraction"
    ):
        dataset().hold_out(0.001, seed=0)


def test_relabel_into_a_larger_set():
    moved = dataset().relabel(EMOTIONS_7)
    assert moved.targets.shape == (107, 7)
    assert set(moved.truth.tolist()) == {0, 3, 5}
    with pytest.raises(
        DataError, match="label 'angry' of the data is not among the model's labels happy, sad"
    ):
        dataset().relabel(("happy", "sad"))


def test_the_fingerprint_sees_every_part():
    data = dataset()
    other = data.images.copy()
    other[3, 2, 1] ^= 1
    prints = {
        data.fingerprint(),
        replace(data, images=other).fingerprint(),
        replace(data, targets=data.targets[::-1].copy()).fingerprint(),
        replace(data, labels=("a", "b", "c")).fingerprint(),
        data.hold_out(0.1, 0).fingerprint(),
    }
    assert len(prints) == 5
    assert dataset().fingerprint() == data.fingerprint()


def test_rows_without_a_label_are_counted_apart():
    data = FaceDataset(
        np.zeros((5, 8, 8, 1), np.uint8),
        np.array([[0, 1], [0, 0], [1, 0], [0, 1], [0.4, 0.6]], np.float32),
        tuple("abcde"),
        np.array(["train", "train", "test", "train", "test"]),
        ("happy", "sad"),
    )
    assert data.given.tolist() == [1, -1, 0, 1, 1]
    assert data.given_names.tolist() == ["sad", "", "happy", "sad", "sad"]
    assert {split: data.counts(split).tolist() for split in data.splits} == {"train": [0, 2], "test": [1, 1]}
