"""Make faces unrecognisable, in frames where they are found and in frames around these, where they may be missed."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mien.errors import ConfigError
from mien.tracking.pairs import mixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jaxtyping import UInt8

    from mien.predictions import ImageResult
    from mien.results import Box

AHEAD_S = 0.5
"""Seconds for which the place of a face is hidden before the face is first found."""
AFTER_S = 1.0
"""Seconds for which the place is hidden after the face was last found, or longer if the tracker waits longer."""
MARGIN = 0.3
"""Margin beyond each side of a box that is hidden, too, in sides of the box: for hair, ears and chin."""
CELLS = 6
"""Number of colours that remain along the longer side of a hidden face: too few to recognise or restore it."""

UNTRACKED = "`blur` and `pixelate` hide a face of a video also in frames where it is missed: give a `tracker`"
"""Message if nothing follows the faces of a video."""


class Hiding:
    """Says which places to hide in each frame: those of its faces, and those where a track was or will be."""

    def __init__(self, bridge_s: float = 0.0) -> None:
        """`bridge_s` is the time for which a tracker waits for a face: until then, its place is hidden."""
        self._after_s = max(AFTER_S, bridge_s)
        self._earlier: dict[str, dict[int | None, tuple[float, Box]]] = {}

    def adopt(self, result: ImageResult) -> None:
        """Take a result of an earlier run: its faces are hidden in the frames that follow, too."""
        if result.time_s is not None:
            seen = self._earlier.setdefault(result.source, {})
            seen |= {face.track: (result.time_s, face.box_xyxy_px) for face in result.faces}

    def around(self, results: Iterable[ImageResult]) -> Iterator[tuple[ImageResult, list[Box]]]:
        """Yield each result with the boxes to hide in its image; those of a video come `AHEAD_S` late.

        The boxes are those of every face in the image, and of places where a track was or will be: before it begins,
        after it ends, and in gaps.

        Raises:
            ConfigError: a face of a video has no track, so it would be seen in frames where it is missed.
        """
        waiting: deque[tuple[ImageResult, list[Box]]] = deque()
        last: dict[int | None, tuple[float, Box]] = {}
        source = None
        for result in results:
            boxes = [face.box_xyxy_px for face in result.faces]
            if result.source != source or result.time_s is None:
                yield from waiting
                waiting.clear()
                source, last = result.source, self._earlier.pop(result.source, {})
            if result.time_s is not None:
                if any(face.track is None for face in result.faces):
                    raise ConfigError(UNTRACKED)
                _reach_back(waiting, result, last)
                kept = {track: seen for track, seen in last.items()
                        if 0 <= result.time_s - seen[0] <= self._after_s}  # fmt: skip
                found = {face.track: (result.time_s, face.box_xyxy_px) for face in result.faces}
                boxes += [box for track, (_, box) in kept.items() if track not in found]
                last = kept | found
            waiting.append((result, boxes))
            while result.time_s is None or result.time_s - (waiting[0][0].time_s or 0.0) > AHEAD_S:
                yield waiting.popleft()
                if not waiting:
                    break
        yield from waiting


def _reach_back(
    waiting: deque[tuple[ImageResult, list[Box]]],
    result: ImageResult,
    last: dict[int | None, tuple[float, Box]],
) -> None:
    """Hide the faces of a result in the frames that wait: in the gap of its track, or before it begins."""
    assert result.time_s is not None
    for face in result.faces:
        before = last.get(face.track)
        for earlier, boxes in waiting:
            time_s = earlier.time_s or 0.0
            if before is None:
                boxes.append(face.box_xyxy_px)
            elif before[0] < time_s < result.time_s:
                part = (time_s - before[0]) / (result.time_s - before[0])
                boxes.append(mixed(before[1], face.box_xyxy_px, part))


def hide(
    image_rgb_u8: UInt8[np.ndarray, "h w 3"], boxes: list[Box], *, smooth: bool
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a copy in which the boxes, with a margin, are a few large cells; `smooth` blurs the cells."""
    canvas = np.array(image_rgb_u8, order="C")
    height, width = canvas.shape[:2]
    for left, top, right, bottom in boxes:
        wide, high = MARGIN * (right - left), MARGIN * (bottom - top)
        x0, x1 = max(0, int(left - wide)), min(width, int(right + wide) + 1)
        y0, y1 = max(0, int(top - high)), min(height, int(bottom + high) + 1)
        if x0 >= x1 or y0 >= y1:
            continue
        part, longer = image_rgb_u8[y0:y1, x0:x1], max(x1 - x0, y1 - y0)
        few = max(1, round(CELLS * (x1 - x0) / longer)), max(1, round(CELLS * (y1 - y0) / longer))
        small = cv2.resize(part, few, interpolation=cv2.INTER_AREA)
        back = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
        canvas[y0:y1, x0:x1] = cv2.resize(small, (x1 - x0, y1 - y0), interpolation=back)
    return canvas
