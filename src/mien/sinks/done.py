"""The images that an earlier run processed, in little memory: a frame of a video takes eight bytes."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Done:
    """A set of images by source and index; adding frames in order, as those of a video, is fast."""

    def __init__(self) -> None:
        self._indices: dict[str, array[int]] = {}
        self._count = 0

    def add(self, source: str, index: int) -> None:
        """Add an image; one that is there already stays."""
        known = self._indices.setdefault(source, array("q"))
        place = len(known) if not known or known[-1] < index else bisect_left(known, index)
        if place == len(known) or known[place] != index:
            known.insert(place, index)
            self._count += 1

    def __contains__(self, key: tuple[str, int]) -> bool:
        known = self._indices.get(key[0], ())
        place = bisect_left(known, key[1])
        return place < len(known) and known[place] == key[1]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for source, known in self._indices.items():
            for index in known:
                yield source, index

    def __and__(self, other: Done) -> Done:
        """Return the images that are in both."""
        both = Done()
        for key in self:
            if key in other:
                both.add(*key)
        return both
