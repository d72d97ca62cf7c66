"""The one rule from a face crop to a network's input, stored with every model.

Training, evaluation and prediction all call `Preprocess.fit` (any picture -> the u8 crop a network was
trained on) and `Preprocess.normalise` (u8 crops -> f32 input). It knows pixels and numbers, not files,
detectors or networks; `crops` only states, for each detector, where the training crop lies in its box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

_INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}


class CropRule(BaseModel):
    """Where the training crop lies in a detector's box: a square around the box's shifted centre."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Literal["width", "height"] = "width"
    """The side of the box that varies least between faces, on which the square is based."""
    scale: float = Field(1.0, gt=0)
    """Side of the square in units of that side."""
    shift_x: float = 0.0
    """Shift of the centre to the right, in units of that side."""
    shift_y: float = 0.0
    """Shift of the centre downwards, in units of that side."""


FER2013_CROPS = {
    "haar": CropRule(side="width", scale=1.04, shift_y=0.01),
    "yunet": CropRule(side="width", scale=1.30, shift_x=-0.01, shift_y=0.02),
}
"""Medians over 1,000 FER2013 faces, measured by `benchmarks/crop_rule.py`."""


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
    crops: dict[str, CropRule] = FER2013_CROPS
    """A detector not named keeps its rule."""

    @field_validator("crops")
    @classmethod
    def _with_defaults(cls, crops: dict[str, CropRule]) -> dict[str, CropRule]:
        return {**FER2013_CROPS, **crops}

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
        """Bring one picture (1 grey or 3 RGB channels, any size) to the colour and size of the input."""
        if image.shape[2] != self.channels:
            image = self._to_grey(image) if self.channels == 1 else np.repeat(image, 3, axis=2)
        size = self.size_px
        if image.shape[:2] == (size, size):
            return np.ascontiguousarray(image)
        grows = min(image.shape[:2]) < size
        method = "linear" if grows and self.interpolation == "area" else self.interpolation
        resized = cv2.resize(image, (size, size), interpolation=_INTERPOLATIONS[method])
        return resized.reshape(size, size, self.channels)

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
