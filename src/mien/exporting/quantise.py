"""Static INT8: several ways of rounding are tried on a graph; the one that changes the answers least is kept.

The candidates differ in how the ranges of activations are calibrated, in whether weights use 7 or 8 bits, and in
which layers stay in float. Processors without VNNI add pairs of 8-bit products in 16 bits and may saturate: 8-bit
weights can give wrong answers there, 7-bit weights cannot. So 8 bits are tried only on such processors, where the
comparison would show it: a graph must be right on every machine, not only on the one that made it.

The graph comes from the bundle, so that parts that are not in torch (an ensemble, a temperature) are converted, too.
This module knows graphs and images, not bundles on disk.
"""

from __future__ import annotations

import contextlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.classifiers import probabilities
from mien.classifiers.onnx_runtime import open_graph
from mien.errors import BundleError, needs
from mien.exporting.metadata import describe
from mien.files import temporary_folder
from mien.results import ModelId

with needs("export"):
    import onnx
    import sympy  # noqa: F401 - what shape inference needs, missed here rather than halfway
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float32, UInt8

    from mien.preprocess import Preprocess

METHODS = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "entropy": (CalibrationMethod.Entropy, {}),
    "percentile 99.99": (CalibrationMethod.Percentile, {"CalibPercentile": 99.99}),
    "percentile 99.999": (CalibrationMethod.Percentile, {"CalibPercentile": 99.999}),
}
"""Methods that choose the range of an activation from the values seen in calibration."""
FIRST_ROUND, FINALISTS = 256, 4
"""Number of images that every candidate classifies, and number of the best candidates that then classify all."""
WEIGHED = ("Conv", "Gemm", "MatMul")
BETWEEN = (
    "Add",
    "Relu",
    "Clip",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Concat",
    "Reshape",
    "Transpose",
)
"""Operators that may be rounded if they lie between operators with weights; before the first and after the last of
these, everything stays in float."""
_BATCH = 16


@dataclass(frozen=True)
class Candidate:
    """One way of rounding, and how its answers compare with those of the graph that it came from."""

    method: str
    weight_bits: int
    layers: str
    """``all``, ``inner`` (the first and last operator with weights in float) or ``weighed`` (only operators with
    weights are rounded)."""
    n: int
    """Number of images that it classified."""
    mean_probability_difference: float
    """Mean over images of half the sum of absolute differences of the probabilities."""
    equal_labels: float
    size_bytes: int


def quantise(
    graph: bytes,
    labels: tuple[str, ...],
    preprocess: Preprocess,
    calibration: UInt8[np.ndarray, "m s s c"],
    choosing: UInt8[np.ndarray, "n s s c"],
    *,
    methods: Sequence[str] | None = None,
) -> tuple[bytes, list[Candidate]]:
    """Return the candidate that agrees best with `graph` on `choosing`, and all of them, best first.

    Raises:
        BundleError: an operator of the graph can't be quantised.
    """
    identity, chosen = ModelId("candidate", "", labels), methods or tuple(METHODS)

    def ask(model: bytes, crops: UInt8[np.ndarray, "n s s c"]) -> Float32[np.ndarray, "n k"]:
        return probabilities(open_graph(identity, preprocess, model).logits(crops))

    expected = ask(graph, choosing)
    first, made = choosing[:FIRST_ROUND], {}
    with temporary_folder("mien-int8-") as folder, _quiet():
        for (method, bits, layers), model in _candidates(
            graph, preprocess, calibration, chosen, Path(folder)
        ):
            describe(model, labels, preprocess)
            content = bytes(model.SerializeToString())
            row = _judge(method, bits, layers, content, ask(content, first), expected[: len(first)])
            made[row] = content
    finalists = sorted(made, key=_distance)[:FINALISTS]
    again = {
        _judge(row.method, row.weight_bits, row.layers, made[row], ask(made[row], choosing), expected): made[
            row
        ]
        for row in finalists
    }
    ranked = sorted(again, key=_distance)
    return again[ranked[0]], ranked + [row for row in sorted(made, key=_distance) if row not in finalists]


def _distance(row: Candidate) -> float:
    return row.mean_probability_difference


def _judge(
    method: str,
    bits: int,
    layers: str,
    content: bytes,
    probs: Float32[np.ndarray, "n k"],
    expected: Float32[np.ndarray, "n k"],
) -> Candidate:
    moved = 0.5 * np.abs(probs - expected).sum(axis=1)
    equal = (probs.argmax(axis=1) == expected.argmax(axis=1)).mean()
    return Candidate(method, bits, layers, len(probs), float(moved.mean()), float(equal), len(content))


def _candidates(
    graph: bytes,
    preprocess: Preprocess,
    calibration: UInt8[np.ndarray, "m s s c"],
    methods: Sequence[str],
    folder: Path,
) -> Iterator[tuple[tuple[str, int, str], onnx.ModelProto]]:
    """Yield every different rounded graph; ranges are calibrated once a method."""
    source = _prepared(graph, folder)
    spans, seen = _spans(onnx.load(source)), set()
    for number, method in enumerate(methods):
        calibrate, options = METHODS[method]
        for layers, names in spans.items():
            for bits in weight_bits():
                target = folder / "made.onnx"
                with _as_bundle_error():
                    quantize_static(
                        source,
                        target,
                        Batches(preprocess, calibration),
                        quant_format=QuantFormat.QDQ,
                        activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8,
                        per_channel=True,
                        reduce_range=bits == 7,
                        nodes_to_quantize=names,
                        calibrate_method=calibrate,
                        calibration_cache_path=folder / f"ranges{number}.json",
                        extra_options={"CalibStridedMinMax": 1, **options},
                    )
                model = onnx.load(target)
                if (content := model.SerializeToString(deterministic=True)) not in seen:
                    seen.add(content)
                    yield (method, bits, layers), model


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """Crops for ONNX Runtime's calibrators, a batch at a time, so that memory does not grow."""

    def __init__(self, preprocess: Preprocess, crops: UInt8[np.ndarray, "n s s c"]) -> None:
        self._preprocess = preprocess
        self._parts = [crops[start : start + _BATCH] for start in range(0, len(crops), _BATCH)]
        self._next, self._stop = 0, len(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Give only these batches next."""
        self._next, self._stop = start_index, end_index

    def get_next(self) -> dict[str, Float32[np.ndarray, "b c s s"]] | None:
        """Return the next batch, None after the last."""
        if self._next >= self._stop:
            return None
        self._next += 1
        return {"image": self._preprocess.normalise(self._parts[self._next - 1])}


def weight_bits() -> tuple[int, ...]:
    """Return 7 and 8 if this processor can saturate, so that the comparison shows it; else 7, which never does."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return (7,)
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return (7, 8) if "avx2" in flags and not {"avx512_vnni", "avx_vnni"} & set(flags) else (7,)


def _prepared(graph: bytes, folder: Path) -> Path:
    """Write the graph with shapes inferred, constants folded and a name on every node."""
    source = folder / "source.onnx"
    with _as_bundle_error():
        given = folder / "given.onnx"
        given.write_bytes(graph)
        # Symbolic shapes add none the rounding needs; where they fail, a file is left in the working directory.
        quant_pre_process(given, source, skip_symbolic_shape=True)
    model = onnx.load(source)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node{number}"
    onnx.save(model, source)
    return source


def _spans(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Return the nodes to round for each choice of layers.

    Raises:
        BundleError: there is nothing to round.
    """
    nodes = list(model.graph.node)
    weighed = [node for node in nodes if node.op_type in WEIGHED]
    if not weighed:
        operators = ", ".join(sorted({node.op_type for node in nodes}))
        raise BundleError(
            f"none of this graph's operators ({operators}) can be quantised, only {', '.join(WEIGHED)}: ship "
            f"it with `to=onnx` or `to=fp16`"
        )
    behind, before = _reached(nodes, forwards=True), _reached(nodes, forwards=False)
    ends = {node.name for node in weighed if node.name not in behind or node.name not in before}
    names = {node.name for node in weighed}
    between = {node.name for node in nodes if node.op_type in BETWEEN} & behind & before
    spans = {"all": names | between, "inner": (names - ends) | between, "weighed": names}
    return {layers: sorted(chosen) for layers, chosen in spans.items() if chosen & names}


def _reached(nodes: list[onnx.NodeProto], *, forwards: bool) -> set[str]:
    """Return the nodes that come after (or before) an operator with weights."""
    reached: set[str] = set()
    values: set[str] = set()
    for node in nodes if forwards else reversed(nodes):
        near, far = (node.input, node.output) if forwards else (node.output, node.input)
        if values & set(near):
            reached.add(node.name)
        if node.name in reached or node.op_type in WEIGHED:
            values |= set(far)
    return reached


@contextlib.contextmanager
def _as_bundle_error() -> Iterator[None]:
    """Turn any exception of the quantiser into one line.

    Raises:
        BundleError: it can't be quantised.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # the quantiser raises exceptions of many kinds for unknown operators
        raise BundleError(
            f"ONNX Runtime cannot quantise this graph: {error or type(error).__name__}: ship it with "
            f"`to=onnx` or `to=fp16`"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the lines that the calibrators print."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(previous)
