"""Labels and preprocessing, written into every graph that mien makes, so that it can be compared with its bundle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mien.errors import needs

with needs("export"):
    import onnx

if TYPE_CHECKING:
    from mien.preprocess import Preprocess


def describe(graph: onnx.ModelProto, labels: tuple[str, ...], preprocess: Preprocess) -> None:
    """Write labels and preprocessing into a graph, and check it as ONNX does."""
    facts = {"mien.labels": json.dumps(labels), "mien.preprocess": preprocess.model_dump_json()}
    onnx.helper.set_model_props(graph, facts)
    onnx.checker.check_model(graph)
