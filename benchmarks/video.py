"""Time a video stage by stage, compare searching every k-th frame with every frame, and prove that memory is flat.

    python benchmarks/video.py stages VIDEO --detector-weights YUNET.onnx
    python benchmarks/video.py every VIDEO... --detector-weights YUNET.onnx
    python benchmarks/video.py hours 10 --detector whole --fps 1

`hours` generates a small video of that length (128x96, a drawn face that moves) and records it as the command does:
MP4, tables, page. It is interrupted in its middle and goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

import mien
from mien.data.synthetic import draw_face
from mien.options import Outputs
from mien.pipeline import Pipeline
from mien.sinks import Sinks, recorded
from mien.sinks.mp4 import Mp4


def stages(pipeline: Pipeline, path: str) -> None:
    """Print frames a second of each stage alone, on one thread, and of the whole on all cores."""
    clock, found = Clock(), list(mien.frames(path))
    clock.report("decode", len(found))
    clock = Clock()
    images = [frame.image_rgb_u8 for frame in found]
    clock.report("to RGB", len(found))
    clock = Clock()
    faces = [pipeline.find(image) for image in images]
    clock.report("find", len(found))
    clock = Clock()
    crops = [pipeline.crops(image, one) for image, one in zip(images, faces, strict=True)]
    for one in crops:
        pipeline.name(one)
    clock.report("crop and name", len(found))
    with tempfile.TemporaryDirectory() as folder:
        results = [
            pipeline._result(f, a, iter(pipeline.name(c).tolist()))
            for f, a, c in zip(found, faces, crops, strict=True)
        ]
        clock = Clock()
        drawn = [result.annotated() for result in results]
        clock.report("draw", len(found))
        clock, film = Clock(), Mp4(Path(folder, "a.faces.mp4"), path)
        for frame, image in zip(found, drawn, strict=True):
            film.add(image, frame.time_s or 0.0)
        film.close()
        clock.report("encode, x264's own threads", len(found))
    del images, drawn, results, found
    for every in (1, 3):
        clock, count = Clock(), whole(pipeline, path, every)
        clock.report(f"all together, MP4 and page, detect_every {every}", count)


class Clock:
    """Time since it was made, by the wall and of this process on all cores."""

    def __init__(self) -> None:
        self._wall, self._spent = time.perf_counter(), time.process_time()

    def report(self, name: str, frames: int) -> None:
        """Print a line."""
        wall = time.perf_counter() - self._wall
        spent = 1000 * (time.process_time() - self._spent) / frames
        print(f"{name:50} {frames / wall:8.1f} frames/s {spent:8.2f} ms of processor a frame", flush=True)


def whole(pipeline: Pipeline, path: str, every: int) -> int:
    """Record a video as the command does; return how many frames it has."""
    tracker = mien.Tracker(detect_every=every)
    with (
        tempfile.TemporaryDirectory() as folder,
        Sinks(Outputs(out=Path(folder)), pipeline.facts | tracker.facts) as sinks,
    ):
        return sum(1 for _ in recorded(pipeline, mien.frames(path), sinks, tracker=tracker))


def compare(pipeline: Pipeline, paths: list[str]) -> None:
    """Print what changes where only every k-th frame is searched."""
    print(f"{'video':20} {'k':>2} {'frames/s':>9} {'same faces':>11} {'same label':>11} {'mean IoU':>9}")
    for path in paths:
        exact: list[mien.ImageResult] = []
        for every in (1, 2, 3, 5, 10):
            began, tracker = time.perf_counter(), mien.Tracker(detect_every=every)
            results = [one.without_pixels() for one in pipeline.stream(mien.frames(path), tracker=tracker)]
            speed = len(results) / (time.perf_counter() - began)
            exact = exact or results
            counts = [len(a.faces) == len(b.faces) for a, b in zip(exact, results, strict=True)]
            pairs = [
                (x, y)
                for a, b in zip(exact, results, strict=True)
                if len(a.faces) == len(b.faces)
                for x, y in zip(a.faces, b.faces, strict=True)
            ]
            labels = np.mean([x.label == y.label for x, y in pairs])
            overlap = np.mean([iou(x.box_xyxy_px, y.box_xyxy_px) for x, y in pairs])
            name = Path(path).name
            print(f"{name:20} {every:2} {speed:9.1f} {np.mean(counts):11.1%} {labels:11.1%} {overlap:9.3f}")


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Return the overlap of two boxes."""
    from mien.detectors.shrink import iou as of

    return of(a, b)


def generated(path: Path, hours: float, fps: int) -> None:
    """Write a video of that length: one second with a drawn face that moves, copied so often."""
    face = cv2.cvtColor(draw_face("happy", np.random.default_rng(0), 48), cv2.COLOR_GRAY2RGB)
    second = path.with_name("second.mp4")
    with av.open(str(second), "w") as out:
        stream = out.add_stream(
            "libx264", rate=fps, options={"preset": "ultrafast", "bf": "0", "g": str(fps)}
        )
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(fps):
            image = np.full((96, 128, 3), 90, np.uint8)
            image[24:72, 20 + number : 68 + number] = face
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    with av.open(str(second)) as source, av.open(str(path), "w") as out:
        stream = source.streams.video[0]
        packets = [(bytes(packet), packet.is_keyframe) for packet in source.demux(stream) if packet.size]
        to = out.add_stream_from_template(stream)
        for number in range(round(hours * 3600) * fps):
            content, is_key = packets[number % fps]
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.is_keyframe = to, Fraction(1, fps), is_key
            packet.pts = packet.dts = number
            packet.duration = 1
            out.mux(packet)


def hours(pipeline: Pipeline, length: float, fps: int) -> None:
    """Record a generated video of so many hours, interrupted in its middle; print the memory after each tenth."""
    with tempfile.TemporaryDirectory() as folder:
        path, began = Path(folder, "long.mp4"), time.perf_counter()
        generated(path, length, fps)
        frames = mien.frames(path).expected or 10

        def record(outputs: Outputs, first: int, stop_after: int | None = None) -> None:
            tracker = mien.Tracker(detect_every=5)
            with Sinks(outputs, pipeline.facts | tracker.facts) as sinks:
                results = recorded(pipeline, mien.frames(path), sinks, tracker=tracker)
                for number, _ in enumerate(results, start=first):
                    if number % (frames // 10) == 0:
                        print(f"{number:9,} frames, {memory(began)}", flush=True)
                    if number == stop_after:
                        raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            record(Outputs(out=Path(folder, "out")), 1, frames // 2)
        print(f"interrupted: {memory(began)}; resume", flush=True)
        record(Outputs(out=Path(folder, "out"), resume=True), frames // 2)
        with av.open(str(Path(folder, "out", "long.faces.mp4"))) as film:
            print(f"finished: {memory(began)}; MP4 of {film.duration / 3.6e9:.2f} h", end=", ")
            print(f"{film.streams.video[0].frames:,} pictures of {frames:,}")


def memory(began: float) -> str:
    """Say how long it took, how much memory is in use, and the most that ever was."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    now = pages * resource.getpagesize() // 2**20
    return f"{(time.perf_counter() - began) / 60:6.1f} minutes, {now} MiB, at most {peak} MiB so far"


def main() -> None:
    """Read the words and run one of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("stages", "every", "hours"))
    parser.add_argument("values", nargs="+")
    parser.add_argument("--detector", default="yunet")
    parser.add_argument("--detector-weights")
    parser.add_argument("--fps", type=int, default=10, help="of the generated video")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    pipeline = Pipeline(detector=given.detector, detector_weights=given.detector_weights)
    if given.what == "stages":
        stages(pipeline, given.values[0])
    elif given.what == "every":
        compare(pipeline, given.values)
    else:
        hours(pipeline, float(given.values[0]), given.fps)


if __name__ == "__main__":
    main()
