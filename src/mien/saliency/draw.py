"""The picture of an explanation: for each face the crop, its map over the crop, and the probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from mien.palette import SERIES_HEX, colours
from mien.vision.tags import text

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

    from mien.palette import RGB
    from mien.saliency.explain import ExplainedFace, Explanation

SIDE_PX = 264
FONT_PX, SMALL_PX = 17, 14
GAP_PX = 18
BARS = 4
PALEST = 0.05
"""Least change of probability that has full colour: if no place changes more, small changes stay pale."""
OPACITY = 0.75
PAPER, INK, QUIET, TRACK = (255, 255, 255), (21, 24, 28), (90, 100, 112), (223, 227, 232)
_TEXT_PX = 330


def _rgb(code: str) -> RGB:
    red, green, blue = bytes.fromhex(code[1:])
    return red, green, blue


FOR, AGAINST = (np.array(_rgb(SERIES_HEX[place]), np.float32) for place in (1, 0))
"""Orange: hiding the place lowers the probability. Blue: it raises it. Colour-blind readers can tell them apart."""


def strength(change: Float32[np.ndarray, "..."]) -> float:
    """Return the change that has full colour in a map."""
    return max(PALEST, float(np.abs(change).max()))


def overlay(
    crop: UInt8[np.ndarray, "s s c"], change: Float32[np.ndarray, "s s"], full: float, side_px: int = SIDE_PX
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the crop in grey, enlarged, under its map (`FOR`, `AGAINST`); a change of `full` has full colour."""
    grey = crop if crop.shape[2] == 1 else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    large = cv2.resize(grey, (side_px, side_px), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    amount = cv2.resize(change / full, (side_px, side_px), interpolation=cv2.INTER_LINEAR)[..., None]
    tint = np.where(amount > 0, FOR, AGAINST)
    opacity = OPACITY * np.abs(amount).clip(max=1)
    return np.rint((1 - opacity) * large[..., None] + opacity * tint).astype(np.uint8)


class _Sheet(NamedTuple):
    image: Image.Image
    draw: ImageDraw.ImageDraw

    def write(self, words: str, at: tuple[int, int], *, px: int = FONT_PX, ink: RGB = INK, bold: bool = False,
              wide: int | None = None) -> None:  # fmt: skip
        """Write one line with its baseline at `at`; text wider than `wide` pixels is shortened."""
        shown = text(words, px, wide)
        self.draw.text(at, shown.text, ink, shown.font, anchor="ls", stroke_width=0.35 if bold else 0)


def sheet(explanation: Explanation) -> UInt8[np.ndarray, "h w 3"]:
    """Return the faces of an image, one under another, with a legend."""
    head, foot = 2 * GAP_PX + 2 * FONT_PX, 2 * GAP_PX + 4 * SMALL_PX
    wide = 4 * GAP_PX + 2 * SIDE_PX + _TEXT_PX
    high = head + len(explanation.faces) * (SIDE_PX + GAP_PX) + foot
    image = Image.new("RGB", (wide, high), PAPER)
    drawn = _Sheet(image, ImageDraw.Draw(image))
    name = explanation.source.replace("\\", "/").rsplit("/", 1)[-1] or "image"
    model = explanation.facts.get("model", {}).get("name", "")
    drawn.write(f"Why {model} says so", (GAP_PX, GAP_PX + FONT_PX), bold=True, wide=wide - 2 * GAP_PX)
    drawn.write(name, (GAP_PX, GAP_PX + 2 * FONT_PX + 4), px=SMALL_PX, ink=QUIET, wide=wide - 2 * GAP_PX)
    for number, face in enumerate(explanation.faces):
        _draw_face(drawn, face, number + 1, head + number * (SIDE_PX + GAP_PX))
    _draw_legend(drawn, high - foot + SMALL_PX, wide)
    return np.array(image)


def _draw_face(drawn: _Sheet, face: ExplainedFace, number: int, top: int) -> None:
    change = face.occlusion.map(face.column, len(face.crop))
    full = strength(face.occlusion.falls[:, :, face.column])
    left, middle, right = (GAP_PX + place * (SIDE_PX + GAP_PX) for place in range(3))
    for at, picture in (
        (left, overlay(face.crop, np.zeros_like(change), 1.0)),
        (middle, overlay(face.crop, change, full)),
    ):
        drawn.image.paste(Image.fromarray(picture), (at, top))
    y = top + FONT_PX
    drawn.write(f"{number}  {face.label} {face.face.probs[face.label]:.0%}", (right, y), px=FONT_PX + 3, bold=True,
                wide=_TEXT_PX)  # fmt: skip
    y = _draw_probs(drawn, face, (right, y + 12))
    lines = face.sentence().split("; ")[1:]
    lines += ["no single place decides"] if full == PALEST else []
    for line in [*lines, f"full colour: {100 * full:.0f} points of probability"]:
        y += SMALL_PX + 7
        drawn.write(line, (right, y), px=SMALL_PX, ink=QUIET, wide=_TEXT_PX)


def _draw_probs(drawn: _Sheet, face: ExplainedFace, at: tuple[int, int]) -> int:
    """Draw the highest probabilities as bars; returns the line below them."""
    x, y = at
    hues = colours(face.face.probs)
    best = sorted(face.face.probs.items(), key=lambda item: -item[1])[:BARS]
    names, percent = 100, 52
    room = _TEXT_PX - names - percent
    for label, prob in best:
        y += SMALL_PX + 9
        drawn.write(label, (x, y), px=SMALL_PX, wide=names - 8)
        box = (x + names, y - SMALL_PX + 2, x + names + room, y)
        drawn.draw.rounded_rectangle(box, 3, TRACK)
        drawn.draw.rounded_rectangle((*box[:2], box[0] + max(3, round(room * prob)), y), 3, hues[label])
        drawn.write(f"{prob:.0%}", (x + names + room + 8, y), px=SMALL_PX)
    return y + 8


def _draw_legend(drawn: _Sheet, top: int, wide: int) -> None:
    across = np.linspace(-1, 1, SIDE_PX)[None, :].repeat(SMALL_PX, axis=0).astype(np.float32)
    white = np.full((SMALL_PX, SIDE_PX, 1), 235, np.uint8)
    tint = np.where(across[..., None] > 0, FOR, AGAINST)
    bar = white + OPACITY * np.abs(across)[..., None] * (tint - white)
    drawn.image.paste(Image.fromarray(np.rint(bar).astype(np.uint8)), (GAP_PX, top))
    lines = (
        "Orange: hiding this place lowers the label's probability. Blue: hiding it raises it.",
        "Hidden means blurred. The map shows what this model reacts to, not what a person feels.",
    )
    for number, line in enumerate(lines):
        at = (2 * GAP_PX + SIDE_PX, top + SMALL_PX - 2 + number * (SMALL_PX + 6))
        drawn.write(line, at, px=SMALL_PX, ink=QUIET, wide=wide - 3 * GAP_PX - SIDE_PX)
