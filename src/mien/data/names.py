"""Images whose file names contain the expression: KDEF and JAFFE, and others if the user asks for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from mien.data.beside import added, additions
from mien.data.groups import GROUP_COLUMN
from mien.data.place import LIKELY, NO, Place, Sign
from mien.data.reading import Reading, class_targets
from mien.data.split_names import split_name, splits_of_files
from mien.errors import DataError, number_of
from mien.labels import EMOTIONS_8, canonical
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.options import ReadOptions

USES = frozenset(("split_column",))
_KDEF = re.compile(r"[AB][FM]\d{2}(AF|AN|DI|HA|NE|SA|SU)(FL|HL|S|HR|FR)\.\w+", re.IGNORECASE)
_KDEF_NAMES = {
    "AF": "fear",
    "AN": "angry",
    "DI": "disgust",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprise",
}
_JAFFE = re.compile(r"[A-Z]{2}[.-](AN|DI|FE|HA|NE|SA|SU)\d\.\d+\.\w+", re.IGNORECASE)
_JAFFE_NAMES = {**_KDEF_NAMES, "FE": "fear"}
_WORD = re.compile(r"[A-Za-z]+")
_DENIED = frozenset(("not", "non", "no", "without"))
"""A name with such a word, as ``not_happy_1.png``, does not say which emotion the image shows."""
_SHOWN = 4
_MOST = 0.95
"""Least fraction of the names that fit the rule of a collection; KDEF itself has a few wrong ones."""


def _kdef(name: str) -> str | None:
    match = _KDEF.fullmatch(name)
    return _KDEF_NAMES[match[1].upper()] if match else None


def _jaffe(name: str) -> str | None:
    match = _JAFFE.fullmatch(name)
    return _JAFFE_NAMES[match[1].upper()] if match else None


def _word(name: str) -> str | None:
    """Return the one emotion that is a word of a name; None if there is none, or several."""
    words = {word.lower() for word in _WORD.findall(name.rpartition(".")[0])}
    found = set(map(canonical, words)) & set(EMOTIONS_8)
    return found.pop() if len(found) == 1 and not words & _DENIED else None


_PERSON = {
    "KDEF's": re.compile(r"[AB]([FM]\d{2})", re.IGNORECASE),  # the letter before it is the session
    "JAFFE's": re.compile(r"([A-Z]{2})", re.IGNORECASE),
}
"""Patterns for the person in the names of files; random splits keep a person's images together."""
_RULES: dict[str, Callable[[str], str | None]] = {"KDEF's": _kdef, "JAFFE's": _jaffe}


def _owner(names: Sequence[str]) -> str | None:
    """Return whose rule the names follow, all but a few of them."""
    return next(
        (one for one, rule in _RULES.items() if sum(map(bool, map(rule, names))) >= _MOST * len(names)), None
    )


def recognise(place: Place) -> Sign:
    """Return how sure it is that the images have names of KDEF's or JAFFE's kind, all but a few of them."""
    if place.kind == "file" or not place.has_pictures:
        return Sign(NO)
    names = [picture.rpartition("/")[2] for picture in place.pictures]
    if _owner(names):
        return Sign(LIKELY)
    if all(map(_word, names)):
        return Sign(NO, "the name of each file says an emotion: `format=names` reads it")
    return Sign(NO)


def read(place: Place, options: ReadOptions) -> Reading:
    """Read each image's class from its file's name. Of KDEF and JAFFE, the few images with a wrong name are left out.

    Raises:
        DataError: names without an emotion, or with several.
    """
    source = str(place.path)
    pictures = place.pictures
    names = [picture.rpartition("/")[2] for picture in pictures]
    owner = _owner(names) or ""
    rule = _RULES.get(owner, _word)
    wrong = [name for name in names if rule(name) is None]
    if wrong and not owner:
        first = wrong[0]
        raise DataError(
            f"{source}: the name {first} says no emotion, or several: expected one in each, such as happy_01.jpg; "
            f"else give a table with columns path and label"
        )
    pictures = [one for one, name in zip(pictures, names, strict=True) if rule(name)]
    names = [name for name in names if rule(name)]
    labels = [rule(name) or "" for name in names]
    classes, targets = class_targets(labels, source)
    splits = [next((one for part in p.split("/")[:-1] if (one := split_name(part))), "") for p in pictures]
    of_files: tuple[str, ...] = ()
    if not any(splits):
        splits, of_files = splits_of_files(pictures)
    whose = f", which are {owner}; the images of a person stay in one split" if owner else ""
    people = {}
    if owner in _PERSON:
        found = [_PERSON[owner].match(name) for name in names]
        people = {GROUP_COLUMN: np.array([match[1].upper() if match else "" for match in found])}
    more, said, tables = additions(place, options)
    reading = Reading(
        source=source,
        ids=list(pictures),
        columns=people,
        splits=splits,
        classes=classes,
        targets=targets,
        picture=lambda row: images.decode_dataset_image(place.tree.read(pictures[row])),
        notes=(
            f"the classes are read from the names of the files{whose}",
            *_left_out(wrong, owner),
            *of_files,
            *said,
            *place.passed_over({*place.pictures, *tables, *place.answers}),
        ),
    )
    return added(reading, pictures, more)


def _left_out(wrong: Sequence[str], owner: str) -> list[str]:
    if not wrong:
        return []
    shown = ", ".join(wrong[:_SHOWN])
    return [f"left out {number_of(len(wrong), 'image')} whose name is not as {owner} are: {shown}"]
