"""Open and run an ONNX graph. ONNX Runtime's errors become ours here, and nowhere else.

A device that was asked for is used, or an error says why not; ONNX Runtime itself would go on with the CPU.

Guarded: graphs that read other files (`mien.classifiers.external_data`), and any error while opening or running.
Not guarded: a graph may take all memory, or never end (a Loop of 2^62 steps). Run graphs of strangers in a process
with limits of its own.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnxruntime

from mien.classifiers.external_data import has_external_data
from mien.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from jaxtyping import Shaped

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_FATAL = 4
"""Severity from which ONNX Runtime prints to stderr: errors reach the user as exceptions, once."""


@dataclass(frozen=True)
class Session:
    """An open graph."""

    name: str
    """Of the model, for messages."""
    device: str
    """Where it really runs: ``cpu`` or ``cuda``."""
    inputs: tuple[Any, ...]
    """Each has a `name`, a `type` such as ``tensor(float)`` and a `shape` of numbers and names."""
    outputs: tuple[Any, ...]
    metadata: dict[str, str]
    runtime: onnxruntime.InferenceSession

    def run(self, output: str, image_name: str, image: Shaped[np.ndarray, "_ _ _ _"]) -> Any:
        """Return one output for one input; safe from several threads at once.

        Raises:
            BundleError: the graph fails.
        """
        with as_bundle_error(f"model {self.name}: ONNX Runtime cannot run its graph on {list(image.shape)}"):
            (found,) = self.runtime.run([output], {image_name: image})
        return found


def open_session(name: str, graph: bytes, *, threads: int | None = None, device: str = "cpu") -> Session:
    """Open a graph on a device; ``auto`` is cuda where that works, else cpu.

    Raises:
        BundleError: not an ONNX graph, one with weights in other files, or one that ONNX Runtime does not support.
        ConfigError: the device is not there.
    """
    _refuse_other_files(name, graph)
    if device == "auto":
        try:
            return _open(name, graph, threads, "cuda")
        except ConfigError:
            device = "cpu"
    return _open(name, graph, threads, device)


def _open(name: str, graph: bytes, threads: int | None, device: str) -> Session:
    provider, there = _PROVIDERS[device], onnxruntime.get_available_providers()
    if provider not in there:
        raise ConfigError(
            f"no {device} in this ONNX Runtime, which has {', '.join(there)}: install onnxruntime-gpu in place of "
            f"onnxruntime, or leave out `device={device}`"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    # Not ONNX Runtime's own format, which the search for external data cannot read.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if threads is not None:
        options.intra_op_num_threads = threads
    with as_bundle_error(f"model {name}: ONNX Runtime refuses its graph"):
        # On the CPU there is nothing to fall back to: it would print the graph's own text to stdout, and fail again.
        runtime = onnxruntime.InferenceSession(
            graph, options, providers=[provider], enable_fallback=device != "cpu"
        )
    if (used := runtime.get_providers()[0]) != provider:
        raise ConfigError(
            f"ONNX Runtime has a {device} provider, but it did not start and {used} took its place: check driver and "
            f"CUDA libraries, or leave out `device={device}`"
        )
    with as_bundle_error(f"model {name}: its graph holds text that cannot be read"):  # not UTF-8
        metadata = dict(runtime.get_modelmeta().custom_metadata_map)
        inputs, outputs = tuple(runtime.get_inputs()), tuple(runtime.get_outputs())
        for tensor in (*inputs, *outputs):
            _ = tensor.name, tensor.shape
    return Session(name, device, inputs, outputs, metadata, runtime)


def _refuse_other_files(name: str, graph: bytes) -> None:
    try:
        external = has_external_data(graph)
    except ValueError as error:
        raise BundleError(
            f"model {name}: this is not an ONNX graph, or a damaged one ({error}): export or copy it again"
        ) from error
    if external:
        raise BundleError(
            f"model {name}: its graph keeps weights in another file, which is not read for safety: put them inside "
            f"with torch.onnx.export(..., external_data=False), or with onnx.save(onnx.load(OLD), NEW)"
        )


@contextlib.contextmanager
def as_bundle_error(what: str) -> Iterator[None]:
    """Turn whatever ONNX Runtime raises into one line.

    Raises:
        BundleError: `what`, and the runtime's own words.
    """
    try:
        yield
    except Exception as error:  # the runtime's exceptions share no public base
        raise BundleError(f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from error
