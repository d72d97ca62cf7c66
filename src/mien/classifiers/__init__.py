"""Seam 1: a classifier is anything that turns fitted crops into logits.

Reports, ensembles, the photo pipeline and servers see only `Classifier`; whether ONNX Runtime, torch or a
wrapper answers is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

from mien import bundle
from mien.errors import needs

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float32, UInt8

    from mien.preprocess import Preprocess
    from mien.results import ModelId


@runtime_checkable
class Classifier(Protocol):
    """Fitted crops in, logits out."""

    @property
    def id(self) -> ModelId:
        """Name, hash and labels."""

    @property
    def preprocess(self) -> Preprocess:
        """How a picture becomes a crop this classifier takes."""

    def logits(self, crops: UInt8[np.ndarray, "n s s c"]) -> Float32[np.ndarray, "n k"]:
        """Return one row of logits a crop; n may be zero."""


def load_classifier(
    model: str | Path = "default", *, backend: Literal["onnx", "torch"] = "onnx", threads: int | None = None
) -> Classifier:
    """Load a bundle folder, or a built-in model by its name, every file checked against its hash.

    `threads` bounds the processor threads of one call; None leaves the choice to the runtime.

    Raises:
        BundleError: missing, damaged, tampered with or foreign.
    """
    loaded = bundle.load(model)
    if backend == "torch":
        with needs("train"):
            from mien.classifiers.torch_module import TorchClassifier
        return TorchClassifier.from_bundle(loaded)
    from mien.classifiers.onnx_runtime import OnnxClassifier

    return OnnxClassifier(loaded.id, loaded.preprocess, loaded.read("model.onnx"), threads=threads)


def probabilities(logits: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
    """Return the softmax of each row."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return shifted / shifted.sum(axis=1, keepdims=True)
