"""Small pictures and datasets on disk, made for tests."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np

from mien.data.synthetic import draw_face


def png(seed: int = 0, size: tuple[int, int] = (48, 48)) -> bytes:
    """Return random grey noise as a PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def tree(classes=("happy", "sad"), splits=("train", "test"), each=3) -> dict[str, bytes]:
    """Return the files of a small dataset by name."""
    names = [f"{split}/{label}/{i}.png" for split in splits for label in classes for i in range(each)]
    return {name: png(seed) for seed, name in enumerate(names)}


def write_tree(root: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """Write files into a zip."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def photo(seed: int = 0, size_hw: tuple[int, int] = (210, 330)) -> np.ndarray:
    """Return an RGB scene with one drawn face of 96 pixels at (101, 53)."""
    rng = np.random.default_rng(seed)
    scene = np.full((*size_hw, 3), 90, np.uint8)
    scene[53:149, 101:197] = draw_face("happy", rng, 96)[..., None]
    return scene


def jpeg(image_rgb: np.ndarray) -> bytes:
    """Return a JPEG of an RGB picture."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image_rgb).save(out, "JPEG", quality=95)
    return out.getvalue()


ODD_NAMES = (
    *(
        "=a",
        "'=a",
        "''=a",
        "-1",
        "'x",
        "@a",
        "+a",
        "\ta",
        "a;b",
        "a,b",
        "a'b",
        'a"b',
        '"a"',
        "a\nb",
        "a\rb",
        "a\r\nb",
    ),
    *("a\u2028b", "a\x85b", "a\x0cb", "a|b", "a#2", "a b", "été", "表情", "None", "nan"),
)
"""Stems of file names that tables and their readers may misread."""
