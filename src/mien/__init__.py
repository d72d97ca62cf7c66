"""mien: train, measure and use facial-expression classifiers, from a dataset on disk to faces in a photo.

Names are resolved on first use, so that importing the package costs nothing and needs no extra.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

# ONNX Runtime reports its use to its makers unless this is set before it is imported. A user's own choice stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from mien.auditing.audit import audit
    from mien.classifiers import Classifier, load_classifier
    from mien.config import read_recipe
    from mien.data.dataset import FaceDataset
    from mien.data.read import read_dataset
    from mien.detectors import FaceDetector, open_detector
    from mien.errors import MienError
    from mien.evaluation.compare import compare
    from mien.evaluation.evaluate import evaluate
    from mien.exporting import export
    from mien.options import ReadOptions
    from mien.pipeline import Pipeline, Predictions, predict
    from mien.predictions import ImageResult
    from mien.preprocess import Preprocess
    from mien.results import EvalReport, Face, FaceResult
    from mien.saliency.explain import explain
    from mien.tracking.tracker import Tracker
    from mien.training.fit import fit
    from mien.training.loop import train
    from mien.vision.draw import annotate
    from mien.vision.frames import Frame, frames, video
    from mien.vision.images import read as read_image

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "mien.classifiers",
    "EvalReport": "mien.results",
    "Face": "mien.results",
    "FaceDataset": "mien.data.dataset",
    "FaceDetector": "mien.detectors",
    "FaceResult": "mien.results",
    "Frame": "mien.vision.frames",
    "ImageResult": "mien.predictions",
    "MienError": "mien.errors",
    "Pipeline": "mien.pipeline",
    "Predictions": "mien.pipeline",
    "Preprocess": "mien.preprocess",
    "ReadOptions": "mien.options",
    "Tracker": "mien.tracking.tracker",
    "annotate": "mien.vision.draw",
    "audit": "mien.auditing.audit",
    "compare": "mien.evaluation.compare",
    "evaluate": "mien.evaluation.evaluate",
    "export": "mien.exporting",
    "explain": "mien.saliency.explain",
    "fit": "mien.training.fit",
    "frames": "mien.vision.frames",
    "load_classifier": "mien.classifiers",
    "open_detector": "mien.detectors",
    "predict": "mien.pipeline",
    "read_dataset": "mien.data.read",
    "read_image": "mien.vision.images:read",
    "read_recipe": "mien.config",
    "train": "mien.training.loop",
    "video": "mien.vision.frames",
}
"""Where each public name lives: a module, and the name there if it is another."""
_TRAINING = ("mien.training.", "mien.tune.")
"""Rooms that import torch when they are imported."""

__all__ = [
    "Classifier",
    "EvalReport",
    "Face",
    "FaceDataset",
    "FaceDetector",
    "FaceResult",
    "Frame",
    "ImageResult",
    "MienError",
    "Pipeline",
    "Predictions",
    "Preprocess",
    "ReadOptions",
    "Tracker",
    "__version__",
    "annotate",
    "audit",
    "compare",
    "evaluate",
    "explain",
    "export",
    "fit",
    "frames",
    "load_classifier",
    "open_detector",
    "predict",
    "read_dataset",
    "read_image",
    "read_recipe",
    "train",
    "video",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    module, _, other = _HOMES[name].partition(":")
    if not module.startswith(_TRAINING):
        return getattr(import_module(module), other or name)
    from mien.errors import needs

    with needs("train"):
        return getattr(import_module(module), other or name)


def __dir__() -> list[str]:
    return __all__
