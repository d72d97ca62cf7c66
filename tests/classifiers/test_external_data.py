"""Graphs with weights in other files are found, whatever way they are written, and never opened."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.classifiers import load_classifier
from mien.classifiers.external_data import DATA_LOCATION, MESSAGES, has_external_data
from mien.errors import BundleError
from tests.classifiers.peers import SPEC, model, peer, spec, write

WEIGHTS = np.arange(242, dtype=np.float32).reshape(121, 2)


def outside(name="w") -> TensorProto:
    """A tensor whose data are in ``secret.bin``."""
    tensor = numpy_helper.from_array(WEIGHTS, name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "secret.bin"), ("offset", "0"), ("length", "968")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def multiplied(nodes=(), constants=()) -> bytes:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 11, 11, 1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 2])
    flat = helper.make_node("Flatten", ["x"], ["flat"])
    product = helper.make_node("MatMul", ["flat", "w"], ["y"])
    return model([*nodes, flat, product], [image], [out], constants)


def in_a_branch() -> bytes:
    def branch(name, tensor):
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [121, 2])
        return helper.make_graph([helper.make_node("Constant", [], [name], value=tensor)], name, [], [value])

    inside = numpy_helper.from_array(WEIGHTS, "inside")
    choose = helper.make_node(
        "If", ["yes"], ["w"], then_branch=branch("a", outside()), else_branch=branch("b", inside)
    )
    return multiplied([choose], [numpy_helper.from_array(np.array(True), "yes")])


def in_a_function() -> bytes:
    made = onnx.load_from_string(multiplied([helper.make_node("Weights", [], ["w"], domain="own")]))
    inner = helper.make_node("Constant", [], ["v"], value=outside())
    opset = helper.make_opsetid("", 17)
    made.functions.append(helper.make_function("own", "Weights", [], ["v"], [inner], [opset]))
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made.SerializeToString()


def overlong() -> bytes:
    """The field's number and value written with more bytes than needed, which protobuf reads alike."""
    plain = multiplied(constants=[outside()])
    tag, value = DATA_LOCATION << 3, 1
    assert plain.count(bytes([tag, value])) == 1
    made = onnx.load_from_string(plain)
    tensor = made.graph.initializer[0]
    tensor.ClearField("data_location")
    content = tensor.SerializeToString() + bytes([tag | 0x80, 0, value | 0x80, 0])
    made.graph.ClearField("initializer")
    initializer = bytes([5 << 3 | 2]) + _varint(len(content)) + content
    graph = made.graph.SerializeToString() + initializer
    made.ClearField("graph")
    return made.SerializeToString() + bytes([7 << 3 | 2]) + _varint(len(graph)) + graph


def _varint(number: int) -> bytes:
    assert number < 2**14
    return bytes([number & 0x7F | 0x80, number >> 7])


EXTERNAL = {
    "initializer": multiplied(constants=[outside()]),
    "constant": multiplied([helper.make_node("Constant", [], ["w"], value=outside())]),
    "branch": in_a_branch(),
    "function": in_a_function(),
    "overlong": overlong(),
}


@pytest.mark.parametrize("graph", EXTERNAL.values(), ids=EXTERNAL.keys())
def test_external_data_are_refused(graph, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(WEIGHTS.tobytes())
    assert onnx.load_from_string(graph).graph.node  # a whole graph, to onnx as well
    path = write(tmp_path, graph, spec(output="logits"))
    with pytest.raises(
        BundleError,
        match=r"model peer\.onnx: its graph keeps weights in another file, which is not read for safety: put them in",
    ):
        load_classifier(path)


def test_onnx_runtime_would_read_the_file(tmp_path, monkeypatch):
    """Without the check the secret comes out as logits: if this fails, ONNX Runtime has closed the hole itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(WEIGHTS.tobytes())
    monkeypatch.setattr("mien.classifiers.session.has_external_data", lambda graph: False)
    opened = load_classifier(write(tmp_path, EXTERNAL["initializer"], spec(output="logits")))
    crops = np.zeros((1, 11, 11, 1), np.uint8)
    crops[0, 10, 10] = 1
    np.testing.assert_array_equal(opened.logits(crops), WEIGHTS[-1:])


def test_the_advice_works(tmp_path):
    (tmp_path / "secret.bin").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "old.onnx").write_bytes(EXTERNAL["initializer"])
    onnx.save(onnx.load(tmp_path / "old.onnx"), tmp_path / "new.onnx")
    (tmp_path / "new.spec.toml").write_text(spec(output="logits"))
    load_classifier(tmp_path / "new.onnx")


def test_onnx_runtimes_own_format_is_not_opened(tmp_path, monkeypatch):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "peer.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(peer(), options, providers=["CPUExecutionProvider"])
    path = write(tmp_path, (tmp_path / "peer.ort").read_bytes(), SPEC)
    with pytest.raises(BundleError, match=r"model peer\.onnx: this is not an ONNX graph"):
        load_classifier(path)
    monkeypatch.setattr(
        "mien.classifiers.session.has_external_data", lambda graph: False
    )  # one that looks like both
    with pytest.raises(BundleError, match=r"model peer\.onnx: ONNX Runtime refuses its graph"):
        load_classifier(path)


def test_ordinary_graphs_have_none():
    assert not has_external_data(peer())
    assert not has_external_data(multiplied(constants=[numpy_helper.from_array(WEIGHTS, "w")]))
    # What looks like the field, inside raw data and names, is not one.
    looks = numpy_helper.from_array(
        np.frombuffer(bytes([DATA_LOCATION << 3, 1] * 484), np.float32).reshape(121, 2), "w"
    )
    assert not has_external_data(multiplied(constants=[looks]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x3b", "wire type 3"),  # a group, which ONNX does not have
        (b"\x3a\x05abc", "a field ends behind its message"),
        (b"\x3a", "an integer without an end"),
        (b"\xff" * 12, "an integer without an end"),
        (b"\x0d\x00", "a field ends behind its message"),
    ],
)
def test_damaged_messages(data, message):
    with pytest.raises(ValueError, match=message):
        has_external_data(data)


def test_every_message_that_leads_to_tensors_is_walked():
    """The table of fields is that of the onnx package."""
    named = {name: getattr(onnx, name).DESCRIPTOR for name in dir(onnx) if name.endswith("Proto")}
    messages = {name: one for name, one in named.items() if hasattr(one, "fields")}
    leads, before = {"TensorProto"}, None
    while leads != before:
        before = set(leads)
        leads |= {
            name
            for name, one in messages.items()
            if any(field.message_type and field.message_type.name in leads for field in one.fields)
        }
    found = {
        name: {
            field.number: field.message_type.name
            for field in messages[name].fields
            if field.message_type and field.message_type.name in leads
        }
        for name in leads
    }
    assert {name: found[name] for name in MESSAGES} == MESSAGES
    apart = {"SequenceProto", "MapProto", "OptionalProto", "OperatorSetProto"}  # never inside a model
    assert leads - MESSAGES.keys() <= apart
    assert messages["TensorProto"].fields_by_name["data_location"].number == DATA_LOCATION
