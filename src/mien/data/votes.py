"""FER+ votes: ten annotators a picture instead of one label (Barsoum et al. 2016, arXiv:1608.01041)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mien.data.text import open_table
from mien.errors import DataError
from mien.labels import EMOTIONS_8, FERPLUS_VOTE_ORDER, canonical

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float32

    from mien.data.reading import Reading

BESIDE = "beside"
"""The rule that leaves the labels as they are."""
_KEY = ("file", "path")
_EMOTIONS = len(EMOTIONS_8)


def with_votes(reading: Reading, path: Path, *, rule: str, unknown: str) -> Reading:
    """Return the reading with its votes, and with its targets made from them unless `rule` is ``beside``.

    The official ``fer2013new.csv`` goes row by row with ``fer2013.csv``, a table with a ``file`` column by name.
    Pictures without votes, and those that the rules leave without a target, are left out; ``beside`` keeps
    every picture with its own label.

    Raises:
        DataError: another number of rows, votes for fewer than half of the pictures, a column that is missing.
    """
    keys, counts = _read(path)
    if keys is None:
        if not reading.by_row:
            raise DataError(
                f"{path} goes row by row with fer2013.csv, and {reading.source} has no such rows: "
                f"read that table, or take votes with a file column"
            )
        if len(counts) != len(reading.ids):
            raise DataError(
                f"{path} has votes for {len(counts)} pictures, {reading.source} has {len(reading.ids)}: "
                f"they go row by row and must be as many"
            )
    else:
        rows = {key: row for row, key in enumerate(keys)}
        missing = [name for name in reading.ids if name not in rows]
        if len(missing) > len(reading.ids) / 2:
            raise DataError(
                f"{path} has no votes for {len(missing)} of {len(reading.ids)} pictures, first {missing[0]}: "
                f"is it of another dataset?"
            )
        counts = np.concatenate([counts, np.zeros((1, counts.shape[1]), np.float32)])
        counts = counts[[rows.get(name, -1) for name in reading.ids]]
    voted = replace(reading, votes=counts)
    if rule == BESIDE:
        return voted
    targets = vote_targets(counts, rule=rule, unknown=unknown)
    kept = np.flatnonzero(targets.any(axis=1))
    return replace(voted, classes=EMOTIONS_8, targets=targets, left_out=len(targets) - len(kept)).take(kept)


def vote_targets(
    counts: Float32[np.ndarray, "n 10"], *, rule: str, unknown: str
) -> Float32[np.ndarray, "n 8"]:
    """Turn votes, in the order of `FERPLUS_VOTE_ORDER`, into targets in the order of `EMOTIONS_8`.

    Single votes are outliers and do not count, as in the paper. ``majority`` keeps a picture if more than half of
    the votes name one emotion; ``distribution`` gives each emotion its share. `unknown` says what becomes of votes
    for unknown and not_a_face: ``drop`` leaves out pictures where either of them leads, ``ignore`` does not count
    them. A row of zeros: the picture is left out.
    """
    counts = np.where(counts > 1, counts, 0)
    if unknown == "ignore":
        counts = counts * (np.arange(counts.shape[1]) < _EMOTIONS)
    emotions = counts[:, :_EMOTIONS]
    leads = emotions.max(axis=1) > counts[:, _EMOTIONS:].max(axis=1)
    if rule == "majority":
        leads &= emotions.max(axis=1) > counts.sum(axis=1) / 2
        emotions = np.eye(_EMOTIONS, dtype=np.float32)[emotions.argmax(axis=1)]
    shares = emotions / np.maximum(emotions.sum(axis=1, keepdims=True), 1)
    ordered = np.zeros_like(shares, dtype=np.float32)
    ordered[:, [EMOTIONS_8.index(name) for name in FERPLUS_VOTE_ORDER[:_EMOTIONS]]] = shares
    return ordered * leads[:, None].astype(np.float32)


def _read(path: Path) -> tuple[list[str] | None, Float32[np.ndarray, "n 10"]]:
    """Return the pictures' names, where the table has them, and their votes."""
    if not path.is_file():
        raise DataError(f"no votes at {path}: expected FER+'s fer2013new.csv, or a table with a file column")
    with open_table(path) as table:
        named = [canonical(name) for name in table.header]
        missing = [name for name in FERPLUS_VOTE_ORDER if name not in named]
        if missing:
            raise DataError(
                f"{path}: expected a column of votes for {missing[0]}, got {', '.join(table.header)}"
            )
        columns = [named.index(name) for name in FERPLUS_VOTE_ORDER]
        key = next((table.header.index(name) for name in _KEY if name in table.header), None)
        keys: list[str] = []
        rows: list[list[float]] = []
        for number, row in table.rows:
            try:
                rows.append([float(row[column]) for column in columns])
            except ValueError as error:
                raise DataError(f"{path}: line {number} holds a vote that is no number ({error})") from error
            keys.append("" if key is None else row[key])
    counts = np.array(rows, np.float32).reshape(-1, len(FERPLUS_VOTE_ORDER))
    wrong = ~((counts >= 0) & (counts <= 1000)).all(axis=1)
    if wrong.any():
        raise DataError(f"{path}: line {int(wrong.argmax()) + 2} holds a vote that is no count of people")
    return (None if key is None else keys), counts
