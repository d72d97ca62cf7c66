"""Seam 1: a classifier is anything that turns fitted crops into logits.

Reports, ensembles, the photo pipeline and servers see only `Classifier`; whether ONNX Runtime, torch or a
wrapper answers is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from mien import bundle
from mien.errors import needs
from mien.options import RunOptions as RunOptions

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
    model: str | Path = "default", *, backend: str = "onnx", device: str = "cpu", threads: int | None = None
) -> Classifier:
    """Load a bundle folder, or a built-in model by its name, every file checked against its hash.

    A single ``.onnx`` file is taken too, if it or a file beside it says its labels and preprocessing
    (`mien.classifiers.single`). `backend`, `device` and `threads` are those of `RunOptions`.

    Raises:
        ConfigError: no such backend, or the device is not there.
        BundleError: missing, damaged, tampered with, foreign, or without the graph of that backend.
    """
    options = RunOptions(backend, device, threads)
    from mien.classifiers.onnx_runtime import OnnxClassifier

    if str(model).endswith(".onnx"):
        from mien.classifiers.single import load_single

        return load_single(model, options)
    loaded = bundle.load(model)
    if backend != "torch":
        identity, graph = loaded.identity(backend), loaded.graph(backend)
        return OnnxClassifier(identity, loaded.preprocess, graph, threads=threads, device=device)
    OnnxClassifier(loaded.id, loaded.preprocess, loaded.graph("onnx"))  # checks that labels fit the weights
    with needs("train"):
        from mien.classifiers.torch_module import TorchClassifier
    return TorchClassifier.from_bundle(loaded, device=device, threads=threads)


def probabilities(logits: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
    """Return the softmax of each row."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return shifted / shifted.sum(axis=1, keepdims=True)


def log_probabilities(probs: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
    """Return logits whose softmax these are, finite where a probability is nothing."""
    return np.log(np.maximum(probs, np.finfo(np.float32).tiny))
