"""Seam 1: a classifier is anything that turns fitted crops into logits.

Reports, ensembles, the photo pipeline and servers see only `Classifier`; whether ONNX Runtime, torch or a
wrapper answers is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from mien import bundle
from mien.errors import ConfigError, needs

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float32, UInt8

    from mien.preprocess import Preprocess
    from mien.results import ModelId

BACKENDS = ("onnx", "torch")


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
    model: str | Path = "default", *, backend: str = "onnx", threads: int | None = None
) -> Classifier:
    """Load a bundle folder, or a built-in model by its name, every file checked against its hash.

    `backend` is ``onnx`` or ``torch``. `threads` bounds the processor threads of ONNX Runtime in one call; None
    leaves the choice to it.

    Raises:
        ConfigError: no such backend.
        BundleError: missing, damaged, tampered with or foreign.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"unknown backend {backend!r}: expected {' or '.join(BACKENDS)}")
    loaded = bundle.load(model)
    from mien.classifiers.onnx_runtime import OnnxClassifier

    deployed = OnnxClassifier(loaded.id, loaded.preprocess, loaded.read(bundle.GRAPH), threads=threads)
    if backend == "onnx":
        return deployed  # which has checked that labels and preprocessing fit the weights
    with needs("train"):
        from mien.classifiers.torch_module import TorchClassifier
    return TorchClassifier.from_bundle(loaded)


def probabilities(logits: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
    """Return the softmax of each row."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return shifted / shifted.sum(axis=1, keepdims=True)
