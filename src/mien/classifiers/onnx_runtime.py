"""A classifier run by ONNX Runtime: the one that ships, with no torch installed.

A device that was asked for is used or refused: the runtime's own habit of going on with the processor where a
GPU does not answer would make every figure taken on it a lie.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from mien.errors import BundleError, ConfigError
from mien.preprocess import Preprocess

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

    from mien.results import ModelId

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
BATCH_SIZE = 256
"""Crops given to the runtime at once: enough to keep it busy, little memory."""


class OnnxClassifier:
    """An ONNX graph f32 [b, c, s, s] -> logits f32 [b, k] with its labels and preprocessing."""

    def __init__(
        self,
        identity: ModelId,
        preprocess: Preprocess,
        graph: bytes,
        *,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        """Open the graph and hold its metadata and shapes against what the bundle says.

        Raises:
            BundleError: not an ONNX graph, or labels or input size that don't fit it.
            ConfigError: the device is not there.
        """
        self._session, self.device = open_session(identity.name, graph, threads=threads, device=device)
        self.id, self.preprocess = identity, preprocess
        self._check_fit()

    def logits(self, crops: UInt8[np.ndarray, "n s s c"]) -> Float32[np.ndarray, "n k"]:
        """Return one row of logits a crop; n may be zero."""
        out = np.empty((len(crops), len(self.id.labels)), np.float32)
        for start in range(0, len(crops), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            (out[rows],) = self._session.run(None, {"image": self.preprocess.normalise(crops[rows])})
        return out

    def _check_fit(self) -> None:
        """Hold the graph's shapes and metadata against labels and preprocessing."""
        name, labels, spec = self.id.name, self.id.labels, self.preprocess
        (image, *more_in), (logits, *more_out) = self._session.get_inputs(), self._session.get_outputs()
        wanted = [spec.channels, spec.size_px, spec.size_px]
        if (
            more_in
            or more_out
            or image.name != "image"
            or list(image.shape[1:]) != wanted
            or len(logits.shape) != 2
        ):
            raise BundleError(
                f"model {name}: its graph takes {image.name!r} {image.shape} and gives {logits.shape}; "
                f"expected 'image' [batch, {', '.join(map(str, wanted))}] and [batch, {len(labels)}]"
            )
        metadata = self._session.get_modelmeta().custom_metadata_map
        try:
            written_labels = json.loads(metadata["mien.labels"])
            written_spec = Preprocess.model_validate_json(metadata["mien.preprocess"])
        except (KeyError, ValueError) as error:
            raise BundleError(f"model {name}: its graph does not say its labels and preprocessing") from error
        if logits.shape[1] != len(labels) or written_labels != list(labels):
            raise BundleError(
                f"model {name}: its labels ({', '.join(labels)}) do not fit the weights, which have "
                f"{logits.shape[1]} outputs for {', '.join(written_labels)}: use the bundle as it was written"
            )
        if written_spec != spec:
            raise BundleError(
                f"model {name}: its preprocessing differs from the one its weights were trained with"
            )


def open_session(
    name: str, graph: bytes, *, threads: int | None = None, device: str = "cpu"
) -> tuple[onnxruntime.InferenceSession, str]:
    """Return a session for a graph and the device that it really runs on; ``auto`` is cuda where that works.

    Raises:
        BundleError: not an ONNX graph, or one that the runtime cannot run.
        ConfigError: the device is not there.
    """
    if device == "auto":
        try:
            return open_session(name, graph, threads=threads, device="cuda")
        except ConfigError:
            return open_session(name, graph, threads=threads, device="cpu")
    provider, there = _PROVIDERS[device], onnxruntime.get_available_providers()
    if provider not in there:
        raise ConfigError(
            f"no {device} in this ONNX Runtime, which has {', '.join(there)}: install onnxruntime-gpu in place of "
            f"onnxruntime, or leave --device {device} away"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=[provider])
    except Exception as error:  # the runtime's exceptions share no public base
        raise BundleError(f"model {name}: ONNX Runtime refuses its graph: {error}") from error
    if (used := session.get_providers()[0]) != provider:
        raise ConfigError(
            f"ONNX Runtime has a {device} provider, but it did not start and {used} took its place: check driver and "
            f"CUDA libraries, or leave --device {device} away"
        )
    return session, device
