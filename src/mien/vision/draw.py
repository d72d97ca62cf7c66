"""Faces and expressions written onto a copy of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

    from mien.results import ImageResult

_FONT = cv2.FONT_HERSHEY_DUPLEX
_INK = (20, 20, 20)
_COLOURS_RGB = {  # light enough for dark ink; told apart by colour-blind readers, and the label says it too
    "angry": (255, 128, 100),
    "disgust": (154, 205, 90),
    "fear": (200, 160, 255),
    "happy": (255, 214, 70),
    "neutral": (220, 220, 220),
    "sad": (110, 175, 255),
    "surprise": (255, 170, 215),
}
_OTHER_RGB = (130, 225, 215)


def annotate(image_rgb_u8: UInt8[np.ndarray, "h w 3"], result: ImageResult) -> UInt8[np.ndarray, "h w 3"]:
    """Return a copy with a box around each face and its label and probability beside it."""
    canvas = image_rgb_u8.copy()
    line = max(2, round(max(canvas.shape[:2]) / 400))
    for face in result.faces:
        colour = _COLOURS_RGB.get(face.label, _OTHER_RGB)
        left, top, right, bottom = (round(side) for side in face.box_xyxy_px)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, line, cv2.LINE_AA)
        _tag(canvas, f"{face.label} {max(face.probs.values()):.0%}", (left, top, right, bottom), colour, line)
    return canvas


def contact_sheet(
    lines: Sequence[Sequence[tuple[UInt8[np.ndarray, "h w c"], str]]], side_px: int = 96
) -> UInt8[np.ndarray, "h w 3"]:
    """Return small pictures in a grid, each enlarged to `side_px` with its caption under it."""
    gap, strip = 4, 20
    height, width = len(lines) * (side_px + strip + gap) + gap, len(lines[0]) * (side_px + gap) + gap
    sheet = np.full((height, width, 3), 245, np.uint8)
    for row, line in enumerate(lines):
        for column, (picture, caption) in enumerate(line):
            y, x = gap + row * (side_px + strip + gap), gap + column * (side_px + gap)
            large = cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_NEAREST)
            sheet[y : y + side_px, x : x + side_px] = large.reshape(side_px, side_px, -1)
            wide = cv2.getTextSize(caption, _FONT, 1.0, 1)[0][0]
            scale = min(0.42, side_px / max(1, wide))
            place = (x, y + side_px + strip - 6)
            cv2.putText(sheet, caption, place, _FONT, scale, _INK, 1, cv2.LINE_AA)
    return sheet


def _tag(
    canvas: np.ndarray, text: str, box: tuple[int, int, int, int], colour: tuple[int, ...], line: int
) -> None:
    """Write on a filled strip above the box, or inside it where the picture ends; never outside the picture."""
    width = canvas.shape[1]
    left, top, right, _ = box
    (wide, high), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
    scale = float(np.clip((right - left) / wide, 0.4 * line / 2, 0.6 * line))
    scale = min(scale, (width - 2) / (wide * 1.1))
    wide, high = round(wide * scale), round(high * scale)
    pad = max(2, round(0.35 * high))
    x = min(max(left - line // 2, 0), max(width - wide - 2 * pad, 0))
    y = top - high - 2 * pad
    y = max(y if y >= 0 else top, 0)
    cv2.rectangle(canvas, (x, y), (x + wide + 2 * pad, y + high + 2 * pad), colour, cv2.FILLED)
    thick = max(1, round(scale * 1.4))
    cv2.putText(canvas, text, (x + pad, y + high + pad), _FONT, scale, _INK, thick, cv2.LINE_AA)
