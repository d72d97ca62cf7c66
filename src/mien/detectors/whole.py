"""`whole`: the image is already a face."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.results import Face

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8


class Whole:
    """Takes every image for one face."""

    name = "whole"

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return one box around the whole image."""
        height, width = image_rgb_u8.shape[:2]
        return [Face((0.0, 0.0, float(width), float(height)), detector="whole")]
