"""A folder of 200 photos of 640x480 end to end, stage by stage and as `mien predict` does it, with each detector.

The photos are made of a zip of scenes (or a folder of photos): each is resized, and where the zip holds too few, they
come again. Stages are timed one after the other in one thread; the whole in a process of its own.

    python benchmarks/photos.py --photos scenes.zip [--yunet face_detection_yunet_2023mar.onnx]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np

from machine import describe
from mien.pipeline import Pipeline
from mien.results import FaceResult
from mien.vision import images
from mien.vision.draw import annotate

STAGES = ("decode", "detect", "crop", "classify", "write")
MEASURED = """
import sys
from mien.cli import main
try: main()
finally: print([l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM")][0], file=sys.stderr)
"""


def make_photos(source: Path, folder: Path, n: int) -> list[Path]:
    """Write n JPEGs of 640x480."""
    if source.is_dir():
        pictures = [path.read_bytes() for path in sorted(source.iterdir()) if path.suffix in images.SUFFIXES]
    else:
        with zipfile.ZipFile(source) as archive:
            names = [name for name in archive.namelist() if Path(name).suffix.lower() in images.SUFFIXES]
            pictures = [archive.read(name) for name in sorted(names)[:n]]
    paths = []
    for number in range(n):
        picture = cv2.resize(
            images.decode(pictures[number % len(pictures)]), (640, 480), interpolation=cv2.INTER_AREA
        )
        paths.append(folder / f"{number:03}.jpg")
        paths[-1].write_bytes(images.encode_jpeg(picture))
    return paths


def stages(paths: list[Path], name: str, weights: Path | None, model: str) -> tuple[list[float], int]:
    """Return milliseconds a photo of each stage on one thread, and the faces found."""
    pipeline = Pipeline(model, name, detector_weights=weights, threads=1)
    pipeline(paths[0])
    spent, found = np.zeros(len(STAGES)), 0
    with tempfile.TemporaryDirectory() as out:
        for path in paths:
            marks = [time.perf_counter()]
            image = images.read(path)
            marks.append(time.perf_counter())
            faces = pipeline.find(image)
            marks.append(time.perf_counter())
            crops = pipeline.crops(image, faces)
            marks.append(time.perf_counter())
            pipeline.name(crops)
            marks.append(time.perf_counter())
            found += len(faces)
            named = tuple(FaceResult(face.box_xyxy_px, "happy", {"happy": 0.9, "sad": 0.1}) for face in faces)
            (Path(out) / path.name).write_bytes(images.encode_jpeg(annotate(image, named)))
            marks.append(time.perf_counter())
            spent += np.diff(marks)
    return (1000 * spent / len(paths)).tolist(), found


def whole(folder: Path, words: list[str], cores: int) -> tuple[float, float]:
    """Return seconds of `mien predict` on so many cores, a worker each, start included; and its peak in MiB."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "-c",
            MEASURED,
            "predict",
            str(folder),
            "--out",
            out,
            "--workers",
            str(cores),
            *words,
        ]
        started = time.perf_counter()
        held = set(sorted(os.sched_getaffinity(0))[:cores])
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, held),
        )
        return time.perf_counter() - started, int(done.stderr.split()[-1]) / 1024


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--yunet", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--detectors", default="haar,yunet")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    detectors = {
        "haar": [],
        **({"yunet": ["--detector-weights", str(options.yunet)]} if options.yunet else {}),
    }
    detectors = {name: own for name, own in detectors.items() if name in options.detectors.split(",")}
    cores = len(os.sched_getaffinity(0))
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, few = Path(name, "all"), Path(name, "few")
        folder.mkdir()
        few.mkdir()
        paths = make_photos(options.photos, folder, options.n)
        print(describe("mien", "onnxruntime", "opencv-python-headless", "pillow"))
        print(f"{len(paths)} photos of 640x480, {options.model}; ms a photo on one thread\n")
        print(f"| detector | {' | '.join(STAGES)} | all | faces |\n|{'---|' * 8}")
        for detector in detectors:
            weights = options.yunet if detector == "yunet" else None
            spent, found = stages(paths[: len(paths) // 2], detector, weights, options.model)
            print(f"| {detector} | {' | '.join(f'{ms:.2f}' for ms in spent)} | {sum(spent):.2f} | {found} |")
        print(
            "\n`mien predict FOLDER --out`, start included\n\n| detector | cores | photos | photos/s | peak, MiB |"
        )
        print("|---|---|---|---|---|")
        for path in paths[: len(paths) // 4]:
            (few / path.name).write_bytes(path.read_bytes())
        for detector, own in detectors.items():
            words = ["--detector", detector, *own, "--model", options.model]
            rows = [
                (few, cores),
                *((folder, used) for used in sorted({1, cores}) for _ in range(options.rounds)),
            ]
            for where, used in rows:
                n = sum(1 for _ in where.rglob("*.jpg"))
                seconds, peak = whole(where, words, used)
                print(f"| {detector} | {used} | {n} | {n / seconds:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
