"""The smallest data that still trains."""

from __future__ import annotations

from pathlib import Path

from mien.data.dataset import FaceDataset
from mien.data.synthetic import draw_dataset
from mien.preprocess import Preprocess

TINY = str(Path(__file__).with_name("tiny.toml"))
"""A recipe."""


def tiny_data(train: int = 70, test: int = 35) -> FaceDataset:
    """Return a few drawn faces."""
    return draw_dataset(Preprocess(), {"train": train, "test": test})
