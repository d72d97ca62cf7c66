"""Columns of 0 and 1 that say the split of each row: ``is_train``, or ``train``, ``val`` and ``test``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mien.data import columns
from mien.data.reading import NO_LABEL
from mien.data.split_names import split_word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.options import ReadOptions

_ON, _OFF = frozenset(("1", "1.0", "true")), frozenset(("0", "0.0", "false"))
_REST = {"train": "test", "val": "train", "test": "train"}
"""The split of the rows that one column alone does not set."""


def flags_of(header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[int, str]:
    """Return the columns of 0 and 1 whose name has the word of one split, and that split."""
    found = {}
    for place, name in enumerate(header):
        word = split_word(re.sub(r"^(is|in)_?(?=[a-z])", "", name, flags=re.IGNORECASE))
        if word and rows and all(row[place].lower() in _ON | _OFF for row in rows):
            found[place] = word[0]
    return found


def splits_of(
    header: Sequence[str], options: ReadOptions, source: str, rows: Sequence[Sequence[str]]
) -> tuple[list[str] | None, list[int], tuple[str, ...]]:
    """Return the split of each row (None: no column says it), the columns that say it, and notes."""
    place, notes = columns.split_place(header, options, source, rows)
    flags = flags_of(header, rows)
    given = [] if place is None else ["" if row[place].lower() in NO_LABEL else row[place] for row in rows]
    if place is not None and place not in flags:
        return given, [place], notes
    flags = {place: flags[place]} if place is not None else flags
    if not flags:
        return None, [], notes
    shown = " and ".join(header[place] for place in flags)
    splits = _splits(header, flags, rows)
    if not splits:
        if place is not None:
            return given, [place], notes
        way_out = "add a column named split that holds train, val or test"
        return None, [], (f"{source}: the column {shown} is not read as the split: {way_out}",)
    rest = f", 0 is {_REST[next(iter(flags.values()))]}" if len(flags) == 1 else ""
    meaning = ", ".join(f"1 in {header[place]} is {split}" for place, split in flags.items())
    return splits, [*flags], (f"{source}: the column {shown} is read as the split: {meaning}{rest}",)


def _splits(header: Sequence[str], flags: dict[int, str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the split of each row; nothing if the columns do not say exactly one for each, and more than one in all.

    A column `valid` alone may say that an image can be used, and is no split.
    """
    set_here = [[split for place, split in flags.items() if row[place].lower() in _ON] for row in rows]
    if len(flags) == 1:
        ((place, split),) = flags.items()
        if columns.plain(header[place]).endswith("valid"):
            return []
        set_here = [one or [_REST[split]] for one in set_here]
    if any(len(one) != 1 for one in set_here) or len({one[0] for one in set_here}) < 2:
        return []
    return [one[0] for one in set_here]
