"""Faces and their expressions drawn onto a copy of an image, and contact sheets of small images."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from mien.errors import ConfigError
from mien.palette import RGB, colours
from mien.results import FaceResult
from mien.vision import images
from mien.vision.placing import Corners, Place, leader, place
from mien.vision.tags import Tag, colour_of, painted, rounded, tags, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

RIM, RIM_OPACITY = (0, 0, 0), 100
"""A thin dark line around boxes, so that they show on light images, too."""
SCALES = (1.0, 0.85, 0.7)
"""Factors for the font size, tried in this order until every label has a good place."""
LEAST_FONT_PX = 7
CAPTION_PX, LINE_PX = 11, 13
PAPER, RULE, DARK = (245, 245, 245), (200, 200, 200), (32, 33, 36)


class Layout(NamedTuple):
    """The labels of an image and where they go."""

    font_px: int
    tags: list[list[Tag]]
    """For each face, its label in several sizes."""
    places: list[Place | None]


def annotate(
    image_rgb_u8: UInt8[np.ndarray, "h w 3"], faces: Sequence[FaceResult]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a copy with a box around each face and a label near it, over no face and over no other label.

    ``mien.annotate(mien.read_image("photo.jpg"), mien.predict("photo.jpg")[0].faces)``

    Where there is room, a label has bars for the three most probable expressions. A label stands inside its own
    face's box only if there is no room elsewhere in the image. If an image is too small or too full even for that,
    only the colour of the box shows the expression.

    Raises:
        ImageError: the image is no RGB or grey array of uint8.
        ConfigError: it is no image, or `faces` are no faces with a label.
    """
    canvas, faces = _canvas(image_rgb_u8), _labelled(faces)
    if not faces:
        return canvas
    plan = layout((canvas.shape[1], canvas.shape[0]), faces)
    line = max(1 if plan.font_px < 9 else 2, round(plan.font_px / 8))
    inks = [colour_of(face) for face in faces]
    for face, ink in zip(faces, inks, strict=True):
        _outline(canvas, _whole(face), ink, line, round(0.6 * plan.font_px))
    for face, ink, one in zip(faces, inks, plan.places, strict=True):
        if one and one.how == "leader":
            _draw_leader(canvas, _whole(face), one.box_xyxy_px, ink, line)
    for sizes, one in zip(plan.tags, plan.places, strict=True):
        if one:
            _lay(canvas, np.asarray(painted(sizes[one.size])), one.box_xyxy_px[:2])
    return canvas


def _canvas(image: object) -> UInt8[np.ndarray, "h w 3"]:
    if isinstance(image, Image.Image):
        return np.array(images.from_pil(image))
    if not isinstance(image, np.ndarray):
        raise ConfigError(
            f"expected the pixels of an image as an array, got {type(image).__name__}: mien.read_image reads a file"
        )
    return images.from_array(image)


def _labelled(faces: object) -> list[FaceResult]:
    found = list(faces) if isinstance(faces, Iterable) else None
    if found is None or not all(isinstance(one, FaceResult) for one in found):
        kinds = sorted({type(one).__name__ for one in found or ()})
        came = f"{type(faces).__name__} of {', '.join(kinds)}" if kinds else type(faces).__name__
        raise ConfigError(f"expected faces with their labels, as result.faces, got {came}")
    return found


def layout(resolution_wh: tuple[int, int], faces: Sequence[FaceResult]) -> Layout:
    """Return labels and places in the largest of three font sizes in which all labels stand beside their faces.

    The font grows with the image, but slower, because a large image is shown smaller: 13 px at 640x480, 50 px at
    4000x3000.
    """
    base = max(9.0, 0.162 * (resolution_wh[0] * resolution_wh[1]) ** 0.35)
    tried = []
    for scale in SCALES:
        font_px = max(LEAST_FONT_PX, round(base * scale))
        labels = [tags(face, font_px) for face in faces]
        sizes_wh = [[tag.resolution_wh for tag in sizes] for sizes in labels]
        boxes = [face.box_xyxy_px for face in faces]
        places = place(resolution_wh, boxes, sizes_wh, gap=max(2, round(0.25 * font_px)))
        flaws = sum(_flaws(one, len(sizes)) for one, sizes in zip(places, labels, strict=True))
        tried.append((flaws, Layout(font_px, labels, places)))
        if not flaws:
            break
    return min(tried, key=lambda item: item[0])[1]


def _flaws(one: Place | None, sizes: int) -> int:
    """Return a penalty: 0 if a label stands beside its face with its percentage, more if not."""
    if one is None:
        return 10
    return (0 if one.how == "beside" else 3) + (one.size == sizes - 1)


def _whole(face: FaceResult) -> Corners:
    left, top, right, bottom = (round(side) for side in face.box_xyxy_px)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _outline(canvas: np.ndarray, box: Corners, colour: RGB, line: int, radius: int) -> None:
    """Draw a box with round corners and a dark rim: four corners and four sides, however large the box is."""
    rim = max(1, line // 2)
    left, top, right, bottom = box[0] - rim, box[1] - rim, box[2] + rim, box[3] + rim
    bend = max(1, min(radius + rim, (right - left) // 3, (bottom - top) // 3))
    ring = _ring(bend, line, rim, colour)
    for y, part in ((top, ring[:bend]), (bottom - bend, ring[-bend:])):
        _lay(canvas, part[:, :bend], (left, y))
        _lay(canvas, part[:, bend : bend + 1], (left + bend, y), across=right - left - 2 * bend)
        _lay(canvas, part[:, -bend:], (right - bend, y))
    for x, part in ((left, ring[:, :bend]), (right - bend, ring[:, -bend:])):
        _lay(canvas, part[bend : bend + 1], (x, top + bend), down=bottom - top - 2 * bend)


@lru_cache(maxsize=64)
def _ring(bend: int, line: int, rim: int, colour: RGB) -> UInt8[np.ndarray, "n n 4"]:
    """Return the smallest rounded box, RGBA; its middle row and column are repeated for longer sides."""
    side = 2 * bend + 1
    image = Image.new("RGBA", (side, side), (*RIM, 0))
    dark = rounded(side, side, bend, line + 2 * rim)
    image.putalpha(dark.point([RIM_OPACITY * one // 255 for one in range(256)]))
    inner = side - 2 * rim
    if inner > 0:
        light = Image.new("RGBA", (inner, inner), (*colour, 0))
        light.putalpha(rounded(inner, inner, max(bend - rim, 0), line))
        image.alpha_composite(light, (rim, rim))
    return np.array(image)


def _lay(
    canvas: np.ndarray,
    rgba_u8: UInt8[np.ndarray, "h w 4"],
    at: tuple[int, int],
    across: int | None = None,
    down: int | None = None,
) -> None:
    """Lay an image with opacity over a part of the canvas; what lies beyond the canvas is cut off.

    `across` and `down` say how often its only column or row is repeated.
    """
    (left, top), (high, wide) = at, rgba_u8.shape[:2]
    wide, high = across if across is not None else wide, down if down is not None else high
    first_x, first_y = max(left, 0), max(top, 0)
    under = canvas[first_y : max(top + high, 0), first_x : max(left + wide, 0)]
    if not under.size:
        return
    over = rgba_u8 if down is not None else rgba_u8[first_y - top :][: under.shape[0]]
    over = over if across is not None else over[:, first_x - left :][:, : under.shape[1]]
    opacity = over[..., 3:].astype(np.uint16)
    under[:] = (under * (255 - opacity) + over[..., :3] * opacity + 127) // 255


def _draw_leader(canvas: np.ndarray, box: Corners, label: Corners, colour: RGB, line: int) -> None:
    height, width = canvas.shape[:2]
    left, top, right, bottom = np.clip(box, 0, (width, height, width, height)).tolist()
    start, end = leader((left, top, right, bottom), label)
    for ink, thick in ((RIM, line + 2), (colour, line)):
        cv2.line(canvas, start, end, ink, thick, cv2.LINE_AA)


def contact_sheet(
    lines: Sequence[Sequence[tuple[UInt8[np.ndarray, "h w c"], str]]], side_px: int = 96
) -> UInt8[np.ndarray, "h w 3"]:
    """Return small images in a grid, each enlarged to `side_px` with its caption under it.

    The first column holds the originals: it has a heading, stands apart, and shows the colour of its caption.
    """
    gap, heading_px, apart = 6, 20, 12
    captions = [[_two_lines(caption, side_px) for _, caption in line] for line in lines]
    strip = 20 + LINE_PX * any(len(caption) > 1 for line in captions for caption in line)
    down, across = side_px + strip + gap, side_px + gap
    size = len(lines[0]) * across + gap + apart, heading_px + len(lines) * down + gap
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    columns = [gap + column * across + apart * (column > 0) for column in range(len(lines[0]))]
    for x, heading in zip(columns, ("original", "augmented"), strict=False):
        _write(draw, [heading], (x, heading_px - 2), side_px, stroke=0.4)
    colour = colours(line[0][1] for line in lines)
    for row, line in enumerate(lines):
        y = heading_px + gap + row * down
        for x, (image, _), caption in zip(columns, line, captions[row], strict=True):
            large = cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_NEAREST)
            tile = np.empty((side_px, side_px, 3), np.uint8)
            tile[:] = large.reshape(side_px, side_px, -1)
            sheet.paste(Image.fromarray(tile), (x, y))
            _write(draw, caption, (x, y + side_px + 15), side_px)
        draw.rectangle((gap, y + side_px, gap + side_px - 1, y + side_px + 2), colour[line[0][1]])
    rule = gap + side_px + (gap + apart) // 2
    draw.line((rule, gap, rule, sheet.height - gap), RULE)
    return np.array(sheet)


def _two_lines(caption: str, wide: int) -> list[str]:
    """Break a caption that is too wide at the space nearest to its middle."""
    spaces = [place for place, one in enumerate(caption) if one == " "]
    if not spaces or text(caption, CAPTION_PX).wide <= wide:
        return [caption]
    middle = min(spaces, key=lambda place: abs(2 * place - len(caption)))
    return [caption[:middle], caption[middle + 1 :]]


def _write(
    draw: ImageDraw.ImageDraw, lines: list[str], baseline: tuple[int, int], wide: int, stroke: float = 0
) -> None:
    """Write lines of text; one that is still too wide is shortened."""
    for number, line in enumerate(lines):
        shown = text(line, CAPTION_PX, wide)
        place = baseline[0], baseline[1] + number * LINE_PX
        draw.text(place, shown.text, DARK, shown.font, anchor="ls", stroke_width=stroke)
