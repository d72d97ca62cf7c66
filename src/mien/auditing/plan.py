"""Which images a cleaned set leaves out, and why: one rule, in the order in which it applies."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from mien.auditing.copies import exposed
from mien.auditing.findings import BLANK, CONFLICT, DUPLICATE, LEAK
from mien.auditing.looks import blank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int, Shaped

    from mien.auditing.copies import Copies
    from mien.auditing.measure import Measured

RULE = {
    BLANK: "blank images",
    CONFLICT: "identical images with different labels, all of them",
    LEAK: "copies of images in another split, or of the same photo or group (test stays, then val, then train)",
    DUPLICATE: "identical images in one split, all but the first",
}
"""What is left out, in this order. Corrupt images are always left out; images with a doubtful label stay."""


def drops(measured: Measured, copies: Copies) -> list[str]:
    """Return for each row why a cleaned set leaves it out, a key of `RULE`; an empty text keeps it."""
    why = np.zeros(len(measured.data), "<U16")
    splits, labels = measured.data.split, measured.data.given_names
    why[blank(measured)] = BLANK
    for _, rows in copies.exact.where(copies.exact.differ(labels)):
        _mark(why, rows, CONFLICT)
    for groups in (copies.exact, copies.near, *copies.named):
        for rows in groups.rows:
            left = rows[why[rows] == ""]
            if len(left) > 1:
                _mark(why, exposed(left, splits), LEAK)
    for rows in copies.exact.rows:
        left = rows[why[rows] == ""]
        if len(left) > 1:
            kept = next((row for row in left if labels[row]), left[0])
            _mark(why, left[left != kept], DUPLICATE)
    return why.tolist()


def _mark(why: Shaped[np.ndarray, " n"], rows: Int[np.ndarray, " m"], reason: str) -> None:
    """Give these rows a reason, unless they have one."""
    why[rows[why[rows] == ""]] = reason


def tally(values: Shaped[np.ndarray, " m"]) -> str:
    """Count the values of a group, the most frequent first: ``happy 2, sad 1``."""
    return ", ".join(
        f"{value or '(none)'} {count:,}" for value, count in Counter(values.tolist()).most_common()
    )


def told(why: Sequence[str], splits: Shaped[np.ndarray, " n"], corrupt: int) -> str:
    """Say in one line what a cleaned set leaves out."""
    reasons = {reason: np.array([one == reason for one in why], bool) for reason in RULE}
    parts = [f"corrupt: {corrupt:,}"] if corrupt else []
    for reason, rows in reasons.items():
        if rows.any():
            parts.append(f"{RULE[reason]}: {rows.sum():,} ({tally(splits[rows])})")
    total = sum(bool(one) for one in why) + corrupt
    return "; ".join([f"left out {total:,} of {len(why) + corrupt:,} images", *parts])
