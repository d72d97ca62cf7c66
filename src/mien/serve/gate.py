"""Admission of requests: how many pictures and bytes are held at once, and when a client may try again.

Used by one event loop only, so nothing is locked.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

from mien.serve.problems import busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_RETRY_S = 30
_SMOOTHING = 0.1
_BODIES = 4
"""Bodies of the largest size that may be held at once, for every 16 pictures of the queue."""


class Gate:
    """Counts pictures and bytes in memory; refuses requests beyond the limits with 429."""

    def __init__(self, pictures: int, body_bytes: int) -> None:
        self.most_pictures = pictures
        self.most_bytes = body_bytes * max(_BODIES, _BODIES * pictures // 16)
        self.pictures = self.bytes = 0
        self._picture_s = 0.05

    @property
    def retry_after_s(self) -> int:
        """Seconds until the current pictures will be done, estimated from the last ones."""
        return max(1, min(MOST_RETRY_S, math.ceil(self.pictures * self._picture_s)))

    def knock(self) -> None:
        """Refuse a request before its body is read, if there is no room for one picture.

        Raises:
            Problem: 429.
        """
        if self.pictures >= self.most_pictures:
            raise busy(self.retry_after_s)

    @contextlib.contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts the bytes of one body; at the end of the block they no longer count."""
        held = 0

        def count(more: int) -> None:
            nonlocal held
            if self.bytes + more > self.most_bytes:
                raise busy(self.retry_after_s)
            self.bytes += more
            held += more

        try:
            yield count
        finally:
            self.bytes -= held

    @contextlib.contextmanager
    def admit(self, pictures: int) -> Iterator[None]:
        """Hold room for the pictures of a request.

        Raises:
            Problem: 429.
        """
        if self.pictures + pictures > self.most_pictures:
            raise busy(self.retry_after_s)
        self.pictures += pictures
        try:
            yield
        finally:
            self.pictures -= pictures

    def took(self, seconds: float) -> None:
        """Note how many seconds a picture took, for `retry_after_s`."""
        self._picture_s += _SMOOTHING * (seconds - self._picture_s)
