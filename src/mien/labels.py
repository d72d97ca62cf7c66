"""Emotions, label sets, and the maps between the names and numbers that datasets use.

A label set is an ordered tuple of names; its order is the order of a network's outputs. Order is where
silent mistakes are made, so every numbering met in the field is written out here once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

EMOTIONS_7 = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
EMOTIONS_8 = (*EMOTIONS_7, "contempt")

FER2013_CSV_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""What the numbers 0-6 of ``fer2013.csv`` mean: not the alphabetical folder order."""

KAGGLE_3_ORDER = ("angry", "happy", "neutral")
"""What 0, 1, 2 mean in the three-class competition of reference system D."""

FERPLUS_VOTE_ORDER = (
    *("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"),
    *("unknown", "not_a_face"),
)
"""The columns of the FER+ votes (Barsoum et al. 2016, arXiv:1608.01041)."""

_ALIASES = {
    "anger": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "scared": "fear",
    "happiness": "happy",
    "joy": "happy",
    "calm": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
    "contemptuous": "contempt",
    "nf": "not_a_face",
}


def canonical(name: str) -> str:
    """Return the name this package uses for an emotion: ``Happiness`` -> ``happy``; others lower-cased."""
    plain = name.strip().lower().replace(" ", "_")
    return _ALIASES.get(plain, plain)


def label_set(names: Iterable[str]) -> tuple[str, ...]:
    """Order class names as a label set: known emotions in their usual order, then others by the alphabet.

    Raises:
        DataError: two names mean the same emotion, or there are fewer than two.
    """
    given = list(names)
    seen: dict[str, str] = {}
    for name in given:
        if (first := seen.setdefault(canonical(name), name)) != name:
            raise DataError(
                f"classes {first!r} and {name!r} both mean {canonical(name)!r}: merge or rename one"
            )
    if len(seen) < 2:
        raise DataError(f"expected at least two classes, found {len(seen)}: {', '.join(seen) or 'none'}")
    known = [name for name in EMOTIONS_8 if name in seen]
    return (*known, *sorted(set(seen) - set(known)))


def index_map(source: tuple[str, ...], target: tuple[str, ...]) -> list[int]:
    """Return, for each label of `source`, its position in `target`.

    Raises:
        DataError: `target` lacks a label of `source`.
    """
    for name in source:
        if name not in target:
            raise DataError(
                f"label {name!r} of the data is not among the model's labels "
                f"{', '.join(target)}{did_you_mean(name, target)}"
            )
    return [target.index(name) for name in source]
