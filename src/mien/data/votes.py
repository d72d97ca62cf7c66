"""FER+ votes: ten annotators for each image instead of one label (Barsoum et al. 2016, arXiv:1608.01041)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mien.data.columns import SPLIT, find, plain, votes_places
from mien.data.text import open_table
from mien.errors import DataError, number_of
from mien.labels import EMOTIONS_8, FERPLUS_VOTE_ORDER, canonical, without_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float32, Int

    from mien.data.reading import Reading

BESIDE = "beside"
"""The rule that keeps the labels unchanged."""
_KEY = ("file", "path", "imagename", "filename", "image")
_EMOTIONS = len(EMOTIONS_8)


def with_votes(reading: Reading, path: Path, *, rule: str, unknown: str) -> Reading:
    """Return the reading with its votes, and with its targets made from them unless `rule` is ``beside``.

    Rows of the official ``fer2013new.csv`` belong to the rows of ``fer2013.csv`` in the same order; a table with a
    column ``file`` is matched by name. Images without votes, and those that the rules leave without a target, are
    left out; ``beside`` keeps every image with its own label.

    Raises:
        DataError: another number of rows, votes for fewer than half of the images, or a missing column.
    """
    table = _read(path)
    counts = table.counts
    by_key = _by_key(reading, table)
    if by_key is None and not reading.by_row:
        raise DataError(
            f"{path} goes row by row with fer2013.csv, and {reading.source} has no such rows: "
            f"read that table, or take votes with a file column"
        )
    if by_key is None:
        _check_rows(reading, table, path)
    else:
        missing = [name for name, row in zip(reading.ids, by_key, strict=True) if row < 0]
        if len(missing) > len(reading.ids) / 2:
            raise DataError(
                f"{path} has no votes for {len(missing)} of {len(reading.ids)} images, first {missing[0]}: "
                f"is it of another dataset?"
            )
        counts = np.concatenate([counts, np.zeros((1, counts.shape[1]), np.float32)])[by_key]
    voted = replace(reading, votes=counts)
    if rule == BESIDE:
        note = f"{path.name} has votes for {int(counts.any(axis=1).sum()):,} of {len(counts):,} images; labels stay"
        return replace(voted, notes=(*reading.notes, note))
    targets = vote_targets(counts, rule=rule, unknown=unknown)
    kept = np.flatnonzero(targets.any(axis=1))
    voted = replace(voted, notes=(*reading.notes, _told(reading, path, rule, targets, kept)))
    return replace(voted, classes=EMOTIONS_8, targets=targets, left_out=len(targets) - len(kept)).take(kept)


def _told(
    reading: Reading, path: Path, rule: str, targets: Float32[np.ndarray, "n 8"], kept: Int[np.ndarray, " m"]
) -> str:
    """Return what the votes do to the labels."""
    before = np.array([canonical(name) for name in without_numbers(reading.classes)])[
        reading.targets[kept].argmax(axis=1)
    ]
    labelled = reading.targets[kept].any(axis=1)
    other = int((labelled & (before != np.array(EMOTIONS_8)[targets[kept].argmax(axis=1)])).sum())
    told = f"; another class than before: {other:,} of {number_of(len(kept), 'image')}" if other else ""
    return f"labels are replaced by the votes of {path.name} (rule {rule}){told}"


def vote_targets(
    counts: Float32[np.ndarray, "n 10"], *, rule: str, unknown: str
) -> Float32[np.ndarray, "n 8"]:
    """Turn votes, in the order of `FERPLUS_VOTE_ORDER`, into targets in the order of `EMOTIONS_8`.

    Single votes are outliers and do not count, as in the paper. ``majority`` keeps an image if more than half of
    the votes name one emotion; ``distribution`` gives each emotion its fraction of the votes. `unknown` says what
    happens to votes for unknown and not_a_face: ``drop`` leaves out images for which one of them has the most votes,
    ``ignore`` does not count these votes. A row of zeros means that the image is left out.
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


class _Table(NamedTuple):
    """A table of votes."""

    keys: list[str] | None
    """Names of the images; None if the table has none."""
    counts: Float32[np.ndarray, "n 10"]
    others: dict[str, list[str]]
    """All its other columns."""
    lines: list[int]


def _by_key(reading: Reading, table: _Table) -> list[int] | None:
    """Return the table's row of each image, -1 if there is none; None if row i belongs to image i."""
    if table.keys is None or reading.by_row:
        return None
    rows = {key.replace("\\", "/"): row for row, key in enumerate(table.keys) if key}
    found = [rows.get(name, -1) for name in reading.ids]
    if max(found, default=-1) >= 0 or not rows:
        return found if rows else None
    short = {key.rpartition("/")[2]: row for key, row in rows.items()}
    ends = [name.rpartition("/")[2] for name in reading.ids]
    if len(short) == len(rows) and len(set(ends)) == len(ends):  # names without folders are enough
        return [short.get(end, -1) for end in ends]
    return found


def _check_rows(reading: Reading, table: _Table, path: Path) -> None:
    """Refuse a table whose rows are not those of the dataset, by every column that both have.

    Raises:
        DataError: another number of rows, a row that differs, or no column to compare.
    """
    if len(table.counts) != len(reading.ids):
        raise DataError(
            f"{path} has votes for {len(table.counts)} images, {reading.source} has {len(reading.ids)}: "
            f"they go row by row and must be as many"
        )
    ours = {plain(name): column.tolist() for name, column in reading.columns.items()}
    split = next((name for name in SPLIT if name in table.others), None)
    if split and any(reading.splits):
        ours[split] = list(reading.splits)
    shared = [name for name in table.others if name in ours]
    if not shared:
        raise DataError(
            f"{path}: nothing shows that its rows are those of {reading.source}: expected a column file or Usage "
            f"in it, as fer2013new.csv has"
        )
    for name in shared:
        for line, theirs, mine in zip(table.lines, table.others[name], ours[name], strict=True):
            if theirs.strip().lower() != mine.strip().lower():
                raise DataError(
                    f"{path}: line {line} has the {name} {theirs}, that row of {reading.source} has {mine}: "
                    f"the rows are not the same"
                )


def _read(path: Path) -> _Table:
    """Read a table of votes.

    Raises:
        DataError: a column is missing, or a vote is no count of people.
    """
    if not path.is_file():
        raise DataError(f"no votes at {path}: expected FER+'s fer2013new.csv, or a table with a file column")
    with open_table(path) as table:
        columns = votes_places(table.header)
        if columns is None:
            named = [canonical(name) for name in table.header]
            missing = next(name for name in FERPLUS_VOTE_ORDER if name not in named)
            raise DataError(
                f"{path}: expected a column of votes for {missing}, got {', '.join(table.header)}"
            )
        key = find(table.header, _KEY)
        cells, lines = [], []
        for number, row in table.rows:
            cells.append(row)
            lines.append(number)
    counts = np.zeros((len(cells), len(FERPLUS_VOTE_ORDER)), np.float32)
    for place, (number, row) in enumerate(zip(lines, cells, strict=True)):
        try:
            counts[place] = [float(row[column]) for column in columns]
        except ValueError as error:
            raise DataError(f"{path}: line {number} holds a vote that is no number ({error})") from error
    wrong = ~((counts >= 0) & (counts <= 1000) & (counts == np.rint(counts))).all(axis=1)
    if wrong.any():
        raise DataError(f"{path}: line {lines[int(wrong.argmax())]} holds a vote that is no count of people")
    others = {
        plain(name): [row[place] for row in cells]
        for place, name in enumerate(table.header)
        if place not in columns and place != key
    }
    return _Table(None if key is None else [row[key].strip() for row in cells], counts, others, lines)
