"""A TrueType font for text of any script: the one inside Pillow, or an installed one that has the characters."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = (
    "C:/Windows/Fonts",
    "/System/Library/Fonts",
    "/System/Library/Fonts/Supplemental",
    "/Library/Fonts",
    "/usr/share/fonts",
    "/usr/local/share/fonts",
)
"""Font folders of Windows, macOS and Linux; searched if fontconfig is missing."""
FIRST_TRIED = (
    *("segoeui", "msyh", "yugothr", "malgun", "nirmala", "leelawui"),  # Windows: one font for each script
    *("arial unicode", "pingfang", "hiragino sans", "applesdgothicneo"),  # macOS
    *("dejavusans", "notosans-regular", "notosanscjk-regular"),  # Linux
)
MOST_FILES = 400
"""Most font files that are opened in search of a character."""
_SUFFIXES = {".ttf", ".ttc", ".otf"}
_ABSENT = "\U0010ffff"
"""No font has this code point, so it is drawn as the font's mark for a missing glyph."""


class _Source(NamedTuple):
    """The path of a font; without a path it is the font inside Pillow."""

    path: str | None = None
    number: int = 0
    """Number of the font in a collection (.ttc)."""


def font_for(text: str, size_px: int) -> tuple[ImageFont.FreeTypeFont, str]:
    """Return a font and the text to draw with it.

    The text is changed only if no font has a character: ``中`` is then drawn as ``U+4E2D``.
    """
    source, missing = _choose(frozenset(text))
    shown = "".join(f" U+{ord(one):04X} " if one in missing else one for one in text)
    return _opened(source, size_px), " ".join(shown.split()) if missing else text


@lru_cache(maxsize=256)
def _choose(characters: frozenset[str]) -> tuple[_Source, frozenset[str]]:
    """Return the first font that has all characters, else the best one and the characters that it lacks."""
    unprintable = frozenset(one for one in characters if not one.isprintable())
    best = _Source(), missing_glyphs(_opened(_Source(), 24), characters - unprintable)
    for source in _installed("".join(sorted(best[1]))) if best[1] else ():
        try:
            missing = missing_glyphs(_opened(source, 24), characters - unprintable)
        except OSError:  # a damaged font, or one of bitmaps
            continue
        if len(missing) < len(best[1]):
            best = source, missing
        if not missing:
            break
    return best[0], best[1] | unprintable


def missing_glyphs(font: ImageFont.FreeTypeFont, characters: frozenset[str]) -> frozenset[str]:
    """Return the characters that a font draws as its mark for a missing glyph."""
    absent = _drawn(font, _ABSENT)
    return frozenset(one for one in characters if not one.isspace() and _drawn(font, one) == absent)


def _drawn(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character, mode="L")
    return mask.size, bytes(mask)


@lru_cache(maxsize=64)
def _opened(source: _Source, size_px: int) -> ImageFont.FreeTypeFont:
    if source.path is not None:
        return ImageFont.truetype(source.path, size_px, index=source.number)
    font = ImageFont.load_default(size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ImportError("this Pillow was built without FreeType: install Pillow's own wheel with pip")
    return font


def _installed(characters: str) -> Iterator[_Source]:
    """Yield installed fonts that may have the characters, the likeliest first."""
    matcher = shutil.which("fc-match")
    if matcher:
        yield from _matched(matcher, characters)
    if (found := find_spec("matplotlib")) and found.submodule_search_locations:  # found, not imported
        inside = Path(found.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if inside.is_file():
            yield _Source(str(inside))
    if not matcher:
        files = [file for folder in FOLDERS for file in Path(folder).glob("**/*")]
        likely = sorted((file for file in files if file.suffix.lower() in _SUFFIXES), key=_likeliest)
        for file in likely[:MOST_FILES]:
            yield _Source(str(file))


def _likeliest(file: Path) -> tuple[bool, int, str]:
    """Sort well-known fonts first, and upright ones of normal weight and short name before their variants."""
    name = file.stem.lower()
    return not name.startswith(FIRST_TRIED), len(name), name


def _matched(matcher: str, characters: str) -> Iterator[_Source]:
    """Yield fontconfig's choice of a sans-serif font with these characters."""
    codes = " ".join(f"{ord(one):x}" for one in characters)
    command = [matcher, "--format=%{index} %{file}", f"sans-serif:charset={codes}"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return
    number, _, path = run.stdout.partition(" ")
    if path and number.isdecimal():
        yield _Source(path, int(number) & 0xFFFF)  # higher bits name a variable font's instance
