"""Video files, read by PyAV: each frame with the time that the file gives it, upright and in its true proportions.

Frames must be decoded one after another. A frame is converted to RGB only when its pixels are used, maybe in another
thread. The time of a frame counts from the beginning of the file as players show it.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from mien import files
from mien.errors import ImageError, MienWarning, needs
from mien.vision import images
from mien.vision.frames import Frame, broken
from mien.vision.live import newest
from mien.vision.sampling import ALL, Pixels, Sampler, is_address, no_frame_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import UInt8

    from mien.options import Clip

WAIT_S = 10.0
"""Seconds for which a network stream may send nothing."""
UNTIMED = ("mjpeg", "mpjpeg")
"""Formats of streams without times, as cheap cameras send them; the clock of this machine gives the times."""
SLACK_S, SLACK_FRAMES = 0.2, 3
"""A file that ends earlier than its header says, by more seconds and more frames than these, is not complete. The
seconds are for the sound: its last packet may be an eighth of a second."""
TAIL_S = 5.0
"""Seconds before the stated end from which packets are read: pictures and sound do not end together in a file."""


def without_secret(address: str) -> str:
    """Return an address without user, password and query, for tables, which people give to others."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


_LISTS = frozenset(("concat", "dash", "hls", "image2", "imf", "lavfi", "rtsp", "sdp", "webm_dash_manifest"))
"""Formats of FFmpeg that name other files or places instead of holding pictures."""


@cache
def _formats() -> str:
    """Return the formats of FFmpeg that hold pictures themselves, and name no other files."""
    import av

    return ",".join(sorted(av.formats_available - _LISTS))


class Film:
    """A video file, the content of one, or the address of a network stream. It can be pickled."""

    def __init__(self, place: str | bytes, source: str | None = None, clip: Clip = ALL) -> None:
        """Store the place; it is opened when its frames are read.

        Raises:
            MissingExtra: PyAV is not installed.
        """
        with needs("video"):
            import av  # noqa: F401 - must be there before the work begins
        self._place, self._clip, self._stopped = place, clip, False
        self.live = isinstance(place, str) and is_address(place)
        name = place if isinstance(place, str) else ""
        self.source = source if source is not None else without_secret(name) if self.live else name

    @cached_property
    def expected(self) -> int | None:
        """Estimated number of frames, from its header; None if the header does not state it."""
        if self.live:
            return None
        with contextlib.suppress(ImageError), self._opened() as container:
            stream, seconds = _stream_of(container, self.source), _seconds(container)
            frames = stream.frames or round(seconds * float(stream.average_rate or 0))
            return Sampler(self._clip).of(frames, seconds) if frames else None
        return 1

    def stop(self) -> None:
        """End after the current frame."""
        self._stopped = True

    def __iter__(self) -> Iterator[Frame]:
        """Yield its frames; what cannot be read is a frame with its error, in its place."""
        self._stopped = False
        try:
            with self._opened() as container:
                frames = self._read(container, _stream_of(container, self.source))
                is_endless = self.live and container.duration is None
                yield from newest(frames, lambda: self._stopped) if is_endless else frames
        except ImageError as error:
            yield broken(self.source, str(error))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open it.

        Raises:
            ImageError: it is missing, no video, or damaged at its beginning.
        """
        import av

        place = io.BytesIO(self._place) if isinstance(self._place, bytes) else self._place
        # a playlist, or a list of films to join, must not open other files or addresses
        options = {} if self.live else {"protocol_whitelist": "file", "format_whitelist": _formats()}
        if self.live and str(place).startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        try:
            if isinstance(place, str) and not self.live:
                files.regular(Path(place))
            container = av.open(place, options=options, timeout=WAIT_S if self.live else None)
            if self.live and container.format.name in UNTIMED:
                container.close()
                options["use_wallclock_as_timestamps"] = "1"
                container = av.open(place, options=options, timeout=WAIT_S)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise ImageError(f"cannot read {self.source or 'the video'}: {_reason(error)}") from error
        with container:
            yield container

    def _read(self, container: Any, stream: Any) -> Iterator[Frame]:
        stream.thread_type = "SLICE" if self.live else "AUTO"  # with threads for frames, FFmpeg delays frames
        begin = 0 if container.start_time is None else container.start_time / 1_000_000
        sampler, index, time_s, lasts_s, taken = Sampler(self._clip), 0, -math.inf, 0.0, False
        convert = partial(rgb, ratio=float(stream.sample_aspect_ratio or 1))
        first = self._sought(container, stream, begin)
        for item in _decoded(container, stream):
            if isinstance(item, str):
                where = f"{self.source or 'the video'} is damaged after {max(time_s, 0):.2f} s: {item}"
                yield broken(self.source, where, index, None if time_s < 0 else time_s)
                index += 1
                continue
            if first is not None:
                index, first = first(item), None
            time_s, lasts_s = _time(item, index, stream, begin), float((item.duration or 0) * item.time_base)
            if self._stopped or sampler.is_past(time_s):
                return
            if sampler.takes(time_s):
                taken = True
                again = None if self.live else partial(self._again, item.pts, index)
                yield Frame(self.source, index, time_s, Pixels(item, convert, again))
            index += 1
        mean_s = time_s / (index - 1) if index > 1 else 0.0
        lasts_s = max(lasts_s, mean_s)  # many files do not state how long a frame is shown
        if wrong := self._wrong_at_end(container, stream, index, max(time_s, 0.0), lasts_s):
            yield broken(self.source, wrong, index)  # with a number of its own, which no frame has
        elif not taken:
            yield broken(self.source, no_frame_from(self._clip, self.source, time_s), index)

    def _wrong_at_end(self, container: Any, stream: Any, index: int, time_s: float, lasts_s: float) -> str:
        """Return why this may not be the end: no frame was read, or the header says more; empty if all is well.

        `time_s` is the time of the last frame, and `lasts_s` how long it is shown.
        """
        name = self.source or "the video"
        if self.live and container.duration is None:
            return f"the stream {name} ended after {time_s:.2f} s"
        if not index:
            return f"cannot read {name}: no frame in it can be decoded"
        own, end_s = _stated_s(container, stream), time_s + lasts_s
        slack = max(SLACK_S, SLACK_FRAMES * lasts_s)
        if own - end_s <= slack or (not stream.duration and own - self._last_s(own) <= slack):
            return ""
        return f"{name} ends at {end_s:.2f} s, its header says {own:.2f} s: the file is not complete"

    def _last_s(self, near_s: float) -> float:
        """Return the end of the last packet of any stream: the sound may be longer than the pictures."""
        import av

        last = 0.0
        with self._opened() as container, contextlib.suppress(av.error.FFmpegError):
            begin = (container.start_time or 0) / 1_000_000
            with contextlib.suppress(av.error.FFmpegError):  # without an index, it is read from its beginning
                container.seek(round((begin + max(0.0, near_s - TAIL_S)) * 1_000_000))
            for packet in container.demux():
                if packet.pts is not None:
                    end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    last = max(last, end - begin)
        return last

    def _sought(self, container: Any, stream: Any, begin: float) -> Any:
        """Go near the start of the clip; return what finds the number of the first frame there. None: not moved."""
        import av

        if self._clip.start <= 0 or self.live:
            return None
        wanted = math.floor((self._clip.start + begin) / stream.time_base)
        try:
            container.seek(wanted, stream=stream, backward=True)
        except av.error.FFmpegError:
            container.seek(0)
            return None
        return lambda frame: self._number(frame.pts)

    def _number(self, pts: int | None) -> int:
        """Return the number of frames before a time stamp, by reading the packets before it without decoding."""
        if pts is None:
            return 0
        with self._opened() as container:
            before = 0
            for packet in container.demux(_stream_of(container, self.source)):
                if packet.dts is not None and packet.dts > pts:
                    break
                before += packet.pts is not None and packet.pts < pts and not packet.is_discard
            return before

    def _again(self, pts: int | None, index: int) -> Any:
        """Decode one frame again.

        Raises:
            ImageError: the frame does not exist any more.
        """
        import av

        with self._opened() as container:
            stream = _stream_of(container, self.source)
            if pts is not None:
                with contextlib.suppress(av.error.FFmpegError):
                    container.seek(pts, stream=stream, backward=True)
            frames = (item for item in _decoded(container, stream) if not isinstance(item, str))
            for number, frame in enumerate(frames):
                if frame.pts == pts if pts is not None else number == index:
                    return frame
        raise ImageError(f"frame {index} of {self.source or 'the video'} is not there any more")

    def at(self, time_s: float) -> UInt8[np.ndarray, "h w 3"]:
        """Return the pixels of the first frame whose time is at least `time_s`.

        Raises:
            ImageError: the video cannot be read, or has no such frame.
        """
        import av

        with self._opened() as container:
            stream = _stream_of(container, self.source)
            begin = (container.start_time or 0) / 1_000_000
            with contextlib.suppress(av.error.FFmpegError):
                container.seek(math.floor((time_s + begin) / stream.time_base), stream=stream, backward=True)
            for index, item in enumerate(_decoded(container, stream)):
                if not isinstance(item, str) and _time(item, index, stream, begin) >= time_s - 1e-3:
                    return rgb(item, float(stream.sample_aspect_ratio or 1))
        raise ImageError(f"{self.source or 'the video'} has no frame at {time_s:.2f} s")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "expected"}


def rgb(frame: Any, ratio: float = 1.0) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of a decoded frame, upright; `ratio` is how much wider than high its pixels are shown.

    Raises:
        ImageError: it cannot be converted, or would be too large.
    """
    import av

    width = max(1, round(frame.width * ratio))
    # the ratio is the file's own, and may be anything
    images.check_size((width, frame.height), images.PIXEL_LIMIT)
    try:
        pixels = frame.reformat(width=width, format="rgb24").to_ndarray()
    except (av.error.FFmpegError, ValueError) as error:
        raise ImageError(f"a frame cannot be converted to RGB: {_reason(error)}") from error
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _stream_of(container: Any, source: str) -> Any:
    """Return the main video stream, as FFmpeg chooses it.

    Raises:
        ImageError: there is none.
    """
    films = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not films:
        kinds = sorted({stream.type for stream in container.streams})
        raise ImageError(f"{source or 'the file'} has no video stream, only: {', '.join(kinds) or 'nothing'}")
    best = container.streams.best("video")
    chosen = best if best in films else films[0]
    if chosen.codec_context is None:
        raise ImageError(f"{source or 'the video'} is coded in a way that this FFmpeg does not read")
    if len(films) > 1:
        warnings.warn(
            f"{source or 'the video'} has {len(films)} video streams: number {chosen.index} is used",
            MienWarning,
            stacklevel=2,
        )
    chosen.codec_context.options = {"max_pixels": str(images.PIXEL_LIMIT)}
    return chosen


def _is_cover(stream: Any) -> bool:
    """Return whether a video stream is only the cover picture of a sound file."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the frames of a stream; for a damaged packet, a text with the reason."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            yield _reason(error)
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            if packet.size:
                yield _reason(error)
            continue
        yield from frames


def _time(frame: Any, index: int, stream: Any, begin: float) -> float:
    """Return the time of a frame in seconds; without a time stamp, it is computed from the frame rate."""
    if frame.pts is not None:
        return float(frame.pts * frame.time_base) - begin
    rate = stream.average_rate or stream.guessed_rate or 25
    return float(index / rate)


def _stated_s(container: Any, stream: Any) -> float:
    """Return the length of the pictures that the header states, or of the whole file; 0 if it states none."""
    form = container.format.name
    if stream.duration is None:
        begin = (container.start_time or 0) / 1_000_000
        counts_from_0 = "matroska" in form  # others count from the first frame
        return _seconds(container) - (begin if counts_from_0 else 0)
    own = float(stream.duration * stream.time_base)
    if form == "avi" and stream.average_rate:
        # FFmpeg shortens the length of a cut AVI; in other forms the count says less: an MP4 may hide frames
        own = max(own, float(stream.frames / stream.average_rate))
    return own


def _seconds(container: Any) -> float:
    return (container.duration or 0) / 1_000_000


def _reason(error: Exception) -> str:
    """Return FFmpeg's error in one line, without the name of the file, which may hold a password."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    logged = getattr(error, "log", None)
    return f"{words} ({logged[2].strip()})" if logged and logged[2].strip() else words
