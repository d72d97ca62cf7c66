"""Batched augmentation, each change held in the hand."""

from __future__ import annotations

import math

import pytest
import torch

from mien.config import Augment
from mien.training import augment

NOTHING = {"flip_probability": 0.0}


def drawn(b: int = 3, seed: int = 0, **options) -> augment.Draws:
    return augment.draw(Augment(**{**NOTHING, **options}), b, torch.Generator().manual_seed(seed))


def pictures(b: int = 3) -> torch.Tensor:
    return (torch.rand(b, 1, 11, 13, generator=torch.Generator().manual_seed(1)) * 255).round()


def test_nothing_asked_nothing_changed():
    torch.testing.assert_close(augment.apply(pictures(), drawn()), pictures(), atol=2e-3, rtol=0)


def test_flip_mirrors_left_and_right():
    flipped = augment.apply(pictures(), drawn(flip_probability=1.0))
    torch.testing.assert_close(flipped, pictures().flip(3), atol=2e-3, rtol=0)


def test_half_are_flipped():
    flips = drawn(2000, flip_probability=0.5).affine[:, 0, 0] < 0
    assert abs(flips.float().mean() - 0.5) < 0.05


def test_shift_moves_by_parts_of_the_side():
    draws = drawn(2000, shift_fraction=0.25)
    assert draws.affine[:, :, 2].abs().max() <= 0.5  # coordinates run from -1 to 1: two sides
    assert draws.affine[:, :, 2].abs().max() > 0.49
    one = drawn(1)._replace(affine=torch.tensor([[[1.0, 0, 2 * 3 / 13], [0, 1.0, 0]]]))
    moved = augment.apply(pictures(1), one)
    torch.testing.assert_close(moved[..., :-3], pictures(1)[..., 3:], atol=2e-3, rtol=0)
    assert (moved[..., -3:].abs() < 2e-3).all()  # black comes in


def test_rotation_and_scale_keep_their_bounds():
    turned = drawn(2000, rotation_deg=12.0).affine
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])
    assert math.radians(11.9) < angle.abs().max() <= math.radians(12.001)
    size = drawn(2000, scale_fraction=0.25).affine[:, 0, 0]
    assert 0.8 - 1e-6 <= size.min() < 0.81
    assert 1.24 < size.max() <= 1.25 + 1e-6


def test_a_quarter_turn_by_hand():
    square = pictures(1)[..., :11]
    quarter = drawn(1)._replace(affine=torch.tensor([[[0.0, -1, 0], [1, 0, 0]]]))
    torch.testing.assert_close(augment.apply(square, quarter), square.rot90(1, (2, 3)), atol=2e-3, rtol=0)


def test_a_crop_stays_inside_the_picture():
    draws = drawn(2000, crop_fraction=0.4).affine
    reach = draws[:, :, 2].abs() + torch.stack([draws[:, 0, 0], draws[:, 1, 1]], dim=1)
    assert reach.max() <= 1 + 1e-6
    assert 0.6 <= draws[:, 0, 0].min() < 0.61


def test_brightness_and_contrast_by_hand():
    draws = drawn(1)._replace(contrast=torch.tensor([0.5]), brightness=torch.tensor([10.0]))
    grey = torch.full((1, 1, 5, 5), 27.5)
    torch.testing.assert_close(augment.apply(grey, draws), torch.full_like(grey, 87.5))


@pytest.mark.parametrize("seed", range(3))
def test_nothing_leaves_the_range(seed):
    strong = dict(contrast_fraction=1.0, brightness_fraction=1.0, erase_probability=1.0, rotation_deg=180.0)
    out = augment.apply(pictures(50), drawn(50, seed, **strong))
    assert out.min() >= 0
    assert out.max() <= 255


def test_erasing_paints_one_rectangle_of_one_grey():
    draws = drawn(1, erase_probability=1.0)._replace(
        erase_box=torch.tensor([[0.5, 0.5, 0.25, 0.2]]), erase_value=torch.tensor([77.0])
    )
    out = augment.apply(torch.zeros(1, 1, 20, 20), draws)
    assert (out == 77).sum() == 10 * 8
    assert (out[0, 0, 6:14, 5:15] == 77).all()


def test_erasing_happens_as_often_as_asked():
    assert abs(drawn(2000, erase_probability=0.3).erased.float().mean() - 0.3) < 0.04


def test_the_same_seed_draws_the_same_and_rows_are_shares():
    strong = dict(rotation_deg=10.0, erase_probability=0.5, brightness_fraction=0.1)
    one, two = drawn(6, **strong), drawn(6, **strong)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.affine, drawn(6, seed=1, **strong).affine)
    x = pictures(6)
    whole = augment.apply(x, one)
    for rank in range(2):
        assert torch.equal(augment.apply(x[rank::2], one.rows(rank, 2)), whole[rank::2])
