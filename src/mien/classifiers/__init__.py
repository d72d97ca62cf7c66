"""Seam 1: a classifier is anything that turns fitted crops into logits.

Reports, ensembles, the photo pipeline and servers see only `Classifier`; whether ONNX Runtime, torch or a
wrapper answers is decided here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from mien import bundle
from mien.classifiers.formats import check_format
from mien.errors import ConfigError, needs
from mien.options import RunOptions as RunOptions

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

    from mien.classifiers.spec import Spec
    from mien.preprocess import Preprocess
    from mien.results import ModelId

    Crops = UInt8[np.ndarray, "n s s c"]
    """Fitted crops: what `Preprocess.fit` makes, stacked. `check_crops` says what else is refused, and how."""


@runtime_checkable
class Classifier(Protocol):
    """Fitted crops in, logits out."""

    @property
    def id(self) -> ModelId:
        """Name, hash and labels."""

    @property
    def preprocess(self) -> Preprocess:
        """How a picture becomes a crop this classifier takes."""

    def logits(self, crops: Crops) -> Float32[np.ndarray, "n k"]:
        """Return one row of logits a crop; n may be zero.

        Raises:
            DataError: not crops of `preprocess`.
        """


def is_graph(model: str | Path) -> bool:
    """Return whether a name means a single ONNX file, which is no bundle."""
    is_folder = os.path.isdir(model)  # noqa: PTH112 - never raises, whatever the name
    return Path(model).suffix.lower() == ".onnx" and not is_folder


def load_classifier(
    model: str | Path = "default",
    *,
    backend: str = "onnx",
    device: str = "cpu",
    threads: int | None = None,
    spec: Spec | str | Path | None = None,
) -> Classifier:
    """Load a bundle folder, a built-in model by its name, or a single ``.onnx`` file.

    ``mien.load_classifier("mien_nano", threads=2).id.labels``

    A single file needs a spec (`mien.classifiers.spec`): as an argument, in a file beside it, or, if it is a graph of
    ours, in its metadata. `backend`, `device` and `threads` are those of `RunOptions`.

    Raises:
        ConfigError: no such backend, a wrong spec, or the device is not there.
        BundleError: missing, damaged, tampered with, foreign, or without the graph of that backend.
    """
    options, path = RunOptions(backend, device, threads), Path(model)
    from mien.classifiers.onnx_runtime import open_file, open_graph

    if is_graph(model):
        return open_file(path, options, Path(spec) if isinstance(spec, str) else spec)
    if spec is not None:
        raise ConfigError(f"a spec is for a single .onnx file, and {model} is none: leave the spec out")
    check_format(path)
    loaded = bundle.load(model)
    if backend != "torch":
        identity, graph = loaded.identity(backend), loaded.graph(backend)
        return open_graph(identity, loaded.preprocess, graph, threads=threads, device=device)
    open_graph(loaded.id, loaded.preprocess, loaded.graph("onnx"))  # checks that labels fit the weights
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


def checked_logits(answer: object, rows: int, columns: int, name: str) -> Float32[np.ndarray, "n k"]:
    """Return the answer of a classifier, which may be a user's own, as an array: one row a crop, one column a label.

    Raises:
        ConfigError: it is no such array, or a value is not finite.
    """
    try:
        logits = np.asarray(answer, np.float32)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a torch tensor with a gradient
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"classifier {name} must return logits as an array, got {type(answer).__name__}: {reason}"
        ) from error
    if logits.shape != (rows, columns):
        raise ConfigError(
            f"classifier {name} must return logits [{rows}, {columns}], one row a crop and one column a label; got "
            f"{list(logits.shape)}"
        )
    if not np.isfinite(logits).all():
        raise ConfigError(
            f"classifier {name} must return finite logits, got {logits[~np.isfinite(logits)][0]:g} among them"
        )
    return logits
