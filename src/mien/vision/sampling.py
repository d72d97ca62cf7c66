"""Choose the frames of a stream that are used; the protocol of all streams; the pixels of a frame."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from mien.errors import ImageError
from mien.options import Clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from jaxtyping import UInt8

    from mien.vision.frames import Frame

ALL = Clip()
CAMERA, STDIN = "camera:", "-"
"""What is not a path: ``camera:0`` is the first camera, ``-`` an image on stdin."""
SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp")
TICK_SLACK = 1e-6
"""Frame times are rounded; a frame this much before a tick of `fps`, in ticks, belongs to it."""


def has_extra() -> bool:
    """Return whether the extra `video` is installed."""
    return find_spec("av") is not None


def is_address(text: str) -> bool:
    """Return whether a text is the address of a network stream."""
    scheme, colon, _ = text.partition("://")
    return bool(colon) and scheme.lower() in SCHEMES


def is_repeatable(source: str) -> bool:
    """Return whether a source gives the same images each time: stdin, memory, cameras and live streams do not.

    An http address may be that of a file, so it counts as one.
    """
    is_camera = source.startswith(CAMERA) and source.removeprefix(CAMERA).isdecimal()
    is_live = is_address(source) and not source.lower().startswith("http")
    return source not in ("", STDIN) and not is_camera and not is_live


def no_frame_from(clip: Clip, source: str, end_s: float) -> str:
    """Return the error of a source that ends before the clip begins."""
    last = f"its last one is at {max(end_s, 0.0):.2f} s"
    return f"{source or 'the video'} has no frame from {clip.start:g} s on: {last}"


class Moving(Protocol):
    """A source of many frames in order of time: a video, an animation, a camera, a network stream."""

    source: str
    live: bool
    """Whether new frames come even if none is read: a camera or a network stream."""

    @property
    def expected(self) -> int | None:
        """Estimated number of frames; None if it is not known."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, from the beginning on each pass."""

    def stop(self) -> None:
        """End the stream after its current frame; for streams that have no end."""


class Sampler:
    """Chooses frames of one stream; `takes` must be called for each frame, in order."""

    def __init__(self, clip: Clip) -> None:
        self._clip, self._seen, self._tick = clip, 0, -math.inf

    def takes(self, time_s: float) -> bool:
        """Return whether the next frame, at this time in seconds, is used."""
        if time_s < self._clip.start:
            return False
        if self._clip.fps is not None:
            tick = math.floor(time_s * self._clip.fps + TICK_SLACK)
            if tick <= self._tick:
                return False
            self._tick = tick
        self._seen += 1
        return (self._seen - 1) % self._clip.every == 0

    def is_past(self, time_s: float) -> bool:
        """Return whether this time in seconds is beyond the end, so that all further frames are, too."""
        return self._clip.end is not None and time_s >= self._clip.end

    def of(self, frames: int, seconds: float) -> int:
        """Return the estimated number of frames that are used, of `frames` in `seconds`."""
        clip = self._clip
        span = max(0.0, min(seconds, clip.end or math.inf) - clip.start)
        inside = frames * span / seconds if seconds > 0 else float(frames)
        if clip.fps is not None:
            inside = min(inside, span * clip.fps)
        return math.ceil(inside / clip.every)


class Pixels:
    """The pixels of one frame: converted once from the decoder's frame, which is then freed; later decoded again.

    So a result that is kept needs no memory for pixels, and can still be drawn.
    """

    def __init__(
        self,
        held: object,
        convert: Callable[..., UInt8[np.ndarray, "h w 3"]],
        again: Callable[[], object] | None = None,
    ) -> None:
        """Keep the decoder's frame `held`; `convert` converts it to RGB, `again` decodes the same frame again."""
        self._held, self._convert, self._again = held, convert, again

    def __call__(self) -> UInt8[np.ndarray, "h w 3"]:
        """Return the pixels, RGB.

        Raises:
            ImageError: the frame cannot be decoded, or it was freed and is of a camera or network stream.
        """
        held, self._held = self._held, None
        if held is None:
            if self._again is None:
                raise ImageError("a frame of a camera or stream is not kept: use its pixels as it comes")
            held = self._again()
        return self._convert(held)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_held": None}
