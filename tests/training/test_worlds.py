"""Light, low resolution, JPEG and noise: each held against another way to make it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mien.config import Augment
from mien.training import augment, worlds


def images(b: int = 3, height: int = 48, width: int = 41) -> torch.Tensor:
    rng = np.random.default_rng(0)
    rough = rng.uniform(20, 230, (b, 7, 6)).astype(np.float32)
    smooth = [cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in rough]
    return torch.from_numpy(np.stack(smooth)[:, None]).clamp(0, 255).round()


@pytest.mark.parametrize("quality", [20, 50, 85])
def test_jpeg_is_that_of_a_library(quality):
    x = images()
    ours = worlds.saved_as_jpeg(x, torch.full((3,), float(quality)))
    for one, made in zip(x, ours, strict=True):
        _, file = cv2.imencode(".jpg", one[0].numpy().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
        theirs = cv2.imdecode(file, cv2.IMREAD_GRAYSCALE).astype(np.float32)
        assert np.abs(made[0].numpy() - theirs).mean() < 0.5, "they round to whole pixels"
        assert np.abs(made[0].numpy() - theirs).mean() < np.abs(one[0].numpy() - theirs).mean()


def test_jpeg_of_what_no_file_holds_is_that_of_the_nearest_bytes():
    far, quality = images() * 2 - 100, torch.tensor([100.0, 40.0, 10.0])
    made = worlds.saved_as_jpeg(far, quality)
    assert torch.equal(made[0], far[0])
    assert torch.equal(made[1:], worlds.saved_as_jpeg(far.clamp(0, 255), quality)[1:])
    assert 0 <= made[1:].min() < made[1:].max() <= 255


def test_quality_100_changes_nothing_and_a_lower_one_more():
    x = images()
    kept, fine, coarse = worlds.saved_as_jpeg(x, torch.tensor([100.0, 90.0, 10.0]))
    assert torch.equal(kept, x[0])
    assert (fine - x[1]).abs().mean() < (coarse - x[2]).abs().mean()


def test_shrinking_loses_what_is_small_and_keeps_the_mean():
    stripes = torch.tensor([0.0, 200.0]).repeat(24).expand(2, 1, 31, 48).clone()
    same, half = worlds.shrunk(stripes, torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(same, stripes[0])
    torch.testing.assert_close(half, torch.full_like(half, 100.0))


def test_light_from_the_right_and_from_below():
    right, below = worlds.light(torch.tensor([[40.0, 0.0], [0.0, -40.0]]), 5, 4)[:, 0]
    assert right[2].tolist() == pytest.approx([-30, -10, 10, 30])
    assert below[:, 1].tolist() == pytest.approx([32, 16, 0, -16, -32])


def test_noise_is_normal_and_follows_from_the_seed_of_its_row():
    made = worlds.noise(torch.tensor([5, 9, 5]), torch.Size((3, 1, 97, 101)))
    assert torch.equal(made[0], made[2])
    assert abs(float(made[0].mean())) < 0.03
    assert abs(float(made[0].std()) - 1) < 0.03
    assert abs(float((made[0] * made[1]).mean())) < 0.03
    assert abs(float((made[0, 0, :, 1:] * made[0, 0, :, :-1]).mean())) < 0.03
    assert abs(float((made[0].abs() < 1).float().mean()) - 0.683) < 0.02


def test_light_that_is_not_clipped_can_be_taken_back():
    x, bright = images(), Augment(flip_probability=0, brightness_fraction=1, clip_light=False)
    draws = augment.draw(bright, 3, torch.Generator().manual_seed(0))
    made = augment.apply(bright, x, draws)
    assert made.max() > 255
    torch.testing.assert_close(made - draws.brightness[:, None, None, None], x, atol=2e-2, rtol=0)
    assert augment.apply(bright.model_copy(update={"clip_light": True}), x, draws).max() <= 255


def test_gamma_by_hand():
    x = torch.tensor([0.0, 63.75, 255.0]).reshape(1, 1, 1, 3)
    options = Augment(flip_probability=0, gamma_fraction=1)
    draws = augment.draw(options, 1, torch.Generator().manual_seed(0))._replace(gamma=torch.tensor([2.0]))
    assert augment.apply(options, x, draws).flatten().tolist() == pytest.approx([0, 15.9375, 255], abs=1e-2)
