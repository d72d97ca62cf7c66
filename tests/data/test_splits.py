"""Drawing whole groups, each class in its fraction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data.packed import write_packed
from mien.data.read import read_dataset, read_split
from mien.data.splits import drawn, folds
from mien.errors import ConfigError, DataError
from mien.options import ReadOptions
from mien.preprocess import Preprocess
from tests.pictures import png, tree, write_tree


def test_without_groups_each_class_gives_its_fraction():
    truth = np.repeat([0, 1, 2, -1], [70, 20, 10, 30])
    held = drawn(truth, np.arange(130), 0.1, seed=0)
    assert np.bincount(truth[held] + 1).tolist() == [3, 7, 2, 1]
    assert (drawn(truth, np.arange(130), 0.1, seed=0) == held).all()
    assert (drawn(truth, np.arange(130), 0.1, seed=1) != held).any()


def test_other_classes_and_their_order_have_no_say():
    truth = np.repeat([0, 1, 2], [70, 23, 11])
    held = drawn(truth, np.arange(104), 0.2, seed=3)
    assert (drawn(2 - truth, np.arange(104), 0.2, seed=3) == held).all()
    assert (drawn(truth[70:], np.arange(34), 0.2, seed=3) == held[70:]).all()


def test_persons_with_all_classes_are_drawn_whole_and_evenly():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), rng.integers(3, 25, 60))
    truth = rng.choice(4, len(groups), p=[0.5, 0.3, 0.15, 0.05])
    for seed in range(7):
        held = drawn(truth, groups, 0.2, seed)
        assert not set(groups[held]) & set(groups[~held])
        share = np.bincount(truth[held], minlength=4) / np.bincount(truth)
        assert share[:3] == pytest.approx([0.2] * 3, abs=0.05)


def test_groups_of_every_size_are_held_out_at_their_rate():
    sizes = np.array([1] * 800 + [2] * 100 + [5] * 20)
    groups = np.repeat(np.arange(920), sizes)
    held = np.mean([drawn(np.zeros(len(groups), int), groups, 0.1, seed) for seed in range(30)], axis=0)
    for size in (1, 2, 5):
        assert held[sizes[groups] == size].mean() == pytest.approx(0.1, abs=0.012)


def test_folds_part_all_rows_evenly():
    groups = np.arange(101) // 2
    truth = (np.arange(101) % 8 < 2).astype(int)
    fold = folds(truth, groups, 5, seed=0)
    assert (np.diff(fold.reshape(-1)[:100].reshape(50, 2)) == 0).all()
    for label in (0, 1):
        counts = np.bincount(fold[truth == label], minlength=5)
        assert counts.max() - counts.min() <= 3
    assert sorted(set(fold.tolist())) == [0, 1, 2, 3, 4]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 12)), max_size=60),
    st.floats(0.01, 0.99),
    st.integers(0, 9),
)
def test_a_group_is_never_divided(rows, fraction, seed):
    truth, groups = (np.array([row[place] for row in rows], int) for place in (0, 1))
    held = drawn(truth, groups, fraction, seed)
    assert not set(groups[held]) & set(groups[~held])
    if len(rows):
        largest = np.bincount(groups).max()
        assert abs(held.sum() - fraction * len(rows)) <= largest * 5


@pytest.mark.parametrize("options", [{"val_fraction": 0.2}, {"split_seed": 3}])
def test_no_split_is_drawn_where_all_images_are_taken(tmp_path, options):
    write_tree(tmp_path / "set", {f"{label}/{i}.png": png(i) for label in ("happy", "sad") for i in range(4)})
    assert len(read_split(tmp_path / "set", Preprocess(), "all")) == 8
    with pytest.raises(
        ConfigError, match=f"{next(iter(options))} has no effect here: split=all takes every image"
    ):
        read_split(tmp_path / "set", Preprocess(), "all", ReadOptions(**options))


def test_the_hold_out_of_recipes_is_a_split_by_name(tmp_path):
    root = write_tree(tmp_path / "set", tree(each=20))
    held = read_split(root, Preprocess(), "holdout")
    wanted = read_dataset(root).hold_out(0.1, 0).select("holdout")
    assert held.ids == wanted.ids
    assert set(held.split) == {"holdout"}
    assert held.notes[-1] == "holdout: 0.1 of each class of train, which recipes hold out (seed 0)"
    write_packed(tmp_path / "own.npz", read_dataset(root).hold_out(0.3, 1))
    own = read_split(tmp_path / "own.npz", Preprocess(), "holdout")
    assert len(own) == 3 * len(held), "a split of this name comes first"
    with pytest.raises(DataError, match="no split 'train'"):
        read_split(write_tree(tmp_path / "other", tree(splits=("test",))), Preprocess(), "holdout")
