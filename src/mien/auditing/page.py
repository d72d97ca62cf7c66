"""An audit as a folder: one page that shows the worst, one table that lists everything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import files
from mien.auditing.findings import KINDS, Finding
from mien.errors import number_of
from mien.evaluation.render import page, png_source, table
from mien.palette import colours, hex_code

if TYPE_CHECKING:
    from mien.auditing.audit import Audit

PAGE, TABLE = "audit.html", "findings.csv"
PAIRS = 12
"""Most pairs of a label and another class that the page lists."""


def write_audit(audit: Audit, out: Path) -> Path:
    """Write ``audit.html`` and ``findings.csv``; returns the page.

    Raises:
        OutputError: they cannot be written.
    """
    with files.together(out, PAGE, replaces=True) as stage:
        files.write(stage / TABLE, table(Finding._fields, audit.findings))
        files.write(stage / PAGE, rendered(audit))
    return out / PAGE


def rendered(audit: Audit) -> str:
    """Return the page."""
    sheets = {
        kind: [
            {
                "sources": [png_source(image) for image in card.images],
                "title": card.title,
                "lines": card.lines,
            }
            for card in cards
        ]
        for kind, cards in audit.sheets.items()
    }
    return page(
        "audit.html.j2",
        "mien.auditing",
        audit=audit,
        name=Path(audit.source).name,
        kinds=KINDS,
        found=audit.found,
        exact=audit.groups["exact"],
        near=audit.groups["near"],
        said={kind: sentence(audit, kind) for kind in audit.found},
        sheets=sheets,
        balance=_balance(audit),
        colours={name: hex_code(rgb) for name, rgb in colours(audit.data.labels).items()},
        doubts=_doubts(audit),
        pairs=_pairs(audit),
        table=TABLE,
    )


def sentence(audit: Audit, kind: str) -> str:
    """Return the findings of one kind in words, with their numbers."""
    images = number_of(audit.found[kind], "image")
    exact, near = audit.groups["exact"], audit.groups["near"]
    if kind == "leak":
        parts = [
            number_of(counts["across_splits"], noun) + rest
            for name, counts in audit.groups.items()
            for noun, rest in [_WHAT[name]]
            if counts["across_splits"]
        ]
        return f"in more than one split: {_joined(parts)} ({images})"
    if kind == "conflict":
        return f"{number_of(exact['different_labels'], 'group')} of identical images with different labels ({images})"
    if kind == "duplicate":
        return f"{number_of(exact['groups'], 'group')} of identical images ({images})"
    if kind == "near duplicate":
        groups = number_of(near["groups"], "group")
        return f"{groups} of near duplicates ({images}); the labels differ in {near['different_labels']:,} of them"
    return images


_WHAT = {
    "exact": ("group", " of identical images"),
    "near": ("group", " of near duplicates"),
    "photo": ("photo", " with several faces"),
    "group": ("group", " of yours"),
}
"""What a group of each kind is called: the noun, and what follows it."""


def _joined(parts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _balance(audit: Audit) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return, for each label, its number and fraction in each split."""
    counts = audit.counts
    names = [*audit.data.labels, *([""] if any("" in of for of in counts.values()) else [])]
    return [
        (name, [(of.get(name, 0), of.get(name, 0) / max(1, sum(of.values()))) for of in counts.values()])
        for name in names
    ]


def _doubts(audit: Audit) -> dict[str, Any] | None:
    if audit.doubts is None:
        return None
    n = int(audit.doubts.judged.sum())
    listed = len(audit.doubts.listed())
    return {
        "by": audit.judge, "n": n, "accuracy": audit.doubts.accuracy, "listed": listed,
        "suspects": int(audit.doubts.suspect.sum()), "votes": audit.votes_on_doubts(),
    }  # fmt: skip


def _pairs(audit: Audit) -> list[tuple[str, str, int, float]]:
    """Return (label, other class, listed images, fraction of the label's images), the most first."""
    if audit.doubts is None:
        return []
    names, listed, k = audit.data.labels, audit.doubts.listed(), len(audit.data.labels)
    counted = np.zeros((k, k), int)
    np.add.at(counted, (audit.doubts.given[listed], audit.doubts.suggested[listed]), 1)
    totals = np.bincount(audit.doubts.given[audit.doubts.judged], minlength=k)
    order = np.argsort(-counted, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(place), k) for place in order]
    return [
        (names[row], names[column], int(counted[row, column]), counted[row, column] / totals[row])
        for row, column in pairs
        if counted[row, column]
    ]
