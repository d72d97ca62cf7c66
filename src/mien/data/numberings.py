"""Recognise the meaning of class numbers, by other columns or by the names of files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from mien.data.reading import whole_numbers
from mien.labels import AFFECTNET_ORDER, EMOTIONS_8, FER2013_CSV_ORDER, RAF_DB_ORDER, canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class _Numbering(NamedTuple):
    owner: str
    names: Sequence[str]
    first: int
    file: str
    """A regular expression that every file's name must match."""
    columns: frozenset[str]
    """Columns that the list must have beside file, label, split and box."""
    complete: bool
    """Whether all of the numbers must occur."""


_NUMBERINGS = (
    _Numbering("RAF-DB's", RAF_DB_ORDER, 1, r"(train|test)_\d{5}_aligned\.\w+", frozenset(), complete=False),
    _Numbering("RAF-DB's", RAF_DB_ORDER, 1, r"(train|test)_\d{5}\.\w+", frozenset(), complete=True),
    _Numbering("AffectNet's", AFFECTNET_ORDER, 0, r".*", frozenset(("facial_landmarks",)), complete=False),
    _Numbering("ExpW's", FER2013_CSV_ORDER, 0, r".*", frozenset(("face", "confidence")), complete=False),
)
_SEVERAL_SETS = frozenset(("valence", "arousal"))
"""Columns of AffectNet and of other datasets, which number the expressions in another order."""


def named_numbers(
    labels: Sequence[str], files: Sequence[str], columns: Mapping[str, Iterable[str]]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the labels, as names if they are numbers whose meaning is known, and notes about it."""
    labels, notes = names_beside(labels, columns)
    found = {label for label in labels if label}
    if not found or not all(label.isdecimal() for label in found):
        return labels, notes
    plain = [name.rpartition("/")[2] for name in files]
    for owner, names, first, file, needed, complete in _NUMBERINGS:
        known = {str(first + number): name for number, name in enumerate(names)}
        fits = found == set(known) if complete else found <= set(known)
        if fits and needed <= set(columns) and all(re.fullmatch(file, name) for name in plain):
            return [known[label] if label else "" for label in labels], (
                f"the class numbers are read as {owner}: {_meaning(known)}",
            )
    if set(columns) >= _SEVERAL_SETS:
        order = ",".join(f"{name}={number}" for number, name in enumerate(AFFECTNET_ORDER))
        return labels, (
            "the class numbers stay numbers: columns named valence and arousal are in AffectNet and in datasets that "
            f"number the expressions otherwise (`labels={order}` names AffectNet's)",
        )
    return labels, ()


def names_beside(
    labels: Sequence[str], columns: Mapping[str, Iterable[str]]
) -> tuple[list[str], tuple[str, ...]]:
    """Return class numbers as the expressions that another column gives to each of them, if one does, and a note."""
    labels = whole_numbers(labels)
    if not any(labels) or not all(label.isdecimal() for label in labels if label):
        return labels, ()
    for column, cells in columns.items():
        meaning: dict[str, str] = {}
        pairs = [(label, canonical(cell)) for label, cell in zip(labels, cells, strict=True) if label]
        agrees = all(name in EMOTIONS_8 and meaning.setdefault(label, name) == name for label, name in pairs)
        if agrees and len(set(meaning.values())) == len(meaning) > 1:
            return [meaning.get(label, "") for label in labels], (
                f"the class numbers are named by the column {column}: "
                f"{_meaning(dict(sorted(meaning.items(), key=lambda item: int(item[0]))))}",
            )
    return labels, ()


def _meaning(names: Mapping[str, str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in names.items())
