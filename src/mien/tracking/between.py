"""Faces in the frames between two that were searched.

If the same faces are found before and after, at nearly the same places, the frames between get boxes on a straight
line. If anything changed, the frames between are searched, too: a face that appears or vanishes is not guessed. A
face that is seen only between two searched frames is missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mien.results import Face
from mien.tracking.pairs import mixed, paired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mien.vision.frames import Frame

STEADY_IOU = 0.6
"""Least overlap (IoU) of a face's boxes in two searched frames for a straight line between them."""


class Found(NamedTuple):
    """A frame with its faces."""

    frame: Frame
    faces: list[Face] | str | None
    """The faces; a text if the frame cannot be searched, with the reason; None if it was not searched yet."""


def marked(frames: Iterable[Frame], detect_every: int) -> Iterator[tuple[Frame, bool]]:
    """Yield each frame, and whether it is to be searched: the first of each video, then every Kth; every photo."""
    source, index, number = "", -1, 0
    for frame in frames:
        goes_on = frame.time_s is not None and frame.source == source and frame.index > index
        source, index, number = frame.source, frame.index, number + 1 if goes_on else 0
        yield frame, number % detect_every == 0


def filled(
    groups: Iterable[list[Found]], search: Callable[[list[Frame]], Iterable[Found]]
) -> Iterator[list[Found]]:
    """Yield the same frames in the same order, all with their faces; `search` finds the faces of frames."""
    last: Found | None = None
    waiting: list[Frame] = []
    for group in groups:
        ready: list[Found] = []
        for found in group:
            if found.faces is None:
                waiting.append(found.frame)
                continue
            ready += _between(last, waiting, found, search) if waiting else []
            ready.append(found)
            last, waiting = found, []
        if ready:
            yield ready
    if waiting:
        yield list(search(waiting))


def _between(
    last: Found | None, waiting: list[Frame], found: Found, search: Callable[[list[Frame]], Iterable[Found]]
) -> list[Found]:
    if last is None or isinstance(last.faces, str | None) or isinstance(found.faces, str | None):
        return list(search(waiting))
    pairs = paired(
        [face.box_xyxy_px for face in last.faces],
        [face.box_xyxy_px for face in found.faces],
        least_iou=STEADY_IOU,
    )
    same = len(pairs) == len(last.faces) == len(found.faces)
    goes_on = found.frame.source == last.frame.source and found.frame.index > last.frame.index
    if not goes_on or not same:
        return list(search(waiting))
    steps = len(waiting) + 1
    return [
        Found(
            frame,
            [_mixed(last.faces[old], found.faces[new], step / steps) for new, old in sorted(pairs.items())],
        )
        for step, frame in enumerate(waiting, start=1)
    ]


def _mixed(a: Face, b: Face, part: float) -> Face:
    frames = a.frame_xyxy_px, b.frame_xyxy_px
    scores = a.score, b.score
    return Face(
        mixed(a.box_xyxy_px, b.box_xyxy_px, part),
        None if scores[0] is None or scores[1] is None else min(scores[0], scores[1]),
        f"{b.detector} between" if b.detector else "between",
        None if frames[0] is None or frames[1] is None else mixed(frames[0], frames[1], part),
    )
