"""What the page costs a visitor: bytes, the first answer, time of a face; FP32 against INT8, mien against YuNet.

    python benchmarks/web.py --yunet face_detection_yunet_2023mar.onnx

Needs chromium and `mien fetch web-runtime`. The browser has one thread, and starts with an empty cache for each row.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
from pathlib import Path

import numpy as np

from machine import describe
from mien import bundle
from mien.data.synthetic import draw_dataset
from mien.exporting.web import write
from mien.pipeline import Pipeline
from mien.serve import parity

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="mien_nano")
parser.add_argument("--yunet", type=Path, help="file with YuNet's weights")
parser.add_argument("--runtime", type=Path, help="folder with the files of onnxruntime-web")
parser.add_argument("--crops", type=int, default=100)
given = parser.parse_args()
print(describe("onnxruntime"))
drawn = draw_dataset(bundle.load(given.model).preprocess, {"drawn": given.crops})
pictures = parity.sample(drawn.images, None)
print(
    f"{'page':14} {'MB, gzip':>9} {'opened s':>9} {'first answer s':>15} {'face ms':>8} {'photo ms':>9} "
    f"{'equal labels':>13} {'difference':>11}"
)
for detector in ("mien", "yunet") if given.yunet else ("mien",):
    weights = given.yunet if detector == "yunet" else None
    for backend in ("onnx", "int8"):
        found = write.detector_for(detector, weights)
        site = write.site(given.model, backend=backend, detector=found, runtime_folder=given.runtime)
        size = sum(len(gzip.compress(content)) for content in site.values())
        pipeline = Pipeline(given.model, detector, backend=backend, detector_weights=weights)
        expected, _, seen = parity.answers(pipeline, site, pictures, repeat=6)
        facts = seen.facts or {}
        equal = np.mean(expected.crops.argmax(1) == seen.crops.argmax(1))
        most = np.abs(expected.crops - seen.crops).max()
        print(
            f"{detector + ' ' + backend:14} {size / 1e6:9.2f} {facts['opened_ms'] / 1000:9.2f} "
            f"{facts['first_ms'] / 1000:15.2f} {statistics.median(facts['face_ms']):8.1f} "
            f"{statistics.median(facts['photo_ms'][1:]):9.1f} {equal:13.1%} {most:11.2g}",
            flush=True,
        )
