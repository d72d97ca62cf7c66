"""Large images are searched for faces at a smaller size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8


def shrunk(
    image: UInt8[np.ndarray, "h w 3"], longest_side_px: int
) -> tuple[UInt8[np.ndarray, "y x 3"], float]:
    """Return the image with its longer side at most that long, and the factor back to its own pixels."""
    factor = max(image.shape[:2]) / longest_side_px
    if factor <= 1:
        return image, 1.0
    size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), factor
