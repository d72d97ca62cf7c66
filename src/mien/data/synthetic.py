"""Drawn faces: seven expressions shown by mouth, brows and eyes, without a licence and without a download.

Place, scale, rotation, light and noise vary, so that the classes are not trivial to learn. The same seed draws the
same pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from mien.data.dataset import FaceDataset, one_hot
from mien.labels import EMOTIONS_7

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from mien.preprocess import Preprocess

SYNTHETIC = "synthetic"
COUNTS = {"train": 1400, "test": 350}
_CANVAS_PX = 96


class _Look(NamedTuple):
    """How an expression is drawn; lengths in units of the face's half width, y downwards."""

    mouth_bend: float
    """Corners of the mouth above (+) or below (-) its middle."""
    mouth_open: float
    """Half height of the opening."""
    mouth_half_width: float
    brow_tilt: float
    """Inner end of the brow above (+) or below (-) its outer end."""
    brow_lift: float
    eye_open: float
    """Half height of the eye."""
    wrinkled_nose: bool = False


_ACROSS = np.linspace(-1, 1, _CANVAS_PX)
"""Columns of the canvas."""
_BEND = np.linspace(-1, 1, 17)
"""Points along a mouth, from corner to corner."""
_TURN = np.linspace(0, 2 * np.pi, 40, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)

_LOOKS = {
    "angry": _Look(-0.08, 0.03, 0.32, -0.20, -0.07, 0.09),
    "disgust": _Look(-0.16, 0.10, 0.24, -0.10, -0.05, 0.05, wrinkled_nose=True),
    "fear": _Look(-0.10, 0.12, 0.34, 0.16, 0.10, 0.17),
    "happy": _Look(0.20, 0.09, 0.42, 0.02, 0.04, 0.08),
    "neutral": _Look(0.0, 0.0, 0.32, 0.0, 0.0, 0.10),
    "sad": _Look(-0.16, 0.0, 0.28, 0.18, 0.0, 0.06),
    "surprise": _Look(0.0, 0.24, 0.18, 0.04, 0.16, 0.18),
}


def draw_dataset(preprocess: Preprocess, counts: dict[str, int] | None = None, seed: int = 0) -> FaceDataset:
    """Draw a dataset with `counts` images in each split, the classes in turn, fitted to `preprocess`."""
    rng = np.random.default_rng(seed)
    rows = [(split, i % len(EMOTIONS_7), i) for split, n in (counts or COUNTS).items() for i in range(n)]
    pixels = [preprocess.fit(draw_face(EMOTIONS_7[label], rng)[..., None]) for _, label, _ in rows]
    return FaceDataset(
        images=np.stack(pixels),
        targets=one_hot(np.array([label for _, label, _ in rows]), len(EMOTIONS_7)),
        ids=tuple(f"{split}/{EMOTIONS_7[label]}/{i:05d}" for split, label, i in rows),
        split=np.array([split for split, _, _ in rows]),
        labels=EMOTIONS_7,
        source=SYNTHETIC,
    )


def draw_face(emotion: str, rng: np.random.Generator, size_px: int = 48) -> UInt8[np.ndarray, "s s"]:
    """Draw one grey face; `rng` decides place, scale, rotation, light, noise and the strength of the expression.

    Args:
        emotion: one of `EMOTIONS_7`.
        rng: the source of all randomness.
        size_px: side of the image in pixels, at least 1.

    Raises:
        KeyError: no such emotion.
    """
    canvas = np.full((_CANVAS_PX, _CANVAS_PX), rng.integers(20, 110), np.uint8)
    skin, ink = int(rng.integers(130, 235)), int(rng.integers(10, 60))
    strength = rng.uniform(0.75, 1.15)
    full, neutral = _LOOKS[emotion], _LOOKS["neutral"]
    look = full._replace(
        **{
            name: getattr(neutral, name) + strength * (getattr(full, name) - getattr(neutral, name))
            for name in _Look._fields[:-1]
        }
    )
    unit = 0.40 * _CANVAS_PX
    to_px = _placement(rng, unit)
    _fill(canvas, to_px(_ellipse(0, 0, 1, 1.22)), skin)
    for side in (-1, 1):
        _eye_and_brow(canvas, to_px, look, side, ink)
    _nose(canvas, to_px, look, ink)
    _mouth(canvas, to_px, look, ink)
    light = rng.uniform(-0.25, 0.25) * _ACROSS
    noisy = canvas * (1 + light) + rng.normal(0, rng.uniform(2, 10), canvas.shape)
    return cv2.resize(noisy.clip(0, 255).astype(np.uint8), (size_px, size_px), interpolation=cv2.INTER_AREA)


def _placement(rng: np.random.Generator, unit: float):  # type: ignore[no-untyped-def]
    angle, scale = rng.uniform(-0.2, 0.2), unit * rng.uniform(0.85, 1.1)
    centre = _CANVAS_PX / 2 + rng.uniform(-5, 5, 2)
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return lambda points: np.rint(np.asarray(points) @ turn + centre).astype(np.int32)


def _eye_and_brow(canvas: np.ndarray, to_px, look: _Look, side: int, ink: int) -> None:  # type: ignore[no-untyped-def]
    _fill(canvas, to_px(_ellipse(side * 0.40, -0.22, 0.19, max(look.eye_open, 0.03))), 245)
    _fill(canvas, to_px(_ellipse(side * 0.40, -0.22, 0.08, min(0.08, max(look.eye_open, 0.03)))), ink)
    height = -0.50 - look.brow_lift
    brow = [(side * 0.20, height - look.brow_tilt / 2), (side * 0.62, height + look.brow_tilt / 2)]
    cv2.polylines(canvas, [to_px(brow)], isClosed=False, color=ink, thickness=3, lineType=cv2.LINE_AA)


def _nose(canvas: np.ndarray, to_px, look: _Look, ink: int) -> None:  # type: ignore[no-untyped-def]
    shade = (ink + 90) // 2 + 20
    lines = [[(0, -0.1), (-0.09, 0.22), (0.06, 0.24)]]
    if look.wrinkled_nose:
        lines += [[(-0.14, -0.16 + dy), (0.14, -0.16 + dy)] for dy in (0, 0.09)]
    for line in lines:
        cv2.polylines(canvas, [to_px(line)], isClosed=False, color=shade, thickness=1, lineType=cv2.LINE_AA)


def _mouth(canvas: np.ndarray, to_px, look: _Look, ink: int) -> None:  # type: ignore[no-untyped-def]
    x, middle = look.mouth_half_width * _BEND, 0.62 + look.mouth_bend * (0.5 - _BEND**2)
    half = look.mouth_open * np.sqrt(1 - _BEND**2)
    if look.mouth_open > 0.02:
        outline = np.concatenate([np.stack([x, middle - half], 1), np.stack([x, middle + half], 1)[::-1]])
        _fill(canvas, to_px(outline), ink)
    cv2.polylines(canvas, [to_px(np.stack([x, middle], 1))], isClosed=False, color=ink, thickness=2)


def _ellipse(x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    return _CIRCLE * (half_width, half_height) + (x, y)


def _fill(canvas: np.ndarray, points: np.ndarray, grey: int) -> None:
    cv2.fillPoly(canvas, [points], grey, lineType=cv2.LINE_AA)
