"""From picture to result, with fakes at both seams."""

from __future__ import annotations

import base64
import threading
import time

import cv2
import numpy as np
import pytest

from mien.errors import ConfigError, ImageError
from mien.pipeline import AHEAD, Pipeline, find_images, spread
from mien.results import UNCERTAIN, predictions_dict
from mien.vision import images
from tests.fakes import ConstantClassifier, FixedDetector
from tests.pictures import jpeg, photo, png

BOX = (101.0, 53.0, 197.0, 149.0)


def pipeline(*boxes) -> Pipeline:
    return Pipeline(ConstantClassifier(), FixedDetector(*boxes))


def test_labels_and_scores_by_hand():
    result = pipeline(BOX, (0.0, 0.0, 5.0, 5.0))(photo())
    assert (result.width, result.height, len(result.faces)) == (330, 210, 2)
    face = result.faces[0]
    assert face.label == "happy"
    assert face.probs == pytest.approx({"sad": 1 / (1 + np.e**2), "happy": np.e**2 / (1 + np.e**2)}, rel=1e-5)
    assert face.box_xyxy_px == BOX


def test_a_data_uri_gives_the_same_and_is_no_source():
    data = jpeg(photo())
    uri = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    assert pipeline(BOX)(uri) == pipeline(BOX)(data)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("data:image/png,abc", r"expected data:image/\.\.\.;base64,\.\.\., got data:image/png,abc"),
        ("data:image/png;base64,a!", "the picture in a data: URI is not base64"),
        ("data:image/png;base64,", "expected a picture, got an empty file"),
    ],
)
def test_a_uri_that_is_no_picture(uri, message):
    with pytest.raises(ImageError, match=message):
        pipeline()(uri)


def test_work_is_spread_in_order_and_little_is_begun_ahead():
    begun, threads = [], set()

    def work(item):
        begun.append(item)
        threads.add(threading.get_ident())
        time.sleep(0.02 if item % 3 else 0.005)  # later ones finish first
        return 10 * item

    made = spread(work, iter(range(41)), 3)
    assert [next(made) for _ in range(5)] == [0, 10, 20, 30, 40]
    assert len(begun) <= 5 + AHEAD * 3 + 1
    assert list(made) == [10 * item for item in range(5, 41)]
    assert len(threads) == 3
    assert threading.get_ident() not in threads


def test_an_error_in_the_work_is_raised_in_its_place_and_the_rest_is_dropped():
    def work(item):
        if item == 3:
            raise OSError("full")
        return item

    made = spread(work, range(1000), 2)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="full"):
        next(made)


def test_each_worker_has_its_own_detector_and_one_of_the_users_is_asked_in_turn(tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.jpg" for number in range(7)]
    for seed, path in enumerate(paths):
        path.write_bytes(jpeg(photo(seed)))
    own = Pipeline(ConstantClassifier(), "haar")
    alone = [result for result, _ in own.each(paths)]
    assert [result for result, _ in own.each(paths, workers=3)] == alone
    assert any(result.faces for result in alone)

    class Busy(FixedDetector):
        inside = 0

        def detect(self, image_rgb_u8):
            self.inside += 1
            time.sleep(0.005)
            assert self.inside == 1
            self.inside -= 1
            return super().detect(image_rgb_u8)

    shared = Pipeline(ConstantClassifier(), Busy(BOX))
    assert [len(result.faces) for result, _ in shared.each(paths, workers=3)] == [1] * 7
    opened = []
    monkeypatch.setattr("mien.pipeline.open_detector", lambda *_: opened.append(1) or Busy(BOX))
    each_its_own = Pipeline(ConstantClassifier(), "yunet")
    assert [len(result.faces) for result, _ in each_its_own.each(paths, workers=3)] == [1] * 7
    assert 2 <= len(opened) <= 4
    opened.clear()
    monkeypatch.setattr(Busy, "spreads_itself", True, raising=False)
    assert len(list(Pipeline(ConstantClassifier(), "haar").each(paths, workers=3))) == 7
    assert len(opened) == 1


def test_no_face_is_an_answer():
    assert pipeline()(photo()).faces == ()


def test_path_bytes_and_pixels_give_the_same(tmp_path):
    data = jpeg(photo())
    (tmp_path / "a.jpg").write_bytes(data)
    by_path, by_text = pipeline(BOX)(tmp_path / "a.jpg"), pipeline(BOX)(str(tmp_path / "a.jpg"))
    assert by_path == by_text
    assert by_path.source == str(tmp_path / "a.jpg")
    assert pipeline(BOX)(data).faces == pipeline(BOX)(images.decode(data)).faces == by_path.faces


@pytest.mark.parametrize(
    "array", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((0, 5, 3), np.uint8)]
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ImageError, match=r"expected RGB pixels, uint8 \[h, w, 3\]; got uint8 \["):
        pipeline()(array)


def test_what_opencv_refuses_is_an_error_of_the_picture():
    class Refusing:
        def detect(self, image_rgb_u8):
            return cv2.resize(image_rgb_u8, (0, 0))

    with pytest.raises(ImageError, match="OpenCV cannot work on this picture"):
        Pipeline(ConstantClassifier(), Refusing())(photo())


def test_a_name_too_long_for_the_system_is_a_row_with_an_error():
    ((result, image),) = pipeline(BOX).each(find_images(["a" * 300 + ".jpg"]))
    assert image is None
    assert "cannot read" in result.error


def test_one_bad_file_does_not_stop_the_rest(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(photo()))
    (tmp_path / "b.jpg").write_bytes(b"broken")
    results = [r for r, _ in pipeline(BOX).each([tmp_path / name for name in ("b.jpg", "none.jpg", "a.jpg")])]
    assert [bool(result.error) for result in results] == [True, True, False]
    document = predictions_dict(ConstantClassifier().id, results)
    assert document["schema"] == "mien.predictions/1"
    assert document["images"][0]["faces"] == []
    assert document["images"][0]["width"] is None
    assert document["images"][2]["faces"][0]["box_xyxy_px"] == list(BOX)
    assert document["images"][2]["error"] is None


def test_a_small_picture_is_cropped_by_no_rule():
    """`auto` takes it whole, and the crop rule of the detector it would have asked must not apply."""
    seen = []

    class Spy(ConstantClassifier):
        def logits(self, crops):
            seen.append(crops)
            return super().logits(crops)

    small = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    Pipeline(Spy(), "auto")(small)
    assert (seen[0][0] == Spy().preprocess.fit(small)).all()


def test_folders_are_searched_and_files_kept(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "seen").mkdir()
    for name in ("b.png", "a.JPG", "sub/c.webp", "notes.txt", "._a.JPG", "seen/a.faces.jpg"):
        (tmp_path / name).write_bytes(png())
    (tmp_path / "folder.jpg").mkdir()
    assert [p.name for p in find_images([tmp_path, "missing.jpg"], skip=tmp_path / "seen")] == [
        "a.JPG",
        "b.png",
        "c.webp",
        "missing.jpg",
    ]
    (tmp_path / "b.faces.jpg").write_bytes(png())
    beside = [p.name for p in find_images([tmp_path], skip=tmp_path)]
    assert beside == ["a.JPG", "b.png", "a.faces.jpg", "c.webp"], "only what lies where results go is one"
    above = [p.name for p in find_images([tmp_path / "sub"], skip=tmp_path)]
    assert above == ["c.webp"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no pictures in the folder .*empty: expected files such as"):
        find_images([tmp_path / "empty"])


@pytest.mark.parametrize(("bound", "label"), [(0.0, "happy"), (0.88, "happy"), (0.89, UNCERTAIN)])
def test_below_the_bound_a_face_is_uncertain_and_keeps_its_probabilities(bound, label):
    look = Pipeline(ConstantClassifier(), FixedDetector((0, 0, 9, 9)), uncertain_below=bound)
    (face,) = look(np.zeros((11, 13, 3), np.uint8)).faces
    assert face.label == label
    assert face.probs["happy"] == pytest.approx(1 / (1 + np.exp(-2)))  # 0.8808
