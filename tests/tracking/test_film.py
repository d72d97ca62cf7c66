"""The files about a video: the MP4 plays, hides faces, survives an interruption; the timeline adds up."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from mien import files
from mien.errors import ConfigError, OutputError
from mien.options import Clip, Outputs
from mien.pipeline import Pipeline
from mien.predictions import ImageResult
from mien.results import FaceResult
from mien.sinks import Sinks, mp4, recorded
from mien.sinks.hiding import AFTER_S, AHEAD_S, Hiding, hide
from mien.sinks.mp4 import Mp4, pictures_in
from mien.sinks.timeline import MOST_GLIMPSES, Timeline
from mien.sinks.timeline_page import drawn
from mien.tracking.tracker import Tracker
from mien.vision.frames import frames
from mien.vision.sampling import ALL
from tests.fakes import ConstantClassifier, FixedDetector
from tests.vision.test_video import film

BOX = (8.0, 6.0, 30.0, 28.0)
TIMES = tuple(range(0, 4000, 40))


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Return a video of 100 frames in 4 s; two times differ from the usual rate."""
    times = [time + 11 * (number in (3, 50)) for number, time in enumerate(TIMES)]
    return film(tmp_path_factory.mktemp("film") / "talk.mp4", times, sound=True)


def run(source, outputs, stop_after=None, chosen=ALL, boxes=(BOX,), workers=1):
    """Record a video; raise KeyboardInterrupt after so many frames."""
    pipeline, tracker = Pipeline(ConstantClassifier(), FixedDetector(*boxes)), Tracker()
    stream = frames(source, clip=chosen)
    with Sinks(outputs, pipeline.facts | tracker.facts | chosen.facts) as sinks:
        for number, _ in enumerate(
            recorded(pipeline, stream, sinks, tracker=tracker, workers=workers), start=1
        ):
            if number == stop_after:
                raise KeyboardInterrupt


def times_of(path):
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def whole(talk, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    run(talk, Outputs(out=out, csv=out / "t.csv"))
    return out


def test_the_mp4_has_every_frame_at_its_time_and_the_sound(talk, whole):
    assert times_of(whole / "talk.faces.mp4") == pytest.approx([one.time_s for one in frames(talk)], abs=1e-4)
    with av.open(str(whole / "talk.faces.mp4")) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec_context.name, picture.codec_context.pix_fmt, sound.codec_context.name) == (
            "h264", "yuv420p", "aac",
        )  # fmt: skip
        assert container.duration / 1e6 == pytest.approx(4.0, abs=0.05)
        container.seek(round(2.0 / picture.time_base), stream=picture)
        assert 1.0 < next(container.decode(picture)).time <= 2.0
    names = {path.name for path in whole.iterdir()}
    assert names == {
        *("talk.faces.mp4", "talk.timeline.html", "talk.timeline.png", "talk.timeline.csv"),
        *("predictions.json", "predictions.jsonl", "t.csv"),
    }


def test_rows_are_frames_times_faces_with_raw_values(whole):
    rows = list(csv.DictReader((whole / "t.csv").read_text().splitlines()))
    assert [(int(row["index"]), row["face"], row["track"]) for row in rows] == [
        (n, "1", "1") for n in range(100)
    ]
    assert rows[0]["raw_happy"] == rows[0]["prob_happy"]
    document = json.loads((whole / "predictions.json").read_text())
    assert document["tracking"] == "detect every 1, smooth 0.5 s, bridge 1 s"
    assert document["images"][7]["faces"][0]["track"] == 1


def test_an_interrupted_run_leaves_a_video_that_plays_and_goes_on(talk, whole, tmp_path):
    outputs = {"out": tmp_path, "csv": tmp_path / "t.csv"}
    with pytest.raises(KeyboardInterrupt):
        run(talk, Outputs(**outputs), stop_after=60)
    part = tmp_path / "talk.faces.part.mp4"
    assert len(times_of(part)) == 60
    assert not (tmp_path / "talk.faces.mp4").exists()
    run(talk, Outputs(**outputs, resume=True))
    for name in ("t.csv", "predictions.jsonl", "talk.timeline.csv"):
        assert (tmp_path / name).read_text() == (whole / name).read_text(), name
    expected = times_of(whole / "talk.faces.mp4")
    assert times_of(tmp_path / "talk.faces.mp4") == pytest.approx(expected, abs=1e-4)
    assert not part.exists()


def test_a_run_that_was_killed_after_the_last_frame_is_finished(talk, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(talk, Outputs(out=tmp_path), stop_after=100)
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 100
    run(talk, Outputs(out=tmp_path, resume=True))
    assert (tmp_path / "talk.timeline.csv").read_text() == (whole / "talk.timeline.csv").read_text()
    expected = times_of(whole / "talk.faces.mp4")
    assert times_of(tmp_path / "talk.faces.mp4") == pytest.approx(expected, abs=1e-4)
    assert not list(tmp_path.glob("*.part.mp4"))


def test_the_frames_of_a_video_that_is_not_named_again_stay(tmp_path):
    one, two = (film(tmp_path / f"{name}.mp4", TIMES[:7]) for name in ("one", "two"))
    for source in (one, two):
        run(source, Outputs(csv=tmp_path / "t.csv", resume=True))
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [(row["source"], int(row["index"])) for row in rows] == [
        (source, number) for source in (one, two) for number in range(7)
    ]


def test_a_finished_run_can_be_repeated_and_goes_on_if_more_frames_are_chosen(talk, whole, tmp_path):
    outputs = {"out": tmp_path, "csv": tmp_path / "t.csv"}
    run(talk, Outputs(**outputs), chosen=Clip(end=2.0))
    assert len(times_of(tmp_path / "talk.faces.mp4")) == 50
    for _ in range(2):
        run(talk, Outputs(**outputs, resume=True))
        for name in ("t.csv", "predictions.jsonl", "talk.timeline.csv"):
            assert (tmp_path / name).read_text() == (whole / name).read_text(), name
        expected = times_of(whole / "talk.faces.mp4")
        assert times_of(tmp_path / "talk.faces.mp4") == pytest.approx(expected, abs=1e-4)
        assert not list(tmp_path.glob("*.part.mp4"))


def test_videos_may_come_in_another_order_when_a_run_goes_on(tmp_path):
    one, two, three = (film(tmp_path / f"{name}.mp4", TIMES[:20]) for name in ("one", "two", "three"))
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run([one, two], Outputs(out=out), stop_after=35)
    with pytest.raises(KeyboardInterrupt):
        run([three], Outputs(out=out, resume=True), stop_after=10)
    run([three, two, one], Outputs(out=out, resume=True))
    for name in ("one", "two", "three"):
        assert len(times_of(out / f"{name}.faces.mp4")) == 20, name
        assert len((out / f"{name}.timeline.csv").read_text().splitlines()) > 1
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert sorted((row["source"], row["index"]) for row in rows) == sorted(
        (video, index) for video in (one, two, three) for index in range(20)
    )


@pytest.mark.parametrize("workers", [1, 4])
def test_a_new_video_before_a_half_done_one_takes_nothing_from_it(tmp_path, workers):
    """Workers read ahead: frames of the second video are taken over while the first one is still written."""
    one, two = (film(tmp_path / f"{name}.mp4", TIMES[:20]) for name in ("one", "two"))
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run([one], Outputs(out=out), stop_after=12)
    run([two, one], Outputs(out=out, resume=True), workers=workers)
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    for source, track in ((one, 1), (two, 2)):
        assert len(times_of(out / f"{Path(source).stem}.faces.mp4")) == 20
        assert {row["track"] for row in rows if row["source"] == source} == {track}


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        ({}, {"pixelate": True}, "faces hidden by pixelate"),
        ({"blur": True}, {}, "faces hidden by blur"),
        ({"chosen": Clip(every=2)}, {}, "frames: every 2"),
        ({"chosen": Clip(every=2)}, {"chosen": Clip(fps=5, start=1)}, "frames: 5 a second, from 1 s"),
    ],
)
def test_a_run_does_not_go_on_with_other_frames_or_visible_faces(talk, tmp_path, first, then, told):
    def given(options):
        chosen = options.get("chosen", ALL)
        return {name: value for name, value in options.items() if name != "chosen"}, chosen

    hidden, chosen = given(first)
    with pytest.raises(KeyboardInterrupt):
        run(talk, Outputs(out=tmp_path, **hidden), stop_after=9, chosen=chosen)
    before = (tmp_path / "predictions.jsonl").read_bytes()
    hidden, chosen = given(then)
    with pytest.raises(ConfigError, match=told):
        run(talk, Outputs(out=tmp_path, resume=True, **hidden), chosen=chosen)
    assert (tmp_path / "predictions.jsonl").read_bytes() == before
    run(talk, Outputs(out=tmp_path, resume=True, **given(first)[0]), chosen=given(first)[1])


def test_a_full_disk_at_the_end_of_a_video_is_an_error_and_no_wait(talk, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    real = mp4._mux
    one = Mp4(tmp_path / "t.faces.mp4", "")
    monkeypatch.setattr(
        "mien.sinks.mp4._mux", lambda out, packets: full() if one._is_over else real(out, packets)
    )
    for number in range(3):
        one.add(np.zeros((34, 62, 3), np.uint8), number / 25)
    with pytest.raises(OutputError, match="No space left on device"):
        one.close()


def test_a_refused_run_leaves_the_earlier_table(talk, tmp_path, monkeypatch):
    run(talk, Outputs(out=tmp_path))
    before = (tmp_path / "predictions.jsonl").read_bytes()
    with files.locked(tmp_path / "other"), pytest.raises(OutputError, match="another command"):
        run(talk, Outputs(out=tmp_path, csv=tmp_path / "t.csv", crops=tmp_path / "other"))
    with (tmp_path / "u.csv").open("ab") as held:
        assert files._lock(held.fileno())
        with pytest.raises(OutputError, match="another command"):
            run(talk, Outputs(out=tmp_path, csv=tmp_path / "u.csv"))
    monkeypatch.setattr("mien.sinks.Window", refusing_window)
    with pytest.raises(ConfigError, match="no screen"):
        run(talk, Outputs(out=tmp_path, window=True))
    assert (tmp_path / "predictions.jsonl").read_bytes() == before


def refusing_window(_):
    raise ConfigError("no screen")


KILLED = """
import sys, time
from pathlib import Path
from mien.options import Outputs
from mien.pipeline import Pipeline
from mien.sinks import Sinks, mp4, recorded
from mien.tracking.tracker import Tracker
from mien.vision.frames import frames
from tests.fakes import ConstantClassifier, FixedDetector
source, out = sys.argv[1:]
pipeline, tracker = Pipeline(ConstantClassifier(), FixedDetector((8.0, 6.0, 30.0, 28.0))), Tracker()
outputs = Outputs(out=Path(out), csv=Path(out, "t.csv"))
with Sinks(outputs, pipeline.facts | tracker.facts) as sinks:
    for number, _ in enumerate(recorded(pipeline, frames(source), sinks, tracker=tracker, workers=1), start=1):
        if number == 80:
            print("here", flush=True)
            time.sleep(60)
"""


@pytest.fixture(scope="module")
def killed(talk, tmp_path_factory):
    """Return what a process leaves that is killed with SIGKILL after 80 frames."""
    out = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", KILLED, str(talk), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "here\n"
        process.kill()
    return out


@pytest.mark.parametrize("damaged", [False, True])
def test_a_killed_run_goes_on_from_what_the_video_holds(talk, killed, tmp_path, damaged):
    """The video holds less than the table; the frames between are made again, their rows are not."""
    out = shutil.copytree(killed, tmp_path / "out")
    rows = list(csv.DictReader((out / "t.csv").read_text().splitlines()))
    assert [int(row["index"]) for row in rows] == list(range(len(rows)))
    assert len(rows) in (79, 80, 81)
    part = out / "talk.faces.part.mp4"
    if damaged:
        part.write_bytes(part.read_bytes()[:72])
        assert pictures_in(part) == 0
    else:
        assert 25 <= len(times_of(part)) == pictures_in(part) <= 80
    run(talk, Outputs(out=out, csv=out / "t.csv", resume=True))
    assert len(times_of(out / "talk.faces.mp4")) == 100
    rows = list(csv.DictReader((out / "t.csv").read_text().splitlines()))
    assert [int(row["index"]) for row in rows] == list(range(100))
    assert {row["track"] for row in rows} == {"1"}


def test_a_full_disk_is_one_line_and_the_table_is_whole(talk, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mien.sinks.mp4._frame", full)
    with pytest.raises(
        OutputError, match="No space left on device; the pictures so far are in talk.faces.part.mp4"
    ):
        run(talk, Outputs(out=tmp_path))
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(len(lines)))


def result(time, *tracks, x=100.0):
    faces = tuple(
        FaceResult((x, 50.0, x + 40, 90.0), "happy", {"happy": 1.0}, track=track) for track in tracks
    )
    return ImageResult("a.mp4", round(time * 10), time, faces=faces)


def test_a_face_is_hidden_before_it_is_found_after_it_is_lost_and_between():
    times = [n / 10 for n in range(60)]
    there = [t for t in times if 2.0 <= t <= 2.5 or 3.2 <= t <= 3.5]
    found = list(Hiding().around(result(t, *([1] if t in there else [])) for t in times))
    assert [one.time_s for one, _ in found] == times
    hidden = [one.time_s for one, boxes in found if boxes]
    assert {t for t in times if 2.0 - AHEAD_S <= t <= 3.5 + AFTER_S - 0.05} <= {*hidden}
    assert min(hidden) > 2.0 - AHEAD_S - 0.15
    assert max(hidden) < 3.5 + AFTER_S + 0.05


def test_a_face_for_which_the_tracker_waits_longer_stays_hidden():
    found = list(Hiding(4.0).around(result(n / 10, *([] if 10 < n < 40 else [1])) for n in range(60)))
    assert all(boxes for _, boxes in found)


def test_a_face_found_just_before_an_interruption_is_hidden_after_it():
    hiding = Hiding()
    for n in range(20):
        hiding.adopt(result(n / 10, 1))
    hiding.adopt(replace(result(1.9, 2), source="b.mp4"))
    found = list(hiding.around(result(n / 10) for n in range(20, 40)))
    hidden = [one.time_s for one, boxes in found if boxes]
    assert hidden[0] == 2.0
    assert 2.8 <= hidden[-1] <= 1.9 + AFTER_S


@pytest.mark.parametrize("smooth", [True, False])
def test_a_hidden_face_keeps_few_colours_and_the_rest_is_untouched(smooth):
    image = np.random.default_rng(0).integers(0, 256, (101, 103, 3), np.uint8)
    hidden = hide(image, [(30.0, 30.0, 60.0, 60.0), (-9.0, -9.0, -1.0, -1.0)], smooth=smooth)
    inside = hidden[22:68, 22:68]
    assert inside.std() < 0.3 * image.std()
    assert (hidden[:20] == image[:20]).all()
    assert (hidden[30:60, 30:60] != image[30:60, 30:60]).any(axis=2).mean() > 0.95


def test_hiding_searches_every_frame_and_stores_no_crops(talk, tmp_path):
    with pytest.raises(ConfigError, match="crops stores the faces that blur and pixelate hide"):
        Outputs(out=tmp_path, crops=tmp_path, blur=True)
    pipeline, tracker = Pipeline(ConstantClassifier(), FixedDetector(BOX)), Tracker(detect_every=2)
    with pytest.raises(ConfigError, match="search every frame: leave out detect_every"):  # noqa: SIM117
        with Sinks(Outputs(out=tmp_path, blur=True), pipeline.facts | tracker.facts) as sinks:
            list(recorded(pipeline, frames(talk), sinks, tracker=tracker))


def test_a_video_whose_name_is_not_utf_8(talk, tmp_path):
    shutil.copy(talk, tmp_path / "f\udce9.mp4")
    run(tmp_path / "f\udce9.mp4", Outputs(out=tmp_path / "out", csv=tmp_path / "t.csv"))
    assert len(times_of(tmp_path / "out" / r"f\xe9.faces.mp4")) == 100
    assert rf"{tmp_path}/f\xe9.mp4,99," in (tmp_path / "t.csv").read_text()


@pytest.mark.parametrize("source", [lambda talk: talk, lambda talk: iter([talk])], ids=["path", "iterator"])
def test_hiding_needs_a_tracker_as_a_face_may_be_missed_in_some_frames(talk, tmp_path, source):
    pipeline = Pipeline(ConstantClassifier(), FixedDetector(BOX))
    with pytest.raises(ConfigError, match="hide a face of a video also in frames .* give a tracker"):  # noqa: SIM117
        with Sinks(Outputs(out=tmp_path, blur=True), pipeline.facts) as sinks:
            list(recorded(pipeline, frames(source(talk)), sinks))
    assert not list(tmp_path.glob("*.mp4"))


def test_hidden_faces_are_not_in_the_video_nor_on_the_page(talk, tmp_path):
    run(talk, Outputs(out=tmp_path, pixelate=True))
    assert "data:image/jpeg" not in (tmp_path / "talk.timeline.html").read_text()
    assert len(times_of(tmp_path / "talk.faces.mp4")) == 100


def test_a_resumed_run_hides_the_face_that_it_no_longer_finds(talk, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(talk, Outputs(out=tmp_path, pixelate=True), stop_after=40)
    hidden = []
    monkeypatch.setattr("mien.sinks.hide", lambda image, boxes, smooth: hidden.append(bool(boxes)) or image)
    run(talk, Outputs(out=tmp_path, pixelate=True, resume=True), boxes=())
    assert len(hidden) in range(55, 62)
    seconds = sum(hidden) / 25
    assert AFTER_S - 0.1 < seconds < AFTER_S + 0.1
    assert hidden[: sum(hidden)] == [True] * sum(hidden)


def test_a_timeline_by_hand():
    timeline = Timeline(("sad", "happy"))
    for number in range(100):
        label = "sad" if number < 30 else "happy"
        probs = {"sad": 1.0, "happy": 0.0} if label == "sad" else {"sad": 0.25, "happy": 0.75}
        faces = (FaceResult(BOX, label, probs, track=1),) if number < 80 else ()
        timeline.add(ImageResult("a.mp4", number, number / 10, faces=faces))
    (one,) = timeline.summary(timeline.longest(5))
    assert (one["changes"], one["longest"], one["frames"]) == (1, "happy", 80)
    assert (one["longest_from_s"], one["longest_to_s"]) == pytest.approx((3.0, 8.0))
    assert one["shares"] == pytest.approx({"happy": 50 / 80, "sad": 30 / 80})
    _, means = timeline.series(1, 10)
    assert means == [pytest.approx(row) for row in [[1, 0]] * 3 + [[0.25, 0.75]] * 5 + [[0, 0]] * 2]


def test_a_timeline_of_hours_stays_small(monkeypatch):
    monkeypatch.setattr("mien.sinks.timeline.MOST_BINS", 50)
    timeline = Timeline(("happy",))
    for number in range(5000):
        timeline.add(
            ImageResult(
                "a.mp4", number, number / 10, faces=(FaceResult(BOX, "happy", {"happy": 0.5}, track=1),)
            )
        )
    assert timeline.table().count("\n") <= 51
    assert len(timeline.people[1].glimpses) <= MOST_GLIMPSES
    assert all(row == [pytest.approx(0.5)] for row in timeline.series(1, 20)[1])


def test_the_first_frame_of_a_timeline_lasts_as_long_as_the_others():
    timeline = Timeline(("happy",))
    for number in range(2):
        faces = (FaceResult(BOX, "happy", {"happy": 1.0}, track=number),)
        timeline.add(ImageResult("a.mp4", number, number / 10, faces=faces))
    seen = {one["track"]: (one["seen_s"], one["last_s"]) for one in timeline.summary(timeline.longest(5))}
    assert seen == {0: pytest.approx((0.1, 0.1)), 1: pytest.approx((0.1, 0.2))}


def test_a_timeline_of_many_people_is_joined_no_further_than_one_bin_a_person(monkeypatch):
    """Joining cannot make fewer bins than people, so it must not be tried with every frame."""
    monkeypatch.setattr("mien.sinks.timeline.MOST_BINS", 50)
    timeline, joined = Timeline(("happy",)), []
    monkeypatch.setattr(timeline, "_merge", lambda: joined.append(Timeline._merge(timeline)))
    for number in range(1000):
        faces = (FaceResult(BOX, "happy", {"happy": 0.5}, track=number),)
        timeline.add(ImageResult("a.mp4", number, number / 10, faces=faces))
    assert len(joined) < 20
    assert timeline.table().count("\n") == 1001


def test_a_label_with_dollar_signs_is_no_formula():
    timeline = Timeline(("a $x_{$ b", "happy"))
    faces = (FaceResult(BOX, "happy", {"a $x_{$ b": 0.5, "happy": 0.5}, track=1),)
    timeline.add(ImageResult("a.mp4", 0, 0.0, faces=faces))
    assert "a $x_{$ b" in drawn(timeline, timeline.longest(5), "svg").decode()


PLAY = """() => new Promise((done) => {
  const film = document.querySelector("video");
  film.muted = true;
  film.onerror = () => done({error: film.error.message});
  film.onseeked = () => { film.onseeked = null; film.play(); };
  film.onended = () => done({time: film.currentTime, duration: film.duration, width: film.videoWidth,
      frames: film.getVideoPlaybackQuality().totalVideoFrames, sound: film.webkitAudioDecodedByteCount});
  film.currentTime = 2.5;
})"""


def test_a_browser_plays_it_from_the_middle_to_the_end_with_sound(whole, browser):
    page = whole / "page.htm"
    page.write_text('<video src="talk.faces.mp4"></video>')
    with browser.new_page() as shown:
        shown.goto(page.as_uri())
        played = shown.evaluate(PLAY)
    page.unlink()
    assert played.get("error") is None
    assert played["duration"] == pytest.approx(4.0, abs=0.1)
    assert played["time"] == pytest.approx(played["duration"], abs=0.1)
    assert (played["width"], played["frames"] > 10) == (62, True)


def test_a_half_done_video_of_another_run_is_not_taken_for_this_one(tmp_path):
    (tmp_path / "talk.faces.part.mp4").write_bytes(b"of a run that was killed")
    Mp4(tmp_path / "talk.faces.mp4", "talk.mp4").close()
    assert [path.name for path in tmp_path.iterdir()] == ["talk.faces.part.mp4"]
