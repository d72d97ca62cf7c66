"""Export a network as an ONNX graph with labels and preprocessing inside, and compare it with torch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from mien.classifiers import probabilities
from mien.classifiers.onnx_runtime import open_graph
from mien.classifiers.torch_module import TorchClassifier
from mien.errors import BundleError, needs
from mien.exporting.metadata import describe

with needs("export"):
    import onnxscript  # noqa: F401 - the exporter's own need, missed here rather than halfway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import UInt8

    from mien.preprocess import Preprocess
    from mien.results import ModelId

MAX_DIFFERENCE = 1e-4
"""Largest difference of any probability between ONNX Runtime and torch that is accepted."""


def export_onnx(network: torch.nn.Module, preprocess: Preprocess, labels: tuple[str, ...]) -> bytes:
    """Export a deployed network: ``image`` f32 [batch, c, s, s] -> ``logits`` f32 [batch, k].

    Raises:
        torch.onnx.OnnxExporterError: PyTorch cannot export the network.
        onnx.checker.ValidationError: the exported graph is not valid ONNX.
    """
    example = torch.zeros(2, preprocess.channels, preprocess.size_px, preprocess.size_px)
    with _quiet():
        program = torch.onnx.export(
            network.eval().cpu(),
            (example,),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    for node in graph.graph.node:
        del node.metadata_props[:]  # where in our sources each node came from: size and paths, no use
        node.doc_string = ""
    del graph.graph.metadata_props[:], graph.metadata_props[:], graph.graph.value_info[:]
    describe(graph, labels, preprocess)
    return graph.SerializeToString()


def check_parity(
    network: torch.nn.Module,
    graph: bytes,
    identity: ModelId,
    preprocess: Preprocess,
    crops: UInt8[np.ndarray, "n s s c"],
) -> float:
    """Return the largest difference of probabilities between the graph and the network on real crops.

    Raises:
        BundleError: the difference is over `MAX_DIFFERENCE`.
    """
    ours = probabilities(TorchClassifier(identity, preprocess, network).logits(crops))
    theirs = probabilities(open_graph(identity, preprocess, graph).logits(crops))
    difference = float(np.abs(ours - theirs).max())
    if not difference <= MAX_DIFFERENCE:
        raise BundleError(
            f"model {identity.name}: ONNX Runtime differs from torch by {difference:.2g} in a probability over "
            f"{len(crops)} images, more than {MAX_DIFFERENCE:g}: the graph is not kept"
        )
    return difference


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress lines, logs and deprecation warnings of the exporter."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
