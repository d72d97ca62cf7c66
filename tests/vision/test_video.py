"""Videos, animations, cameras and streams as frames: times, numbers, and what is broken."""

from __future__ import annotations

import contextlib
import http.server
import io
import pickle
import re
import threading
import time
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

import mien
from mien.errors import ConfigError, ImageError, MienWarning, MissingExtra
from mien.options import Clip
from mien.vision import images, live
from mien.vision.films import rgb, without_secret
from mien.vision.frames import frames, video
from tests.pictures import jpeg, write_zip

CLIPS = ("face_noface.mov", "noface_face.mov", "single_face.mp4", "talking_face.mp4")


def film(
    path,
    times=tuple(range(0, 440, 40)),
    size=(62, 34),
    form=None,
    sound=False,
    codec="mpeg4",
    of_file=None,
    **of_stream,
):
    """Write a video whose frame n has the grey value 16 n + 8; times are milliseconds."""
    with av.open(str(path), "w", format=form, options=of_file or {}) as out:
        stream = out.add_stream(codec, rate=25, options={"qscale": "2", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in of_stream.items():
            setattr(stream.codec_context, name, value) if name != "turn" else stream.set_display_rotation(
                value
            )
        tone = out.add_stream("aac", rate=8000) if sound else None
        for number, time in enumerate(times):
            pixels = np.full((size[1], size[0], 3), 16 * (number % 15) + 8, np.uint8)
            pixels[: size[1] // 2, : size[0] // 2] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if tone:
            wave = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
            wave.rate, wave.pts = 8000, 0
            out.mux(tone.encode(wave))
            out.mux(tone.encode(None))
    return str(path)


def told(found):
    return [(one.index, round(one.time_s, 3)) for one in found]


def brightness(frame):
    return round(float(frame.image_rgb_u8[-4:, -4:].mean()))


@pytest.mark.parametrize("clip", CLIPS)
def test_times_and_numbers_are_those_of_the_container(shared, clip):
    path = shared / "photos" / clip
    with av.open(str(path)) as container:
        expected = [
            float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size
        ]
    found = list(frames(path))
    assert [one.index for one in found] == list(range(len(expected)))
    assert [one.time_s for one in found] == pytest.approx(sorted(expected))
    assert {one.source for one in found} == {str(path)}
    part = list(video(path, start=1.0, end=1.5))
    assert told(part) == [one for one in told(found) if 1.0 <= one[1] < 1.5]


def test_a_variable_rate_and_a_late_start(tmp_path):
    times = (0, 40, 50, 200, 1000, 1010)
    assert told(frames(film(tmp_path / "a.mkv", times))) == [(n, t / 1000) for n, t in enumerate(times)]
    late = [time + 5000 for time in times]
    assert told(frames(film(tmp_path / "b.ts", late, form="mpegts"))) == [
        (n, t / 1000) for n, t in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("clip", "numbers"),
    [
        ({}, range(11)),
        ({"every": 3}, (0, 3, 6, 9)),
        ({"fps": 10}, (0, 3, 5, 8, 10)),
        ({"fps": 1000}, range(11)),
        ({"start": 0.2}, range(5, 11)),
        ({"start": 0.2, "every": 2}, (5, 7, 9)),
        ({"end": 0.08}, (0, 1)),
    ],
)
def test_chosen_frames_keep_their_numbers_and_pixels(tmp_path, clip, numbers):
    found = video(film(tmp_path / "a.mp4"), **clip)
    assert told(found) == [(n, n * 0.04) for n in numbers]
    assert [brightness(one) for one in found] == pytest.approx([16 * n + 8 for n in numbers], abs=4)
    assert found.total is None
    assert abs((found.expected or 0) - len(list(numbers))) <= 1


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ({"every": 0}, "every must be at least 1, got 0"),
        ({"fps": 0}, "fps must be above 0, got 0"),
        ({"every": 2, "fps": 5}, "every and fps both choose frames: give one of them"),
        ({"start": -1}, "start must be a second from 0 on, got -1"),
        ({"start": 3, "end": 3}, r"end must be after start \(3 s\), got 3"),
    ],
)
def test_options_that_make_no_sense(clip, message):
    with pytest.raises(ConfigError, match=message):
        video("a.mp4", **clip)


def test_turned_and_stretched_pixels_are_shown_as_they_should_be(tmp_path):
    upright = next(iter(frames(film(tmp_path / "a.mp4")))).image_rgb_u8
    turned = next(iter(frames(film(tmp_path / "b.mp4", turn=90)))).image_rgb_u8
    assert (upright.shape, turned.shape) == ((34, 62, 3), (62, 34, 3))
    with av.open(str(tmp_path / "b.mp4")) as container:
        degrees = next(container.decode(video=0)).rotation
    assert np.abs(np.rot90(upright, degrees // 90).astype(int) - turned).max() < 12
    wide = next(iter(frames(film(tmp_path / "c.mp4", sample_aspect_ratio=Fraction(2, 1)))))
    assert wide.image_rgb_u8.shape == (34, 124, 3)


def test_a_frame_that_is_too_large_as_it_is_shown_is_refused(tmp_path, monkeypatch):
    """Width is a number of the file times a ratio of the file; a GIF's second frame may be larger than its first."""
    frame = SimpleNamespace(width=64, height=48, rotation=0, reformat=None)
    with pytest.raises(ImageError, match="picture of 1600000x48 pixels is over the limit"):
        rgb(frame, 25_000)
    first, second = (Image.new("P", (side, side)) for side in (7, 31))
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=[first])
    data = out.getvalue()
    second.save(out := io.BytesIO(), "GIF")
    block = out.getvalue()[out.getvalue().rindex(b",\0\0\0\0\x1f\0\x1f\0") : -1]
    (tmp_path / "grows.gif").write_bytes(data[:-1] + block + b";")
    assert [one.error for one in frames(tmp_path / "grows.gif")][-1] is None
    monkeypatch.setattr(images, "PIXEL_LIMIT", 900)
    loaded = []
    monkeypatch.setattr(Image.Image, "copy", lambda image: loaded.append(image.size) or image)
    last = list(frames(tmp_path / "grows.gif"))[-1]
    assert "picture of 31x31 pixels is over the limit" in (last.error or "")
    assert loaded == [(7, 7)]


def test_pixels_that_were_let_go_are_decoded_again_also_after_pickling(tmp_path):
    for one in list(frames(film(tmp_path / "a.mp4"))):
        first = one.image_rgb_u8
        assert (replace(one).image_rgb_u8 == first).all()
        assert (pickle.loads(pickle.dumps(one)).image_rgb_u8 == first).all()


def test_the_content_of_a_video_and_a_name_without_ending(tmp_path):
    path = film(tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "bare").write_bytes(data)
    for source in (data, io.BytesIO(data), tmp_path / "bare"):
        assert told(frames(source)) == told(frames(path))


def test_several_streams_are_said(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        streams = [out.add_stream("mpeg4", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    with pytest.warns(MienWarning, match=r"a\.mkv has 2 video streams: number \d is used"):
        assert len(list(frames(tmp_path / "a.mkv"))) == 1


def broken_films(folder):
    """Return paths and what is said of each."""
    whole = film(folder / "whole.mkv", range(0, 8000, 40))
    data = (folder / "whole.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(data[: len(data) // 2])
    film(folder / "whole.mp4")
    (folder / "no_end.mp4").write_bytes((folder / "whole.mp4").read_bytes()[:600])
    (folder / "text.mp4").write_bytes(b"no video at all")
    (folder / "empty.mp4").write_bytes(b"")
    with av.open(str(folder / "sound.mp4"), "w") as out:
        tone = out.add_stream("aac", rate=8000)
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        wave.rate, wave.pts = 8000, 0
        out.mux(tone.encode(wave))
        out.mux(tone.encode(None))
    assert whole
    return {
        "cut.mkv": "its header says 8.00 s: the file is not complete",
        "no_end.mp4": "cannot read",
        "text.mp4": "cannot read",
        "empty.mp4": "cannot read",
        "none.mp4": "No such file",
        "sound.mp4": "has no video stream, only: audio",
    }


def test_broken_files_are_frames_with_their_error(tmp_path):
    for name, message in broken_films(tmp_path).items():
        *before, last = frames(tmp_path / name)
        assert message in (last.error or ""), name
        assert "\n" not in last.error
        assert [one.error for one in before] == [None] * len(before)
        assert (len(before) > 50) == (name == "cut.mkv")


def with_long_sound(path, seconds=5):
    """Write 1 s of pictures with more seconds of sound; the header of this form states only the longer time."""
    with av.open(str(path), "w") as out:
        stream, tone = out.add_stream("mpeg4", rate=25), out.add_stream("aac", rate=8000)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(25):
            out.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24"))
            )
        out.mux(stream.encode(None))
        for number in range(8 * seconds):
            noise = np.random.default_rng(number).normal(0, 0.1, (1, 1024)).astype(np.float32)
            wave = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
            wave.rate, wave.pts = 8000, 1024 * number
            out.mux(tone.encode(wave))
        out.mux(tone.encode(None))
    return path


def test_sound_may_be_longer_than_the_pictures(tmp_path):
    path = with_long_sound(tmp_path / "a.mkv")
    assert [one.error for one in frames(path)] == [None] * 25
    path.write_bytes(path.read_bytes()[:-5000])
    *before, last = frames(path)
    assert len(before) == 25
    assert "the file is not complete" in last.error


EVEN = tuple(range(0, 4000, 100))
WHOLE = {
    "ten a second": EVEN,
    "late": tuple(time + 5000 for time in EVEN),
    "one in two seconds": (0, 2000, 4000, 6000, 8000),
    "gaps": (0, 40, 50, 200, 1000, 1010, 5000),
}
"""Times of the frames of whole films, in milliseconds."""


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("form", ["mp4", "mov", "mkv", "avi", "flv", "ts"])
@pytest.mark.parametrize("sound", [False, True])
def test_a_whole_film_is_not_called_incomplete(tmp_path, form, name, sound):
    codec = "flv1" if form == "flv" else "mpeg4"
    found = list(frames(film(tmp_path / f"a.{form}", WHOLE[name], sound=sound, codec=codec)))
    assert [one.error for one in found] == [None] * len(WHOLE[name])


@pytest.mark.parametrize("form", ["mkv", "avi", "flv", "mp4"])
@pytest.mark.parametrize("part", [0.5, 0.8])
def test_a_film_that_was_cut_off_says_so_even_if_little_is_missing(tmp_path, form, part):
    options = {"movflags": "faststart"} if form == "mp4" else {}
    codec = "flv1" if form == "flv" else "mpeg4"
    path = tmp_path / f"a.{form}"
    film(path, EVEN, codec=codec, of_file=options)
    data = path.read_bytes()
    pictures = data.rindex(b"idx1") if form == "avi" else len(data)  # behind them, an AVI has a long index
    path.write_bytes(data[: int(part * pictures)])
    *before, last = frames(path)
    assert len(before) < 38
    assert {one.error for one in before} <= {None} or form == "mp4"
    assert re.search(r"its header says (3\.9|4\.0).* s: the file is not complete", last.error)


def test_frames_that_a_film_hides_are_not_missing(tmp_path):
    """A copy that begins in the middle of a group keeps its first frames, which are decoded and not shown."""
    film(tmp_path / "a.mp4", EVEN, codec="mpeg4")
    with (
        av.open(str(tmp_path / "a.mp4")) as whole,
        av.open(str(tmp_path / "b.mp4"), "w", options={"avoid_negative_ts": "disabled"}) as out,
    ):
        stream = whole.streams.video[0]
        copied = out.add_stream_from_template(stream)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                shift = int(1.5 / stream.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                out.mux(packet)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].frames == 40
    found = list(frames(tmp_path / "b.mp4"))
    assert [one.error for one in found] == [None] * 25


def test_the_error_at_the_end_has_a_number_that_no_frame_has(tmp_path):
    """Else a resumed run would take it for the frame of that number, which is done."""
    broken_films(tmp_path)
    numbers = [one.index for one in frames(tmp_path / "cut.mkv")]
    assert numbers == list(range(len(numbers)))


def test_a_folder_with_everything_mixed(tmp_path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "b.png")
    film(tmp_path / "a.mp4")
    (tmp_path / "c.mov").write_bytes(b"no film")
    (tmp_path / "d.txt").write_text("text")
    gif(tmp_path / "e.gif")
    found = frames(tmp_path)
    assert (found.total, found.expected, found.skipped) == (None, 11 + 1 + 1 + 3, {"text": 1})
    names = [one.source.rpartition("/")[2] for one in found]
    assert names == ["a.mp4"] * 11 + ["b.png", "c.mov"] + ["e.gif"] * 3


def gif(path, count=3, form="GIF"):
    pictures = [Image.new("RGB", (21, 13), (80 * number, 0, 0)) for number in range(count)]
    pictures[0].save(
        path, form, save_all=True, append_images=pictures[1:], duration=[100, 250, 40][:count], lossless=True
    )
    return path


@pytest.mark.parametrize("form", ["GIF", "WEBP"])
def test_animations(tmp_path, form):
    path = gif(tmp_path / f"a.{form.lower()}", form=form)
    found = frames(path)
    assert told(found) == [(0, 0.0), (1, 0.1), (2, 0.35)]
    assert [int(one.image_rgb_u8[0, 0, 0]) for one in found] == [0, 80, 160]
    last = list(found)[-1]
    assert last.image_rgb_u8[0, 0, 0] == replace(last).image_rgb_u8[0, 0, 0] == 160
    assert told(frames(path.read_bytes())) == told(found)
    write_zip(
        tmp_path / "z.zip",
        {f"a.{form.lower()}": path.read_bytes(), "b.jpg": jpeg(np.zeros((5, 7, 3), np.uint8))},
    )
    packed = frames(tmp_path / "z.zip")
    assert [one.source for one in packed] == [f"{tmp_path}/z.zip/a.{form.lower()}"] * 3 + [
        f"{tmp_path}/z.zip/b.jpg"
    ]
    assert told(frames(f"{tmp_path}/z.zip/a.{form.lower()}")) == told(list(packed)[:3]) == told(found)
    assert pickle.loads(pickle.dumps(list(packed)[2])).image_rgb_u8[0, 0, 0] == 160
    assert frames(gif(tmp_path / f"one.{form.lower()}", 1, form)).total == 1


def test_an_animation_is_turned_by_its_exif(tmp_path):
    shades = [Image.new("RGB", (21, 13), (80 * number, 0, 0)) for number in range(2)]
    exif = Image.Exif()
    exif[0x112] = 6
    shades[0].save(tmp_path / "a.webp", save_all=True, append_images=shades[1:], exif=exif)
    assert [one.image_rgb_u8.shape for one in frames(tmp_path / "a.webp")] == [(21, 13, 3)] * 2


class FakeCamera:
    """What OpenCV gives for a camera."""

    def __init__(self, number):
        self.left = 5 if number == 0 else 0

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.left > 0

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((4, 6, 3), (9, 0, 0), np.uint8)

    def release(self):
        pass


def test_a_camera_ends_with_its_error_and_its_frames_are_not_kept(monkeypatch):
    monkeypatch.setattr(live.cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(live.time, "sleep", lambda _: None)
    found = frames("camera:0")
    assert found.live
    *shown, last = found
    assert shown[-1].index == 4
    assert shown[-1].image_rgb_u8[0, 0].tolist() == [0, 0, 9]
    assert "is not kept" in replace(shown[-1]).error
    assert "gives no more frames" in last.error
    (none,) = frames(7)
    assert none.error == "no camera 7: it is not there, in use, or this user may not open it"
    (bad,) = frames("camera:x")
    assert bad.error == "expected a camera's number, as camera:0, got camera:x"
    (hint,) = frames("0")
    assert hint.error == "no file 0 here; camera number 0 is written camera:0"


def test_stop_ends_a_camera(monkeypatch):
    monkeypatch.setattr(FakeCamera, "read", lambda self: (True, np.zeros((4, 6, 3), np.uint8)))
    monkeypatch.setattr(live.cv2, "VideoCapture", FakeCamera)
    found = frames("camera:0")
    for number, one in enumerate(found):
        assert one.error is None
        if number == 3:
            found.stop()
    assert number == 3


def test_the_newest_frame_is_next_and_an_error_is_raised():
    read, go_on = threading.Event(), threading.Event()

    def items():
        yield 1
        go_on.wait(5)
        yield from (2, 3, 4)
        read.set()
        raise ValueError("gone")

    found = live.newest(items(), lambda: False)
    assert next(found) == 1
    go_on.set()
    read.wait(5)
    assert next(found) == 4
    with pytest.raises(ValueError, match="gone"):
        next(found)


def test_a_stream_that_is_not_there_is_one_line_without_the_password():
    (only,) = frames("http://user:secret@127.0.0.1:9/live?key=secret")
    assert only.source == "http://127.0.0.1:9/live"
    assert "cannot read http://127.0.0.1:9/live: Connection refused" in only.error
    assert without_secret("rtsp://a:b@host/x?y=1") == "rtsp://host/x"


class MotionJpeg(http.server.BaseHTTPRequestHandler):
    """A camera that sends JPEG pictures, 0.1 s apart, until nobody listens."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=frame")
        self.end_headers()
        with contextlib.suppress(OSError):
            for number in range(100):
                data = jpeg(np.full((34, 62, 3), 8 * (number % 30), np.uint8))
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                time.sleep(0.1)

    def log_message(self, *_):
        pass


def test_a_stream_over_http_has_the_times_of_the_clock_and_is_stopped(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), MotionJpeg) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found, seen = frames(f"http://me:secret@127.0.0.1:{server.server_port}/cam?key=x"), []
        assert (found.live, found.total) == (True, None)
        for one in found:
            seen.append((one.time_s, time.monotonic(), one.index, brightness(one)))
            if len(seen) == 10:
                found.stop()
        server.shutdown()
    assert one.source == f"http://127.0.0.1:{server.server_port}/cam"
    assert len(seen) == 10
    times, clock, _, _ = zip(*seen, strict=True)
    assert times[-1] - times[0] == pytest.approx(clock[-1] - clock[0], abs=0.25), (
        "10 a second, not FFmpeg's 25"
    )
    assert all(grey == pytest.approx(8 * number, abs=8 * 3) for *_, number, grey in seen)


def test_a_whole_video_at_an_address_ends_without_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    film(tmp_path / "a.mp4")

    class Folder(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given):
            super().__init__(*given, directory=str(tmp_path))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = list(frames(f"http://127.0.0.1:{server.server_port}/a.mp4"))
        server.shutdown()
    assert [one.error for one in found] == [None] * 11
    assert told(found) == told(frames(tmp_path / "a.mp4"))


def test_what_begins_after_a_stop_gives_nothing(tmp_path):
    one, two = film(tmp_path / "1.mp4"), gif(tmp_path / "2.gif")
    found, seen = frames([one, two, two]), []
    for frame in found:
        seen.append((frame.source, frame.index))
        if len(seen) == 3:
            found.stop()
    assert seen == [(one, 0), (one, 1), (one, 2)]
    assert len(list(found)) == 11 + 3 + 3


@pytest.mark.parametrize("make", [film, gif])
def test_a_clip_beyond_the_end_says_so(tmp_path, make):
    path = make(tmp_path / ("a.mp4" if make is film else "a.gif"))
    (only,) = frames(path, clip=Clip(start=100))
    assert "has no frame from 100 s on: its last one is at 0." in only.error


def test_an_animation_is_stopped(tmp_path):
    found, seen = frames(gif(tmp_path / "a.gif")), []
    for one in found:
        seen.append(one.index)
        found.stop()
    assert seen == [0]
    assert len(list(found)) == 3


def test_a_playlist_does_not_open_what_it_names(tmp_path):
    film(tmp_path / "a.ts", form="mpegts")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    assert all(one.error for one in frames(tmp_path / "list.mp4"))


def test_a_list_of_videos_does_not_show_the_files_beside_it(tmp_path, monkeypatch):
    film(tmp_path / "a.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile 'a.mp4'\n")
    (one,) = frames(tmp_path / "list.mp4")
    assert one.error.startswith(f"cannot read {tmp_path / 'list.mp4'}")


def test_without_the_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"av is not installed: .*pip install .*\[video\]"):
        frames(film_bytes(tmp_path))


def film_bytes(folder):
    (folder / "a.mp4").write_bytes(b"....ftypisom")
    return folder / "a.mp4"


def test_a_video_is_not_one_image(tmp_path):
    with pytest.raises(ConfigError, match="expected one image, got several"):
        mien.Pipeline(detector="whole")(film(tmp_path / "a.mp4"))
    with pytest.raises(ConfigError, match="expected a video, an animation, a camera or a stream"):
        video(np.zeros((4, 4, 3), np.uint8))
