"""The kinds of findings of an audit, and the record of one finding."""

from __future__ import annotations

from typing import NamedTuple

CORRUPT, BLANK, ALMOST_BLANK, NO_FACE = "corrupt", "blank", "almost blank", "no face"
DUPLICATE, CONFLICT, NEAR, LEAK = "duplicate", "conflict", "near duplicate", "leak"
SIZE, COLOUR, DOUBT, VOTES = "size", "light or colour", "doubtful label", "votes"

KINDS = {
    LEAK: "The same photograph, face or person is in two splits: the score on one of them is too high.",
    CONFLICT: "Identical images have different labels: at least one of the labels is wrong.",
    DUPLICATE: "Images that are identical to the last pixel.",
    NEAR: "The same photograph in another size, compression or light, shifted, zoomed or mirrored.",
    CORRUPT: "The image cannot be decoded.",
    BLANK: "All pixels have almost the same value.",
    ALMOST_BLANK: "Most pixels have almost the same value: often a sign in place of a missing photograph.",
    NO_FACE: "The detector found no face.",
    SIZE: "The size differs from that of nearly all other images, or is very small or narrow.",
    COLOUR: "In colour where others are grey, or grey where others are in colour; or very dark or bright.",
    DOUBT: "A model finds the label improbable, and another one more probable.",
    VOTES: "The annotators' votes name another label, or no face.",
}
"""Every kind of finding, the most serious first, and what it means."""


class Finding(NamedTuple):
    """One thing that is wrong, or may be, with one image. An image may have several."""

    image: str
    """Its id in the dataset."""
    split: str
    label: str
    """Empty where the image has none."""
    kind: str
    """One of `KINDS`."""
    group: str
    """The same for images that belong together, such as ``exact 12``; empty for a finding about one image."""
    detail: str
    to_do: str
    """What to do. ``drop`` and ``keep``: a cleaned set does so. ``look`` and ``check``: a person must decide."""
