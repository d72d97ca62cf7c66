"""FP16 for GPUs: half the size; input and output stay FP32, so it is used like the FP32 graph."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

from mien.errors import BundleError, needs
from mien.exporting.metadata import describe

with needs("export"):
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

if TYPE_CHECKING:
    from mien.preprocess import Preprocess

KEPT = ("Softmax", "Log")
"""Operators that stay FP32: an ensemble ends in the logarithm of a mean of probabilities, which FP16 rounds to 0."""


def halve(graph: bytes, labels: tuple[str, ...], preprocess: Preprocess) -> bytes:
    """Return the graph with weights and arithmetic in FP16.

    Raises:
        BundleError: it can't be converted.
    """
    model, previous = onnx.load_from_string(graph), logging.root.manager.disable
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node{number}"
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that round to zero or infinity: the check decides
            model = convert_float_to_float16(
                model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *KEPT]
            )
        OnnxModel(model).topological_sort()  # the converter puts its casts last
        describe(model, labels, preprocess)
    except Exception as error:  # the converter raises exceptions of many kinds for unknown operators
        raise BundleError(
            f"this graph cannot be converted to FP16: {error or type(error).__name__}"
        ) from error
    finally:
        logging.disable(previous)
    return bytes(model.SerializeToString())
