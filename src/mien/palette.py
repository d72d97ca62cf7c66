"""One colour for each emotion, the same on photos, curves, pages and contact sheets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mien.labels import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable

RGB = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

EMOTIONS_RGB: dict[str, RGB] = {
    "angry": (203, 7, 10),
    "disgust": (8, 112, 63),
    "fear": (153, 81, 160),
    "happy": (210, 175, 60),
    "neutral": (149, 153, 150),
    "sad": (26, 119, 228),
    "surprise": (8, 193, 242),
    "contempt": (210, 120, 61),
}
"""A search made the two most similar colours as different as it could (distance in Oklab), for normal sight and for
each of the three kinds of colour blindness (simulated as in Machado et al. 2009, doi:10.1109/TVCG.2009.113). Every
colour has a contrast of 2 or more against a white page and against a nearly black one."""
UNCERTAIN_RGB: RGB = (226, 228, 230)
"""Of the label `uncertain`, which is no emotion."""
SERIES_HEX = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A5195")
"""For lines that are no emotions: models, splits, kinds of corruption. Colour-blind readers can tell them apart
(Okabe & Ito 2008; yellow, too pale for a line, replaced)."""

PLOT_STYLE: Any = {
    "svg.hashsalt": "mien", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "axes.titlelocation": "left", "text.parse_math": False,
}  # fmt: skip
"""How every plot looks, for `matplotlib.rc_context`. A name with dollar signs is text, not a formula."""


def colours(labels: Iterable[str]) -> dict[str, RGB]:
    """Return the colour of each label of a label set.

    An emotion has its own, under any of its names. Other labels take the colours that are left, in the order of the
    label set; where none are left, the colours come round again.
    """
    names = list(dict.fromkeys(labels))
    found = {name: EMOTIONS_RGB[canonical(name)] for name in names if canonical(name) in EMOTIONS_RGB}
    left = [rgb for rgb in EMOTIONS_RGB.values() if rgb not in found.values()] or [*EMOTIONS_RGB.values()]
    others = [name for name in names if name not in found]
    found |= {name: left[number % len(left)] for number, name in enumerate(others)}
    return {name: found[name] for name in names}


def hex_code(rgb: RGB) -> str:
    """Return a colour as CSS and matplotlib write it: ``#1a77e4``."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)
