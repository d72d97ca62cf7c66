"""The findings of an audit, one for each image and reason: the lines of its table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.auditing.findings import (
    ALMOST_BLANK,
    BLANK,
    CONFLICT,
    CORRUPT,
    DOUBT,
    DUPLICATE,
    LEAK,
    NEAR,
    VOTES,
    Finding,
)
from mien.auditing.plan import tally
from mien.auditing.votes import shown_votes, voted_otherwise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from jaxtyping import Int, Shaped

    from mien.auditing.copies import Copies, Grouping
    from mien.auditing.doubt import Doubts
    from mien.auditing.measure import Measured
    from mien.data.dataset import FaceDataset


def of_corrupt(measured: Measured) -> Iterator[Finding]:
    """Yield a finding for each image that could not be decoded."""
    for one in measured.corrupt:
        yield Finding(one.image, one.split, one.label, CORRUPT, "", one.reason, "drop")


def of_groups(measured: Measured, copies: Copies, why: Sequence[str]) -> Iterator[Finding]:
    """Yield the findings about images that belong together.

    Args:
        measured: the dataset.
        copies: its groups.
        why: for each row why a cleaned set leaves it out; an empty text keeps it.
    """
    data, labels = measured.data, measured.data.given_names
    everything = (copies.exact, copies.near, *copies.named)
    for kind, groupings in _ABOUT.items():
        for groups in everything if groupings is None else (getattr(copies, groupings),):
            for name, rows in groups.where(_marked(kind, groups, data, labels)):
                for row in rows.tolist():
                    detail, to_do = _told(kind, data, labels, rows, row)
                    fate = "drop" if why[row] else to_do
                    yield Finding(
                        data.ids[row], str(data.split[row]), str(labels[row]), kind, name, detail, fate
                    )


_ABOUT = {DUPLICATE: "exact", CONFLICT: "exact", NEAR: "near", LEAK: None}
"""The kinds of findings about groups, and which groups they are about; None: all."""


def _marked(kind: str, groups: Grouping, data: FaceDataset, labels: Shaped[np.ndarray, " n"]) -> list[bool]:
    """Say of each group whether there is a finding of this kind about it."""
    if kind == CONFLICT:
        return groups.differ(labels)
    return groups.differ(data.split) if kind == LEAK else [True] * len(groups)


def _told(
    kind: str, data: FaceDataset, labels: Shaped[np.ndarray, " n"], rows: Int[np.ndarray, " m"], row: int
) -> tuple[str, str]:
    """Return the detail of a finding about one row of a group, and what to do if the row stays."""
    if kind == CONFLICT:
        return f"labels of the identical images: {tally(labels[rows])}", "keep"
    if kind == LEAK:
        return f"as {_others(data, rows[data.split[rows] != data.split[row]], row)}", "keep"
    if kind == DUPLICATE:
        return f"identical to {_others(data, rows, row)}", "keep"
    differ = len(set(labels[rows].tolist()) - {""}) > 1
    detail = f"as {_others(data, rows, row)}" + (f"; labels: {tally(labels[rows])}" if differ else "")
    return detail, "check the labels" if differ else "keep in one split"


_NAMED = 2


def _others(data: FaceDataset, rows: Int[np.ndarray, " m"], but: int) -> str:
    """Return the ids of these rows but one; of many the first ones and how many more."""
    names = [data.ids[row] for row in rows[: _NAMED + 1].tolist() if row != but][:_NAMED]
    more = len(rows) - int(but in rows) - len(names)
    return " and ".join(names) + (f" and {more} more" if more else "")


def of_images(
    measured: Measured, odd: Sequence[tuple[int, str, str]], why: Sequence[str]
) -> Iterator[Finding]:
    """Yield a finding for each (row, kind, detail) of an image that is odd by itself."""
    data, labels = measured.data, measured.data.given_names
    for row, kind, detail in odd:
        to_do = "drop" if kind == BLANK else "look"
        if kind == ALMOST_BLANK and why[row]:
            to_do = "drop"
        yield Finding(data.ids[row], str(data.split[row]), str(labels[row]), kind, "", detail, to_do)


def of_labels(measured: Measured, judged: Doubts | None) -> Iterator[Finding]:
    """Yield the labels that a model doubts, then those that the votes contradict."""
    data, labels = measured.data, measured.data.given_names
    if judged is not None:
        suggested, given = judged.suggested, judged.given_prob
        for row in judged.listed().tolist():
            other = data.labels[suggested[row]]
            detail = f"{labels[row]} {given[row]:.0%}, {other} {judged.probs[row, suggested[row]]:.0%}"
            if data.votes is not None and data.votes[row].any():
                detail += f"; votes: {shown_votes(data.votes[row])}"
            yield Finding(
                data.ids[row], str(data.split[row]), str(labels[row]), DOUBT, "", detail, f"check: {other}?"
            )
    for row, leader, detail in voted_otherwise(data):
        to_do = f"check: {leader}?"
        yield Finding(data.ids[row], str(data.split[row]), str(labels[row]), VOTES, "", detail, to_do)
