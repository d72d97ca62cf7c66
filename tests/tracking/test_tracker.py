"""Numbers of people, smoothing over time, and faces between searched frames."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

import mien
from mien.errors import ConfigError
from mien.pipeline import Pipeline
from mien.predictions import ImageResult
from mien.results import UNCERTAIN, Face, FaceResult
from mien.tracking.between import marked
from mien.tracking.pairs import paired
from mien.tracking.tracker import Tracker
from mien.vision.frames import Frame
from tests.fakes import ConstantClassifier


def face(x, y=10.0, side=20.0, happy=0.75):
    return FaceResult((x, y, x + side, y + side), "happy", {"sad": 1 - happy, "happy": happy})


def seen(tracker, times_faces, **options):
    """Return the tracks of each frame."""
    return [
        tuple(
            one.track
            for one in tracker.update(ImageResult("a.mp4", number, time, faces=tuple(faces)), **options).faces
        )
        for number, (time, faces) in enumerate(times_faces)
    ]


def test_two_people_who_walk_past_each_other_keep_their_numbers():
    steps = [(n / 25, [face(5.0 * n), face(200 - 5.0 * n, y=34.0)]) for n in range(40)]
    assert set(seen(Tracker(), steps)) == {(1, 2)}


def test_motion_decides_where_boxes_cross():
    """At the meeting, the boxes lie over each other; by place alone the numbers would change."""
    steps = [(n / 10, [face(12.0 * n), face(12.0 * (13 - n))]) for n in range(14)]
    assert set(seen(Tracker(), steps)) == {(1, 2)}


def test_a_short_gap_is_bridged_and_a_long_one_is_a_new_number():
    there, away = [face(50.0)], []
    steps = [(0.0, there), (0.1, away), (0.9, there), (1.0, away), (2.5, there), (2.6, [face(150.0), *there])]
    assert seen(Tracker(bridge=1.0), steps) == [(1,), (), (1,), (), (2,), (3, 2)]


def test_numbers_are_never_used_again_in_another_video():
    tracker = Tracker()
    first = tracker.update(ImageResult("a.mp4", 0, 0.0, faces=(face(5.0),)))
    second = tracker.update(ImageResult("b.mp4", 0, 0.0, faces=(face(5.0),)))
    assert [one.faces[0].track for one in (first, second)] == [1, 2]


def test_photos_and_errors_pass_through():
    tracker = Tracker()
    for result in (ImageResult("a.jpg", faces=(face(1.0),)), ImageResult("a.mp4", 1, 0.1, error="broken")):
        assert tracker.update(result) is result


def test_smoothing_by_hand_at_uneven_times():
    tracker = Tracker(smooth=0.5)
    values, times = [0.9, 0.1, 0.5], [0.0, 0.5, 0.6]
    for time, value, n in zip(times, values, range(3), strict=True):
        result = tracker.update(
            ImageResult("a.mp4", n, time, faces=(face(5.0, happy=value),)), uncertain_below=0.6
        )
        weights = [math.exp(-(time - then) / 0.5) for then in times[: n + 1]]
        expected = sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
        (only,) = result.faces
        assert only.probs["happy"] == pytest.approx(expected)
        assert sum(only.probs.values()) == pytest.approx(1)
        assert only.raw_probs == pytest.approx({"happy": value, "sad": 1 - value})
        best = max(expected, 1 - expected)
        assert only.label == ("happy" if expected > 0.5 else "sad") if best >= 0.6 else UNCERTAIN
    raw = Tracker(smooth=0).update(ImageResult("a.mp4", 0, 0.0, faces=(face(5.0),)))
    assert raw.faces[0].probs == raw.faces[0].raw_probs
    assert Tracker().update(result).faces[0].raw_probs == only.raw_probs, "the raw ones stay"


def test_a_resumed_tracker_goes_on_as_if_it_had_never_stopped():
    steps = [ImageResult("a.mp4", n, n / 25, faces=(face(3.0 * n, happy=(n % 7) / 7),)) for n in range(30)]
    whole = Tracker()
    expected = [whole.update(one) for one in steps]
    resumed = Tracker()
    for one in expected[:17]:
        resumed.adopt(one)
    for one, other in zip(map(resumed.update, steps[17:]), expected[17:], strict=True):
        assert one.faces[0].track == other.faces[0].track
        assert one.faces[0].probs == pytest.approx(other.faces[0].probs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detect_every": 0}, "detect_every must be at least 1, got 0"),
        ({"smooth": -1}, "smooth must be a number of seconds from 0 on, got -1"),
        ({"bridge": math.nan}, "bridge must be a number of seconds from 0 on, got nan"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        Tracker(**options)


def test_pairs_take_the_most_similar_first_and_no_place_twice():
    boxes = [(0.0, 0.0, 10.0, 10.0), (6.0, 0.0, 16.0, 10.0)]
    assert paired(boxes, [(5.0, 0.0, 15.0, 10.0), (1.0, 0.0, 11.0, 10.0)]) == {0: 1, 1: 0}
    assert paired(boxes[:1], boxes) == {0: 0}
    assert paired(boxes[:1], [(0.0, 0.0, 30.0, 30.0)]) == {}


class Moving:
    """Finds the white square of an image, and counts how often it is asked."""

    name = "moving"

    def __init__(self):
        self.asked = 0

    def detect(self, image_rgb_u8):
        self.asked += 1
        rows, columns = np.nonzero(image_rgb_u8[..., 0])
        if not len(rows):
            return []
        box = (float(columns.min()), float(rows.min()), columns.max() + 1.0, rows.max() + 1.0)
        return [Face(box, 0.9, "moving", box)]


def film(places) -> Iterator[Frame]:
    for number, x in enumerate(places):
        image = np.zeros((50, 150, 3), np.uint8)
        if x is not None:
            image[10:30, x : x + 20] = 255
        yield Frame("a.mp4", number, number / 25, load=lambda image=image: image)


@pytest.mark.parametrize("workers", [1, 3])
def test_between_searched_frames_boxes_lie_where_searching_finds_them(workers):
    places, detector = range(20), Moving()
    results = list(
        Pipeline(ConstantClassifier(), detector).stream(
            film(places), tracker=Tracker(detect_every=4), workers=workers
        )
    )
    assert [one.faces[0].box_xyxy_px for one in results] == [(x, 10.0, x + 20.0, 30.0) for x in places]
    assert [one.index for one in results] == list(range(20))
    assert detector.asked == 5 + 3  # the frames after the last searched one have nothing to lie between
    named = [one.faces[0].detector for one in results[:5]]
    assert named == ["moving", *["moving between"] * 3, "moving"]


@pytest.mark.parametrize("change", [[None] * 10, [90] * 10])
def test_where_something_changes_every_frame_is_searched(change):
    places, detector = [0] * 6 + change, Moving()
    results = list(
        Pipeline(ConstantClassifier(), detector).stream(film(places), tracker=Tracker(detect_every=4))
    )
    shown = [one.faces[0].box_xyxy_px[0] if one.faces else None for one in results]
    assert shown == places
    assert detector.asked < len(places)


def test_each_video_begins_with_a_searched_frame_and_photos_are_all_searched():
    given = [
        Frame("a", 0, 0.0),
        Frame("a", 1, 0.1),
        Frame("b", 0, 0.0),
        Frame("b", 1, 0.1),
        Frame("c"),
        Frame("d"),
    ]
    assert [searched for _, searched in marked(given, 5)] == [True, False, True, False, True, True]
    twice = [Frame("a.mp4", number, number / 10) for number in (0, 1, 2, 0, 1, 2)]
    assert [searched for _, searched in marked(twice, 5)] == [True, False, False] * 2, "it begins again"


def test_one_track_from_first_to_last_frame_of_a_real_clip(shared, yunet_weights):
    pipeline = Pipeline(detector="yunet", detector_weights=yunet_weights)
    results = list(
        pipeline.stream(mien.video(shared / "photos" / "talking_face.mp4", every=4), tracker=Tracker())
    )
    assert len(results) == 118
    assert [[one.track for one in result.faces] for result in results] == [[1]] * 118
    assert results[-1].faces[0].label == "happy"
    rows = [row for result in results for row in result.to_rows()]
    assert len(rows) == sum(len(result.faces) for result in results)
    assert {"track", "raw_happy", "prob_happy"} <= rows[0].keys()
