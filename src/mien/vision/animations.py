"""Animated GIF and WebP pictures: their frames with the times that the file gives them, read by Pillow."""

from __future__ import annotations

import contextlib
import io
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from PIL import GifImagePlugin, Image, WebPImagePlugin

from mien.errors import ImageError
from mien.vision import images
from mien.vision.frames import Frame, broken
from mien.vision.sampling import ALL, Pixels, Sampler, no_frame_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mien.options import Clip

_READERS = {"GIF": GifImagePlugin.GifImageFile, "WEBP": WebPImagePlugin.WebPImageFile}
SUFFIXES = (".gif", ".webp")
UNSTATED_S = 0.1
"""Seconds for which browsers show a frame whose file states 0 or 10 ms."""


class Animation:
    """An animated picture; `read` returns the content of its file. It can be pickled if `read` can."""

    live = False

    def __init__(self, read: Callable[[], bytes], source: str, clip: Clip = ALL) -> None:
        self._read, self._clip = read, clip
        self.source = source
        self._stopped = False

    @cached_property
    def count(self) -> int:
        """Number of frames in its file; 1 if it is no animation or cannot be read."""
        with contextlib.suppress(ImageError), self._opened() as image:
            return int(getattr(image, "n_frames", 1))
        return 1

    @property
    def expected(self) -> int | None:
        """Estimated number of frames."""
        return Sampler(self._clip).of(self.count, self.count * UNSTATED_S)

    def stop(self) -> None:
        """End after the current frame."""
        self._stopped = True

    def __iter__(self) -> Iterator[Frame]:
        """Yield its frames; if it is damaged, the last frame has an error."""
        index, self._stopped = 0, False
        try:
            with self._opened() as image:
                sampler, time_s, taken = Sampler(self._clip), 0.0, False
                for index in range(self.count):
                    shown, seconds = _frame(image, index)
                    if self._stopped or sampler.is_past(time_s):
                        return
                    if sampler.takes(time_s):
                        taken = True
                        pixels = Pixels(shown, images.from_copy, partial(self._again, index))
                        yield Frame(self.source, index, round(time_s, 6), pixels)
                    time_s += seconds
                if not taken:
                    yield broken(
                        self.source, no_frame_from(self._clip, self.source, time_s - seconds), index + 1
                    )
        except ImageError as error:
            yield broken(self.source, str(error), index)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open it.

        Raises:
            ImageError: it cannot be read, or is too large.
        """
        data = self._read()
        kind = images.format_of(data[: images.HEAD_BYTES]) or ""
        if kind not in _READERS:
            raise ImageError("expected an animated GIF or WebP")
        try:
            image = _READERS[kind](io.BytesIO(data))
            images_held = getattr(image, "n_frames", 1)
        except MemoryError:
            raise
        except Exception as error:
            raise ImageError(f"damaged or truncated picture: {error}") from error
        images.check_size(image.size, images.PIXEL_LIMIT)
        if not images_held:
            raise ImageError("damaged or truncated picture: it holds no frame")
        yield image

    def _again(self, index: int) -> Image.Image:
        with self._opened() as image:
            return _frame(image, index)[0]


def is_animated(head: bytes, read: Callable[[], bytes]) -> bool:
    """Return whether a file is an animation that is read here; `head` is its first `HEAD_BYTES` bytes."""
    kind = images.format_of(head)
    if kind == "WEBP":
        return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)
    return kind == "GIF" and Animation(read, "").count > 1


def _frame(image: Any, index: int) -> tuple[Image.Image, float]:
    """Return a copy of a frame, and for how long it is shown."""
    try:
        image.seek(index)
        images.check_size(image.size, images.PIXEL_LIMIT)  # a frame of a GIF may be larger than the first
        image.load()
        lasts_ms = float(image.info.get("duration") or 0)
        return image.copy(), lasts_ms / 1000 if lasts_ms > 10 else UNSTATED_S
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise exceptions of many kinds for damaged files
        raise ImageError(f"damaged or truncated picture at its frame {index}: {error}") from error
