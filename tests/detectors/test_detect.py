"""Detectors on real photos, and their choice by name."""

from __future__ import annotations

import numpy as np
import pytest

from mien.detectors import open_detector
from mien.detectors.haar import Haar
from mien.detectors.whole import Whole
from mien.errors import ConfigError
from mien.vision import images


def overlap(a, b) -> float:
    """Intersection over union."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area - width * height)


def test_yunet_finds_five_faces_from_left_to_right(shared, yunet_weights):
    faces = open_detector("yunet", yunet_weights).detect(images.read(shared / "photos" / "multi_face.jpg"))
    assert len(faces) == 5
    assert [f.box_xyxy_px[0] for f in faces] == sorted(f.box_xyxy_px[0] for f in faces)
    assert all(0.7 <= face.score <= 1 for face in faces)


def test_haar_and_yunet_agree_on_one_face(shared, yunet_weights):
    image = images.read(shared / "photos" / "single_face.jpg")
    (haar,), (yunet,) = Haar().detect(image), open_detector("yunet", yunet_weights).detect(image)
    assert overlap(haar.box_xyxy_px, yunet.box_xyxy_px) > 0.5


def test_padding_finds_faces_that_fill_the_picture(shared):
    """A face cut close is found, which the cascade alone misses: its box stays in the picture's own pixels."""
    image = images.read(shared / "photos" / "single_face.jpg")
    close = np.ascontiguousarray(image[140:420, 150:400])
    (face,) = Haar().detect(close)
    assert overlap(face.box_xyxy_px, (6, 13, 235, 242)) > 0.8


def test_large_pictures_are_shrunk_for_detection_and_boxes_come_back(shared, yunet_weights):
    image = images.read(shared / "photos" / "single_face.jpg")
    large = np.repeat(np.repeat(image, 3, axis=0), 3, axis=1)
    for detector in (Haar(), open_detector("yunet", yunet_weights)):
        (small,), (big,) = detector.detect(image), detector.detect(large)
        assert overlap([3 * side for side in small.box_xyxy_px], big.box_xyxy_px) > 0.8


def test_auto_takes_small_pictures_whole_and_prefers_yunet(shared, yunet_weights, no_cache):
    photo = images.read(shared / "photos" / "single_face.jpg")
    (small,) = open_detector("auto").detect(np.zeros((64, 64, 3), np.uint8))
    assert (small.detector, small.box_xyxy_px) == ("whole", (0, 0, 64, 64))
    assert open_detector("auto").detect(np.zeros((64, 65, 3), np.uint8)) == []
    assert [face.detector for face in open_detector("auto").detect(photo)] == ["haar"]
    (no_cache / "face_detection_yunet_2023mar.onnx").write_bytes(yunet_weights.read_bytes())
    assert [face.detector for face in open_detector("auto").detect(photo)] == ["yunet"]


def test_whole_is_one_box():
    (face,) = Whole().detect(np.zeros((11, 13, 3), np.uint8))
    assert face.box_xyxy_px == (0, 0, 13, 11)


@pytest.mark.parametrize("name", ["haar", "yunet"])
def test_no_face_is_an_answer(name, yunet_weights):
    detector = open_detector(name, yunet_weights if name == "yunet" else None)
    assert detector.detect(np.random.default_rng(0).integers(0, 256, (101, 97, 3), np.uint8)) == []


def test_yunet_is_never_given_a_narrow_picture(yunet_weights):
    """OpenCV answers one with what lies in its memory, so only what it is given can be tested."""
    given = []

    class Net:
        def setInputSize(self, width_height):  # noqa: N802 - OpenCV's name
            given.append(width_height)

        def detect(self, image):
            assert image.shape == (*reversed(given[-1]), 3)
            return 1, np.float32([[1, 2, 3, 4, *[0] * 10, 0.9]])

    detector = open_detector("yunet", yunet_weights)
    detector._net = Net()
    for height, width in ((1, 1), (24, 97), (97, 24), (64, 65), (2560, 20)):
        (face,) = detector.detect(np.zeros((height, width, 3), np.uint8))
        factor = max(1, height / 1280)
        assert face.box_xyxy_px == pytest.approx((factor, 2 * factor, 4 * factor, 6 * factor))
    assert given == [(64, 64), (97, 64), (64, 97), (65, 64), (64, 1280)]


def test_yunet_without_weights_says_what_to_do():
    with pytest.raises(
        ConfigError, match="yunet needs its weights: run `mien fetch yunet`, or give the file"
    ):
        open_detector("yunet")


def test_other_weights_are_refused(tmp_path):
    (tmp_path / "w.onnx").write_bytes(b"other")
    with pytest.raises(
        ConfigError, match=r"w\.onnx is not the pinned face_detection_yunet_2023mar\.onnx: SHA-256"
    ):
        open_detector("yunet", tmp_path / "w.onnx")
    with pytest.raises(ConfigError, match=r"cannot read the weights .*none\.onnx: No such file"):
        open_detector("yunet", tmp_path / "none.onnx")


def test_weights_for_a_detector_that_takes_none_are_refused(yunet_weights):
    with pytest.raises(ConfigError, match="detector haar takes no weights: leave out detector_weights"):
        open_detector("haar", yunet_weights)


def test_an_unknown_detector_names_its_neighbour():
    with pytest.raises(ConfigError, match=r"unknown detector 'yunett': expected .*; did you mean yunet\?"):
        open_detector("yunett")
