"""From image to result, with fakes at both seams."""

from __future__ import annotations

import csv
import json
import pickle
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import mien
from mien.errors import ConfigError, ImageError, OutputError
from mien.pipeline import Pipeline, Predictions, predict
from mien.predictions import COLUMNS
from mien.results import UNCERTAIN, Face
from mien.sinks.tables import Table
from mien.tracking.tracker import Tracker
from mien.vision import images
from mien.vision.crop import VIEWS
from mien.vision.frames import Frame
from tests.fakes import ConstantClassifier, FixedDetector
from tests.pictures import jpeg, photo

BOX = (101.0, 53.0, 197.0, 149.0)


def pipeline(*boxes, **options) -> Pipeline:
    return Pipeline(ConstantClassifier(), FixedDetector(*boxes), **options)


class Brightness(ConstantClassifier):
    """The mean of a crop in 0-1 as the probability of its second label; counts calls."""

    calls = 0

    def logits(self, crops):
        self.calls += 1
        mean = np.clip(crops.mean(axis=(1, 2, 3)) / 255, 1e-6, 1 - 1e-6)
        return np.log(np.stack([1 - mean, mean], axis=1)).astype(np.float32)


def test_labels_and_probabilities_by_hand():
    result = pipeline(BOX, (0.0, 0.0, 5.0, 5.0))(photo())
    assert (result.width, result.height, len(result.faces)) == (330, 210, 2)
    face = result.faces[0]
    assert face.label == "happy"
    assert face.probs == pytest.approx({"sad": 1 / (1 + np.e**2), "happy": np.e**2 / (1 + np.e**2)}, rel=1e-5)
    assert face.confidence == face.probs["happy"]
    assert (face.box_xyxy_px, face.detection_score) == (BOX, 0.5)


@pytest.mark.parametrize("views", VIEWS)
def test_probabilities_are_the_mean_over_the_views(views):
    """A white square of 41 pixels in a black face of 61: the nearer the view, the more of it is white."""
    image = np.zeros((101, 101, 3), np.uint8)
    image[30:71, 30:71] = 255
    classifier, box = Brightness(size_px=61), (20.0, 20.0, 81.0, 81.0)
    (face,) = Pipeline(classifier, FixedDetector(box), views=views)(image).faces
    zooms = VIEWS[views]
    expected = np.mean([min(1, (41 * zoom / 61) ** 2) for zoom in zooms])
    assert face.probs["happy"] == pytest.approx(expected, abs=0.02)
    assert classifier.calls == 1
    noise = np.random.default_rng(0).integers(0, 256, (101, 101, 3), np.uint8)
    crops = Pipeline(classifier, FixedDetector(), views=views).crops(noise, [Face(box)])
    assert crops.shape == (1, views, 61, 61, 1)
    if views > 1:
        assert (crops[0, len(zooms)] == crops[0, 0][:, ::-1]).all()
        assert (crops[0, len(zooms)] != crops[0, 0]).any()


def test_an_image_that_is_a_face_has_no_surroundings():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    whole = Pipeline(ConstantClassifier(), "whole", views=max(VIEWS))
    crops = whole.crops(image, whole.find(image))
    upright, mirrored = crops[0, : whole.views // 2], crops[0, whole.views // 2 :]
    assert (upright == whole.classifier.preprocess.fit(image)).all()
    assert (mirrored == upright[:, :, ::-1]).all()


def test_every_way_in_gives_the_same(tmp_path):
    data = jpeg(photo())
    (tmp_path / "a.jpg").write_bytes(data)
    by_path, by_text = pipeline(BOX)(tmp_path / "a.jpg"), pipeline(BOX)(str(tmp_path / "a.jpg"))
    assert by_path == by_text
    assert by_path.source == str(tmp_path / "a.jpg")
    for source in (data, images.decode(data), mien.frames(data), [data]):
        assert pipeline(BOX)(source).faces == by_path.faces


def test_one_image_is_expected_and_what_is_wrong_is_raised(tmp_path):
    with pytest.raises(ConfigError, match=r"expected one image, got 2: use pipeline\.stream"):
        pipeline()([photo(), photo()])
    with pytest.raises(
        ImageError, match=r"got None: cv2\.imread returns None for a file that it cannot read"
    ):
        pipeline()(None)
    with pytest.raises(ImageError, match=r"cannot read .*none.jpg: No such file"):
        pipeline()(tmp_path / "none.jpg")


def test_one_bad_file_does_not_stop_the_rest(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(photo()))
    (tmp_path / "b.jpg").write_bytes(b"broken")
    results = list(pipeline(BOX).stream([tmp_path / name for name in ("b.jpg", "none.jpg", "a.jpg")]))
    assert [bool(result.error) for result in results] == [True, True, False]
    assert [len(result.faces) for result in results] == [0, 0, 1]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_image_that_opencv_refuses_is_an_error_in_its_place(workers):
    class Refusing(FixedDetector):
        def detect(self, image_rgb_u8):
            return super().detect(image_rgb_u8) if image_rgb_u8[0, 0, 0] else cv2.resize(image_rgb_u8, (0, 0))

    dark, bright = np.zeros((11, 13, 3), np.uint8), np.full((11, 13, 3), 9, np.uint8)
    refusing = Pipeline(ConstantClassifier(), Refusing((0.0, 0.0, 9.0, 9.0)))
    results = list(refusing.stream([bright, dark, bright, bright], workers=workers))
    assert ["OpenCV cannot work on this image" in (one.error or "") for one in results] == [
        False,
        True,
        False,
        False,
    ]
    assert [len(one.faces) for one in results] == [1, 0, 1, 1]
    with pytest.raises(ImageError, match="OpenCV cannot work on this image"):
        refusing(dark)


def test_several_workers_give_what_one_gives_in_order():
    photos = [photo(seed) for seed in range(7)]
    own = Pipeline("default", FixedDetector(BOX, (3.0, 5.0, 90.0, 99.0)))
    alone, together = list(own.stream(photos, workers=1)), list(own.stream(photos, workers=3))
    assert len(together) == 7
    for one, other in zip(alone, together, strict=True):
        for face, same in zip(one.faces, other.faces, strict=True):
            assert face.probs == pytest.approx(same.probs, abs=1e-5)
    assert alone[0].faces[0].probs != pytest.approx(alone[1].faces[0].probs, abs=1e-3)


def test_crops_of_images_that_are_ready_together_share_a_call(monkeypatch):
    classifier, others = Brightness(), threading.Semaphore(0)

    class First(FixedDetector):
        """The first image takes until the others are done."""

        def detect(self, image_rgb_u8):
            if image_rgb_u8.shape[0] == 11:
                assert all(others.acquire(timeout=5) for _ in range(3))
                time.sleep(0.05)
            others.release()
            return super().detect(image_rgb_u8)

    monkeypatch.setattr("mien.detectors.finder.open_detector", lambda *_: First((1.0, 2.0, 8.0, 9.0)))
    sizes = [(side, 17, 3) for side in (11, 12, 13, 14)]
    together = Pipeline(classifier, "yunet").stream(
        [np.full(size, 99, np.uint8) for size in sizes], workers=4
    )
    assert [(one.height, len(one.faces)) for one in together] == [(11, 1), (12, 1), (13, 1), (14, 1)]
    assert classifier.calls == 1


def test_tools_of_the_users_are_called_one_at_a_time():
    class Busy:
        inside = 0

        def enter(self):
            self.inside += 1
            time.sleep(0.005)
            assert self.inside == 1
            self.inside -= 1

    class Detector(FixedDetector, Busy):
        def detect(self, image_rgb_u8):
            self.enter()
            return super().detect(image_rgb_u8)

    class Own(ConstantClassifier, Busy):
        def logits(self, crops):
            self.enter()
            return super().logits(crops)

    shared = Pipeline(Own(), Detector(BOX))
    assert [len(one.faces) for one in shared.stream([photo()] * 7, workers=3)] == [1] * 7


def test_detectors_are_opened_once_for_each_thread_that_works_at_once(monkeypatch):
    opened = []

    def open_one(*_):
        opened.append(1)
        return FixedDetector(BOX)

    monkeypatch.setattr("mien.detectors.finder.open_detector", open_one)
    many = Pipeline(ConstantClassifier(), "yunet")
    for _ in range(3):
        assert len(list(many.stream([photo()] * 11, workers=3))) == 11
    assert len(opened) <= 3
    monkeypatch.setattr(FixedDetector, "one_at_a_time", True, raising=False)
    opened.clear()
    assert len(list(Pipeline(ConstantClassifier(), "haar").stream([photo()] * 11, workers=3))) == 11
    assert len(opened) == 1


def test_a_pipeline_pickles_and_gives_the_same_again():
    own = Pipeline("default", "haar", views=2, uncertain_below=0.3)
    again = pickle.loads(pickle.dumps(own))
    image = photo()
    assert again.facts == own.facts
    assert again(image) == own(image)


@pytest.mark.parametrize(("bound", "label"), [(0.0, "happy"), (0.88, "happy"), (0.89, UNCERTAIN)])
def test_below_the_bound_a_face_is_uncertain_and_keeps_its_probabilities(bound, label):
    own = Pipeline(ConstantClassifier(), FixedDetector((0.0, 0.0, 9.0, 9.0)), uncertain_below=bound)
    (face,) = own(np.zeros((11, 13, 3), np.uint8)).faces
    assert face.label == label
    assert face.probs["happy"] == pytest.approx(1 / (1 + np.exp(-2)))  # 0.8808


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uncertain_below": 1.2}, "uncertain_below is a probability from 0 to 1, got 1.2"),
        ({"views": 3}, "views must be one of 1, 2"),
        ({"detector": "yunett"}, r"unknown detector 'yunett': expected .*; did you mean yunet\?"),
        ({"backend": "int8"}, "backend, device, threads and spec open a model that is named"),
        ({"threads": 2}, "leave them out with a classifier of your own"),
        ({"detector_weights": "x.onnx"}, "detector_weights are of a detector that is named"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Pipeline(**{"model": ConstantClassifier(), "detector": FixedDetector(), **options})
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        list(pipeline().stream([], workers=0))


def loose(box, score=None, detector="", frame=None) -> Face:
    """Return a face as a user may make it: tests check the types of arguments, which Python does not."""
    face = object.__new__(Face)
    vars(face).update(box_xyxy_px=box, score=score, detector=detector, frame_xyxy_px=frame)
    return face


class Answering:
    """A detector of a user's, with any answer."""

    def __init__(self, answer):
        self.answer = answer

    def detect(self, image_rgb_u8):
        return self.answer


@pytest.mark.parametrize("workers", [1, 3])
def test_boxes_of_numpy_become_plain_numbers(workers, tmp_path):
    numpy = loose(np.array(BOX, np.float32), np.float32(0.5), "mine", np.array(BOX, np.float64))
    plain = Face(BOX, 0.5, "mine", BOX)
    for answer in (
        [numpy],
        (numpy,),
        np.array([numpy], object),
        [loose(map(float, BOX), np.float64(0.5), "mine", BOX)],
    ):
        given = Pipeline(ConstantClassifier(), Answering(answer))
        (result,) = given.stream(photo(), workers=workers)
        (expected,) = Pipeline(ConstantClassifier(), Answering([plain])).stream(photo())
        assert result == expected
        assert result.to_json() == expected.to_json()
        assert {type(side) for side in result.faces[0].box_xyxy_px} == {float}
    generated = Pipeline(ConstantClassifier(), Answering(one for one in [numpy]))
    assert len(generated(photo()).faces) == 1


WRONG_BOX = "returned a wrong face: expected a box as left, top, .* with left < right and top < bottom, got"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "must return a list of mien.Face, got NoneType"),
        (loose(BOX), "must return a list of mien.Face, got Face"),
        ([BOX], "must return a list of mien.Face, got tuple in it"),
        (np.array([BOX]), "must return a list of mien.Face, got ndarray in it"),
        ([loose((300.0, 100, 100, 200))], rf"{WRONG_BOX} \(300.0, 100.0, 100.0, 200.0\)"),
        ([loose((100.0, 200, 300, 100))], WRONG_BOX),
        ([loose((0, 0, float("nan"), 9))], rf"{WRONG_BOX} \(0.0, 0.0, nan, 9.0\)"),
        ([loose((0, 0, float("inf"), 9))], WRONG_BOX),
        ([loose((0, 0, 9))], WRONG_BOX),
        ([loose(None)], "returned a wrong face: "),
        ([loose((0, 0, 9, 9), frame=(9, 0, 0, 9))], WRONG_BOX),
        ([loose((0, 0, 9, 9), float("nan"))], "expected a score from 0 to 1 or None, got nan"),
        ([loose((0, 0, 9, 9), "high")], "returned a wrong face: could not convert"),
        ([loose((0, 0, 9, 9), detector=7)], "expected the name of the detector as text, got int"),
        (
            [loose(BOX), loose((5000, 5000, 5100, 5100))],
            r"its box \(5000.0, .*\) lies outside the image of 330x210",
        ),
        ([loose((330, 0, 340, 9))], "lies outside the image"),
        ([loose((-9, -9, 0, 0))], "lies outside the image"),
    ],
)
def test_a_wrong_answer_of_a_detector_of_your_own_is_one_error(answer, message):
    with pytest.raises(ConfigError, match=f"detector Answering .*{message}") as error:
        Pipeline(ConstantClassifier(), Answering(answer))(photo())
    assert "\n" not in str(error.value)


def test_a_box_may_reach_beyond_the_image():
    assert len(pipeline((-9.0, -9.0, 1.0, 1.0), (329.0, 209.0, 400.0, 300.0))(photo()).faces) == 2


class Saying(ConstantClassifier):
    """A classifier of a user's, with any answer."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def logits(self, crops):
        return self.answer(len(crops)) if callable(self.answer) else self.answer


@pytest.mark.parametrize("kind", [list, np.float64, np.float16, torch.tensor])
def test_logits_of_another_kind_become_an_array(kind):
    def answer(rows: int):
        logits = [[0.0, 2.0]] * rows
        return logits if kind is list else kind(logits)

    own = Pipeline(Saying(answer), FixedDetector(BOX, BOX), views=2)
    (face, _) = own(photo()).faces
    assert face.probs == pytest.approx({"sad": 1 / (1 + np.e**2), "happy": np.e**2 / (1 + np.e**2)}, rel=1e-3)
    assert Pipeline(Saying(answer), FixedDetector())(photo()).faces == ()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, r"must return logits \[1, 2\], one row a crop and one column a label; got \[\]"),
        ([[0.0, 1.0, 2.0]], r"must return logits \[1, 2\], .*; got \[1, 3\]"),
        ([[0.0, 1.0]] * 2, r"; got \[2, 2\]"),
        ([0.0, 1.0], r"; got \[2\]"),
        ([[0.0, 1.0], [2.0]], "must return logits as an array, got list"),
        ([["sad", "happy"]], "must return logits as an array, got list: could not convert string"),
        ({"sad": 1.0}, "must return logits as an array, got dict"),
        (torch.zeros(1, 2, requires_grad=True), "must return logits as an array, got Tensor"),
        ([[0.0, float("nan")]], "must return finite logits, got nan among them"),
        ([[0.0, -float("inf")]], "must return finite logits, got -inf among them"),
    ],
)
def test_a_wrong_answer_of_a_classifier_of_your_own_is_one_error(answer, message):
    with pytest.raises(ConfigError, match=rf"classifier constant \(Saying\) .*{message}") as error:
        Pipeline(Saying(answer), FixedDetector(BOX))(photo())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": None},
            "model must be a name, a path or an object with id, preprocess, logits; got NoneType",
        ),
        ({"model": 7}, "got int without id, preprocess, logits"),
        ({"model": FixedDetector()}, "got FixedDetector without id, preprocess, logits"),
        ({"model": ConstantClassifier}, "model is the class ConstantClassifier: give an object of it"),
        ({"detector": None}, "detector must be a name or an object with detect; got NoneType without detect"),
        ({"detector": ConstantClassifier()}, "got ConstantClassifier without detect"),
        (
            {"detector": FixedDetector},
            "detector is the class FixedDetector: give an object of it, FixedDetector",
        ),
    ],
)
def test_what_is_no_classifier_or_detector_is_refused_before_the_first_photo(options, message):
    with pytest.raises(ConfigError, match=message):
        Pipeline(**{"model": ConstantClassifier(), "detector": FixedDetector(), **options})


WRONG_TYPES = {
    "mien.Pipeline(uncertain_below=None)": "uncertain_below is a probability from 0 to 1, got None",
    "mien.Pipeline(uncertain_below='0.5')": "uncertain_below is a probability from 0 to 1, got '0.5'",
    "mien.Pipeline(views='2')": "views must be one of 1, 2, 6, 10, got '2' (str)",
    "mien.Pipeline(views=2.0)": "views must be one of 1, 2, 6, 10, got 2.0 (float)",
    "mien.Pipeline(threads='2')": "threads must be a number, got '2'",
    "mien.ReadOptions(val_fraction='0.1')": "val_fraction must be a number, got '0.1'",
    "mien.ReadOptions(split_seed=None)": "split_seed must be a number, got None",
    "mien.video('talk.mp4', fps='5')": "fps must be a number, got '5'",
    "mien.video('talk.mp4', start=None)": "start must be a number, got None",
    "mien.Tracker(smooth='1')": "smooth must be a number, got '1'",
    "mien.predict([image], workers='2')": "workers must be a whole number, got '2'",
    "mien.predict([image], workers=2.0)": "workers must be a whole number, got 2.0",
    "mien.annotate('photo.jpg', [])": "expected the pixels of an image as an array, got str: mien.read_image",
    "mien.annotate(image, result)": "expected faces with their labels, as result.faces, got ImageResult",
    "mien.annotate(image, [result])": "expected faces with their labels, as result.faces, got list of ImageResult",
    "mien.annotate(image, mien.open_detector('whole').detect(image))": "as result.faces, got list of Face",
    "mien.annotate(image / 255, [])": "expected pixels as uint8, RGB [h, w, 3] or grey [h, w]; got float64",
    "mien.annotate(image / 255, result.faces)": "got float64 [7, 5, 3]: scale it",
    "mien.read_image(b'bytes')": "expected the path of a picture, got bytes: mien.frames reads bytes",
    "mien.read_image(image)": "expected the path of a picture, got ndarray",
}


def test_an_argument_of_a_wrong_type_is_one_error():
    """In a process of its own: here, jaxtyping checks the types of arguments first."""
    program = """
import sys, mien, numpy
image = numpy.zeros((7, 5, 3), numpy.uint8)
result = mien.Pipeline(detector="whole")(image)
assert mien.Pipeline(views=numpy.int64(2), uncertain_below=numpy.float32(0.5)).facts["uncertain_below"] == 0.5
for line in sys.argv[1:]:
    try:
        print("nothing was wrong with", line, eval(line))
    except mien.MienError as error:
        print(error)
    except Exception as error:
        print(repr(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *WRONG_TYPES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    for told, expected in zip(done.stdout.splitlines(), WRONG_TYPES.values(), strict=True):
        assert expected in told


def test_predict_is_a_sequence_that_converts(tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"broken")
    found = predict(
        [photo(), tmp_path / "b.jpg"], model=ConstantClassifier(), detector=FixedDetector(BOX, BOX)
    )
    assert len(found) == 2
    made = Pipeline(ConstantClassifier(), FixedDetector())
    assert repr(made) == "Pipeline(model constant, ConstantClassifier; detector FixedDetector)"
    assert repr(found) == "Predictions(2 images, 2 faces, 1 error, model constant)"
    assert found[0].faces[1].label == "happy"
    assert [row.get("face") for row in found.to_rows()] == [1, 2, None]
    assert json.loads(found.to_json())["images"][1]["error"].startswith("not a picture")
    assert found.to_dict()["detector"] == "FixedDetector"
    page = found._repr_html_()
    assert page.count("<tr>") == 4
    assert "not a picture" in page
    assert found[0]._repr_png_().startswith(b"\x89PNG")
    assert found[1]._repr_png_() is None


def test_equal_results_are_equal_and_have_one_hash():
    def found(**options) -> Predictions:
        given = {"model": ConstantClassifier(), "detector": FixedDetector(BOX), **options}
        return predict([photo(), "none.jpg"], **given)

    first, again = found(), found()
    assert first == again == pickle.loads(pickle.dumps(first))
    assert first[:1] == again[:1] != first
    others = found(views=2), found(detector=FixedDetector()), found(model=ConstantClassifier((2.0, 0.0)))
    assert all(first != other for other in (*others, list(first), None))
    assert {*first} == {*again}
    assert len({*first, *again, *others[2]}) == 3
    assert len({*first[0].faces, *again[0].faces, *others[2][0].faces}) == 2
    with pytest.raises(TypeError, match="unhashable type: 'Predictions'"):
        hash(first)


def test_rows_have_the_columns_of_a_table_even_if_there_is_no_face(tmp_path):
    blank = np.zeros((11, 13, 3), np.uint8)
    none = predict([blank, tmp_path / "none.jpg"], model=ConstantClassifier(), detector=FixedDetector())
    some = predict([blank], model=ConstantClassifier(), detector=FixedDetector((1.0, 2.0, 8.0, 9.0)))
    table = Table(tmp_path / "t.csv", none.facts)
    for image in none:
        table.write(image)
    table.close()
    with (tmp_path / "t.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = none.to_rows()
    assert [list(row) for row in rows] == [list(line) for line in lines]
    assert [list(row) for row in some.to_rows()] == [list(lines[0])]
    assert [(row["face"], row["label"], row["prob_happy"]) for row in rows] == [(None, None, None)] * 2
    assert {(row["model"], row["views"], row["finder"], row["uncertain_below"]) for row in rows} == {
        ("constant@000000000000", 1, "FixedDetector", 0.0)
    }
    assert list(none[0].to_rows()[0]) == list(COLUMNS)
    assert none[0].to_rows()[0]["label"] is None
    tracked = Predictions(
        list(
            Pipeline(ConstantClassifier(), FixedDetector(BOX)).stream(
                [Frame("f.mp4", number, number / 25, photo) for number in range(2)], tracker=Tracker()
            )
        ),
        none.facts,
        {},
    )
    assert [row["track"] for row in tracked.to_rows()] == [1, 1]


def test_a_slice_is_predictions_and_what_is_gone_is_told(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path in paths:
        Image.fromarray(photo()).save(path)
    found = predict(paths, model=ConstantClassifier(), detector=FixedDetector(BOX))
    part = found[1:]
    assert isinstance(part, Predictions)
    assert [one.source for one in part] == [str(path) for path in paths[1:]]
    assert part.to_dict()["model"] == found.to_dict()["model"]
    paths[1].unlink()
    with pytest.raises(
        OutputError, match=r"cannot be read again, and left out of .*: 1 image, first .*b\.png"
    ):
        found.save(tmp_path / "out")
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == [str(paths[0]), str(paths[2])]
    assert sorted(one.name for one in (tmp_path / "out").glob("*.jpg")) == ["a.faces.jpg", "c.faces.jpg"]


def test_a_video_in_python_is_followed_as_on_the_command_line(tmp_path):
    clip = tmp_path / "a.gif"
    first, *rest = (Image.fromarray(photo(number)) for number in range(4))
    first.save(clip, save_all=True, append_images=rest, duration=100, disposal=1)
    options = {"detector": FixedDetector((101.0, 53.0, 197.0, 149.0))}
    found, alone = mien.predict(clip, **options), mien.predict(clip, tracker=None, **options)
    assert [face.track for one in found for face in one.faces] == [1, 1, 1, 1]
    assert "tracking" in found.facts
    assert [face.track for one in alone for face in one.faces] == [None] * 4
    assert "tracking" not in alone.facts
    own = mien.predict(clip, tracker=mien.Tracker(smooth=0), **options)
    assert [face.probs for one in own for face in one.faces] == [
        face.probs for one in alone for face in one.faces
    ]
    with pytest.raises(ConfigError, match="tracker is 'on': expected auto, None or a mien.Tracker"):
        mien.predict(clip, tracker="on", **options)
