"""Augmentation of a whole batch in a few tensor operations, on the device.

Drawing and applying are apart: `draw` makes one row of random numbers a picture, `apply` uses rows. So
several processes can draw the same global batch and each apply its own rows, and a test can hold a
picture's change in its hand. Pixels stay in 0-255; everything geometric is one sampling. `mix` alone looks
across the batch. What a recipe does not ask for is None and costs nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mien.training import worlds

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float32, Int

    from mien.config import Augment


MID_GREY = 127.5
_MODES = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}


class Draws(NamedTuple):
    """The random change of each picture in a batch."""

    affine: Float32[Tensor, "b 2 3"]
    """Output -> input coordinates, each axis in [-1, 1]."""
    contrast: Float32[Tensor, " b"]
    """Factor around mid-grey."""
    brightness: Float32[Tensor, " b"]
    """Offset, in pixel values."""
    erased: Bool[Tensor, " b"]
    erase_box: Float32[Tensor, "b 4"]
    """Centre x, y and half width, half height, in parts of the side."""
    erase_value: Float32[Tensor, " b"]
    blur: Float32[Tensor, "b taps"] | None = None
    """A kernel that sums to one, for rows and columns alike."""
    sharpness: Float32[Tensor, " b"] | None = None
    """Factor of the difference from the local mean."""
    gamma: Float32[Tensor, " b"] | None = None
    """Exponent of the pixels from 0 to 1."""
    slope: Float32[Tensor, "b 2"] | None = None
    """Light added from the centre to the right and to the lower edge, in pixel values."""
    lost_sides: Float32[Tensor, " b"] | None = None
    """From 0 to 1, how small the image was before it was enlarged again."""
    jpeg_quality: Float32[Tensor, " b"] | None = None
    """100 where the image was not saved as JPEG."""
    noise: Noise | None = None
    mix: Mix | None = None

    def of(self, rows: Int[Tensor, " r"]) -> Draws:
        """Return the changes of these rows, without the mixing."""
        made: dict[str, Any] = {
            name: values.of(rows) if isinstance(values, Noise) else values[rows]
            for name, values in self._asdict().items()
            if values is not None and name != "mix"
        }
        return Draws(**made)


class Noise(NamedTuple):
    """The noise of each image: how much, and the seed that it follows from."""

    std: Float32[Tensor, " b"]
    """In pixel values."""
    seed: Int[Tensor, " b"]

    def of(self, rows: Int[Tensor, " r"]) -> Noise:
        """Return the noise of these rows."""
        return Noise(self.std[rows], self.seed[rows])


class Mix(NamedTuple):
    """How much of each picture comes from another one of the batch."""

    partner: Int[Tensor, " b"]
    share: Float32[Tensor, " b"]
    """Part of the target that stays the picture's own."""
    blended: Bool[Tensor, " b"]
    """MixUp: `share` of the picture too."""
    paste_box: Float32[Tensor, "b 4"]
    """CutMix: centre x, y and half width, half height, in parts of the side; empty where nothing is pasted."""

    def of(self, rows: Int[Tensor, " r"]) -> Mix:
        """Return how these rows are mixed."""
        return Mix(*(values[rows] for values in self))


def draw(augment: Augment, b: int, generator: torch.Generator) -> Draws:
    """Draw the changes for `b` pictures on the generator's device."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        made = torch.rand(b, *shape, generator=generator, device=generator.device)
        return made * (high - low) + low

    low, high = augment.erase_side_fraction
    draws = Draws(
        affine=_affine(augment, uniform),
        contrast=1 + uniform(-augment.contrast_fraction, augment.contrast_fraction),
        brightness=255 * uniform(-augment.brightness_fraction, augment.brightness_fraction),
        erased=uniform(0, 1) < augment.erase_probability,
        erase_box=torch.cat([uniform(0, 1, 2), uniform(low / 2, high / 2, 2)], dim=1),
        erase_value=uniform(0, 255),
    )
    if augment.vertical_flip_probability:
        flip = torch.where(uniform(0, 1) < augment.vertical_flip_probability, -1.0, 1.0)
        upright = torch.stack([torch.ones_like(flip), flip], dim=1)
        draws = draws._replace(affine=draws.affine * upright[:, :, None])
    if augment.blur_sigma_px:
        draws = draws._replace(blur=_gaussian(uniform(0, augment.blur_sigma_px), augment.blur_sigma_px))
    if augment.sharpness_fraction:
        draws = draws._replace(sharpness=uniform(-augment.sharpness_fraction, augment.sharpness_fraction))
    draws = _worlds(augment, draws, generator, uniform)
    if augment.mixup_probability or augment.cutmix_probability:
        draws = draws._replace(mix=_mix(augment, b, generator, uniform))
    return draws


def _worlds(augment: Augment, draws: Draws, generator: torch.Generator, uniform) -> Draws:  # type: ignore[no-untyped-def]
    """Draw what differs between photographs of different origin: light, size, JPEG and noise."""
    if augment.gamma_fraction:
        reach = math.log1p(augment.gamma_fraction)
        draws = draws._replace(gamma=torch.exp(uniform(-reach, reach)))
    if augment.light_slope_fraction:
        angle, strength = uniform(0, 2 * math.pi), uniform(0, 255 * augment.light_slope_fraction)
        slope = strength[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
        draws = draws._replace(slope=slope)
    if augment.downscale_fraction:
        draws = draws._replace(lost_sides=uniform(0, augment.downscale_fraction))
    if augment.jpeg_probability:
        saved, quality = uniform(0, 1) < augment.jpeg_probability, uniform(augment.jpeg_least_quality, 95)
        draws = draws._replace(jpeg_quality=torch.where(saved, quality, 100.0))
    if augment.noise_fraction:
        strength = uniform(0, 255 * augment.noise_fraction)
        seed = torch.randint(2**31, strength.shape, generator=generator, device=generator.device)
        draws = draws._replace(noise=Noise(strength, seed))
    if augment.degrade_probability < 1:
        draws = _sparing(draws, uniform(0, 1) >= augment.degrade_probability)
    return draws


def _sparing(draws: Draws, spared: Bool[Tensor, " b"]) -> Draws:
    """Return the draws without changes of light and quality for the pictures that are spared."""
    nothing = {"gamma": 1.0, "slope": 0.0, "lost_sides": 0.0, "jpeg_quality": 100.0}
    made: dict[str, Any] = {
        name: torch.where(spared[:, None] if values.ndim > 1 else spared, value, values)
        for name, value in nothing.items()
        if (values := getattr(draws, name)) is not None
    }
    if draws.noise is not None:
        made["noise"] = draws.noise._replace(std=torch.where(spared, 0.0, draws.noise.std))
    return draws._replace(**made)


def apply(augment: Augment, images: Float32[Tensor, "b c h w"], draws: Draws) -> Float32[Tensor, "b c h w"]:
    """Return the changed pictures; values stay in 0-255 unless `clip_light` is off, and always where JPEG is."""
    if draws.gamma is not None:
        images = 255 * (images / 255) ** draws.gamma[:, None, None, None]
    factor, offset = draws.contrast[:, None, None, None], draws.brightness[:, None, None, None]
    images = (images - MID_GREY) * factor + (MID_GREY + offset)
    if draws.slope is not None:
        images = images + worlds.light(draws.slope, *images.shape[2:])
    if augment.clip_light:
        images = images.clamp(0, 255)
    grid = _grid(draws.affine, *images.shape[2:])
    ground = MID_GREY if augment.outside == "grey" else 0.0
    padding = augment.outside if augment.outside in ("border", "reflection") else "zeros"
    mode = _MODES[augment.interpolation]
    images = functional.grid_sample(images - ground, grid, mode, padding, align_corners=False)
    images = images + ground
    if augment.interpolation == "cubic":  # it overshoots
        images = images.clamp(0, 255)
    images = _degraded(images, draws)
    if augment.clip_light:
        images = images.clamp(0, 255)
    erased = _inside(images, draws.erase_box) & draws.erased[:, None, None, None]
    return torch.where(erased, draws.erase_value[:, None, None, None], images)


def _degraded(images: Float32[Tensor, "b c h w"], draws: Draws) -> Float32[Tensor, "b c h w"]:
    """Return the pictures with their changes of resolution, sharpness, compression and noise."""
    if draws.lost_sides is not None:
        images = _where(draws.lost_sides > 0, worlds.shrunk, images, draws.lost_sides)
    if draws.blur is not None:
        images = _convolved(_convolved(images, draws.blur, dim=2), draws.blur, dim=3)
    if draws.sharpness is not None:
        mean = functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
        images = images + draws.sharpness[:, None, None, None] * (images - mean)
    if draws.jpeg_quality is not None:
        images = _where(draws.jpeg_quality < 100, worlds.saved_as_jpeg, images, draws.jpeg_quality)
    if draws.noise is not None:
        images = _where(draws.noise.std > 0, _noisy, images, *draws.noise)
    return images


def _where(
    needed: Bool[Tensor, " b"], change: Callable[..., Tensor], images: Tensor, *values: Tensor
) -> Tensor:
    """Return the pictures, changed where it is needed.

    A CPU skips the others, to save time. A GPU would have to wait for their number, so it changes
    all; the values of the others change nothing.
    """
    if images.device.type != "cpu":
        return change(images, *values)
    rows = needed.nonzero()[:, 0]
    return images.index_copy(0, rows, change(images[rows], *(one[rows] for one in values)))


def _noisy(images: Tensor, std: Float32[Tensor, " b"], seed: Int[Tensor, " b"]) -> Tensor:
    return images + std[:, None, None, None] * worlds.noise(seed, images.shape)


def _grid(affine: Float32[Tensor, "b 2 3"], height: int, width: int) -> Float32[Tensor, "b h w 2"]:
    """Return where each output pixel is sampled: torch's `affine_grid`, much faster on a CPU."""
    x, y = ((torch.arange(side, device=affine.device) * 2 + 1) / side - 1 for side in (width, height))
    across, down, offset = (column[:, :, None, None] for column in affine.unbind(2))
    return (across * x + (down * y[:, None] + offset)).permute(0, 2, 3, 1)


def mix(
    images: Float32[Tensor, "b c h w"],
    targets: Float32[Tensor, "b k"],
    mixed: Mix,
    partners: tuple[Float32[Tensor, "b c h w"], Float32[Tensor, "b k"]] | None = None,
) -> tuple[Float32[Tensor, "b c h w"], Float32[Tensor, "b k"]]:
    """Blend or paste each image with its partner, and their targets in the same shares.

    `partners` are the partners' images and targets; None takes them from the batch, as `mixed` says.

    Drawn per picture and from the run's own generator, where torchvision's transforms draw one share a batch.
    """
    other, other_targets = partners or (images[mixed.partner], targets[mixed.partner])
    share = mixed.share[:, None, None, None]
    blended = torch.where(mixed.blended[:, None, None, None], share * images + (1 - share) * other, images)
    pasted = torch.where(_inside(images, mixed.paste_box), other, blended)
    share = mixed.share[:, None]
    return pasted, share * targets + (1 - share) * other_targets


def _affine(augment: Augment, uniform) -> Float32[Tensor, "b 2 3"]:  # type: ignore[no-untyped-def]
    turn = math.radians(augment.rotation_deg)
    angle = uniform(-turn, turn)
    stretch = math.log1p(augment.scale_fraction)
    size = torch.exp(uniform(-stretch, stretch))
    flip = torch.where(uniform(0, 1) < augment.flip_probability, -1.0, 1.0)
    kept = 1 - uniform(0, augment.crop_fraction, 2)  # part of each side that the crop keeps
    offset = (1 - kept) * uniform(-1, 1, 2) + 2 * uniform(-augment.shift_fraction, augment.shift_fraction, 2)
    if augment.move_probability < 1:
        moved = uniform(0, 1) < augment.move_probability
        angle, size = torch.where(moved, angle, 0.0), torch.where(moved, size, 1.0)
        kept, offset = torch.where(moved[:, None], kept, 1.0), torch.where(moved[:, None], offset, 0.0)
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    across = torch.stack([kept[:, 0] * cos * flip, -kept[:, 1] * sin, offset[:, 0]], dim=1)
    down = torch.stack([kept[:, 0] * sin * flip, kept[:, 1] * cos, offset[:, 1]], dim=1)
    return torch.stack([across, down], dim=1)


def _inside(images: Float32[Tensor, "b c h w"], box: Float32[Tensor, "b 4"]) -> Bool[Tensor, "b 1 h w"]:
    """Return which pixels have their centre inside a box of centre x, y, half width, half height."""
    height, width = images.shape[2:]
    x = (torch.arange(width, device=images.device) + 0.5) / width
    y = (torch.arange(height, device=images.device) + 0.5) / height
    centre_x, centre_y, half_width, half_height = (side[:, None] for side in box.unbind(1))
    inside_x = (x - centre_x).abs() < half_width
    inside_y = (y - centre_y).abs() < half_height
    return (inside_y[:, :, None] & inside_x[:, None, :])[:, None]


def _gaussian(sigma_px: Float32[Tensor, " b"], greatest_px: float) -> Float32[Tensor, "b taps"]:
    reach = max(1, math.ceil(2.5 * greatest_px))
    x = torch.arange(-reach, reach + 1, device=sigma_px.device)
    kernel = torch.exp(-0.5 * (x / sigma_px.clamp(min=1e-3)[:, None]) ** 2)
    return kernel / kernel.sum(dim=1, keepdim=True)


def _convolved(images: Tensor, kernel: Float32[Tensor, "b taps"], dim: int) -> Tensor:
    """Convolve each picture with its own kernel along one axis; the border pixel goes on outside."""
    reach, side = kernel.shape[1] // 2, images.shape[dim]
    padding = (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
    padded = functional.pad(images, padding, mode="replicate")
    taps = kernel[:, :, None, None, None].unbind(1)
    return torch.stack([tap * padded.narrow(dim, at, side) for at, tap in enumerate(taps)]).sum(dim=0)


def _mix(augment: Augment, b: int, generator: torch.Generator, uniform) -> Mix:  # type: ignore[no-untyped-def]
    chance = uniform(0, 1)
    blended = chance < augment.mixup_probability
    pasted = ~blended & (chance < augment.mixup_probability + augment.cutmix_probability)
    kept = 1 - _beta(augment.cutmix_alpha, b, generator)
    half = torch.sqrt(kept) / 2
    centre = uniform(0, 1, 2)
    low, high = (centre - half[:, None]).clamp(min=0), (centre + half[:, None]).clamp(max=1)
    box = torch.cat([(low + high) / 2, (high - low) / 2], dim=1) * pasted[:, None]
    left = 1 - 4 * box[:, 2] * box[:, 3]  # what the border cut off the rectangle stays the picture's own
    share = torch.where(blended, _beta(augment.mixup_alpha, b, generator), left)
    return Mix(torch.randperm(b, generator=generator, device=generator.device), share, blended, box)


def _beta(alpha: float, b: int, generator: torch.Generator) -> Float32[Tensor, " b"]:
    """Draw from Beta(alpha, alpha). torch's own gamma sampler takes no generator off the CPU."""
    host = torch.Generator().manual_seed(
        int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    )
    pair = torch._standard_gamma(torch.full((2, b), alpha), generator=host).clamp(min=1e-12)
    return (pair[0] / pair.sum(0)).to(generator.device)
