"""Write an MP4 of frames with their times, and the sound of a video: H.264, which every browser plays.

A thread encodes. While the file grows, it consists of fragments of about a second, so that it plays after a kill. At
the end it becomes an ordinary MP4. A resumed run copies the frames of the incomplete file and goes on.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from mien.errors import OutputError, needs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from jaxtyping import UInt8

PART, NEW_PART = ".part.mp4", ".new.part.mp4"
TICKS = 90_000
"""Units of time for each second in the file."""
WAITING = 4
"""Most frames that wait for the encoder."""
COPIED_SOUND = ("aac", "mp3", "opus", "flac")
"""Audio codecs that browsers play in an MP4; others are converted to AAC."""
ENCODER = {"preset": "veryfast", "crf": "21", "bf": "0", "g": "48", "rc-lookahead": "10"}
"""Options of the encoder. Without B-frames, frames are stored in order of time, so the file can be cut anywhere."""
CONTAINER = {
    "movflags": "+hybrid_fragmented+frag_keyframe+default_base_moof",
    "frag_duration": "1000000",
    "flush_packets": "1",
    "max_interleave_delta": "500000",  # sound that ends early does not delay the frames
}
BT709, LIMITED = 1, 1


def pictures_in(path: Path) -> int:
    """Return the number of frames in an MP4 of an earlier run; 0 if there are none, or it cannot be read."""
    if not path.exists():
        return 0
    import av

    count = 0
    with contextlib.suppress(av.error.FFmpegError), av.open(str(path)) as part:
        for packet in part.demux(part.streams.video[0]):
            if packet.is_corrupt:  # written by half: the disk was full, or the power failed
                break
            count += packet.size > 0
    return count


class Mp4:
    """An MP4 that grows as ``NAME.part.mp4`` and gets its own name when it is complete."""

    def __init__(self, path: Path, source: str) -> None:
        """Prepare the file at `path`; `source` is the video whose sound is copied, if it is a file.

        Raises:
            MissingExtra: PyAV is not installed.
        """
        with needs("video"):
            import av  # noqa: F401 - must be there before the work begins
        self.path, self._source = path, source
        self.part = path.with_name(path.name.removesuffix(".mp4") + PART)
        self._fresh = path.with_name(path.name.removesuffix(".mp4") + NEW_PART)
        if self._fresh.exists() and not self.part.exists():  # killed after the old part was removed
            self._fresh.replace(self.part)
        self.earlier = self.part if self.part.exists() else path
        """The file of an earlier run; it is whole if that run came to its end."""
        self._waiting: queue.Queue[tuple[np.ndarray, float] | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._is_over = False
        self.keep = 0
        """Number of frames to copy from the file of an earlier run."""
        self.begin_s: float | None = None
        """Time of the first frame in the source; it becomes 0 in the file."""

    def add(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"], time_s: float) -> None:
        """Append a frame; `time_s` is its time in the source.

        Raises:
            OutputError: the file cannot be written.
        """
        if self._thread is None:
            self.begin_s = time_s if self.begin_s is None else self.begin_s
            self._thread = threading.Thread(
                target=self._run, args=(image_rgb_u8.shape[1::-1],), name="mien-mp4"
            )
            self._thread.start()
        self._check()
        self._waiting.put((image_rgb_u8, time_s))

    def close(self, *, whole: bool = True) -> None:
        """Finish the file; an incomplete one keeps the name ``NAME.part.mp4``, plays, and can be continued.

        Raises:
            OutputError: the file cannot be written.
        """
        if self._thread is None:  # a part that is there is of another run
            return
        self._waiting.put(None)
        self._thread.join()
        self._check()
        if whole:
            self.part.replace(self.path)

    def _check(self) -> None:
        if self._error is not None:
            reason = getattr(self._error, "strerror", None) or str(self._error)
            raise OutputError(
                f"cannot write {self.path}: {reason}; the pictures so far are in {self.part.name}, `resume` goes on"
            ) from self._error

    def _run(self, resolution_wh: tuple[int, int]) -> None:
        """Encode until the last frame; after an error, take further frames and drop them."""
        try:
            self._write(resolution_wh)
        except Exception as error:
            self._error = error
            for _ in self._frames():
                pass

    def _frames(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yield the frames that come, until `close`."""
        while not self._is_over:
            item = self._waiting.get()
            self._is_over = item is None
            if item is not None:
                yield item

    def _write(self, resolution_wh: tuple[int, int]) -> None:
        import av

        goal = self._fresh if self.keep else self.part
        with (
            av.open(str(goal), "w", format="mp4", options=CONTAINER) as out,
            contextlib.ExitStack() as opened,
        ):
            film = _h264(out, resolution_wh)
            sound = opened.enter_context(_sound(out, self._source, self.begin_s or 0.0))
            last = self._copy(out, film) if self.keep else -1
            if self.keep:
                self.part.unlink(missing_ok=True)
            held: tuple[np.ndarray, int] | None = None  # until the next frame tells how long it lasts
            step = TICKS // 25
            for item in self._frames():
                ticks = max(last + 1, round((item[1] - (self.begin_s or 0.0)) * TICKS))
                if held:
                    step = ticks - held[1]
                    _mux(out, film.encode(_frame(held[0], resolution_wh, held[1], step)))
                held, last = (item[0], ticks), ticks
                _mux(out, sound(ticks / TICKS) if sound else ())
            if held:
                _mux(out, film.encode(_frame(held[0], resolution_wh, held[1], step)))
            _mux(out, film.encode(None))
            _mux(out, sound((last + step) / TICKS, end=True) if sound else ())
        if self.keep:
            self._fresh.replace(self.part)

    def _copy(self, out: Any, film: Any) -> int:
        """Copy the frames of the earlier file without encoding; return the time of the last one, in ticks."""
        import av

        last, left = -1, self.keep
        with av.open(str(self.earlier)) as part:
            stream = part.streams.video[0]
            as_encoded = av.BitStreamFilterContext(
                "h264_mp4toannexb", stream
            )  # an MP4 stores it in another form
            for packet in part.demux(stream) if left else ():
                if packet.size:
                    last, left = round((packet.pts or 0) * packet.time_base * TICKS), left - 1
                    for filtered in as_encoded.filter(packet):
                        filtered.stream = film
                        out.mux(filtered)
                if not left:
                    break
        return last


def _mux(out: Any, packets: Iterable[Any]) -> None:
    for packet in packets:
        out.mux(packet)


def _h264(out: Any, resolution_wh: tuple[int, int]) -> Any:
    film = out.add_stream("libx264", rate=25, options=ENCODER)
    film.width, film.height = (side + side % 2 for side in resolution_wh)
    film.pix_fmt, film.time_base = "yuv420p", Fraction(1, TICKS)
    context = film.codec_context
    context.time_base = Fraction(1, TICKS)
    context.color_primaries = context.color_trc = context.colorspace = BT709
    context.color_range = LIMITED
    return film


def _frame(image: UInt8[np.ndarray, "h w 3"], resolution_wh: tuple[int, int], ticks: int, step: int) -> Any:
    """Return a frame for the encoder; an image of another size is fitted, an odd side repeats its last line."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    if image.shape[1::-1] != resolution_wh:
        image = cv2.resize(image, resolution_wh, interpolation=cv2.INTER_AREA)
    below, beside = image.shape[0] % 2, image.shape[1] % 2
    if below or beside:
        image = cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REPLICATE)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )
    frame.pts, frame.time_base, frame.duration = ticks, Fraction(1, TICKS), step
    return frame


@contextlib.contextmanager
def _sound(out: Any, source: str, begin_s: float) -> Iterator[Any]:
    """Yield a function that gives the packets of the sound up to a time; None if there is no sound."""
    import av

    if not Path(source).is_file():
        yield None
        return
    with av.open(source, options={"protocol_whitelist": "file"}) as container:
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            yield None
            return
        begin = (container.start_time or 0) / 1_000_000 + begin_s
        name = stream.codec_context.codec.canonical_name
        kind = _Copied if name in COPIED_SOUND else _Encoded
        yield kind(out, container, stream, begin)


class _Copied:
    """Packets of sound, copied without encoding, with their times moved."""

    def __init__(self, out: Any, container: Any, stream: Any, begin: float) -> None:
        self._packets, self._begin = container.demux(stream), begin
        self._stream = out.add_stream_from_template(stream)
        self._next: Any = None

    def __call__(self, until_s: float, *, end: bool = False) -> Iterator[Any]:  # noqa: ARG002 - as `_Encoded` has it
        """Yield the packets that begin before a time."""
        import av

        while True:
            with contextlib.suppress(av.error.FFmpegError):
                self._next = self._next or next(self._packets, None)
            packet = self._next
            if packet is None or not packet.size or packet.pts is None:
                return
            begin = round(self._begin / packet.time_base)
            if (packet.pts - begin) * packet.time_base >= until_s:
                return
            self._next = None
            if packet.pts >= begin:
                packet.pts, packet.dts = packet.pts - begin, packet.dts - begin
                packet.stream = self._stream
                yield packet


class _Encoded:
    """Sound that browsers do not play, encoded as AAC."""

    def __init__(self, out: Any, container: Any, stream: Any, begin: float) -> None:
        self._packets, self._begin = container.demux(stream), begin
        self._stream = out.add_stream("aac", rate=min(48_000, stream.codec_context.sample_rate))
        self._stream.layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
        self._resampler: Any = None
        self._done_s = 0.0

    def __call__(self, until_s: float, *, end: bool = False) -> Iterator[Any]:
        """Yield the packets that begin before a time, and with `end` also those that wait in the encoder."""
        import av

        while self._done_s < until_s:
            try:
                packet = next(self._packets, None)
            except av.error.FFmpegError:
                packet = None
            if packet is None:
                break
            with contextlib.suppress(av.error.FFmpegError):
                for frame in packet.decode():
                    yield from self._coded(frame)
        if end:
            yield from self._stream.encode(None)

    def _coded(self, frame: Any) -> Iterator[Any]:
        import av

        if frame.pts is None or frame.time < self._begin:
            return
        frame.pts -= round(self._begin / frame.time_base)
        self._done_s = frame.time
        if self._resampler is None:
            self._stream.codec_context.open(strict=False)
            context = self._stream.codec_context
            self._resampler = av.AudioResampler(
                context.format, context.layout, context.rate, context.frame_size
            )
        for part in self._resampler.resample(frame):
            yield from self._stream.encode(part)
