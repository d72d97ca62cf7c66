"""mien: facial-expression classifiers the whole way, from a dataset on disk to faces in a photo.

Names are resolved on first use, so that importing the package costs nothing and needs no extra.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.classifiers import Classifier, load_classifier
    from mien.data.dataset import FaceDataset
    from mien.data.reading import ReadOptions
    from mien.data.sources import read_dataset
    from mien.errors import MienError
    from mien.evaluation.evaluate import evaluate
    from mien.pipeline import Pipeline
    from mien.preprocess import Preprocess
    from mien.results import EvalReport, Face, FaceResult, ImageResult

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "mien.classifiers",
    "EvalReport": "mien.results",
    "Face": "mien.results",
    "FaceDataset": "mien.data.dataset",
    "FaceResult": "mien.results",
    "ImageResult": "mien.results",
    "MienError": "mien.errors",
    "Pipeline": "mien.pipeline",
    "Preprocess": "mien.preprocess",
    "ReadOptions": "mien.data.reading",
    "evaluate": "mien.evaluation.evaluate",
    "load_classifier": "mien.classifiers",
    "read_dataset": "mien.data.sources",
}

__all__ = [
    "Classifier",
    "EvalReport",
    "Face",
    "FaceDataset",
    "FaceResult",
    "ImageResult",
    "MienError",
    "Pipeline",
    "Preprocess",
    "ReadOptions",
    "__version__",
    "evaluate",
    "load_classifier",
    "read_dataset",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
