"""One ONNX file as a classifier, ours or a peer's."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mien import bundle
from mien.classifiers import RunOptions, load_classifier, probabilities
from mien.classifiers.single import load_single
from mien.errors import BundleError, ConfigError

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


def peer(batch="b", side=11, channels=1) -> bytes:
    """A graph that another tool could have made: channel last, two means turned into probabilities."""
    image = helper.make_tensor_value_info("input_1", TensorProto.FLOAT, [batch, side, side, channels])
    out = helper.make_tensor_value_info("predictions", TensorProto.FLOAT, [batch, 2])
    nodes = [
        helper.make_node("ReduceMean", ["input_1"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["mean", "gains"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["predictions"], axis=1),
    ]
    gains = onnx.numpy_helper.from_array(np.array([[-0.01, 0.01]], np.float32), "gains")
    graph = helper.make_graph(nodes, "g", [image], [out], [gains])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model.SerializeToString()


@pytest.fixture
def written(tmp_path):
    (tmp_path / "peer.onnx").write_bytes(peer())
    (tmp_path / "peer.spec.toml").write_text(SPEC)
    return tmp_path / "peer.onnx"


def test_our_own_graph_says_all_itself(tiny_bundle, tmp_path):
    loaded = bundle.load(tiny_bundle)
    (tmp_path / "mine.onnx").write_bytes(loaded.graph("onnx"))
    alone, whole = load_classifier(str(tmp_path / "mine.onnx")), load_classifier(tiny_bundle)
    crops = np.random.default_rng(0).integers(0, 256, (300, 48, 48, 1), np.uint8)
    np.testing.assert_array_equal(alone.logits(crops), whole.logits(crops))
    assert (alone.id.name, alone.id.labels, alone.id.sha256) == ("mine", whole.id.labels, whole.id.sha256)


def test_a_peers_layout_and_probabilities(written):
    crops = np.random.default_rng(0).integers(0, 256, (7, 11, 11, 1), np.uint8)
    mean = crops.mean(axis=(1, 2), dtype=np.float32)
    wanted = probabilities(np.concatenate([mean, mean], axis=1) * np.array([-0.01, 0.01], np.float32))
    np.testing.assert_allclose(probabilities(load_classifier(written).logits(crops)), wanted, atol=1e-5)


def test_a_fixed_batch_is_filled_up(written):
    crops = np.random.default_rng(0).integers(0, 256, (7, 11, 11, 1), np.uint8)
    free = load_classifier(written).logits(crops)
    written.write_bytes(peer(batch=3))
    np.testing.assert_allclose(load_classifier(written).logits(crops), free, atol=1e-6)


def test_a_spec_elsewhere_and_in_json(written, tmp_path):
    (tmp_path / "peer.spec.toml").rename(tmp_path / "other.toml")
    assert load_single(written, RunOptions(), tmp_path / "other.toml").id.labels == ("angry", "happy")
    spec = {"labels": ["sad", "happy"], "layout": "nhwc", "preprocess": {"size_px": 11}}
    (tmp_path / "peer.spec.json").write_text(json.dumps(spec))
    assert load_classifier(written).id.labels == ("sad", "happy")


def test_what_is_refused(written, tmp_path):
    spec = tmp_path / "peer.spec.toml"
    spec.unlink()
    with pytest.raises(
        BundleError,
        match=r"does not say its labels and preprocessing: give them .* --spec FILE or as peer\.spec\.toml beside",
    ):
        load_classifier(written)
    for text, error, message in [
        (SPEC.replace("nhwc", "nchw"), BundleError, r"\['b', 11, 11, 1\], its spec says float \[batch, 1, 11, 11\]"),
        (SPEC.replace("11", "48"), BundleError, r"its spec says float \[batch, 48, 48, 1\]: state channels, size_px"),
        (SPEC.replace('"happy"', '"happy", "sad"'), BundleError, "its spec names 3 labels"),
        (SPEC.replace("layout", "lay_out"), ConfigError, "lay_out: Extra inputs are not permitted; expected labels"),
        ("[[", ConfigError, "is neither TOML nor JSON"),
    ]:  # fmt: skip
        spec.write_text(text)
        with pytest.raises(error, match=message):
            load_classifier(written)
    with pytest.raises(ConfigError, match=r"is one graph, run by ONNX Runtime: backend int8 needs a bundle"):
        load_classifier(written, backend="int8")
    with pytest.raises(BundleError, match=r"cannot read the model .*gone\.onnx: No such file"):
        load_classifier(tmp_path / "gone.onnx")
    with pytest.raises(ConfigError, match=r"cannot read the spec .*gone\.toml: No such file"):
        load_single(written, RunOptions(), tmp_path / "gone.toml")
    written.write_bytes(b"not a graph")
    with pytest.raises(BundleError, match="ONNX Runtime refuses its graph"):
        load_classifier(written)
