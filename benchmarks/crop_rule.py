"""Measure where the FER2013 crop lies in each detector's box: the rule in `mien.preprocess.FER2013_CROPS`.

A detector never sees a 48-pixel crop in use; it sees a photo. So each FER2013 face is enlarged, set into a
larger frame of its own edge pixels, and detected. The median box, in the 48-pixel frame, is inverted into
the rule that leads from a box to the crop.

    python benchmarks/crop_rule.py --data fer2013.zip --yunet face_detection_yunet_2023mar.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from mien.data.sources import read_dataset
from mien.vision.detect import Haar, open_detector

ENLARGE = 4
FRAME_FRACTION = 0.75  # of the enlarged face, on every side


def boxes_in_crop_px(detector, faces) -> np.ndarray:
    """Return the centred face boxes (x0, y0, x1, y1) in pixels of the original crop, one row a hit."""
    size = faces.shape[1]
    pad = round(FRAME_FRACTION * size * ENLARGE)
    rows = []
    for face in faces:
        large = cv2.resize(face, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
        framed = cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        found = detector.detect(cv2.cvtColor(framed, cv2.COLOR_GRAY2RGB))
        if len(found) == 1:
            rows.append((np.array(found[0].box_xyxy_px) - pad) / ENLARGE)
    return np.array(rows)


def main() -> None:
    """Print the medians, their spread and the rule for each detector."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--n", type=int, default=1000)
    options = parser.parse_args()
    data = read_dataset(options.data).select("train")
    chosen = np.random.default_rng(0).choice(len(data), options.n, replace=False)
    size = data.images.shape[1]
    print(f"{options.n} training images of {Path(options.data).name}, seed 0, {size}-pixel frame")
    print("| detector | found | width | height | centre x | centre y | side | scale | shift x | shift y |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for detector in (Haar(), open_detector("yunet", options.yunet)):
        boxes = boxes_in_crop_px(detector, data.images[chosen, ..., 0])
        columns = {
            "width": boxes[:, 2] - boxes[:, 0], "height": boxes[:, 3] - boxes[:, 1],
            "x": boxes[:, [0, 2]].mean(1), "y": boxes[:, [1, 3]].mean(1),
        }  # fmt: skip
        median = {name: float(np.median(values)) for name, values in columns.items()}
        spread = {
            name: float(np.subtract(*np.percentile(values, [75, 25]))) for name, values in columns.items()
        }
        side = min(("width", "height"), key=lambda name: spread[name] / median[name])
        cells = " | ".join(f"{median[name]:.1f} (IQR {spread[name]:.1f})" for name in columns)
        shift_x, shift_y = ((size / 2 - median[axis]) / median[side] for axis in "xy")
        print(
            f"| {detector.name} | {len(boxes) / options.n:.1%} | {cells} | {side} | "
            f"{size / median[side]:.3f} | {shift_x:+.3f} | {shift_y:+.3f} |"
        )


if __name__ == "__main__":
    main()
