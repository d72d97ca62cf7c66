"""What a run writes: tables that survive a kill, pictures, crops, the JSON document."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from mien.errors import ConfigError, OutputError
from mien.options import Outputs
from mien.pipeline import Pipeline, predict
from mien.predictions import ImageResult, images_of
from mien.results import FaceResult
from mien.sinks import Names, Sinks, recorded
from mien.sinks.done import Done
from mien.sinks.tables import Table, read_rows
from mien.tracking.tracker import Tracker
from mien.vision import images
from mien.vision.frames import Frame, frames
from mien.vision.listing import CROPS_JOURNAL
from tests.fakes import ConstantClassifier, FixedDetector
from tests.pictures import ODD_NAMES, jpeg, photo

BOX = (101.0, 53.0, 197.0, 149.0)
FACTS = {
    "model": {"name": "m", "sha256": "ab" * 32, "labels": ["sad", "happy"]},
    "views": 2,
    "detector": "haar",
    "uncertain_below": 0.5,
}


def result(source="a.jpg", *labels, error=None) -> ImageResult:
    faces = tuple(
        FaceResult((1.0, 2.5, 30.0, 40.25), label, {"sad": 0.25, "happy": 0.75}, "yunet", 0.875)
        for label in labels
    )
    return ImageResult(source, width=31, height=41, faces=faces, error=error)


def listed(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


RESULTS = [
    result("a.jpg", "happy", "happy"),
    result('b, "c"\n.jpg'),
    result("d.jpg", error="cannot read d.jpg: it, is\nbroken"),
    result("été/表情.jpg", "uncertain"),
]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_table_gives_back_what_was_written(form, tmp_path):
    table = Table(tmp_path / f"t.{form}", FACTS)
    for one in RESULTS:
        table.write(one)
    read = list(images_of(read_rows(table.lines)))
    assert [one.to_dict() for one in read] == [
        {**one.to_dict(), "width": one.width or None, "height": one.height or None} for one in RESULTS
    ]
    table.close()
    assert listed(tmp_path) == {f"t.{form}"}
    with Table(tmp_path / f"t.{form}", FACTS, resume=True) as again:
        assert len(again.done) == 4


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("resume", [False, True])
def test_two_commands_do_not_write_one_table(form, resume, tmp_path):
    path = tmp_path / f"t.{form}"
    with Table(path, FACTS) as table:
        table.write(RESULTS[0])
        with pytest.raises(
            OutputError, match=f"another command is writing to .*t.{form}.*: nothing was changed"
        ):
            Table(path, FACTS, resume=resume)
        table.write(RESULTS[1])
    with Table(path, FACTS, resume=True) as again:
        assert ("a.jpg", 0) in again.done
        again.write(RESULTS[1])
        assert [one.source for one in images_of(read_rows(again.lines))] == ["a.jpg", RESULTS[1].source]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_every_name_comes_back_and_is_done(form, tmp_path):
    names = [*(f"{name}.jpg" for name in (*ODD_NAMES, "a\0b")), "last.jpg"]
    with Table(tmp_path / f"t.{form}", FACTS) as table:
        for name in names:
            table.write(result(name, error=name))
        assert [(row["source"], row["error"]) for row in read_rows(table.lines)] == [(n, n) for n in names]
    with Table(tmp_path / f"t.{form}", FACTS, resume=True) as again:
        assert [name for name in names if (name, 0) not in again.done] == []


def test_csv_by_hand(tmp_path):
    with Table(tmp_path / "t.csv", FACTS) as table:
        table.write(RESULTS[0])
    head, first, second = csv.reader(io.StringIO((tmp_path / "t.csv").read_text()))
    row = dict(zip(head, first, strict=True))
    assert row == {
        "source": "a.jpg", "index": "0", "time_s": "", "width": "31", "height": "41", "error": "", "faces": "2",
        "face": "1", "x0_px": "1.0", "y0_px": "2.5", "x1_px": "30.0", "y1_px": "40.2", "detector": "yunet",
        "detection_score": "0.875", "label": "happy", "confidence": "0.75", "prob_sad": "0.25", "prob_happy": "0.75",
        "model": "m@abababababab", "views": "2", "finder": "haar", "uncertain_below": "0.5",
    }  # fmt: skip
    assert second[head.index("face")] == "2"


def test_to_go_on_takes_eight_bytes_a_frame(tmp_path):
    path, row = tmp_path / "t.jsonl", RESULTS[0].to_rows()[0]
    with Table(path, FACTS) as table:
        table.write(RESULTS[0])
    line = json.loads(path.read_text().splitlines()[0])
    lines = (json.dumps({**line, "faces": 1, "index": number}) for number in range(2_000))
    path.write_text("".join(f"{line}\n" for line in lines))
    tracemalloc.start()
    with Table(path, FACTS, resume=True) as again:
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(again.done) == 2_000
    assert (row["source"], 1_999) in again.done
    assert (row["source"], 2_000) not in again.done
    assert peak < 300_000
    one, other = Done(), Done()
    for number in (5, 3, 7, 3):
        one.add("a", number)
        other.add("a", number + 2)
    assert list(one) == [("a", 3), ("a", 5), ("a", 7)]
    assert list(one & other) == [("a", 5), ("a", 7)]
    assert len(one & other) == 2


def test_two_images_of_one_source_stay_two(tmp_path):
    frames_of_a_film = [
        replace(result("f.mp4", "sad"), index=number, time_s=number / 25) for number in (0, 1)
    ]
    memory = [result("", "sad"), result(""), result(""), result("", "happy", "sad")]
    rows = [row for one in frames_of_a_film + memory for row in one.to_rows()]
    again = [one.to_dict() for one in images_of(rows)]
    assert again == [one.to_dict() for one in (*frames_of_a_film, *memory)]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "last", [result("z.jpg", "happy", "sad", "happy"), RESULTS[2]], ids=["faces", "error"]
)
def test_a_cut_anywhere_in_the_last_image_is_noticed_and_nothing_else_is_done_again(form, last, tmp_path):
    path = tmp_path / f"t.{form}"
    with Table(path, FACTS) as table:
        table.write(RESULTS[0])
        begin = path.stat().st_size
        table.write(last)
    whole, rows = path.read_bytes(), list(read_rows(path))
    ends = {at + 1 for at in range(begin, len(whole)) if whole[at] == ord("\n")}
    for cut in sorted({begin, *range(begin, len(whole), 37), *ends}):
        path.write_bytes(whole[:cut])
        with Table(path, FACTS, resume=True) as again:
            assert list(again.done) == [("a.jpg", 0), *([(last.source, 0)] if cut == len(whole) else [])], cut
            again.write(last)
        assert list(read_rows(path)) == rows, f"cut at {cut} of {len(whole)} bytes"


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_table_that_goes_on_with_other_images_keeps_every_image(form, tmp_path):
    path = tmp_path / f"t.{form}"
    for one in (*RESULTS, result("z.jpg", "happy", "sad")):
        with Table(path, FACTS, resume=True) as table:
            table.write(one)
    with Table(path, FACTS, resume=True) as table:
        assert len(table.done) == 5
        read = [(one.source, len(one.faces)) for one in images_of(read_rows(table.lines))]
    assert read == [*((one.source, len(one.faces)) for one in RESULTS), ("z.jpg", 2)]


def test_a_table_of_an_earlier_version_has_no_number_of_faces_and_is_kept(tmp_path):
    path = tmp_path / "t.jsonl"
    with Table(path, FACTS) as table:
        table.write(RESULTS[0])
    old = path.read_text().replace('"faces": 2, ', "")
    path.write_text(old + '{"source": "half')
    with Table(path, FACTS, resume=True) as again:
        assert list(again.done) == [("a.jpg", 0)]
    assert path.read_text() == old


@pytest.mark.parametrize("source", ["-", "", "camera:0", "rtsp://host/door"])
def test_a_source_that_gives_other_images_each_time_is_never_done(source, tmp_path):
    outputs = Outputs(out=tmp_path / "out", jsonl=tmp_path / "t.jsonl", resume=True)
    for level in (0, 60, 120):
        image = np.full((210, 330, 3), level, np.uint8)
        run([Frame(source, load=partial(np.copy, image))], outputs)
    assert len(list(images_of(read_rows(tmp_path / "t.jsonl")))) == 3
    pictures = (tmp_path / "out").glob("*.faces.jpg")
    levels = {round(float(images.decode(path.read_bytes())[-9:].mean()), -1) for path in pictures}
    assert levels == {0, 60, 120}
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]) == 3


def test_a_camera_that_is_used_again_gives_new_numbers_to_its_tracks(tmp_path):
    tracked = {**FACTS, "tracking": "x"}
    face = replace(result("", "sad").faces[0], track=7)
    with Table(tmp_path / "t.jsonl", tracked) as table:
        table.write(ImageResult("camera:0", 0, 0.0, faces=(face,)))
    with Table(tmp_path / "t.jsonl", tracked, resume=True) as again:
        tracker = Tracker()
        tracker.reserve(again.last_tracks)
    (seen,) = tracker.update(ImageResult("camera:0", 0, 0.0, faces=(face,))).faces
    assert seen.track == 8


class Full:
    """A file on a disk that has room for only so many more bytes: it takes these and raises nothing."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, content):
        return self.file.write(content[: self.room])

    def close(self):
        self.file.close()


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_full_disk_is_an_error_and_what_it_cut_is_done_again(form, tmp_path):
    path = tmp_path / f"t.{form}"
    with Table(path, FACTS) as table:
        for one in RESULTS:
            table.write(one)
    rows = list(read_rows(path))
    for room in range(0, 160, 3):
        with pytest.raises(OutputError, match=rf"t\.{form}: No space left"), Table(path, FACTS) as table:
            table.write(RESULTS[1])
            table._file = Full(table._file, room)
            table.write(RESULTS[0])
        with Table(path, FACTS, resume=True) as again:
            for one in (*RESULTS[1:2], *RESULTS[:1], *RESULTS[2:]):
                again.write(one)
        assert list(read_rows(path)) == [rows[2], *rows[:2], *rows[3:]], f"cut after {room} bytes"


def test_results_of_another_model_are_not_mixed(tmp_path):
    with Table(tmp_path / "t.csv", FACTS) as table:
        table.write(RESULTS[0])
        table.write(RESULTS[1])
    with pytest.raises(
        ConfigError, match=r"t\.csv holds results of m@abababababab .*views: 2.*, this run has n@"
    ):
        Table(tmp_path / "t.csv", {**FACTS, "model": {**FACTS["model"], "name": "n"}}, resume=True)
    (tmp_path / "u.jsonl").write_text("nonsense\n")
    with pytest.raises(ConfigError, match=r"u\.jsonl is no table of results"):
        Table(tmp_path / "u.jsonl", FACTS, resume=True)
    (tmp_path / "w.jsonl").write_text("[1]\n")
    with pytest.raises(
        ConfigError, match=r"w\.jsonl is no table of results .expected an object in each line"
    ):
        Table(tmp_path / "w.jsonl", FACTS, resume=True)
    with Table(tmp_path / "x.parquet", FACTS) as table:
        table.write(RESULTS[0])
    with pytest.raises(ConfigError, match=r"x\.parquet holds results of m@"):
        Table(tmp_path / "x.parquet", {**FACTS, "views": 6}, resume=True)
    for change in ({"detector": "yunet"}, {"uncertain_below": 0.0}):
        with pytest.raises(
            ConfigError, match=r"t\.csv holds results of m@.* \(detector haar, .* uncertain below 0\.5\)"
        ):
            Table(tmp_path / "t.csv", {**FACTS, **change}, resume=True)
    assert listed(tmp_path) == {"t.csv", "u.jsonl", "w.jsonl", "x.parquet"}
    (tmp_path / "v.csv").write_text("name,age\nx,3\n")
    with pytest.raises(ConfigError, match=r"v\.csv is no table of results"):
        Table(tmp_path / "v.csv", FACTS, resume=True)


def run(source, outputs, workers=2, **options):
    pipeline = Pipeline(ConstantClassifier(), FixedDetector(BOX, (3.0, 5.0, 60.0, 99.0)), **options)
    with Sinks(outputs, pipeline.facts) as sinks:
        return list(recorded(pipeline, frames(source), sinks, workers=workers))


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "photos"
    for name in ("a.jpg", "sub/a.jpg", "sub/A.jpeg", "b.png"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(jpeg(photo()))
    (place / "c.jpg").write_bytes(b"broken")
    return place


def test_everything_is_written(folder, tmp_path):
    out, crops = tmp_path / "out", tmp_path / "crops"
    outputs = Outputs(out=out, crops=crops, csv=tmp_path / "t.csv", json=str(tmp_path / "t.json"))
    results = run(folder, outputs)
    assert len(results) == 5
    names = {"a.faces.jpg", "a-3.faces.jpg", "A-2.faces.jpg", "b.faces.jpg"}
    assert listed(out) == {*names, "predictions.json", "predictions.jsonl"}
    assert len(listed(crops) - {CROPS_JOURNAL}) == 8
    assert images.read(crops / "b.face2.png").shape == (94, 94, 3)
    assert (images.read(out / "b.faces.jpg") != images.read(folder / "b.png")).any()
    document = json.loads((out / "predictions.json").read_text())
    assert document == json.loads((tmp_path / "t.json").read_text())
    assert {name: document[name] for name in ("schema", "detector", "views", "uncertain_below", "backend")} == {
        "schema": "mien.predictions/2", "detector": "FixedDetector", "views": 1, "uncertain_below": 0.0,
        "backend": "ConstantClassifier",
    }  # fmt: skip
    assert [one["source"] for one in document["images"]] == [one.source for one in results]
    assert [bool(one["error"]) for one in document["images"]] == [False, False, True, False, False]
    assert len(list(read_rows(tmp_path / "t.csv"))) == 9
    assert all("_decoded" not in vars(one.frame) for one in results), "results keep pixels"


def test_what_a_run_writes_beside_photos_is_no_photo_of_the_next(folder, tmp_path):
    photos = [frame.source for frame in frames(folder)]
    run(folder, Outputs(out=folder / "seen", crops=folder / "seen" / "crops"))
    run(folder, Outputs(crops=folder / "crops"))
    for gone in (None, "predictions.json"):  # a killed run has no document
        if gone:
            (folder / "seen" / gone).unlink()
        found = frames(folder, skip=tmp_path / "other")
        assert ([frame.source for frame in found], found.skipped["result"]) == (photos, 4 + 8 + 8)


def test_a_table_that_is_named_twice_is_written_once(folder, tmp_path):
    outputs = {"out": tmp_path, "jsonl": tmp_path / "x" / ".." / "predictions.jsonl"}
    (tmp_path / "x").mkdir()
    for resume in (False, True):
        run(folder, Outputs(**outputs, resume=resume))
        assert len(list(read_rows(tmp_path / "predictions.jsonl"))) == 9
    assert len(json.loads((tmp_path / "predictions.json").read_text())["images"]) == 5


def test_json_alone_goes_to_stdout_and_nothing_is_left(folder, capsys):
    run(folder, Outputs(json="-"))
    assert len(json.loads(capsys.readouterr().out)["images"]) == 5
    run([], Outputs(json="-"))
    assert json.loads(capsys.readouterr().out)["images"] == []


def test_resume_leaves_out_what_is_done_and_names_stay_the_same(folder, tmp_path):
    out = tmp_path / "out"
    first = run(folder, Outputs(out=out, csv=tmp_path / "t.csv"))
    before = {name: (out / name).read_bytes() for name in listed(out)}
    lines = (out / "predictions.jsonl").read_text().splitlines(keepends=True)
    (out / "predictions.jsonl").write_text("".join(lines[:5]))  # two images and the broken one
    (out / "a-3.faces.jpg").unlink()
    again = run(folder, Outputs(out=out, csv=tmp_path / "t.csv", resume=True))
    assert [one.source for one in again] == [one.source for one in first[3:]]
    assert {name: (out / name).read_bytes() for name in listed(out)} == before


def test_more_photos_leave_the_files_of_earlier_ones(tmp_path):
    """Of photos with one name, each has files of its own, also if one came in a later run, and first there."""
    photos = [tmp_path / str(number) / "a.png" for number in range(3)]
    for number, path in enumerate(photos):
        path.parent.mkdir()
        path.write_bytes(images.encode_png(np.full((210, 330, 3), 60 * number, np.uint8)))
    outputs = Outputs(out=tmp_path / "out", crops=tmp_path / "crops")
    run(photos[1:], outputs)
    run(photos, replace(outputs, resume=True))
    names = ["a.faces.jpg", "a-2.faces.jpg", "a-3.faces.jpg"]
    levels = {
        round(float(images.decode((tmp_path / "out" / name).read_bytes())[-9:].mean()), -1) for name in names
    }
    assert levels == {0, 60, 120}
    assert {name.split(".")[0] for name in listed(tmp_path / "crops") - {CROPS_JOURNAL}} == {
        "a",
        "a-2",
        "a-3",
    }


def test_an_output_that_is_named_later_gets_the_images_that_are_done(folder, tmp_path):
    tables = {"csv": tmp_path / "t.csv", "resume": True}
    run(folder, Outputs(**tables))
    rows = (tmp_path / "t.csv").read_bytes()
    later = {"crops": tmp_path / "crops", "out": tmp_path / "out", "parquet": tmp_path / "t.parquet"}
    pytest.importorskip("pyarrow")
    for name, path in later.items():
        assert len(run(folder, Outputs(**tables, **{name: path}))) == 5, name
        assert run(folder, Outputs(**tables, **{name: path})) == [], name
    assert len(listed(tmp_path / "crops") - {CROPS_JOURNAL}) == 8
    assert len([name for name in listed(tmp_path / "out") if name.endswith(".faces.jpg")]) == 4
    assert (tmp_path / "t.csv").read_bytes() == rows


def two_of_one_name(folder):
    photos = [folder / str(number) / "a.png" for number in range(2)]
    for number, path in enumerate(photos):
        path.parent.mkdir()
        path.write_bytes(images.encode_png(photo(number)))
    return photos


def test_crops_alone_go_on_and_keep_those_of_other_photos(tmp_path):
    photos = two_of_one_name(tmp_path)
    crops = tmp_path / "crops"
    outputs = Outputs(crops=crops, csv=tmp_path / "new.csv", resume=True)
    run(photos[:1], Outputs(crops=crops))
    before = {name: (crops / name).read_bytes() for name in listed(crops) - {CROPS_JOURNAL}}
    assert run(photos[:1], Outputs(crops=crops, resume=True)) == []
    run(photos[1:], outputs)
    assert {name: (crops / name).read_bytes() for name in before} == before
    assert listed(crops) == {*before, CROPS_JOURNAL, "a-2.face1.png", "a-2.face2.png"}
    with pytest.raises(ConfigError, match="crops/.predictions.jsonl holds results of"):
        run(photos[1:], Outputs(crops=crops, resume=True), uncertain_below=0.5)


def test_a_photo_of_the_same_name_leaves_files_of_photos_that_this_run_does_not_name(tmp_path):
    """Also if no image is in all tables: the folder keeps what its own table holds."""
    photos = two_of_one_name(tmp_path)
    out = tmp_path / "out"
    run(photos[:1], Outputs(out=out))
    before = (out / "a.faces.jpg").read_bytes()
    run(photos[1:], Outputs(out=out, csv=tmp_path / "new.csv", resume=True))
    assert (out / "a.faces.jpg").read_bytes() == before
    assert listed(out) == {"a.faces.jpg", "a-2.faces.jpg", "predictions.json", "predictions.jsonl"}


def test_relative_paths_that_are_done_are_counted(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    outputs = Outputs(csv=tmp_path / "t.csv", resume=True)
    pipeline = Pipeline(ConstantClassifier(), FixedDetector(BOX))
    for source, relative in (("b.png", 0), (folder / "c.jpg", 0), (["b.png", folder / "c.jpg"], 1)):
        with Sinks(outputs, pipeline.facts) as sinks:
            list(recorded(pipeline, frames(source), sinks, workers=1))
        assert sinks.relative == relative


def test_a_name_that_is_not_utf_8_is_written_everywhere_and_is_done(tmp_path):
    photos = tmp_path / "photos\udce9"
    photos.mkdir()
    for name in ("a.jpg", "b\udce9.jpg", "c.jpg", "d.jpg"):
        (photos / name).write_bytes(jpeg(photo()) if name != "c.jpg" else b"broken")
    out = tmp_path / "out"
    tables = {form: tmp_path / f"t.{form}" for form in ("csv", "jsonl", "parquet")}
    outputs = Outputs(out=out, crops=tmp_path / "crops", json=str(tmp_path / "t.json"), **tables)
    for source in (
        photos,
        f"{photos}/*.jpg",
        [photos / "a.jpg", photos / "b\udce9.jpg", photos / "no\udce9.jpg"],
    ):
        results = run(source, outputs)
        assert results[1].source == rf"{tmp_path}/photos\xe9/b\xe9.jpg"
        assert len(results[1].faces) == 2
        assert r"\xe9" in results[2].source
        assert results[2].error
    assert results[2].error == rf"cannot read {tmp_path}/photos\xe9/no\xe9.jpg: No such file or directory"
    assert {r"b\xe9.faces.jpg", "a.faces.jpg"} <= listed(out)
    assert run(source, replace(outputs, resume=True)) == []


def test_an_interrupted_parquet_keeps_its_lines_and_becomes_parquet_in_the_end(folder, tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = tmp_path / "t.parquet"
    pipeline = Pipeline(ConstantClassifier(), FixedDetector(BOX))
    with pytest.raises(KeyboardInterrupt), Sinks(Outputs(parquet=table), pipeline.facts) as sinks:
        for number, _ in enumerate(recorded(pipeline, frames(folder), sinks, workers=1)):
            if number == 2:
                raise KeyboardInterrupt
    assert not table.exists()
    with Sinks(Outputs(parquet=table, resume=True), pipeline.facts) as sinks:
        assert len(list(recorded(pipeline, frames(folder), sinks, workers=1))) == 2
    assert pq.read_table(table).column("source").to_pylist() == [one.source for one in frames(folder)]
    assert listed(tmp_path) == {"photos", "t.parquet"}


def test_a_killed_run_goes_on_and_has_every_image_once(tmp_path):
    """The real thing: a process that is killed with SIGKILL in the middle."""
    place, out = tmp_path / "photos", tmp_path / "out"
    place.mkdir()
    for number in range(60):
        (place / f"{number:02}.jpg").write_bytes(jpeg(photo(number)))
    code = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from mien.options import Outputs
        from mien.pipeline import Pipeline
        from mien.sinks import Sinks, recorded
        from mien.vision.frames import frames
        from tests.fakes import ConstantClassifier, FixedDetector
        pipeline = Pipeline(ConstantClassifier(), FixedDetector({BOX}))
        outputs = Outputs(out=Path({str(out)!r}), csv=Path({str(tmp_path / "t.csv")!r}), resume=sys.argv[1] == "1")
        with Sinks(outputs, pipeline.facts) as sinks:
            for result in recorded(pipeline, frames({str(place)!r}), sinks, workers=2):
                time.sleep(float(sys.argv[2]))
    """)
    one = subprocess.Popen([sys.executable, "-c", code, "0", "0.05"])
    journal = out / "predictions.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.exists() and journal.read_bytes().count(b"\n") > 9):
        time.sleep(0.02)
    one.send_signal(signal.SIGKILL)
    one.wait()
    done = journal.read_bytes().count(b"\n")
    assert 9 < done < 60
    subprocess.run([sys.executable, "-c", code, "1", "0"], check=True)
    expected = sorted(str(path) for path in place.iterdir())
    assert [row["source"] for row in read_rows(tmp_path / "t.csv")] == expected
    assert [one["source"] for one in json.loads((out / "predictions.json").read_text())["images"]] == expected
    assert len([name for name in listed(out) if name.endswith(".faces.jpg")]) == 60


def test_names_are_unique_short_and_quick():
    names = Names()
    begun = time.process_time()
    taken = [names.take(f"{number}/same.jpg", 0) for number in range(8000)]
    assert time.process_time() - begun < 2  # quadratic took minutes
    assert len(set(taken)) == 8000
    assert taken[:3] == ["same", "same-2", "same-3"]
    assert [names.take(path, 0) for path in ("same-4.jpg", "SAME.jpg", "", "x.tar.gz")] == [
        "same-4-2", "SAME-8001", "image", "x.tar",
    ]  # fmt: skip
    long = [names.take("表" * 300 + ".jpg", 0) for _ in range(2)]
    assert len(set(long)) == 2
    assert all(len((name + ".faces.jpg").encode()) < 255 for name in long)
    assert names.take("film.mp4", 17) == "film-000017"
    assert names.take("film.frame000017.jpg", 0) == "film.frame000017_", (
        "crops of a video's frame have that stem"
    )


def test_wrong_outputs_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"csv expects a name that ends in \.csv, got t\.txt"):
        Outputs(csv=tmp_path / "t.txt")
    with pytest.raises(ConfigError, match="resume goes on with an earlier run: name its out"):
        Sinks(Outputs(json="-", resume=True), FACTS)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        Sinks(Outputs(out=tmp_path / "file"), FACTS)


def test_saving(tmp_path):
    found = predict([photo(), photo(1)], model=ConstantClassifier(), detector=FixedDetector(BOX))
    folder = found.save(tmp_path / "seen")
    assert listed(folder) == {
        "image-2.faces.jpg",
        "image.faces.jpg",
        "predictions.json",
        "predictions.jsonl",
    }
    assert json.loads((folder / "predictions.json").read_text()) == found.to_dict()
    assert np.asarray(images.read(found[0].save(tmp_path / "one.png"))).shape == (210, 330, 3)
    with pytest.raises(OutputError, match=r"expected a name that ends in \.jpg, \.jpeg, \.png, got one\.gif"):
        found[0].save(tmp_path / "one.gif")


def test_only_images_of_this_run_count_as_done_before(tmp_path):
    earlier = [f"{number}.jpg" for number in range(5)]
    with Sinks(Outputs(csv=tmp_path / "t.csv"), FACTS) as sinks:
        for name in earlier:
            sinks.add(result(name))
    with Sinks(Outputs(csv=tmp_path / "t.csv", resume=True), FACTS) as sinks:
        pending = sinks.pending(frames([Frame("0.jpg"), *map(Frame, ("x.jpg", "y.jpg", "z.jpg"))]))
        assert pending.total == 3
        assert [frame.source for frame in pending] == ["x.jpg", "y.jpg", "z.jpg"]
        assert sinks.left_out == 1
