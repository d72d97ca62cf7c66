"""Small images for the page of an audit: for each kind of finding the worst ones, with their details."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from mien.auditing.findings import CONFLICT, DOUBT, DUPLICATE, LEAK, NEAR, VOTES
from mien.auditing.plan import tally
from mien.auditing.votes import shown_votes, voted_otherwise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Int, UInt8

    from mien.auditing.copies import Copies, Grouping
    from mien.auditing.doubt import Doubts
    from mien.auditing.measure import Measured

CARDS, DOUBTFUL = 12, 48
"""Most cards of a kind, and of doubtful labels and of votes, which a person has to judge."""
SIDE_PX = 96
"""Larger images are shrunk to this side."""
_TOGETHER = 4
"""Most images shown of one group."""


class Card(NamedTuple):
    """One image, or some that belong together."""

    images: list[UInt8[np.ndarray, "h w c"]]
    title: str
    """A few words, such as the label and what a model would say."""
    lines: list[str]
    """Ids and details."""


def sheets(
    measured: Measured, copies: Copies, odd: Sequence[tuple[int, str, str]], judged: Doubts | None
) -> dict[str, list[Card]]:
    """Return the cards of each kind; kinds without one are left out."""
    data, labels = measured.data, measured.data.given_names

    def one(row: int, title: str, *lines: str) -> Card:
        return Card([_small(measured.image(row))], title, [f"{data.ids[row]}", *lines])

    cards = {
        LEAK: _group_cards(measured, (copies.exact, copies.near, *copies.named), data.split),
        CONFLICT: _group_cards(measured, (copies.exact,), labels),
        DUPLICATE: _group_cards(measured, (copies.exact,), None),
        NEAR: _group_cards(measured, (copies.near,), None),
    }
    for row, kind, detail in odd:
        if len(cards.setdefault(kind, [])) < 2 * CARDS:
            cards[kind].append(one(row, str(labels[row]) or "no label", detail))
    if judged is not None:
        cards[DOUBT] = _doubtful(measured, judged, one)
    voted = sorted(voted_otherwise(data), key=_unanimous(measured))[:DOUBTFUL]
    cards[VOTES] = [
        one(row, f"{labels[row]} → {leader}", f"votes: {detail}") for row, leader, detail in voted
    ]
    return {kind: some for kind, some in cards.items() if some}


def _doubtful(measured: Measured, judged: Doubts, one: Callable[..., Card]) -> list[Card]:
    data, suggested, given = measured.data, judged.suggested, judged.given_prob
    cards = []
    for row in judged.listed()[:DOUBTFUL].tolist():
        label, other = data.labels[judged.given[row]], data.labels[suggested[row]]
        lines = [f"{label} {given[row]:.0%}, {other} {judged.probs[row, suggested[row]]:.0%}"]
        if data.votes is not None and data.votes[row].any():
            lines.append(f"votes: {shown_votes(data.votes[row])}")
        cards.append(one(row, f"{label} → {other}", *lines))
    return cards


def _group_cards(measured: Measured, groupings: Sequence[Grouping], values: np.ndarray | None) -> list[Card]:
    """Return cards of groups whose values differ (of all if `values` is None), largest first, some of each kind."""
    data, labels = measured.data, measured.data.given_names
    cards = []
    for groups in groupings:
        marked = [True] * len(groups) if values is None else groups.differ(values)
        chosen = sorted(groups.where(marked), key=lambda one: -len(one[1]))
        for name, rows in chosen[: max(1, CARDS // len(groupings))]:
            shown = _different(rows, values)
            images = [_small(measured.image(row)) for row in shown.tolist()]
            lines = [
                f"{data.split[row]}, {labels[row] or 'no label'}: {data.ids[row]}" for row in shown.tolist()
            ]
            more = [f"and {len(rows) - len(shown)} more"] if len(rows) > len(shown) else []
            of = "" if values is None else f", {tally(values[rows])}"
            cards.append(Card(images, f"{name}: {len(rows)} images{of}", [*lines, *more]))
    return cards


def _different(rows: Int[np.ndarray, " m"], values: np.ndarray | None) -> Int[np.ndarray, " _"]:
    """Return a few rows of a group, such that different values are among them."""
    if values is None:
        return rows[:_TOGETHER]
    _, first = np.unique(values[rows], return_index=True)
    rest = np.setdiff1d(np.arange(len(rows)), first)
    return rows[np.sort(np.concatenate([first, rest])[:_TOGETHER])]


def _unanimous(measured: Measured) -> Callable[[tuple[int, str, str]], float]:
    """Return a key that sorts rows with the most votes for one thing first."""
    votes = measured.data.votes
    return lambda one: 0.0 if votes is None else -float(votes[one[0]].max())


def _small(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "y x c"]:
    scale = SIDE_PX / max(image.shape[:2])
    if scale >= 1:
        return image
    size = [max(1, round(scale * side)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
