"""Recognise the meaning of class numbers in lists by the names of files or columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from mien.data.reading import whole_numbers
from mien.labels import AFFECTNET_ORDER, FER2013_CSV_ORDER, RAF_DB_ORDER

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


class _Numbering(NamedTuple):
    owner: str
    names: Sequence[str]
    first: int
    file: str
    """A regular expression that every file's name must match."""
    columns: frozenset[str]
    """Columns that the list must have beside file, label, split and box."""


_ACTION_UNIT = re.compile(r"au[ _-]?\d+.*|aus|action_?units?", re.IGNORECASE)
_NUMBERINGS = (
    _Numbering("RAF-DB's", RAF_DB_ORDER, 1, r"(train|test)_\d+(_aligned)?\.\w+", frozenset()),
    _Numbering("AffectNet's", AFFECTNET_ORDER, 0, r".*", frozenset(("valence", "arousal"))),
    _Numbering("AffectNet's", AFFECTNET_ORDER, 0, r".*", frozenset(("facial_landmarks",))),
    _Numbering("ExpW's", FER2013_CSV_ORDER, 0, r".*", frozenset(("face", "confidence"))),
)


def named_numbers(
    labels: Sequence[str], files: Sequence[str], columns: Collection[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the labels, as names if they are numbers of a known numbering, and notes about it."""
    labels = whole_numbers(labels)
    found = {label for label in labels if label}
    if not found or not all(label.isdecimal() for label in found):
        return labels, ()
    for owner, names, first, file, needed in _NUMBERINGS:
        known = {str(first + number): name for number, name in enumerate(names)}
        plain = [name.rpartition("/")[2] for name in files]
        if "valence" in needed and any(map(_ACTION_UNIT.fullmatch, columns)):
            continue  # Aff-Wild2, whose numbers mean something else
        if found <= set(known) and needed <= set(columns) and all(re.fullmatch(file, name) for name in plain):
            meaning = ", ".join(f"{number} {name}" for number, name in known.items())
            return [known[label] if label else "" for label in labels], (
                f"the class numbers are read as {owner}: {meaning}",
            )
    return labels, ()
