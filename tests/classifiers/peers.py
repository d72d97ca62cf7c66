"""Small graphs that another tool could have made."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SPEC = """\
labels = ["angry", "happy"]
layout = "nhwc"
output = "probabilities"
[preprocess]
channels = 1
size_px = 11
scale = 1.0
mean = [0.0]
std = [1.0]
"""
GAIN = np.float32(0.01)
"""The graphs answer -GAIN and GAIN times the mean pixel, or the softmax of these."""
TYPES = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16, np.float64: TensorProto.DOUBLE}


def peer(batch="b", side=11, channels=1, *, layout="nhwc", softmax=True, dtype=np.float32, extra=()) -> bytes:
    """Mean over the pixels -> two scores, with further outputs called `extra` before them."""
    shape = [side, side, channels] if layout == "nhwc" else [channels, side, side]
    image = helper.make_tensor_value_info("input_1", TYPES[dtype], [batch, *shape])
    outputs = [
        helper.make_tensor_value_info(name, TYPES[dtype], [batch, 2]) for name in (*extra, "predictions")
    ]
    axes = [1, 2] if layout == "nhwc" else [2, 3]
    scores = "scaled" if softmax else "predictions"
    nodes = [
        helper.make_node("ReduceMean", ["input_1"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("Mul", ["mean", "gains"], [scores]),
        *(helper.make_node("Neg", [scores], [name]) for name in extra),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["scaled"], ["predictions"], axis=1))
    gains = numpy_helper.from_array(np.array([[-GAIN, GAIN]], dtype), "gains")
    return model(nodes, [image], outputs, [gains])


def model(nodes, inputs, outputs, constants=()) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    return made.SerializeToString()


def spec(**changes) -> str:
    """The text of a spec, lines changed or, with None, left out."""
    head, tail = SPEC.split("[preprocess]")
    lines = dict(line.split(" = ", 1) for line in head.splitlines())
    lines |= {name: f'"{value}"' if value else None for name, value in changes.items()}
    return "\n".join(f"{name} = {value}" for name, value in lines.items() if value) + "\n[preprocess]" + tail


def write(folder, graph: bytes, text: str):
    """Write graph and spec side by side; return the graph's path."""
    folder.mkdir(exist_ok=True)
    (folder / "peer.onnx").write_bytes(graph)
    (folder / "peer.spec.toml").write_text(text)
    return folder / "peer.onnx"
