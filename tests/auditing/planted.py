"""A small dataset in which every kind of finding is planted by hand."""

from __future__ import annotations

import cv2
import numpy as np


def texture(seed: int, side: int = 48) -> np.ndarray:
    """Return a grey picture (h, w, 1) that is like no other seed's: blurred noise over its whole range."""
    noise = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), side / 24)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return (40 + 180 * smooth).astype(np.uint8)[..., None]


def png(image: np.ndarray) -> bytes:
    """Return a picture as a PNG."""
    return cv2.imencode(".png", image)[1].tobytes()


def half(image):
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[..., None]


def jpeg(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 0)[..., None]


def shifted(image):
    return cv2.warpAffine(
        image, np.array([[1, 0, 1.0], [0, 1, 1.0]]), image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE
    )[..., None]


CHANGES = {
    "half the size": half,
    "JPEG": jpeg,
    "mirror": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "darker": lambda image: (image * 0.6 + 20).astype(np.uint8),
    "shift": shifted,
}


def planted() -> dict[str, bytes]:
    """Return the files: 13 plain images of each class in each split, and the planted ones."""
    plain = {
        f"{split}/{label}/{number:02}.png": png(texture(1000 * s + 100 * c + number))
        for s, split in enumerate(("train", "test"))
        for c, label in enumerate(("happy", "sad"))
        for number in range(13)
    }
    sign = np.full((48, 48, 1), 250, np.uint8)
    sign[20:28, 10:30] = 0
    return {
        **plain,
        "train/happy/twice.png": png(texture(9007)),
        "train/happy/twice_again.png": png(texture(9007)),
        "train/sad/leak.png": png(texture(9008)),
        "test/sad/leak.png": png(texture(9008)),
        "train/happy/conflict.png": png(texture(9009)),
        "train/sad/conflict.png": png(texture(9009)),
        "train/happy/near.png": png(texture(9010)),
        "train/happy/near_darker.png": png(CHANGES["darker"](texture(9010))),
        "train/sad/near_leak.png": png(CHANGES["mirror"](texture(9011))),
        "test/happy/near_leak.png": png(texture(9011)),
        "train/sad/blank.png": png(np.full((48, 48, 1), 3, np.uint8)),
        "test/happy/sign.png": png(sign),
        "train/happy/colour.png": png((texture(9012) * np.array([1, 0.5, 0.2])).astype(np.uint8)),
        "train/happy/dark.png": png((texture(9013) * 0.13).astype(np.uint8)),
        "train/sad/wide.png": png(np.tile(texture(9014), (1, 3, 1))[:, :101]),
        "train/sad/broken.png": png(texture(9015))[:200],
    }


FOUND = {
    ("train/happy/twice.png", "duplicate", "keep"),
    ("train/happy/twice_again.png", "duplicate", "drop"),
    ("train/sad/leak.png", "duplicate", "drop"),
    ("test/sad/leak.png", "duplicate", "keep"),
    ("train/sad/leak.png", "leak", "drop"),
    ("test/sad/leak.png", "leak", "keep"),
    ("train/happy/conflict.png", "duplicate", "drop"),
    ("train/sad/conflict.png", "duplicate", "drop"),
    ("train/happy/conflict.png", "conflict", "drop"),
    ("train/sad/conflict.png", "conflict", "drop"),
    ("train/happy/near.png", "near duplicate", "keep in one split"),
    ("train/happy/near_darker.png", "near duplicate", "keep in one split"),
    ("train/sad/near_leak.png", "near duplicate", "drop"),
    ("test/happy/near_leak.png", "near duplicate", "check the labels"),
    ("train/sad/near_leak.png", "leak", "drop"),
    ("test/happy/near_leak.png", "leak", "keep"),
    ("train/sad/blank.png", "blank", "drop"),
    ("test/happy/sign.png", "almost blank", "look"),
    ("train/happy/colour.png", "light or colour", "look"),
    ("train/happy/dark.png", "light or colour", "look"),
    ("train/sad/wide.png", "size", "look"),
    ("train/sad/broken.png", "corrupt", "drop"),
}
"""What an audit must say of them: image, kind, what to do; nothing else."""
DROPPED = {image for image, _, to_do in FOUND if to_do == "drop"}
