"""Duplicates: how many a held-out tenth has, how many changed copies are found, a sheet of near ones to look at.

    python benchmarks/near_duplicates.py DATA [sheet.png]

The sheet shows 64 pairs, drawn at random, that are near but no exact duplicates; the right image as it is.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

import mien
from mien.data.duplicates import picture_keys
from mien.data.groups import near_pairs, thumbnails
from mien.vision.draw import contact_sheet
from mien.vision.images import encode_png

COPIES, AMONG, SHOWN = 500, 6000, 64


def moved(image, dx=0.0, dy=0.0, zoom=1.0):
    """Shift by pixels and zoom around the middle."""
    side = image.shape[0]
    matrix = np.array([[zoom, 0, side / 2 * (1 - zoom) + dx], [0, zoom, side / 2 * (1 - zoom) + dy]])
    return cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)[..., None]


def jpeg(image, quality):
    """Compress and decode."""
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)[..., None]


def half(image):
    """Make it half as large."""
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[..., None]


CHANGES = {
    "JPEG, quality 20": lambda image: jpeg(image, 20),
    "half the size": half,
    "mirror": lambda image: image[:, ::-1],
    "darker, less contrast": lambda image: (image * 0.6 + 20).astype(np.uint8),
    "shift (1, 1) px": lambda image: moved(image, 1, 1),
    "shift (2, -1) px": lambda image: moved(image, 2, -1),
    "shift (3, -2) px": lambda image: moved(image, 3, -2),
    "zoom 1.05": lambda image: moved(image, zoom=1.05),
    "zoom 1.10": lambda image: moved(image, zoom=1.1),
    "mirror, shift (1, 1), JPEG 50": lambda image: jpeg(moved(image[:, ::-1].copy(), 1, 1), 50),
}


def held_out(data) -> None:
    """Print which fraction of the training images, and of a tenth held out, has an exact duplicate in training."""
    data = data.select("train")
    keys = picture_keys(data.images)
    _, place, count = np.unique(keys, return_inverse=True, return_counts=True)
    has_one = count[place] > 1
    print(f"{has_one.mean():.1%} of {len(data):,} training images have an exact duplicate among them")
    for seed in range(3):
        start = time.perf_counter()
        split = data.hold_out(0.1, seed).split
        seconds, held = time.perf_counter() - start, split == "holdout"
        print(
            f"seed {seed}: {held.mean():.1%} held out, {has_one[held].mean():.1%} of these have one, {seconds:.1f} s"
        )


def main(source: str, sheet: str | None) -> None:
    """Print the tables; write the sheet."""
    data = mien.read_dataset(source)
    held_out(data)
    _, first = np.unique(picture_keys(data.images), return_index=True)
    images = data.images[np.sort(first)]
    rows = np.random.default_rng(0).permutation(len(images))[:AMONG]
    thumbs = thumbnails(images[rows])
    for name, change in CHANGES.items():
        copies = thumbnails(change(image) for image in images[rows[:COPIES]])
        pairs = set(map(tuple, near_pairs(np.concatenate([thumbs, copies])).tolist()))
        found = sum((row, len(thumbs) + row) in pairs for row in range(len(copies)))
        print(f"{name:32}{found:5} of {len(copies)} found")
    start = time.perf_counter()
    pairs = near_pairs(thumbnails(images))
    print(f"{len(pairs):,} pairs among {len(images):,} different images, {time.perf_counter() - start:.1f} s")
    if sheet:
        chosen = np.random.default_rng(0).permutation(pairs)[:SHOWN]
        shown = [[(images[row], str(row)) for row in pair] for pair in chosen.tolist()]
        cells = [
            [cell for pair in shown[start : start + 4] for cell in pair] for start in range(0, len(shown), 4)
        ]
        Path(sheet).write_bytes(encode_png(contact_sheet(cells)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
