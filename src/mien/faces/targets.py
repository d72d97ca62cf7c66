"""The targets of the network for a scene, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.detectors.mien import STRIDE

if TYPE_CHECKING:
    from jaxtyping import Float32

    from mien.faces.scenes import Scene

LEAST_PX, MOST_PX = 18.0, 42.0
"""Smallest and largest side of the face frames that the network must find."""
UNSURE = 1.35
"""The loss ignores faces that are larger by up to this factor, and all smaller ones."""


def targets(scene: Scene) -> Float32[np.ndarray, "6 y x"]:
    """Return the six maps that the loss compares with the answer of the network.

    They are: heat (1 at the centre of a face, falling to 0), where heat counts (0 or 1), dx, dy and log side of the
    face frame in strides, and where these three count (0 or 1).
    """
    cells = scene.image_u8.shape[0] // STRIDE
    result = np.zeros((6, cells, cells), np.float32)
    result[1] = 1
    centre_y, centre_x = (np.mgrid[:cells, :cells].astype(np.float32) + 0.5) * STRIDE
    rows = [(*row, True) for row in scene.faces_xys.tolist()] + [
        (*row, False) for row in scene.unsure_xys.tolist()
    ]
    for x, y, side, sure in sorted(rows, key=lambda row: -row[2]):
        far = (centre_x - x) ** 2 + (centre_y - y) ** 2
        if side > MOST_PX * UNSURE:
            continue
        if not sure or not LEAST_PX <= side <= MOST_PX:
            result[1][far < (0.35 * side + 0.5 * STRIDE) ** 2] = 0
            continue
        width = 2 * max(0.15 * side, 0.45 * STRIDE) ** 2
        heat = np.exp(-np.clip(far - far.min(), 0, None) / width)
        ours = heat > np.maximum(result[0], 0.35)
        result[0] = np.maximum(result[0], heat)
        result[1][heat > 0.3] = 1
        result[2][ours] = (x - centre_x[ours]) / STRIDE
        result[3][ours] = (y - centre_y[ours]) / STRIDE
        result[4][ours] = np.log(side / STRIDE)
        result[5][ours] = 1
    return result
