"""One ONNX file as a classifier, ours or another tool's."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien import bundle
from mien.classifiers import load_classifier, log_probabilities, probabilities
from mien.classifiers.onnx_runtime import BATCH_SIZE
from mien.classifiers.spec import Spec
from mien.errors import BundleError, ConfigError, MienError
from mien.preprocess import Preprocess
from tests.classifiers.peers import GAIN, SPEC, model, peer, spec, write

CROPS = np.random.default_rng(0).integers(0, 256, (7, 11, 11, 1), np.uint8)
SCORES = CROPS.mean(axis=(1, 2), dtype=np.float32) * np.array([-GAIN, GAIN])
"""What the graphs of `peers` answer, before their softmax."""


@pytest.fixture
def written(tmp_path):
    return write(tmp_path, peer(), SPEC)


def test_our_own_graph_says_all_itself(tiny_bundle, tmp_path):
    loaded = bundle.load(tiny_bundle)
    (tmp_path / "mine.onnx").write_bytes(loaded.graph("onnx"))
    alone, whole = load_classifier(str(tmp_path / "mine.onnx")), load_classifier(tiny_bundle)
    crops = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE + 13, 48, 48, 1), np.uint8)
    np.testing.assert_array_equal(alone.logits(crops), whole.logits(crops))
    assert (alone.id.name, alone.id.labels, alone.id.sha256) == ("mine", whole.id.labels, whole.id.sha256)


TAKEN = {
    "nhwc": (peer(), SPEC, 1e-5),
    "fixed batch": (peer(batch=3), SPEC, 1e-5),
    "batch of one": (peer(batch=1), SPEC, 1e-5),
    "logits": (peer(softmax=False), spec(output="logits"), 1e-5),
    "nchw": (peer(layout="nchw"), spec(layout=None), 1e-5),
    "open sizes": (peer(side="s", channels="c"), SPEC, 1e-5),
    "fp16": (peer(dtype=np.float16), SPEC, 3e-3),
    "fp16 logits": (peer(dtype=np.float16, softmax=False), spec(output="logits"), 3e-3),
    "double": (peer(dtype=np.float64), SPEC, 1e-5),
    "named output": (peer(extra=["features"]), spec(output_name="predictions"), 1e-5),
    "named input": (peer(), spec(input_name="input_1"), 1e-5),
}


@pytest.mark.parametrize(("graph", "text", "atol"), TAKEN.values(), ids=TAKEN.keys())
def test_what_is_taken(tmp_path, graph, text, atol):
    found = load_classifier(write(tmp_path, graph, text)).logits(CROPS)
    assert (found.dtype, found.shape) == (np.float32, (7, 2))
    np.testing.assert_allclose(probabilities(found), probabilities(SCORES), atol=atol)
    if 'output = "logits"' in text:
        np.testing.assert_allclose(found, SCORES, atol=1e-3)


def test_the_output_that_is_named_is_the_one_used(tmp_path):
    text = spec(output_name="features", output="logits")
    found = load_classifier(write(tmp_path, peer(extra=["features"]), text)).logits(CROPS)
    np.testing.assert_allclose(found, -SCORES, atol=1e-5)


def test_colour_in_both_layouts(tmp_path):
    colours = np.random.default_rng(1).integers(0, 256, (5, 11, 11, 3), np.uint8)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 11, 11, 3])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 3])
    mean = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0)
    text = SPEC.replace('"angry", ', '"angry", "sad", ').replace("channels = 1", "channels = 3")
    text = text.replace("probabilities", "logits")
    found = load_classifier(write(tmp_path, model([mean], [image], [out]), text)).logits(colours)
    np.testing.assert_allclose(found, colours.mean(axis=(1, 2)), rtol=1e-5)


def test_a_spec_elsewhere_in_json_or_as_an_object(written, tmp_path):
    (tmp_path / "peer.spec.toml").rename(tmp_path / "other.toml")
    for given in (tmp_path / "other.toml", str(tmp_path / "other.toml")):
        assert load_classifier(written, spec=given).id.labels == ("angry", "happy")
    made = Spec(
        labels=("fear", "happy"), preprocess=Preprocess(size_px=11), layout="nhwc", output="probabilities"
    )
    assert load_classifier(written, spec=made).id.labels == ("fear", "happy")
    (tmp_path / "peer.spec.json").write_text(json.dumps({**made.model_dump(), "labels": ["sad", "happy"]}))
    assert load_classifier(written).id.labels == ("sad", "happy")


@pytest.mark.parametrize(
    ("graph", "text", "message"),
    [
        (
            peer(), spec(output="logits"),
            r"model peer\.onnx: its spec says logits, but every row is from 0 to 1 and sums to 1: write output = "
            r'"probabilities" in its spec$',
        ),
        (
            peer(dtype=np.float16), spec(output="logits"), "every row is from 0 to 1 and sums to 1",
        ),
        (
            peer(softmax=False), SPEC,
            r"its spec says probabilities, but values are from -1\.\d\d to 1\.\d\d and the first row sums to 0: "
            r'write output = "logits" in its spec, or export it with a softmax$',
        ),
    ],
)  # fmt: skip
def test_the_first_batch_shows_what_the_output_is(tmp_path, graph, text, message):
    opened = load_classifier(write(tmp_path, graph, text))
    assert opened.logits(CROPS[:0]).shape == (0, 2)  # nothing to be seen yet
    for _ in range(2):
        with pytest.raises(BundleError, match=message):
            opened.logits(CROPS)


def sums(total: float, batch="b") -> bytes:
    """A graph whose every row is (0.25, total - 0.25)."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 11, 11, 1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2])
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "row"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((1, 2), np.float32), "nothing"),
        numpy_helper.from_array(np.array([[0.25, total - 0.25]], np.float32), "row"),
    ]
    return model(nodes, [image], [out], constants)


@pytest.mark.parametrize(
    ("total", "output", "good"),
    [
        (1.0, "logits", False),
        (1.001, "logits", True),  # two weak logits, not a softmax
        (1.0, "probabilities", True),
        (1.01, "probabilities", True),  # a softmax rounded to 8 bits
        (1.03, "probabilities", False),
        (1.5, "probabilities", False),  # values above one
        (0.0, "probabilities", False),
    ],
)
def test_how_exact_a_sum_must_be(tmp_path, total, output, good):
    opened = load_classifier(write(tmp_path, sums(total), spec(output=output)))
    if good:
        opened.logits(CROPS)
    else:
        with pytest.raises(BundleError, match=f"its spec says {output}, but"):
            opened.logits(CROPS)


def test_probabilities_of_nothing_have_finite_logits(tmp_path):
    found = load_classifier(write(tmp_path, sums(0.25 + 1e-30), spec(output="logits"))).logits(CROPS)
    assert np.isfinite(log_probabilities(found)).all()


def unfit(batch, outputs=None, inputs=("x",), elements=TensorProto.FLOAT, rank=2, node=None) -> bytes:
    """A graph that takes x and more; its output is not what a classifier's is."""
    given = [helper.make_tensor_value_info(name, elements, [batch, 11, 11, 1]) for name in inputs]
    shape = [batch, *outputs] if outputs else [None] * rank
    node = node or helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0)
    return model([node], given, [helper.make_tensor_value_info("y", elements, shape)])


@pytest.mark.parametrize(
    ("graph", "text", "error", "message"),
    [
        (peer(), spec(layout="nchw"), BundleError,
         r"its graph takes 'input_1' float \[b, 11, 11, 1\] and gives 'predictions' float \[b, 2\]; expected "
         r"\[batch, 1, 11, 11\] and \[batch, 2\], both float, by its spec's channels, size_px, layout and labels$"),
        (peer(), SPEC.replace("11", "48"), BundleError, r"expected \[batch, 48, 48, 1\] and \[batch, 2\]"),
        (peer(), SPEC.replace('"happy"', '"happy", "sad"'), BundleError, r"and \[batch, 3\]"),
        (peer(extra=["features"]), SPEC, BundleError,
         r"its graph has 2 outputs, 'features' float \[b, 2\], 'predictions' float \[b, 2\]: name the one with the "
         r'scores, such as output_name = "features", in its spec$'),
        (peer(), spec(output_name="logits"), BundleError,
         r"its graph has no output 'logits'; it has 'predictions' float \[b, 2\]$"),
        (peer(), spec(input_name="image"), BundleError, r"its graph has no input 'image'; it has 'input_1' float"),
        (unfit("b", inputs=("x", "z")), SPEC, BundleError,
         r"its graph takes 'x' float \[b, 11, 11, 1\], 'z' float .*; expected one image and nothing else$"),
        (unfit("b", [1], elements=TensorProto.INT32), SPEC, BundleError,
         r"takes 'x' int32 \[b, 11, 11, 1\] .*, both float"),
        (unfit("b", node=helper.make_node("Identity", ["x"], ["y"]), rank=4), SPEC, BundleError,
         r"gives 'y' float \[b, 11, 11, 1\]; expected"),
        (peer(), SPEC.replace("layout", "lay_out"), ConfigError,
         r"peer\.spec\.toml: lay_out: Extra inputs are not permitted; expected labels = "),
        (peer(), spec(output=None), ConfigError,
         r'output: Field required; expected labels = .*, output = "logits" \(or "probabilities" after a softmax\)'),
        (peer(), SPEC.replace('"happy"', '"angry"'), ConfigError, "labels: Value error, 'angry' is listed twice"),
        (peer(), SPEC.replace('"happy"', '" angry "'), ConfigError, "labels: Value error, 'angry' is listed twice"),
        (peer(), SPEC.replace('"happy"', '"uncertain"'), ConfigError,
         "label 1 is 'uncertain', as answers are called whose highest probability is low: give it another name"),
        (peer(), SPEC.replace('"happy"', '"\\u001b[2J"'), ConfigError,
         r"label 1 is '\\x1b\[2J': expected a printable word"),
        (peer(), "[[", ConfigError, "is neither TOML nor JSON"),
        (peer(), "labels = " + "[" * 5000, ConfigError, "is neither TOML nor JSON"),
        (peer(), "labels = " + "9" * 5000, ConfigError, "is neither TOML nor JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", SPEC, BundleError, "is a Git LFS pointer"),
        (b"not a graph", SPEC, BundleError,
         r"this is not an ONNX graph, or a damaged one \(wire type 6\): export or copy it again"),
        (peer()[:-20], SPEC, BundleError, "this is not an ONNX graph, or a damaged one"),
        (peer().replace(b"ReduceMean", b"ReduceMoan"), SPEC, BundleError,
         "model peer.onnx: ONNX Runtime refuses its graph: .*ReduceMoan"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, graph, text, error, message):
    with pytest.raises(error, match=message) as caught:
        load_classifier(write(tmp_path, graph, text))
    assert "\n" not in str(caught.value)


def test_a_file_without_a_spec(written, tmp_path):
    (tmp_path / "peer.spec.toml").unlink()
    with pytest.raises(
        BundleError,
        match=r"does not say its labels and preprocessing: write them into peer\.spec\.toml beside it \(or give "
        r"another file, spec=FILE\): labels = ",
    ):
        load_classifier(written)
    with pytest.raises(ConfigError, match=r"cannot read the spec .*gone\.toml: No such file"):
        load_classifier(written, spec=tmp_path / "gone.toml")


def test_files_that_cannot_be_read(written, tmp_path, tiny_bundle):
    with pytest.raises(ConfigError, match=r"is one graph, run by ONNX Runtime: backend int8 needs a bundle"):
        load_classifier(written, backend="int8")
    with pytest.raises(BundleError, match=r"cannot read the model .*gone\.onnx: No such file"):
        load_classifier(tmp_path / "gone.onnx")
    long = "a" * 999
    for name, message in {
        "a\0.onnx": "cannot read .*null",
        f"{long}.onnx": "File name too long",
        "a\0": "no model",
        long: "no model",
        "a\0.h5": "a Keras or HDF5 file",
    }.items():
        with pytest.raises(BundleError, match=message):
            load_classifier(name)
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(BundleError, match=r"cannot read the model .*pipe\.onnx: it is not a regular file"):
        load_classifier(tmp_path / "pipe.onnx")
    with pytest.raises(ConfigError, match=r"a spec is for a single \.onnx file, and .*tiny is none"):
        load_classifier(tiny_bundle, spec=tmp_path / "peer.spec.toml")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mien.labels", "[", "labels or preprocessing in its metadata are damaged: Invalid JSON"),
        ("mien.labels", "[" * 5000, "metadata are damaged: Invalid JSON"),
        ("mien.labels", "{}", "metadata are damaged: Input should be a valid array"),
        ("mien.labels", '["one"]', "labels: Tuple should have at least 2 items"),
        ("mien.labels", '["a", "a"]', "'a' is listed twice"),
        ("mien.preprocess", "7", "metadata are damaged: "),
        ("mien.preprocess", '{"size_px": "big"}', "metadata are damaged: size_px: .*: export it again"),
        ("mien.preprocess", '{"mean": [1, 2]}', "metadata are damaged: .*mean needs 1 value"),
    ],
)
def test_damaged_metadata_is_one_line(tmp_path, name, value, message):
    import onnx

    made = onnx.load_from_string(peer())
    facts = {"mien.labels": '["sad", "happy"]', "mien.preprocess": Preprocess().model_dump_json()}
    helper.set_model_props(made, facts | {name: value})
    (tmp_path / "theirs.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(MienError, match=message) as caught:
        load_classifier(tmp_path / "theirs.onnx")
    assert "\n" not in str(caught.value)


def failing(kind: str) -> bytes:
    """Graphs that open and fail when run."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 11, 11, 1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 2])
    if kind == "reshape":  # 121 b values into rows of 2 where b is odd
        rows = numpy_helper.from_array(np.array([-1, 2]), "rows")
        return model([helper.make_node("Reshape", ["x", "rows"], ["y"])], [image], [out], [rows])
    inside = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Concat", ["state", "state"], ["longer"], axis=0),
            helper.make_node(
                "Add", ["state", "longer"], ["next"]
            ),  # of other length: fails on the first step
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    constants = [
        numpy_helper.from_array(np.array(3), "times"),
        numpy_helper.from_array(np.array([-1, 2]), "rows"),
        numpy_helper.from_array(np.array(True), "yes"),
    ]
    nodes = [
        helper.make_node("Loop", ["times", "yes", "x"], ["looped"], body=inside),
        helper.make_node("Reshape", ["looped", "rows"], ["y"]),
    ]
    return model(nodes, [image], [out], constants)


@pytest.mark.parametrize("kind", ["reshape", "loop"])
def test_a_graph_that_fails_when_run(tmp_path, kind, capfd):
    opened = load_classifier(write(tmp_path, failing(kind), spec(output="logits")))
    with pytest.raises(
        BundleError, match=r"model peer\.onnx: ONNX Runtime cannot run its graph on \[7, 11, 11, 1\]: "
    ) as caught:
        opened.logits(CROPS)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # the runtime does not print it a second time


def test_a_graph_that_gives_no_numbers(tmp_path):
    gains = numpy_helper.from_array(np.array([[np.nan, 1]], np.float32), "gains")
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 11, 11, 1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 2])
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["mean", "gains"], ["y"]),
    ]
    place = write(tmp_path, model(nodes, [image], [out], [gains]), spec(output="logits"))
    with pytest.raises(BundleError, match="its graph gave numbers that are not finite: is it damaged"):
        load_classifier(place).logits(CROPS)


def test_a_graph_that_gives_another_number_of_rows(tmp_path):
    opened = load_classifier(write(tmp_path, failing("reshape"), spec(output="logits")))
    with pytest.raises(BundleError, match=r"its graph gave \[121, 2\] for 2 crops; expected \[2, 2\]"):
        opened.logits(CROPS[:2])
