"""Pixels that a frame loads from what the user holds: an object in memory, or the content of a file.

An iterator may change or remove what it gave once it is asked for the next. So its objects are taken over first.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from mien.errors import ImageError
from mien.vision import images
from mien.vision.sampling import Pixels

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np
    from jaxtyping import UInt8

    Load = Callable[[], UInt8[np.ndarray, "h w 3"]]


UNREAD = b"none"
"""Stands for the checksum of an object that was not read yet."""


class InMemory:
    """An array or a PIL image of the user's. It is read again only if it is still the same."""

    def __init__(self, convert: Callable[[Any], UInt8[np.ndarray, "h w 3"]], held: object) -> None:
        """Keep the object; `convert` returns a copy of its pixels as RGB."""
        self._convert, self._held = convert, held
        self._checksum = UNREAD

    def __call__(self) -> UInt8[np.ndarray, "h w 3"]:
        """Return a copy of the pixels.

        Raises:
            ImageError: they cannot be read, or they changed since they were first read.
        """
        pixels = self._convert(self._held)
        checksum = zlib.crc32(pixels.data).to_bytes(4, "big")
        if self._checksum not in (UNREAD, checksum):
            raise ImageError("the image in memory was changed after it was read: give a copy of it")
        self._checksum = checksum
        return pixels

    def taken_over(self) -> Load:
        """Return what loads the pixels of now, whatever happens to the object.

        Raises:
            ImageError: they cannot be read.
        """
        return self().copy


class Stored:
    """A picture file, whose content `read` returns; it is read each time that the pixels are needed."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read

    def __call__(self) -> UInt8[np.ndarray, "h w 3"]:
        """Read the file and decode it.

        Raises:
            ImageError: it cannot be read or decoded.
        """
        return images.decode(self._read())

    def taken_over(self) -> Load:
        """Read the file now. Its content is kept until it is decoded; if the pixels are needed again, so is the file.

        Raises:
            ImageError: it cannot be read.
        """
        return Pixels(self._read(), images.decode, self._read)
