"""Faces found by each detector of the catalog: recall, false positives and time a photo.

    python benchmarks/detectors.py --photos scenes.zip --boxes yunet_boxes_xywhs.json \
        [--yunet face_detection_yunet_2023mar.onnx] [--no-faces backgrounds.zip]

Every photo is brought to a longest side of 640 px. The reference boxes are YuNet's own on these photos, so YuNet's
figures flatter it. A reference face counts if its shorter side is at least 24 px in the photo as it is stored. It is
found if a box overlaps it by an IoU of .4 or more; each box finds one face, and a box that finds none is a false
positive. The time is the processor's on one thread, and the clock's with as many threads as OpenCV takes.

The parameters of `haar` were chosen on these photos, so its figures here are a little better than on others.
"""

from __future__ import annotations

import argparse
import json
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from machine import describe
from mien.detectors import CATALOG, FaceDetector, open_detector
from mien.detectors.shrink import iou
from mien.errors import MienError
from mien.vision import images

if TYPE_CHECKING:
    import numpy as np

SIDE_PX, LEAST_PX, SAME_IOU = 640, 24, 0.4


def photos(path: Path, names: list[str] | None = None) -> dict[str, tuple[np.ndarray, float]]:
    """Return for each image of a zip its pixels at the common size, and the factor back to its own."""
    table = {}
    with zipfile.ZipFile(path) as archive:
        for name in names or [name for name in archive.namelist() if Path(name).suffix in images.SUFFIXES]:
            image = images.decode(archive.read(name))
            factor = max(image.shape[:2]) / SIDE_PX
            size = (round(image.shape[1] / factor), round(image.shape[0] / factor))
            table[name] = (cv2.resize(image, size, interpolation=cv2.INTER_AREA), factor)
    return table


def matched(found: list, truth: list) -> list[tuple[int, int]]:
    """Return pairs (box found, reference box), the best overlaps first, each box once."""
    overlaps = sorted(
        ((iou(box, own), i, j) for i, box in enumerate(found) for j, own in enumerate(truth)), reverse=True
    )
    pairs: list[tuple[int, int]] = []
    for overlap, i, j in overlaps:
        if overlap >= SAME_IOU and all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return pairs


def seconds(detector: FaceDetector, pictures: dict, threads: int, clock) -> tuple[float, dict]:
    """Return seconds a photo and the boxes of every photo, in its own pixels."""
    cv2.setNumThreads(threads)
    detector.detect(next(iter(pictures.values()))[0])
    started, boxes = clock(), {}
    for name, (image, factor) in pictures.items():
        boxes[name] = [tuple(factor * side for side in face.box_xyxy_px) for face in detector.detect(image)]
    return (clock() - started) / len(pictures), boxes


def figures(boxes: dict, references: dict) -> tuple[float, float]:
    """Return the fraction of the large reference faces that were found, and false positives a photo."""
    hits = large = wrong = 0
    for name, rows in references.items():
        truth = [(x, y, x + w, y + h) for x, y, w, h, *_ in rows]
        pairs = matched(boxes[name], truth)
        wanted = {j for j, (_, _, w, h, *_) in enumerate(rows) if min(w, h) >= LEAST_PX}
        large += len(wanted)
        hits += len(wanted & {j for _, j in pairs})
        wrong += len(boxes[name]) - len(pairs)
    return hits / large, wrong / len(references)


def main() -> None:
    """Print a row for each detector that can be opened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--boxes", type=Path, required=True)
    parser.add_argument("--yunet", type=Path)
    parser.add_argument("--no-faces", type=Path)
    parser.add_argument("--n-no-faces", type=int, default=100)
    parser.add_argument("--detectors", default=",".join(name for name in CATALOG if name != "whole"))
    options = parser.parse_args()
    references = json.loads(options.boxes.read_text())
    pictures = photos(options.photos, sorted(references))
    empty = photos(options.no_faces) if options.no_faces else {}
    empty = dict(sorted(empty.items())[: options.n_no_faces])
    threads = cv2.getNumThreads()
    print(describe("mien", "opencv-python-headless"))
    print(f"{len(pictures)} photos of {SIDE_PX} px; {len(empty)} without a face")
    columns = (
        "detector",
        "recall",
        "false positives a photo",
        "processor ms",
        f"clock ms, {threads} threads",
    )
    print(f"\n| {' | '.join(columns)} | faces in a photo without one |\n|{'---|' * 6}")
    for name in options.detectors.split(","):
        try:
            detector = open_detector(name, options.yunet if name == "yunet" else None)
        except MienError as error:
            print(f"| {name} | {error} |")
            continue
        one, boxes = seconds(detector, pictures, 1, time.process_time)
        many, _ = seconds(detector, pictures, threads, time.perf_counter)
        recall, wrong = figures(boxes, references)
        none = seconds(detector, empty, threads, time.perf_counter)[1] if empty else {}
        mistaken = f"{sum(map(len, none.values())) / len(none):.2f}" if none else "-"
        print(f"| {name} | {recall:.1%} | {wrong:.2f} | {1000 * one:.0f} | {1000 * many:.0f} | {mistaken} |")


if __name__ == "__main__":
    main()
