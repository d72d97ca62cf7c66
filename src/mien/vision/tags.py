"""Labels of faces: expression and probability, or three bars, painted as a small RGBA image."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw

from mien.palette import RGB, UNCERTAIN_RGB, colours
from mien.results import UNCERTAIN
from mien.vision.fonts import font_for

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

    from mien.results import FaceResult

PLATE, PLATE_OPACITY = (17, 19, 23), 205
"""Background of a label: dark, so that every colour of the palette is visible, on dark and light images."""
TRACK = (70, 73, 79)
"""Colour of the part of a bar that is not filled."""
INK, QUIET = (255, 255, 255), (206, 209, 214)
BARS = 3
LONGEST_NAME = 11
"""Largest width of a name, in font sizes; a longer one ends in an ellipsis."""
BARS_FROM = 5.0
"""Least height of a face, in font sizes, for a label with three bars."""


class Text(NamedTuple):
    """One piece of text, measured."""

    text: str
    font: FreeTypeFont
    wide: int


class Row(NamedTuple):
    """A line of a label."""

    name: Text
    percent: Text | None
    fraction: float | None
    """Length of the bar, 0 to 1; None for no bar."""
    colour: RGB


class Tag(NamedTuple):
    """A label in one of its sizes, measured but not painted. All lengths are pixels."""

    rows: tuple[Row, ...]
    font_px: int
    resolution_wh: tuple[int, int]
    pad: int
    row_high: int
    bar_left: int
    """Left end of the bars; 0 if there is one bar under the text."""
    bar_wide: int


def tags(face: FaceResult, font_px: int) -> list[Tag]:
    """Return a face's label in its sizes, largest first: with bars (only large faces), plain, name only."""
    name = text(face.label, font_px, LONGEST_NAME * font_px)
    percent = text(f"{face.confidence:.0%}", font_px)
    row = Row(name, percent, face.confidence, colour_of(face))
    plain = [_plain(row, font_px), _plain(row._replace(percent=None), font_px)]
    high = face.box_xyxy_px[3] - face.box_xyxy_px[1]
    if len(face.probs) < 2 or high < BARS_FROM * font_px:
        return plain
    return [_with_bars(face, row, font_px), *plain]


def colour_of(face: FaceResult) -> RGB:
    """Return the colour of a face's label; the labels of its probabilities are the label set."""
    return UNCERTAIN_RGB if face.label == UNCERTAIN else colours([*face.probs, face.label])[face.label]


@lru_cache(maxsize=1024)
def text(words: str, font_px: int, longest: float | None = None) -> Text:
    """Return a text with its font and width; one longer than `longest` pixels ends in an ellipsis."""
    font, shown = font_for(words, font_px)
    if longest is not None and font.getlength(shown) > longest:
        while shown and font.getlength(shown + "…") > longest:
            shown = shown[:-1]
        shown = shown.rstrip() + "…"
    return Text(shown, font, -int(-font.getlength(shown) // 1))


def _plain(row: Row, font_px: int) -> Tag:
    """Name and, if it is given, percentage; a bar under both."""
    pad = max(2, round(0.4 * font_px))
    wide = row.name.wide + (row.percent.wide + pad if row.percent else 0)
    row_high = round(1.2 * font_px) + 2
    high = row_high + _thickness(font_px, several=False) + max(2, round(0.22 * font_px))
    return Tag((row,), font_px, (wide + 2 * pad, high), pad, row_high, 0, wide)


def _thickness(font_px: int, *, several: bool) -> int:
    """Return the height of a bar."""
    return max(2, round((0.46 if several else 0.2) * font_px))


def _with_bars(face: FaceResult, first: Row, font_px: int) -> Tag:
    """Three rows of name, bar and percentage; above them `uncertain`, if that is the label."""
    colour, longest = colours(face.probs), LONGEST_NAME * font_px
    best = sorted(face.probs.items(), key=lambda item: -item[1])[:BARS]
    rows = [Row(text(name, font_px, longest), text(f"{p:.0%}", font_px), p, colour[name]) for name, p in best]
    if face.label not in dict(best):
        rows.insert(0, first._replace(percent=None, fraction=None))
    names = max(text(name, font_px, longest).wide for name in (*face.probs, face.label))
    pad, bar_wide = round(0.5 * font_px), round(2.8 * font_px)
    row_high = round(1.3 * font_px)
    wide = 4 * pad + names + bar_wide + text("100%", font_px).wide
    high = len(rows) * row_high + round(0.5 * font_px)
    return Tag(tuple(rows), font_px, (wide, high), pad, row_high, 2 * pad + names, bar_wide)


def painted(tag: Tag) -> Image.Image:
    """Return a label as an RGBA image."""
    wide, high = tag.resolution_wh
    image = Image.new("RGB", (wide, high), PLATE)
    draw = ImageDraw.Draw(image)
    opacity = Image.new("L", (wide, high), PLATE_OPACITY)
    top = round(0.25 * tag.font_px) if tag.bar_left else 0
    for number, row in enumerate(tag.rows):
        ink, stroke = (INK, 0.02 * tag.font_px) if number == 0 else (QUIET, 0.0)
        baseline = top + round(0.5 * tag.row_high + (0.36 if tag.bar_left else 0.3) * tag.font_px)
        draw.text((tag.pad, baseline), row.name.text, ink, row.name.font, anchor="ls", stroke_width=stroke)
        if row.percent:
            place = wide - tag.pad, baseline
            draw.text(place, row.percent.text, ink, row.percent.font, anchor="rs", stroke_width=stroke)
        if row.fraction is not None:
            _draw_bar(image, opacity, tag, row, top)
        top += tag.row_high
    corners = rounded(wide, high, round(0.35 * tag.font_px))
    image.putalpha(Image.composite(opacity, Image.new("L", (wide, high), 0), corners))
    return image


def _draw_bar(image: Image.Image, opacity: Image.Image, tag: Tag, row: Row, top: int) -> None:
    """Draw a probability as the filled part of a track."""
    thick = _thickness(tag.font_px, several=bool(tag.bar_left))
    left = tag.bar_left or tag.pad
    y = top + (tag.row_high - thick + 1) // 2 if tag.bar_left else tag.row_high
    filled = round(tag.bar_wide * min(max(row.fraction or 0.0, 0.0), 1.0))
    for wide, colour in ((tag.bar_wide, TRACK), (max(filled, 1), row.colour)):
        box = (left, y, left + wide, y + thick)
        mask = rounded(wide, thick, min(wide, thick) // 2)
        image.paste(colour, box, mask)
    opacity.paste(255, (left, y, left + max(filled, 1), y + thick), mask)


@lru_cache(maxsize=256)
def rounded(wide: int, high: int, radius: int, line: int | None = None) -> Image.Image:
    """Return a smooth mask of a rounded rectangle: filled, or only its outline. Do not change it: it is cached."""
    finer = 4  # Pillow draws without smoothing, so this draws larger and averages
    mask = Image.new("L", (wide * finer, high * finer))
    box = (0, 0, wide * finer - 1, high * finer - 1)
    draw = ImageDraw.Draw(mask)
    if line is None:
        draw.rounded_rectangle(box, radius * finer, fill=255)
    else:
        draw.rounded_rectangle(box, radius * finer, outline=255, width=line * finer)
    return mask.reduce(finer)
