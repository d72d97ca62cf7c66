"""Emotions, label sets, and the maps between the names and numbers that datasets use.

A label set is an ordered tuple of names; its order is the order of a network's outputs. Order is where
silent mistakes are made, so every numbering met in the field is written out here once.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from mien.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EMOTIONS_7 = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
EMOTIONS_8 = (*EMOTIONS_7, "contempt")

FER2013_CSV_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""What the numbers 0-6 of ``fer2013.csv`` mean: not the alphabetical folder order."""

RAF_DB_ORDER = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""What the numbers 1-7 of RAF-DB mean (Li et al. 2017, doi:10.1109/CVPR.2017.277)."""

AFFECTNET_ORDER = (
    *("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"),
    *("none", "uncertain", "not_a_face"),
)
"""What the numbers 0-10 of AffectNet mean (Mollahosseini et al. 2017, doi:10.1109/TAFFC.2017.2740923)."""

CKPLUS_ORDER = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
"""What the numbers 0-7 of CK+ mean (Lucey et al. 2010, doi:10.1109/CVPRW.2010.5543262)."""

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
    plain = unicodedata.normalize("NFC", name).strip().lower().replace(" ", "_")
    return _ALIASES.get(plain, plain)


_NUMBERED = re.compile(r"\d+[ ._-]+(.*\S)", re.DOTALL)


def expressions(names: Iterable[str]) -> set[str]:
    """Return the known emotions that class names mean."""
    return {canonical(name) for name in names} & set(EMOTIONS_8)


def without_numbers(names: Sequence[str]) -> list[str]:
    """Return class names without the numbers that stand before all of them: ``0_angry``, ``1. Happy``.

    They stay where a name has none, where two names would become the same, or where none would be an expression.
    """
    found = [_NUMBERED.fullmatch(name) for name in names]
    bare = [match[1] for match in found if match]
    same = len(bare) == len(names) == len({canonical(name) for name in bare})
    return bare if same and expressions(bare) else list(names)


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
                f"classes {first!r} and {name!r} both mean {canonical(name)!r}: "
                f"rename one, or merge them with `labels`"
            )
    if len(seen) < 2:
        raise DataError(f"expected at least two classes, found {len(seen)}: {', '.join(seen) or 'none'}")
    known = [name for name in EMOTIONS_8 if name in seen]
    return (*known, *sorted(set(seen) - set(known)))


def choose_labels(
    choice: str | None, classes: tuple[str, ...], source: str
) -> tuple[tuple[str, ...], list[int | None]]:
    """Return a label set and, for each class of a source, its place there, None if it is left out.

    `choice` lists what to keep, in order: ``angry,happy`` selects, ``joyful=happy`` renames,
    ``negative=angry+sad`` merges. Without one all classes are kept, in their usual order. Where the source
    has only numbers, plain words name 0, 1, 2... and ``happy=3`` names one of them.

    Raises:
        DataError: a class that the source lacks, one that is used twice, or fewer than two labels.
    """
    known = [canonical(name) for name in classes]
    numbered = bool(known) and all(name.isdecimal() for name in known)
    if choice is None:
        if numbered:
            return classes, list(range(len(classes)))
        labels = label_set(classes)
        return labels, [labels.index(name) for name in known]
    items = [_item(item, choice) for item in choice.split(",")]
    labels = tuple(name for name, _ in items)
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise DataError(f"`labels={choice}`: expected at least two different labels")
    if numbered and "=" not in choice and not any(name.isdecimal() for name in labels):
        if (highest := max(map(int, known))) >= len(labels):
            raise DataError(
                f"{source} has the class number {highest}, but `labels={choice}` names only "
                f"0 to {len(labels) - 1}: name all of them, or say which is which, as in {labels[0]}=1"
            )
        return labels, [int(name) for name in known]
    places: dict[str, int] = {}
    for number, (_, parts) in enumerate(items):
        for part in parts:
            if part not in known:
                raise DataError(
                    f"`labels={choice}`: {source} has no class {part!r}{did_you_mean(part, known)} "
                    f"(it has {', '.join(dict.fromkeys(known))})"
                )
            if part in places:
                raise DataError(f"`labels={choice}`: the class {part!r} is used twice")
            places[part] = number
    return labels, [places.get(name) for name in known]


def _item(item: str, choice: str) -> tuple[str, list[str]]:
    """Split ``new=old+old`` or ``name`` into the label and the classes that make it up."""
    name, equals, parts = item.partition("=")
    given = (parts if equals else name).split("+")
    label, members = canonical(name), list(dict.fromkeys(map(canonical, given)))  # sad+SAD is one class
    if not label or not all(members) or "+" in label:
        raise DataError(
            f"`labels={choice}`: expected names such as angry,happy or negative=angry+sad, got {item!r}"
        )
    return label, members


def index_map(source: tuple[str, ...], target: tuple[str, ...]) -> list[int]:
    """Return, for each label of `source`, its position in `target`. ``angry`` is the ``Anger`` of another package.

    Raises:
        DataError: `target` lacks a label of `source`.
    """
    meant = {canonical(name): number for number, name in enumerate(target)}
    if len(meant) == len(target) and all(canonical(name) in meant for name in source):
        return [meant[canonical(name)] for name in source]
    for name in source:
        if name not in target:
            common = [name for name in source if name in target]
            way_out = f"; leave it out with `labels={','.join(common)}`" if len(common) > 1 else ""
            raise DataError(
                f"label {name!r} of the data is not among the model's labels "
                f"{', '.join(target)}{did_you_mean(name, target) or way_out}"
            )
    return [target.index(name) for name in source]
