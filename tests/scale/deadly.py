"""Images that kill the process which decodes them, as a bug in a decoder can. Workers import this module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from mien.vision.frames import Frame


class Deadly:
    """Loads pixels; kills the process the first time, or always where no `marker` says that it has done so."""

    def __init__(self, pixels: np.ndarray, marker: Path | None) -> None:
        self.pixels, self.marker = pixels, marker

    def __call__(self) -> np.ndarray:
        if self.marker is None or not self.marker.exists():
            if self.marker is not None:
                self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.pixels


class Slow:
    """Loads pixels after a while, so that a run can be stopped in its middle."""

    def __init__(self, pixels: np.ndarray, seconds: float) -> None:
        self.pixels, self.seconds = pixels, seconds

    def __call__(self) -> np.ndarray:
        time.sleep(self.seconds)
        return self.pixels


def frames(count: int, special: dict[int, object] | None = None, slow_s: float = 0.0) -> list[Frame]:
    """Return images of noise; some of them load in a special way."""
    made = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 48, 3), np.uint8)
        load = (special or {}).get(number, Slow(pixels, slow_s))
        made.append(Frame(f"image{number}", load=load))
    return made
