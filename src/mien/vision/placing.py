"""Find places for labels on an image: near their faces, over no face and no other label. Only geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Int

    from mien.results import Box

Size = tuple[int, int]
"""Width and height in pixels."""
Corners = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels."""

LONGEST_LINE = 10
"""Longest line between a label and its face, in heights of the label."""
_AT_ONCE, _LINES_TRIED = 500, 250
"""Number of places that are examined together, and number of free places that are tried for a line to the face."""


class Place(NamedTuple):
    """Where one label goes."""

    box_xyxy_px: Corners
    size: int
    """Index of the label's size that was used."""
    how: Literal["beside", "leader", "inside"]
    """Beside the face; farther away with a line to it; or, if there is no room, inside the face's own box."""


class Room(NamedTuple):
    """An image with faces and the labels placed so far."""

    resolution_wh: Size
    faces: Int[np.ndarray, "n 4"]
    """Boxes of the faces, cut to the image: left, top, right, bottom in pixels."""
    gap: int
    """Pixels between a label and whatever is next to it."""
    places: list[Place | None]


def place(
    resolution_wh: Size, boxes_xyxy_px: Sequence[Box], sizes_wh: Sequence[Sequence[Size]], gap: int
) -> list[Place | None]:
    """Return a place for the label of each face; None if the image has no room even for the smallest size.

    `sizes_wh` lists, for each face, the sizes that its label may have, the best first. Every label is placed
    in its smallest size first; then labels grow, a size at a time, if there is room.
    """
    width, height = resolution_wh
    corners = np.array([[round(side) for side in box] for box in boxes_xyxy_px], int).reshape(-1, 4)
    room = Room(resolution_wh, corners.clip(0, (width, height, width, height)), gap, [None] * len(corners))
    _place_smallest(room, sizes_wh)
    extent = np.ptp(room.faces.reshape(-1, 2, 2), axis=1).prod(axis=1)
    for size in reversed(range(max(map(len, sizes_wh), default=1) - 1)):
        for face in np.argsort(-extent, kind="stable").tolist():
            if size < len(sizes_wh[face]) - 1:
                room.places[face] = _grown(room, face, size, sizes_wh[face][size]) or room.places[face]
    return room.places


def leader(face: Corners, label: Corners) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the ends of the line from a face to its label: the two points that are nearest to each other."""
    ends = []
    for axis in (0, 1):
        low, high = max(face[axis], label[axis]), min(face[axis + 2], label[axis + 2])
        shared = (low + high) // 2
        ends.append(
            (shared, shared) if low <= high else (high, low) if face[axis] < label[axis] else (low, high)
        )
    return (ends[0][0], ends[1][0]), (ends[0][1], ends[1][1])


def _place_smallest(room: Room, sizes_wh: Sequence[Sequence[Size]]) -> None:
    """Place labels beside their faces, always the label with the fewest free places next; last, those without any."""
    candidates = [_beside(room, face, sizes[-1]) for face, sizes in enumerate(sizes_wh)]
    owner = np.repeat(np.arange(len(candidates)), [len(one) for one in candidates])
    rectangles = np.concatenate([*candidates, np.empty((0, 4), int)])
    free = _is_free(room, rectangles)
    waiting = dict.fromkeys(range(len(sizes_wh)))
    while waiting:
        left = np.bincount(owner[free], minlength=len(sizes_wh))
        face = min(waiting, key=lambda one: left[one])
        del waiting[face]
        if left[face]:
            first = int(np.flatnonzero(free & (owner == face))[0])
            room.places[face] = Place(_corners(rectangles[first]), len(sizes_wh[face]) - 1, "beside")
            free &= (owner != face) & ~_touch(rectangles, rectangles[first : first + 1], room.gap)[:, 0]
    for face, sizes in enumerate(sizes_wh):
        size = len(sizes) - 1
        if room.places[face] is None:
            found = _away(room, face, size, sizes[-1]) or _inside(room, face, size, sizes[-1])
            room.places[face] = found


def _grown(room: Room, face: int, size: int, size_wh: Size) -> Place | None:
    """Return a place for a larger label; None if there is no room for it."""
    candidates = _beside(room, face, size_wh)
    free = candidates[_is_free(room, candidates, face)]
    if len(free):
        return Place(_corners(free[0]), size, "beside")
    now = room.places[face]
    if now is not None and now.how == "inside":
        wide, high = room.faces[face, 2:] - room.faces[face, :2]
        if size_wh[0] <= 0.5 * wide and size_wh[1] <= 0.2 * high:
            return _inside(room, face, size, size_wh)
    if now is not None and now.how == "leader":
        return _away(room, face, size, size_wh, heights=2)
    return None


def _beside(room: Room, face: int, size_wh: Size) -> Int[np.ndarray, "c 4"]:
    """Return the places above, below and beside a face, the best first; some may lie outside the image.

    A label of several lines goes to a side first, because above the face it would cover hair. Places that cover the
    head around another face's box come last.
    """
    (wide, high), gap = size_wh, room.gap
    left, top, right, bottom = room.faces[face].tolist()
    across = [left, right - wide, (left + right - wide) // 2, left - wide // 2, right - wide // 2]
    down = [top, bottom - high, (top + bottom - high) // 2]
    most_x, most_y = room.resolution_wh[0] - wide, room.resolution_wh[1] - high
    upright = [(min(max(x, 0), most_x), y) for y in (top - gap - high, bottom + gap) for x in across]
    sides = [(x, min(max(y, 0), most_y)) for x in (right + gap, left - gap - wide) for y in down]
    several_lines = high > 10 * gap
    candidates = _rectangles(sides + upright if several_lines else upright + sides, size_wh)
    heads = np.delete(_heads(room.faces), face, axis=0)
    return candidates[np.argsort(_touch(candidates, heads, 0).sum(axis=1), kind="stable")]


def _heads(faces: Int[np.ndarray, "n 4"]) -> Int[np.ndarray, "n 4"]:
    """Return the boxes with the hair around them, roughly."""
    wide, high = (faces[:, 2:] - faces[:, :2]).T
    return faces + np.stack([-wide // 5, -high // 2, wide // 5, high // 10], axis=1)


def _away(room: Room, face: int, size: int, size_wh: Size, heights: int = LONGEST_LINE) -> Place | None:
    """Return the nearest free place whose line to the face crosses nothing, else the nearest that is free."""
    step = max(2, size_wh[1] // 2)
    across, down = (np.arange(0, room.resolution_wh[axis] - size_wh[axis] + 1, step) for axis in (0, 1))
    candidates = _rectangles(np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2), size_wh)
    own = room.faces[face]
    off = np.maximum(np.maximum(candidates[:, :2] - own[2:], own[:2] - candidates[:, 2:]), 0)
    distance = np.hypot(*off.T)
    nearest = np.argsort(distance, kind="stable")
    nearest = nearest[distance[nearest] <= heights * size_wh[1]]
    second_best = None
    for start in range(0, len(nearest), _AT_ONCE):
        some = candidates[nearest[start : start + _AT_ONCE]]
        free = some[_is_free(room, some, face)][:_LINES_TRIED]
        clear = free[~_crosses(room, face, free)]
        if len(clear):
            return Place(_corners(clear[0]), size, "leader")
        if second_best is None and len(free):
            second_best = Place(_corners(free[0]), size, "leader")
    return second_best


def _inside(room: Room, face: int, size: int, size_wh: Size) -> Place | None:
    """Return a place at the lower or upper edge of the face's own box, over no other label and no other face.

    Only if boxes overlap, a part of another face may be covered.
    """
    (wide, high), inset = size_wh, 2 * room.gap
    left, top, right, bottom = room.faces[face].tolist()
    inset = max(0, min(inset, (right - left - wide) // 2, bottom - top - high))
    corners = [
        (x, y) for y in (bottom - inset - high, top + inset) for x in (left + inset, right - inset - wide)
    ]
    most_x, most_y = room.resolution_wh[0] - wide, room.resolution_wh[1] - high
    if most_x < 0 or most_y < 0:
        return None
    clipped = [(min(max(x, 0), most_x), min(max(y, 0), most_y)) for x, y in corners]
    candidates = _rectangles(clipped, size_wh)
    own, others = room.faces[face], np.delete(room.faces, face, axis=0)
    within = (candidates[:, :2] >= own[:2]).all(axis=1) & (candidates[:, 2:] <= own[2:]).all(axis=1)
    clear = ~_covers(candidates, others, 0)
    free = ~_covers(candidates, _labels(room, face), 0)
    for allowed in (free & clear, free & within):
        if allowed.any():
            return Place(_corners(candidates[allowed][0]), size, "inside")
    return None


def _is_free(room: Room, candidates: Int[np.ndarray, "c 4"], face: int = -1) -> Bool[np.ndarray, " c"]:
    """Return which candidates lie inside the image, over no face and over no label of a face other than `face`."""
    within = (candidates[:, :2] >= 0) & (candidates[:, 2:] <= room.resolution_wh)
    taken = np.concatenate([room.faces, _labels(room, face)])
    return np.array(within.all(axis=1) & ~_covers(candidates, taken, room.gap))


def _crosses(room: Room, face: int, labels: Int[np.ndarray, "c 4"]) -> Bool[np.ndarray, " c"]:
    """Return for which labels the line to the face would cross another face or label."""
    ends = [leader(_corners(room.faces[face]), _corners(label)) for label in labels]
    start, end = np.array(ends, int).reshape(-1, 2, 1, 2).transpose(1, 0, 2, 3)
    points = (start + np.linspace(0, 1, 24)[:, None] * (end - start)).reshape(-1, 2)
    others = np.concatenate([np.delete(room.faces, face, axis=0), _labels(room, face)])
    return np.array(_covers(np.tile(points, 2), others, 1).reshape(-1, 24).any(axis=1))


def _labels(room: Room, but: int) -> Int[np.ndarray, "m 4"]:
    kept = [one.box_xyxy_px for number, one in enumerate(room.places) if one and number != but]
    return np.array(kept, int).reshape(-1, 4)


def _covers(candidates: np.ndarray, others: np.ndarray, gap: int) -> Bool[np.ndarray, " c"]:
    """Return which candidates are nearer than `gap` pixels to one of the others."""
    if not len(candidates):
        return np.zeros(0, bool)
    hull = np.concatenate([candidates[:, :2].min(axis=0), candidates[:, 2:].max(axis=0)])
    near = others[_touch(hull[None], others, gap)[0]]
    return np.array(_touch(candidates, near, gap).any(axis=1))


def _touch(a: np.ndarray, b: np.ndarray, gap: int) -> Bool[np.ndarray, "n m"]:
    """Return for each pair of rectangles of `a` and `b` whether they are nearer than `gap` pixels."""
    left, top, right, bottom = (side[:, None] for side in a.T)
    return (
        (left < b[:, 2] + gap) & (b[:, 0] - gap < right) & (top < b[:, 3] + gap) & (b[:, 1] - gap < bottom)
    )  # fmt: skip


def _rectangles(corners: Sequence[Size] | Int[np.ndarray, "c 2"], size_wh: Size) -> Int[np.ndarray, "c 4"]:
    upper = np.array(corners, int).reshape(-1, 2)
    return np.concatenate([upper, upper + np.array(size_wh)], axis=1)


def _corners(box: Int[np.ndarray, " 4"]) -> Corners:
    left, top, right, bottom = box.tolist()
    return left, top, right, bottom
