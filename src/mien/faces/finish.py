"""From a trained network to a detector's folder: graphs, INT8, a calibrated score and a threshold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from mien.detectors.bundle import run_by_onnx_runtime
from mien.detectors.mien import STEP, Mien, Scale
from mien.detectors.shrink import iou
from mien.errors import BundleError, needs
from mien.faces.scenes import Scene, draw
from mien.faces.targets import LEAST_PX, MOST_PX
from mien.files import temporary_folder

with needs("export"):
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from mien.exporting.onnx import _quiet as quiet
    from mien.exporting.quantise import weight_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

    from mien.faces.material import Material
    from mien.faces.network import Detector
    from mien.results import Box, Face

MAX_DIFFERENCE = 1e-3
"""Largest difference of any probability between ONNX Runtime and torch that is accepted."""
N_SCENES = 400
"""Number of held-out scenes on which the score is calibrated; the INT8 graph is chosen on the first of them."""
N_ROUNDED = 64
"""Number of scenes from which the value ranges of INT8 are measured."""
FALSE_POSITIVES = 0.1
"""The threshold is the lowest with at most this many false positives a held-out photograph without a face."""
SIDE_PX = 640
"""Longest side of those photographs when they are searched."""
FOUND_IOU = 0.4


def export(network: Detector) -> bytes:
    """Return the graph ``grey`` f32 [1, 1, y, x] -> ``faces`` f32 [1, 4, y/8, x/8]; y and x are multiples of 8.

    Raises:
        torch.onnx.OnnxExporterError: PyTorch cannot export the network.
    """
    size = {
        2: 8 * torch.export.Dim("rows", min=1, max=512),
        3: 8 * torch.export.Dim("columns", min=1, max=512),
    }
    with quiet():
        program = torch.onnx.export(
            network.eval().cpu(), (torch.zeros(1, 1, 64, 96),), input_names=["grey"], output_names=["faces"],
            dynamic_shapes=(size,), dynamo=True, optimize=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    graph = program.model_proto
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.graph.metadata_props[:], graph.metadata_props[:], graph.graph.value_info[:]
    return bytes(graph.SerializeToString())


def check_parity(network: Detector, graph: bytes, scenes: Sequence[Scene]) -> float:
    """Return the largest difference of a probability between graph and network.

    Raises:
        BundleError: the difference is over `MAX_DIFFERENCE`.
    """
    network.eval()
    run, worst = run_by_onnx_runtime(graph), 0.0
    for scene in scenes:
        grey = _grey(scene)
        with torch.no_grad():
            expected = network(torch.from_numpy(grey)).numpy()
        worst = max(worst, _moved(run(grey), expected).max())
    if not worst <= MAX_DIFFERENCE:
        raise BundleError(
            f"ONNX Runtime differs from torch by {worst:.2g} in a probability over {len(scenes)} scenes, more than "
            f"{MAX_DIFFERENCE:g}: the graph is not kept"
        )
    return float(worst)


def quantise(graph: bytes, ranges: Sequence[Scene], choosing: Sequence[Scene]) -> tuple[bytes, float]:
    """Return the INT8 graph that changes the probabilities of `choosing` least, and by how much on average.

    Raises:
        BundleError: ONNX Runtime cannot load the graph, or an INT8 graph made of it. Exceptions of the quantiser
            itself come as they are.
    """
    expected = [run_by_onnx_runtime(graph)(_grey(scene)) for scene in choosing]
    best: tuple[float, bytes] | None = None
    with temporary_folder("mien-int8-") as folder, quiet():
        given, source, made = (Path(folder) / f"{name}.onnx" for name in ("given", "source", "made"))
        given.write_bytes(graph)
        quant_pre_process(given, source, skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(source).graph.node if node.op_type == "Conv"]
        first_last = {convolutions[0], convolutions[-1]}
        for method, options in (
            (CalibrationMethod.MinMax, {}),
            (CalibrationMethod.Percentile, {"CalibPercentile": 99.99}),
        ):
            for kept_float in ((), first_last):
                for bits in weight_bits():
                    quantize_static(
                        source, made, _Scenes(ranges), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8, per_channel=True, reduce_range=bits == 7,
                        nodes_to_exclude=sorted(kept_float), calibrate_method=method, extra_options=options,
                        op_types_to_quantize=["Conv", "Add", "Relu", "Resize"],
                    )  # fmt: skip
                    content = made.read_bytes()
                    run = run_by_onnx_runtime(content)
                    moved = np.mean([
                        _moved(run(_grey(scene)), answer) for scene, answer in zip(choosing, expected, strict=True)
                    ])  # fmt: skip
                    if best is None or moved < best[0]:
                        best = float(moved), content
    assert best is not None
    return best[1], best[0]


class _Scenes(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._rest = iter(scenes)

    def get_next(self) -> dict[str, np.ndarray] | None:
        scene = next(self._rest, None)
        return None if scene is None else {"grey": _grey(scene)}


class Score(NamedTuple):
    """From logits to probabilities, and the threshold for a face."""

    scale: Scale
    threshold: float
    checked: dict[str, float]


def calibrate(graph: bytes, scenes: Sequence[Scene], empty: Sequence[UInt8[np.ndarray, "_ _"]]) -> Score:
    """Fit probabilities on held-out scenes, and choose the threshold on photographs without a face.

    The probability that a candidate is a face: a logistic curve is fitted to right and wrong candidates.

    Args:
        graph: what `export` or `quantise` returned.
        scenes: scenes that training never sees, u8 [s, s] each.
        empty: grey photographs without a face, u8 [h, w] each, of any size.

    Raises:
        BundleError: ONNX Runtime cannot load the graph.
    """
    raw, threshold = run_by_onnx_runtime(graph), 0.05
    logits, right, missed = [], [], 0
    for scene in scenes:
        faces = Mien(raw, threshold=threshold).detect(cv2.cvtColor(scene.image_u8, cv2.COLOR_GRAY2RGB))
        sure, unsure = (_boxes(rows) for rows in (scene.faces_xys, scene.unsure_xys))
        hits = [any(iou(face.box_xyxy_px, box) >= FOUND_IOU for box in sure) for face in faces]
        doubtful = [any(iou(face.box_xyxy_px, box) >= 0.2 for box in unsure) for face in faces]
        for face, hit, doubt in zip(faces, hits, doubtful, strict=True):
            if hit or not doubt:
                logits.append(_logit(face))
                right.append(hit)
        missed += len(sure) - sum(hits)
    scale = Scale(*_logistic(np.array(logits), np.array(right, float)))
    found = [face.score or 0.0 for image in empty for face in Mien(raw, scale, 0.02).detect(_searched(image))]
    highest = sorted(found, reverse=True)[int(FALSE_POSITIVES * len(empty)) :]
    chosen = float(np.clip(np.ceil(100 * (highest[0] if highest else 0) + 0.5) / 100, 0.2, 0.95))
    detector, n, n_found = Mien(raw, scale, chosen), 0, 0
    for scene in scenes:
        boxes = [box for box in _boxes(scene.faces_xys) if LEAST_PX <= box[2] - box[0] <= STEP * MOST_PX]
        faces = detector.detect(cv2.cvtColor(scene.image_u8, cv2.COLOR_GRAY2RGB))
        n += len(boxes)
        n_found += sum(any(iou(face.box_xyxy_px, box) >= FOUND_IOU for face in faces) for box in boxes)
    checked = {
        "recall on drawn scenes, to which the score was fitted": n_found / max(n, 1),
        "false positives a photograph without a face; the threshold was chosen on these": sum(
            score >= chosen for score in found
        )
        / max(len(empty), 1),
    }
    return Score(scale, chosen, checked)


def held_out_scenes(material: Material, count: int) -> list[Scene]:
    """Draw scenes from material that training never sees."""
    return [draw(material, np.random.default_rng((977, number)), []) for number in range(count)]


def _searched(image: np.ndarray) -> np.ndarray:
    factor = SIDE_PX / max(image.shape)
    return cv2.cvtColor(cv2.resize(image, None, fx=factor, fy=factor), cv2.COLOR_GRAY2RGB)


def _grey(scene: Scene) -> np.ndarray:
    return scene.image_u8.astype(np.float32)[None, None]


def _moved(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the absolute difference between the probabilities of two answers."""
    first, second = (1 / (1 + np.exp(-np.clip(x[:, 0], -60, 60))) for x in (a, b))
    return np.asarray(np.abs(first - second))


def _logit(face: Face) -> float:
    probability = float(np.clip(face.score or 0.0, 1e-6, 1 - 1e-6))
    return float(np.log(probability / (1 - probability)))


def _boxes(rows: np.ndarray) -> list[Box]:
    return [(x - s / 2, y - s / 2, x + s / 2, y + s / 2) for x, y, s in rows.tolist()]


def _logistic(logits: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Return gain and bias of the most likely logistic curve, by Newton's method with a little weight decay."""
    terms, found = np.stack([logits, np.ones_like(logits)], 1), np.array([1.0, 0.0])
    for _ in range(30):
        probability = 1 / (1 + np.exp(-terms @ found))
        slope = terms.T @ (right - probability) - 0.01 * (found - [1, 0])
        bend = (terms * (probability * (1 - probability))[:, None]).T @ terms + 0.01 * np.eye(2)
        found = found + np.linalg.solve(bend, slope)
    return float(found[0]), float(found[1])
