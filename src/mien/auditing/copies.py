"""Images that belong together: exact and near duplicates, faces of one photo, and the user's groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.data.groups import GROUP_COLUMN, PHOTO_COLUMN, equal_values, joined, near_pairs, too_alike

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Int, Shaped

    from mien.auditing.measure import Measured

PROTECTED = ("test", "val", "train")
"""Where a group stands in several splits, its images stay in the first of these; other splits come last."""


class Grouping:
    """Rows in groups of one kind; groups of one row are left out."""

    def __init__(
        self, kind: str, groups: Int[np.ndarray, " n"], names: Shaped[np.ndarray, " n"] | None = None
    ) -> None:
        self.kind = kind
        order = np.argsort(groups, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []
        self.rows = [rows for rows in parts if len(rows) > 1]
        """The rows of each group, in the order of their first rows."""
        self._names = names

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_images(self) -> int:
        """Number of images in all groups."""
        return sum(map(len, self.rows))

    def name(self, number: int) -> str:
        """Return what findings call a group, such as ``exact 12``; groups count from 1."""
        own = number + 1 if self._names is None else self._names[self.rows[number][0]]
        return f"{self.kind} {own}"

    def where(self, different: Sequence[bool]) -> Iterator[tuple[str, Int[np.ndarray, " m"]]]:
        """Yield name and rows of the groups that are marked."""
        for number, (rows, marked) in enumerate(zip(self.rows, different, strict=True)):
            if marked:
                yield self.name(number), rows

    def differ(self, values: Shaped[np.ndarray, " n"]) -> list[bool]:
        """Return for each group whether its rows have different values; empty values do not count."""
        return [len(set(values[rows].tolist()) - {""}) > 1 for rows in self.rows]


@dataclass(frozen=True)
class Copies:
    """All groups of a dataset."""

    exact: Grouping
    near: Grouping
    """Near duplicates, joined with the exact duplicates of each; no group is of exact duplicates alone."""
    named: tuple[Grouping, ...]
    """Faces of one photo, and the user's groups."""
    together: Int[np.ndarray, " n"]
    """Rows with the same number may not be divided by a split."""
    note: str = ""
    """Why no near duplicates were looked for, or why those that were found are not used."""


def find_copies(measured: Measured) -> Copies:
    """Find all groups: exact duplicates first, then near ones among the images that differ."""
    n, keys = len(measured.data), equal_values(measured.keys)
    exact = joined(n, keys)
    near, note = (
        np.zeros((0, 2), int),
        "near duplicates were not looked for: the images are drawn or too small",
    )
    if measured.thumbs is not None:
        first = np.flatnonzero(exact == np.arange(n))
        near, note = first[near_pairs(measured.thumbs[first])], ""
        if why := too_alike(near, n):
            near, note = near[:0], f"{why}: near duplicates are left out"
    columns = measured.data.columns
    named = {name: columns[name] for name in (PHOTO_COLUMN, GROUP_COLUMN) if name in columns}
    by_name = {name: joined(n, equal_values(values)) for name, values in named.items()}
    return Copies(
        Grouping("exact", exact),
        Grouping("near", _with_near(exact, near)),
        tuple(
            Grouping("photo" if name == PHOTO_COLUMN else "group", groups, named[name])
            for name, groups in by_name.items()
        ),
        joined(n, keys, near, *(equal_values(values) for values in named.values())),
        note,
    )


def _with_near(exact: Int[np.ndarray, " n"], near: Int[np.ndarray, "m 2"]) -> Int[np.ndarray, " n"]:
    """Return groups of near duplicates, each with all exact duplicates of its rows; all other rows are alone."""
    n = len(exact)
    in_some = np.zeros(n, bool)
    in_some[near.ravel()] = True
    copied = np.flatnonzero(in_some[exact])
    return joined(n, near, np.stack([exact[copied], copied], axis=1))


def protection(split: str) -> int:
    """Return the rank of a split in `PROTECTED`; the images of the split with the lowest rank stay."""
    return PROTECTED.index(split) if split in PROTECTED else len(PROTECTED)


def exposed(rows: Int[np.ndarray, " m"], splits: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " _"]:
    """Return the rows of a group that a cleaned set leaves out: all but those in the split that comes first."""
    ranks = np.array([protection(split) for split in splits[rows].tolist()])
    best = splits[rows[int(ranks.argmin())]]
    return rows[splits[rows] != best]
