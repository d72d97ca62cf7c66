"""Batches: labels follow their images, the order is seeded, processes share one batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mien.config import Augment
from mien.data.dataset import FaceDataset, one_hot
from mien.errors import DataError
from mien.preprocess import Preprocess
from mien.training.batches import Batches, epoch_seed

PLAIN = Preprocess(size_px=8, scale=1.0, mean=(0.0,), std=(1.0,))
STILL = Augment(flip_probability=0.0)


def numbered(n: int = 23) -> FaceDataset:
    """Every picture shows its own label times ten plus its row."""
    truth = np.arange(n) % 5
    images = np.broadcast_to((truth * 40 + np.arange(n)).astype(np.uint8)[:, None, None, None], (n, 8, 8, 1))
    return FaceDataset(
        images.copy(), one_hot(truth, 5), tuple(map(str, range(n))), np.full(n, "train"), tuple("abcde")
    )


def batches(augmentation: Augment = STILL, **options) -> Batches:
    options = {"batch_size": 6, "seed": 0, "device": torch.device("cpu"), **options}
    return Batches(numbered(), PLAIN, augmentation, **options)


def test_labels_follow_their_images():
    seen = []
    for x, y in batches().epoch(0):
        assert (x.shape, y.shape) == ((6, 1, 8, 8), (6, 5))
        values = x.mean((1, 2, 3)).round().int().tolist()
        for value, label in zip(values, y.argmax(1).tolist(), strict=True):
            row = next(r for r in range(23) if (r % 5) * 40 + r == value)
            assert row % 5 == label
            seen.append(row)
    assert len(seen) == len(set(seen)) == 18  # three whole batches, no row twice


def test_every_epoch_has_its_own_order_and_every_seed_too():
    def order(batches: Batches, epoch: int) -> list[float]:
        return [value for x, _ in batches.epoch(epoch) for value in x.mean((1, 2, 3)).tolist()]

    assert order(batches(), 0) == order(batches(), 0)
    assert order(batches(), 0) != order(batches(), 1)
    assert order(batches(), 0) != order(batches(seed=1), 0)
    assert epoch_seed(0, 1) != epoch_seed(1, 0)


def test_two_processes_together_see_the_batch_of_one():
    strong = Augment(rotation_deg=10.0, shift_fraction=0.1, erase_probability=0.5, contrast_fraction=0.2)
    whole = list(batches(strong).epoch(3))
    shares = [list(batches(strong, rank=rank, world_size=2).epoch(3)) for rank in range(2)]
    for (x, y), *parts in zip(whole, *shares, strict=True):
        for rank, (part_x, part_y) in enumerate(parts):
            assert torch.equal(part_x, x[rank::2])
            assert torch.equal(part_y, y[rank::2])


def test_input_is_the_preprocessing_of_the_classifier():
    spec = Preprocess(size_px=8)
    data = numbered()
    made = Batches(data, spec, STILL, batch_size=23, seed=0, device=torch.device("cpu"))
    ((x, _),) = made.epoch(0)
    want = np.sort(spec.normalise(data.images).ravel())
    np.testing.assert_allclose(np.sort(x.numpy().ravel()), want, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 24}, "23 training images do not fill a batch of 24: lower batch_size"),
        ({"world_size": 4}, "a batch of 6 does not divide among 4 processes"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        batches(**options)
