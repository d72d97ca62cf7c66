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


def apply(images: torch.Tensor, draws: augment.Draws, **options) -> torch.Tensor:
    return augment.apply(Augment(**options), images, draws)


def pictures(b: int = 3) -> torch.Tensor:
    return (torch.rand(b, 1, 11, 13, generator=torch.Generator().manual_seed(1)) * 255).round()


def test_nothing_asked_nothing_changed():
    torch.testing.assert_close(apply(pictures(), drawn()), pictures(), atol=2e-3, rtol=0)


def test_flip_mirrors_left_and_right():
    flipped = apply(pictures(), drawn(flip_probability=1.0))
    torch.testing.assert_close(flipped, pictures().flip(3), atol=2e-3, rtol=0)


def test_half_are_flipped():
    flips = drawn(2000, flip_probability=0.5).affine[:, 0, 0] < 0
    assert abs(flips.float().mean() - 0.5) < 0.05


def test_shift_moves_by_parts_of_the_side():
    draws = drawn(2000, shift_fraction=0.25)
    assert draws.affine[:, :, 2].abs().max() <= 0.5  # coordinates run from -1 to 1: two sides
    assert draws.affine[:, :, 2].abs().max() > 0.49
    one = drawn(1)._replace(affine=torch.tensor([[[1.0, 0, 2 * 3 / 13], [0, 1.0, 0]]]))
    for outside, value in (("grey", 127.5), ("black", 0.0)):
        moved = apply(pictures(1), one, outside=outside)
        torch.testing.assert_close(moved[..., :-3], pictures(1)[..., 3:], atol=2e-3, rtol=0)
        assert ((moved[..., -3:] - value).abs() < 2e-3).all()
    mirrored = apply(pictures(1), one, outside="reflection")
    torch.testing.assert_close(mirrored[..., -3:], pictures(1).flip(3)[..., :3], atol=2e-3, rtol=0)
    held = apply(pictures(1), one, outside="border")
    torch.testing.assert_close(held[..., -3:], pictures(1)[..., -1:].expand(-1, -1, -1, 3), atol=2e-3, rtol=0)


def test_rotation_and_scale_keep_their_bounds():
    turned = drawn(2000, rotation_deg=12.0).affine
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])
    assert math.radians(11.9) < angle.abs().max() <= math.radians(12.001)
    size = drawn(2000, scale_fraction=0.25).affine[:, 0, 0]
    assert 0.8 - 1e-6 <= size.min() < 0.81
    assert 1.24 < size.max() <= 1.25 + 1e-6


def test_some_pictures_stay_where_they_are():
    """They are mirrored all the same, and every pixel keeps its value: nothing is sampled between two."""
    strong = dict(rotation_deg=20.0, shift_fraction=0.2, scale_fraction=0.2, crop_fraction=0.2)
    affine = drawn(2000, **strong, flip_probability=0.5, move_probability=0.25).affine
    still = (affine.abs() == torch.eye(3)[:2]).flatten(1).all(1)
    assert abs(still.float().mean() - 0.75) < 0.04
    assert abs((affine[still, 0, 0] < 0).float().mean() - 0.5) < 0.05
    assert torch.equal(drawn(50, **strong).affine, drawn(50, **strong, move_probability=1.0).affine)


def test_some_pictures_keep_their_light_and_quality():
    degraded = dict(gamma_fraction=0.5, light_slope_fraction=0.3, downscale_fraction=0.5, jpeg_probability=1.0,
                    noise_fraction=0.1)  # fmt: skip
    images = torch.rand(400, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 255
    some = drawn(400, **degraded, degrade_probability=0.25)
    same = (apply(images, some, clip_light=False) - images).abs().amax((1, 2, 3)) < 2e-3
    assert abs(same.float().mean() - 0.75) < 0.06
    every = drawn(400, **degraded)
    torch.testing.assert_close(some.gamma[~same], every.gamma[~same])
    assert not (apply(images, every, clip_light=False) - images).abs().amax((1, 2, 3)).lt(2e-3).any()


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
def test_an_edge_moved_by_half_a_pixel(interpolation):
    edge = torch.tensor([0.0, 0, 0, 0, 255, 255, 255, 255]).repeat(8, 1)[None, None]
    half = drawn(1)._replace(affine=torch.tensor([[[1.0, 0, 2 * 0.499 / 8], [0, 1.0, 0]]]))
    row = apply(edge, half, interpolation=interpolation, outside="border")[0, 0, 4]
    between = {"nearest": 0.0, "linear": 127.5, "cubic": 127.5}[interpolation]
    expected = torch.tensor([0.0, 0, 0, between, 255, 255, 255, 255])  # what cubic overshoots is cut off
    torch.testing.assert_close(row, expected, atol=0.7, rtol=0)


def test_a_quarter_turn_by_hand():
    square = pictures(1)[..., :11]
    quarter = drawn(1)._replace(affine=torch.tensor([[[0.0, -1, 0], [1, 0, 0]]]))
    torch.testing.assert_close(apply(square, quarter), square.rot90(1, (2, 3)), atol=2e-3, rtol=0)


def test_a_crop_stays_inside_the_picture():
    draws = drawn(2000, crop_fraction=0.4).affine
    reach = draws[:, :, 2].abs() + torch.stack([draws[:, 0, 0], draws[:, 1, 1]], dim=1)
    assert reach.max() <= 1 + 1e-6
    assert 0.6 <= draws[:, 0, 0].min() < 0.61


def test_brightness_and_contrast_by_hand():
    draws = drawn(1)._replace(contrast=torch.tensor([0.5]), brightness=torch.tensor([10.0]))
    grey = torch.full((1, 1, 5, 5), 27.5)
    torch.testing.assert_close(apply(grey, draws), torch.full_like(grey, 87.5))


@pytest.mark.parametrize("seed", range(3))
def test_nothing_leaves_the_range(seed):
    strong = dict(contrast_fraction=1.0, brightness_fraction=1.0, erase_probability=0.5, rotation_deg=180.0)
    strong |= dict(blur_sigma_px=2.0, sharpness_fraction=4.0, mixup_probability=0.5, cutmix_probability=0.5)
    strong |= dict(noise_fraction=0.3, jpeg_probability=0.5, jpeg_least_quality=5)
    draws = drawn(50, seed, **strong)
    out, _ = augment.mix(apply(pictures(50), draws), torch.eye(50), draws.mix)
    assert out.min() >= 0
    assert out.max() <= 255 + 1e-3, "MixUp rounds"


def test_erasing_paints_one_rectangle_of_one_grey():
    draws = drawn(1, erase_probability=1.0)._replace(
        erase_box=torch.tensor([[0.5, 0.5, 0.25, 0.2]]), erase_value=torch.tensor([77.0])
    )
    out = apply(torch.zeros(1, 1, 20, 20), draws)
    assert (out == 77).sum() == 10 * 8
    assert (out[0, 0, 6:14, 5:15] == 77).all()


def test_erasing_happens_as_often_as_asked():
    assert abs(drawn(2000, erase_probability=0.3).erased.float().mean() - 0.3) < 0.04


def test_the_same_seed_draws_the_same_and_rows_are_shares():
    strong = dict(rotation_deg=10.0, erase_probability=0.5, blur_sigma_px=1.0, sharpness_fraction=0.3)
    one, two = drawn(6, **strong), drawn(6, **strong)
    assert all(torch.equal(a, b) for a, b in zip(one[:8], two[:8], strict=True))
    assert not torch.equal(one.affine, drawn(6, seed=1, **strong).affine)
    x = pictures(6)
    whole = apply(x, one)
    for rank in range(2):
        assert torch.equal(apply(x[rank::2], one.of(torch.arange(rank, 6, 2))), whole[rank::2])


def test_vertical_flip_turns_upside_down():
    flipped = apply(pictures(), drawn(vertical_flip_probability=1.0))
    torch.testing.assert_close(flipped, pictures().flip(2), atol=2e-3, rtol=0)


def test_blur_by_hand():
    """One white pixel becomes the product of two Gaussians; the sum of light stays."""
    point = torch.zeros(1, 1, 15, 15)
    point[0, 0, 7, 7] = 200
    draws = drawn(1, blur_sigma_px=1.0)._replace(blur=augment._gaussian(torch.tensor([0.8]), 1.0))
    out = apply(point, draws)[0, 0]
    assert float(out.sum()) == pytest.approx(200, rel=1e-3)
    assert float(out[7, 8] / out[7, 7]) == pytest.approx(math.exp(-0.5 / 0.64), rel=1e-3)
    assert float(out[8, 8] / out[7, 7]) == pytest.approx(math.exp(-1.0 / 0.64), rel=1e-3)


def test_blur_is_different_for_every_picture_and_bounded():
    kernels = drawn(500, blur_sigma_px=2.0).blur
    torch.testing.assert_close(kernels.sum(1), torch.ones(500))
    peaks = kernels[:, kernels.shape[1] // 2]
    assert peaks.max() > 0.9
    assert peaks.min() == pytest.approx(1 / (2.0 * math.sqrt(2 * math.pi)), rel=0.03)


def test_sharpness_adds_the_difference_from_the_local_mean():
    edge = torch.tensor([[60.0, 60, 60, 120, 120, 120]]).repeat(6, 1)[None, None]
    out = apply(edge, drawn(1, sharpness_fraction=1.0)._replace(sharpness=torch.tensor([0.5])))[0, 0]
    assert out[3].round().tolist() == [60, 60, 50, 130, 120, 120]


def test_the_mean_picture_stays_centred():
    strong = dict(
        rotation_deg=20.0, shift_fraction=0.2, scale_fraction=0.2, crop_fraction=0.2, flip_probability=0.5
    )
    spot = torch.zeros(1, 1, 21, 21)
    spot[..., 8:13, 8:13] = 255
    mean = apply(spot.expand(4000, -1, -1, -1), drawn(4000, **strong), outside="black").mean(0)[0]
    axis = torch.arange(21.0) - 10
    assert abs(float((mean.sum(0) * axis).sum() / mean.sum())) < 0.15
    assert abs(float((mean.sum(1) * axis).sum() / mean.sum())) < 0.15


def test_mixup_blends_pictures_and_targets_in_the_same_shares():
    mixed = drawn(200, mixup_probability=1.0).mix
    values = torch.arange(200.0)[:, None, None, None].expand(-1, 1, 5, 7)
    x, y = augment.mix(values, torch.eye(200), mixed)
    want = (y * torch.arange(200.0)).sum(1)
    torch.testing.assert_close(x.mean((1, 2, 3)), want)
    torch.testing.assert_close(y.sum(1), torch.ones(200))
    assert (mixed.partner.sort().values == torch.arange(200)).all()


def test_cutmix_pastes_as_much_as_the_targets_say():
    mixed = drawn(300, cutmix_probability=1.0).mix
    values = torch.arange(300.0)[:, None, None, None].expand(-1, 1, 40, 40)
    x, y = augment.mix(values, torch.eye(300), mixed)
    own = (x == values).float().mean((1, 2, 3))
    moved = mixed.partner != torch.arange(300)
    assert (own[moved] - mixed.share[moved]).abs().max() < 0.06  # whole pixels
    assert 0.35 < float(mixed.share.mean()) < 0.85
    torch.testing.assert_close(y[torch.arange(300), torch.arange(300)][moved], mixed.share[moved])


def test_mixing_happens_as_often_as_asked():
    mixed = drawn(3000, mixup_probability=0.3, cutmix_probability=0.2).mix
    assert abs(float(mixed.blended.float().mean()) - 0.3) < 0.03
    assert abs(float((mixed.paste_box[:, 2] > 0).float().mean()) - 0.2) < 0.03


def test_options_that_are_off_do_not_move_the_others():
    assert torch.equal(drawn(rotation_deg=5.0).affine, drawn(rotation_deg=5.0, blur_sigma_px=1.0).affine)


def test_a_cpu_skips_pictures_that_nothing_happens_to_and_gets_what_a_gpu_gets(monkeypatch):
    strong = dict(downscale_fraction=0.5, jpeg_probability=0.5, noise_fraction=0.1, degrade_probability=0.5)
    draws, images = drawn(40, **strong), torch.rand(40, 1, 16, 16) * 255
    spared = (draws.noise.std == 0) & (draws.jpeg_quality == 100) & (draws.lost_sides == 0)
    assert 10 < spared.sum() < 30
    sizes = []

    def all_rows(needed, change, images, *values):
        sizes.append(int(needed.sum()))
        return change(images, *values)

    some = augment._degraded(images, draws)
    monkeypatch.setattr(augment, "_where", all_rows)
    torch.testing.assert_close(some, augment._degraded(images, draws))
    assert torch.equal(some[spared], images[spared])
    assert all(5 < size < 35 for size in sizes)
    nobody = drawn(5, **strong | {"degrade_probability": 0.0})
    assert torch.equal(augment._degraded(images[:5], nobody), images[:5])
