"""The detector of the package: searched images, candidates, suppression, its folder on disk."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest
from onnx import TensorProto, helper

from mien.detectors import built_in_folder, bundle, open_detector
from mien.detectors.mien import Mien, Scale, levels, supported, suppress
from mien.detectors.shrink import iou
from mien.errors import BundleError
from mien.faces.run import MATERIAL, NOTES
from mien.vision import images


def graph_with(cells: dict[tuple[int, int], tuple[float, float, float, float]]):
    """Return a fake network: answers at some cells (row, column) of the largest image."""
    calls = []

    def run(grey):
        found = np.full((1, 4, grey.shape[2] // 8, grey.shape[3] // 8), -9, np.float32)
        if not calls:
            for (v, u), answer in cells.items():
                found[0, :, v, u] = answer
        calls.append(grey.shape[2:])
        return found

    run.calls = calls
    return run


def test_a_cell_becomes_a_square_in_pixels_of_the_image():
    graph = graph_with({(3, 7): (5.0, 0.25, -0.5, np.log(4))})
    (face,) = Mien(graph).detect(np.zeros((101, 149, 3), np.uint8))
    # centre x (7 + .5 + .25) * 8 = 62, y (3 + .5 - .5) * 8 = 24, side 4 * 8 = 32
    assert face.box_xyxy_px == pytest.approx((46, 8, 78, 40), abs=1e-3)
    assert face.frame_xyxy_px == face.box_xyxy_px
    # no other of the searched images supports it: a logit of (2 * 5 - 4) / 3 = 2
    assert face.score == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    # 101 x 149 to multiples of 8; divided by 1.41, 71 x 105, with borders of 16 on both sides 103 x 137; then a half
    assert graph.calls[:3] == [(104, 152), (104, 144), (88, 112)]


def test_large_images_are_searched_small_and_boxes_come_back():
    graph = graph_with({(3, 7): (5.0, 0, 0, np.log(4))})
    (face,) = Mien(graph).detect(np.zeros((960, 1280, 3), np.uint8))
    assert graph.calls[0] == (384, 512)
    assert face.box_xyxy_px == pytest.approx((2.5 * 44, 2.5 * 12, 2.5 * 76, 2.5 * 44), abs=1e-3)


def test_the_score_is_the_calibrated_probability_and_the_threshold_is_one_of_it():
    graph = graph_with({(3, 7): (5.0, 0, 0, 1)})
    assert Mien(graph, Scale(2, -4), threshold=0.49).detect(np.zeros((64, 96, 3), np.uint8))[0].score == 0.5
    graph.calls.clear()
    assert Mien(graph, Scale(2, -4), threshold=0.51).detect(np.zeros((64, 96, 3), np.uint8)) == []


def test_searched_images_end_when_the_whole_image_could_be_one_face():
    shapes = [(grey.shape, factor, margin) for grey, factor, margin in levels(np.zeros((480, 640), np.uint8))]
    assert shapes[0] == ((480, 640), 1.0, 0)
    assert shapes[2] == ((272, 352), pytest.approx(2.0), 16)
    assert shapes[-1] == ((56, 64), pytest.approx(2**4.5), 16)
    assert [factor for _, factor, _ in levels(np.zeros((3, 5), np.uint8))] == [1.0]


def test_of_two_boxes_of_one_face_the_less_probable_goes():
    rows = np.array([
        [0.6, 52, 50, 40],   # much in common with the next
        [0.9, 50, 50, 40],
        [0.8, 150, 50, 40],  # another face
        [0.7, 55, 55, 12],   # inside the first
        [0.5, 78, 50, 40],   # beside it: 12 of 40 px in common, IoU .18
    ], np.float32)  # fmt: skip
    assert suppress(rows) == [1, 2, 4]
    assert suppress(np.empty((0, 4), np.float32)) == []


def test_a_face_seen_in_two_of_the_searched_images_is_more_probable():
    rows = np.array([
        [3, 50, 50, 40],
        [0, 52, 50, 42],   # the same place, in another image
        [2, 51, 50, 40],   # the same place, in the same image
        [3, 150, 50, 40],  # nobody sees it elsewhere
    ], np.float32)  # fmt: skip
    found = supported(rows, np.array([0, 1, 0, 0]), [0, 3])
    assert found == pytest.approx([(2 * 3 + 0) / 3, (2 * 3 - 4) / 3])
    assert len(supported(rows[:0], np.empty(0, int), [])) == 0


def test_thousands_of_candidates_take_bounded_time():
    rng = np.random.default_rng(0)

    def busy(grey):
        return rng.normal(3, 1, (1, 4, grey.shape[2] // 8, grey.shape[3] // 8)).astype(np.float32)

    started = time.process_time()
    faces = Mien(busy).detect(np.zeros((640, 640, 3), np.uint8))
    assert 0 < len(faces) <= 9 * 400
    assert time.process_time() - started < 2


FACTS = bundle.Facts(
    name="f", parameters=1, threshold=0.5, gain=1, bias=0, training={}, material=("m",), checked={}
)


def test_a_changed_graph_is_refused(tmp_path):
    bundle.save(tmp_path, FACTS, {"int8": b"graph"})
    (tmp_path / "model.int8.onnx").write_bytes(b"Graph")
    with pytest.raises(BundleError, match=r"model.int8.onnx has SHA-256 .* changed or damaged"):
        bundle.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no trained detector: cannot read its detector.json"),
        ("{", "cannot be used: it: Invalid JSON"),
        (
            json.dumps({"format": "mien.detector/1"}),
            r"cannot be used: format: .*mien\.detector/2'; train the detector again",
        ),
    ],
)
def test_a_folder_that_is_no_detector_says_so(tmp_path, content, message):
    if content is not None:
        (tmp_path / "detector.json").write_text(content)
    with pytest.raises(BundleError, match=message):
        bundle.open_bundle(tmp_path)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [helper.make_node("Identity", ["grey"], ["faces"])],
            r"expected .*, got \[1, 1, 64, 88\]$",
        ),
        (
            [helper.make_node("Reshape", ["grey", "shape"], ["faces"])],
            "the face detector's graph fails: .*Reshape",
        ),
        (
            [
                helper.make_node("AveragePool", ["grey"], ["map"], kernel_shape=[8, 8], strides=[8, 8]),
                helper.make_node("Concat", ["map"] * 4, ["four"], axis=1),
                helper.make_node("Log", ["four"], ["faces"]),
            ],
            "not finite",
        ),
    ],
)
def test_a_graph_that_fails_or_answers_in_another_form_is_one_line(tmp_path, nodes, message):
    grey = helper.make_tensor_value_info("grey", TensorProto.FLOAT, [1, 1, "y", "x"])
    faces = helper.make_tensor_value_info("faces", TensorProto.FLOAT, None)
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [7, 11])
    graph = helper.make_graph(nodes, "g", [grey], [faces], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    bundle.save(tmp_path, FACTS, {"onnx": model.SerializeToString()})
    with pytest.raises(BundleError, match=message):
        bundle.open_bundle(tmp_path).detect(np.zeros((64, 88, 3), np.uint8))


def test_the_shipped_detector_is_small_and_another_folder_may_take_its_place(tmp_path):
    facts, graphs = bundle.read(built_in_folder())
    assert open_detector("mien").name == "mien"
    assert re.fullmatch("mien@[0-9a-f]{12}", open_detector("mien").identity)
    with_it = open_detector("auto", built_in_folder())
    assert (with_it.name, with_it.identity) == ("mien", f"auto ({open_detector('mien').identity})")
    assert sum(map(len, graphs.values())) <= 300_000
    assert list(MATERIAL) == list(facts.material)
    with pytest.raises(BundleError, match="is no trained detector"):
        open_detector("mien", tmp_path)


def test_the_shipped_detector_finds_faces_where_yunet_does(shared, yunet_weights):
    """It misses the one with sunglasses."""
    image = images.read(shared / "photos" / "multi_face.jpg")
    ours, others = (
        open_detector("mien").detect(image),
        open_detector("yunet", str(yunet_weights)).detect(image),
    )
    assert len(ours) >= 4
    for one in ours:
        assert max(iou(one.frame_xyxy_px, other.frame_xyxy_px) for other in others) > 0.6


def test_the_card_names_the_authors_of_the_material():
    facts = FACTS.model_copy(update={"material": MATERIAL, "notes": NOTES})
    text = bundle.page(facts, {"int8": b"12345"})
    for words in ("DeBruine", "CC BY 4.0", "FER2013", "skin tone", "`model.int8.onnx` 0 KB"):
        assert words in text
