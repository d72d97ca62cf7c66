"""The one rule from a face crop to a network's input, stored with every model.

Training, evaluation and prediction all call `Preprocess.fit` (any picture -> the u8 crop a network was
trained on) and `Preprocess.normalise` (u8 crops -> f32 input). It knows pixels and numbers, not files,
detectors or networks. Which square of a photo is the face is the detector's business (`mien.results.Face`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mien.errors import ImageError

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

_INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}


_OLD_CROPS: dict[str, dict[str, float | str]] = {
    "haar": {"side": "width", "scale": 1.04, "shift_x": 0.0, "shift_y": 0.01},
    "yunet": {"side": "width", "scale": 1.30, "shift_x": -0.01, "shift_y": 0.02},
}
"""What models of version 0.1 say of the detectors' boxes; the detectors themselves say it now."""


class Preprocess(BaseModel):
    """Colour, size and number range of a network's input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Literal[1, 3] = 1
    """1 grey, 3 RGB."""
    grey_weights_rgb: tuple[float, float, float] = (0.299, 0.587, 0.114)
    """Weights of red, green and blue in grey (ITU-R BT.601, as JPEG and FER2013 use)."""
    size_px: int = Field(48, ge=8, le=1024)
    interpolation: Literal["nearest", "linear", "cubic", "area"] = "area"
    """How a picture is shrunk; `area` enlarges linearly."""
    scale: float = Field(1 / 255, gt=0)
    """Pixels are multiplied by this before mean and std apply."""
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    """One value, or one per channel."""
    margin: float = Field(0.0, gt=-0.5, le=2)
    """Context around the face frame on every side, as a fraction of the frame's side."""

    @model_validator(mode="before")
    @classmethod
    def _without_old_crops(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "crops" not in given:
            return given
        if given["crops"] != _OLD_CROPS:
            raise ValueError(
                "crops: a model no longer holds rules for each detector: take them out, and set margin instead"
            )
        return {name: value for name, value in given.items() if name != "crops"}

    @model_validator(mode="after")
    def _per_channel(self) -> Preprocess:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                wanted = "1 value" if self.channels == 1 else f"1 value or {self.channels}"
                raise ValueError(
                    f"{name} needs {wanted} for channels = {self.channels}, got {len(values)}: mean and std must fit"
                )
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self

    def fit(self, image: UInt8[np.ndarray, "h w _"]) -> UInt8[np.ndarray, "s s c"]:
        """Bring one image (1 grey or 3 RGB channels, any size) to the colour and size of the input.

        The shape is kept: an image that is not square is continued by its edge pixels, the same on both sides.

        Raises:
            ImageError: it is something else.
        """
        if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8:
            raise ImageError(
                f"expected an image of uint8 [h, w, 1 or 3], got {image.dtype} {list(image.shape)}: convert it first"
            )
        size, (height, width) = self.size_px, image.shape[:2]
        if (height, width) != (size, size):
            factor = size / max(height, width)
            method = "linear" if factor > 1 and self.interpolation == "area" else self.interpolation
            sides = [max(1, round(factor * side)) for side in (width, height)]
            image = cv2.resize(image, sides, interpolation=_INTERPOLATIONS[method])
            image = _squared(image.reshape(sides[1], sides[0], -1))
        if image.shape[2] != self.channels:
            image = self._to_grey(image) if self.channels == 1 else np.repeat(image, 3, axis=2)
        return np.ascontiguousarray(image)

    def gain_offset(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return per-channel (gain, offset): the network's input is ``pixel * gain - offset``."""
        means, stds = (values * (self.channels // len(values)) for values in (self.mean, self.std))
        return tuple(self.scale / std for std in stds), tuple(m / s for m, s in zip(means, stds, strict=True))

    def normalise(self, crops: UInt8[np.ndarray, "n s s c"]) -> Float32[np.ndarray, "n c s s"]:
        """Turn fitted crops into a network's input, channel first."""
        gain, offset = (np.asarray(values, np.float32) for values in self.gain_offset())
        return np.ascontiguousarray((crops * gain - offset).transpose(0, 3, 1, 2))

    def range_change(self, other: Preprocess) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return per-channel (gain, offset) from this input to another model's: ``ours * gain + offset``."""
        (gain, offset), (their_gain, their_offset) = self.gain_offset(), other.gain_offset()
        ratios = tuple(theirs / ours for ours, theirs in zip(gain, their_gain, strict=True))
        shifts = zip(offset, ratios, their_offset, strict=True)
        return ratios, tuple(ours * ratio - theirs for ours, ratio, theirs in shifts)

    def differs_in_crops(self, other: Preprocess) -> str:
        """Say what keeps two models from seeing the same crops; only their number ranges may differ."""
        ours, theirs = (spec.model_dump(exclude={"scale", "mean", "std"}) for spec in (self, other))
        different = [name for name in ours if ours[name] != theirs[name]]
        return ", ".join(f"{name} = {theirs[name]}, here {ours[name]}" for name in different)

    def _to_grey(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 1"]:
        grey = image.astype(np.float32) @ np.asarray(self.grey_weights_rgb, np.float32)
        return np.rint(grey).clip(0, 255).astype(np.uint8)[..., None]


def _squared(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "s s c"]:
    height, width, channels = image.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    borders = (top, side - height - top, left, side - width - left)
    return cv2.copyMakeBorder(image, *borders, cv2.BORDER_REPLICATE).reshape(side, side, channels)
