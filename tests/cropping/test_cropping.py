"""Cropping photos: the squares of training and prediction, with labels, splits and groups; work that goes on."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.cropping import crop_photos
from mien.data.read import read_dataset
from mien.errors import ConfigError, DataError
from mien.options import CropOptions, ReadOptions
from mien.preprocess import Preprocess
from mien.results import Face
from mien.vision.crop import crop_faces
from mien.vision.images import read
from tests.pictures import write_tree

BRIGHT = (216, 168, 120)
READING = ReadOptions()
PLACES = {216: (10, 20, 63, 73), 168: (80, 30, 111, 61), 120: (120, 70, 161, 101)}
NOISE = 24
"""Grey values of drawn faces, and their boxes: 53 x 53, 31 x 31 and 41 x 31 pixels; noise is added."""


class Blobs:
    """Finds a face at every area of one of the known grey values."""

    name = "blobs"

    def __init__(self, stop_at: int = 99) -> None:
        self.left = stop_at

    def detect(self, image_rgb_u8):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        faces = []
        for value in BRIGHT:
            y, x = np.nonzero(image_rgb_u8[..., 0] // NOISE * NOISE == value // NOISE * NOISE)
            if len(x):
                box = (float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))
                faces.append(Face(box, 0.875, "blobs"))
        return sorted(faces, key=lambda face: face.box_xyxy_px)


def scene(*values: int, seed: int = 0) -> bytes:
    """Return a PNG of 113 x 170 pixels, dark noise with these faces in it."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (113, 170), np.uint8)
    for value in values:
        x0, y0, x1, y1 = PLACES[value]
        pixels[y0:y1, x0:x1] = value + rng.integers(0, NOISE, (y1 - y0, x1 - x0))
    return cv2.imencode(".png", pixels)[1].tobytes()


FILES = {
    "train/happy/a.png": scene(216, seed=1),
    "train/happy/b.png": scene(216, 168, 120, seed=2),
    "train/sad/c.png": scene(168, seed=3),
    "train/sad/none.png": scene(seed=4),
    "test/happy/d.png": scene(120, seed=5),
    "test/sad/e.png": scene(216, seed=6),
    "test/sad/broken.png": b"\x89PNG\r\n\x1a\nbroken",
}


def crop(path, out, detector=None, reading=READING, **options):
    return crop_photos(path, out, CropOptions(**options), reading, detector=detector or Blobs())


def rows_of(out) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "faces.csv").read_text())))


@pytest.mark.parametrize(
    ("several", "faces", "of_b"),
    [("skip", 4, []), ("largest", 5, [53 * 53]), ("all", 7, [53 * 53, 31 * 31, 41 * 31])],
)
def test_labels_and_splits_stay_and_what_gives_no_face_is_listed(tmp_path, several, faces, of_b):
    report = crop(write_tree(tmp_path / "photos", FILES), tmp_path / "out", several=several)
    assert (report.photos, report.faces) == (7, faces)
    assert report.counts["test"] == {"happy": 1, "sad": 1}
    assert report.left_out["no face found"] == ("train/sad/none.png",)
    (unreadable,) = report.left_out["cannot be read"]
    assert unreadable.startswith("test/sad/broken.png: damaged or truncated picture")
    assert report.left_out.get("several faces, one label") == (
        ("train/happy/b.png",) if several == "skip" else None
    )
    rows = rows_of(tmp_path / "out")
    assert {(row["photo"], row["split"], row["label"]) for row in rows} >= {("test/sad/e.png", "test", "sad")}
    for number, area in enumerate(of_b):
        row = [row for row in rows if row["photo"] == "train/happy/b.png"][number]
        box = [float(row[name]) for name in ("x0_px", "y0_px", "x1_px", "y1_px")]
        assert (box[2] - box[0]) * (box[3] - box[1]) == area
        assert (row["detector"], row["detection_score"], row["faces_in_photo"]) == ("blobs", "0.8750", "3")
    assert json.loads((tmp_path / "out" / "crop.json").read_text())["left_out"] == {
        reason: list(names) for reason, names in report.left_out.items()
    }


def test_the_dataset_holds_all_faces_of_a_photo_together(tmp_path):
    flat = {f"{'happy' if i % 2 else 'sad'}/{i}.png": scene(216, 168, seed=i) for i in range(20)}
    crop(write_tree(tmp_path / "photos", flat), tmp_path / "out", several="all")
    data = read_dataset(tmp_path / "out", options=ReadOptions(val_fraction=0.2))
    assert len(data) == 40
    names = np.array([name.split("_")[1] for name in data.ids])
    photos = [set(names[data.split == split]) for split in ("train", "val")]
    assert not photos[0] & photos[1]
    assert photos[1]


def test_the_groups_of_the_user_go_along(tmp_path):
    files = {f"{i}.png": scene(216, seed=i) for i in range(12)}
    lines = [f"{i}.png,{'ab'[i % 2]},p{i // 4},{i}" for i in range(12)]
    write_tree(tmp_path, files | {"list.csv": "\n".join(["image,mood,person,y", *lines]).encode()})
    options = ReadOptions(label_column="mood", group_column="person")
    report = crop(tmp_path / "list.csv", tmp_path / "out", reading=options)
    data = read_dataset(tmp_path / "out", options=ReadOptions(val_fraction=0.4))
    people = [set(data.columns["split_group"][data.split == split]) for split in ("train", "val")]
    assert not people[0] & people[1]
    assert set(data.columns["person"]) == {"p0", "p1", "p2"}
    assert data.columns["source_y"][3] == "3", "y would be taken for the label"
    assert any("the columns y of the source are called source_" in note for note in report.notes)


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_the_crop_is_the_one_that_prediction_classifies(tmp_path, margin):
    crop(write_tree(tmp_path / "photos", FILES), tmp_path / "out", several="all", margin=margin)
    for row in rows_of(tmp_path / "out"):
        picture = read(tmp_path / "photos" / row["photo"])
        box = tuple(float(row[name]) for name in ("x0_px", "y0_px", "x1_px", "y1_px"))
        preprocess = Preprocess(margin=margin)
        (wanted,) = crop_faces(picture, [Face(box)], preprocess)
        assert (preprocess.fit(read(tmp_path / "out" / row["file"])) == wanted).all()


def boxed(root, *, shift: int = 0) -> str:
    """Write photos and a list with a box for each face, two photos with three; return the list's path."""
    lines, files = [], {}
    for number in range(8):
        values = BRIGHT if number in (2, 5) else BRIGHT[number % 3 : number % 3 + 1]
        files[f"{number}.png"] = scene(*values, seed=number)
        for place, value in enumerate(values):
            box = ",".join(str(side + shift) for side in PLACES[value])
            lines.append(f"{number}.png,{('happy', 'sad')[(number + place) % 2]},{box}")
    write_tree(root, files | {"list.csv": "\n".join(["image,label,x1,y1,x2,y2", *lines]).encode()})
    return root / "list.csv"


def test_boxes_of_a_list_are_cut_as_in_training(tmp_path):
    path = boxed(tmp_path)
    report = crop_photos(path, tmp_path / "out", CropOptions())
    options = ReadOptions(val_fraction=0.3)
    straight, again = read_dataset(path, options=options), read_dataset(tmp_path / "out", options=options)
    assert (straight.images == again.images).all()
    assert (straight.truth == again.truth).all()
    assert (straight.split == again.split).all()
    assert report.detector == "boxes"


def test_a_detector_finds_the_faces_in_the_boxes_anew(tmp_path):
    path = boxed(tmp_path, shift=9)
    report = crop(path, tmp_path / "out", detector=Blobs())
    (tmp_path / "straight").mkdir()
    straight = read_dataset(boxed(tmp_path / "straight"), options=ReadOptions(val_fraction=0.3))
    again = read_dataset(tmp_path / "out", options=ReadOptions(val_fraction=0.3))
    assert report.faces == 12
    assert (straight.images == again.images).all()
    far = crop(boxed(tmp_path / "far", shift=60), tmp_path / "out2", detector=Blobs())
    assert far.left_out["no face found in the box"]
    assert far.unlabelled_faces == far.photos + 4 - far.faces


def test_photos_without_labels(tmp_path):
    root = write_tree(tmp_path / "photos", {f"{i}.png": scene(216, 168, seed=i) for i in range(5)})
    with pytest.raises(DataError, match="lie in no class folder.*; unlabelled cuts the faces without labels"):
        crop(root, tmp_path / "out")
    report = crop(root, tmp_path / "out", unlabelled=True)
    assert report.faces == 10
    assert {row["label"] for row in rows_of(tmp_path / "out")} == {""}
    assert read_dataset(tmp_path / "out", options=ReadOptions(val_fraction=0.4)).targets.sum() == 0


def test_a_label_that_could_mean_each_of_several_faces_is_given_to_none_of_them(tmp_path):
    """Also if the photo got it after its faces were cut: the labels at the end of the run count."""
    photos, files = tmp_path / "photos", {f"{i}.png": scene(216, 168, seed=i) for i in range(3)}
    files |= {f"{i}.png": scene(120, seed=i) for i in range(3, 7)}
    lines = [f"{i}.png,{'happy' if i % 2 else 'sad'}" for i in range(7)]
    bare = ["0.png,", *lines[1:]]
    write_tree(photos, files | {"list.csv": "\n".join(["image,label", *bare]).encode()})
    assert crop(photos / "list.csv", tmp_path / "out").faces == 6, (
        "of two photos it is not known whose label it is"
    )
    (photos / "list.csv").write_text("\n".join(["image,label", *lines]))
    report = crop(photos / "list.csv", tmp_path / "out", resume=True)
    assert {row["photo"] for row in rows_of(tmp_path / "out")} == {f"{i}.png" for i in range(3, 7)}
    assert (report.faces, report.left_out) == (4, {"several faces, one label": ("0.png", "1.png", "2.png")})


def test_a_run_that_looks_at_no_labels_is_resumed_without_them(tmp_path):
    photos = write_tree(tmp_path / "photos", FILES)
    crop(photos, tmp_path / "out", unlabelled=True)
    with pytest.raises(ConfigError, match="was cut with unlabelled True: give the same again"):
        crop(photos, tmp_path / "out", resume=True)


def test_a_box_outside_its_photo_is_no_face(tmp_path):
    rows = ["0.png,happy,9000,20,9053,73", "0.png,sad,80,30,111,61", "1.png,happy,10,20,63,73"]
    files = {"0.png": scene(216, 168), "1.png": scene(216, seed=1)}
    table = "\n".join(["image,label,x1,y1,x2,y2", *rows]).encode()
    write_tree(tmp_path / "photos", files | {"list.csv": table})
    report = crop_photos(tmp_path / "photos" / "list.csv", tmp_path / "out", CropOptions())
    assert (report.faces, report.unlabelled_faces) == (2, 0)
    assert report.left_out == {"box outside the photo": ("0.png",)}
    assert {row["faces_in_photo"] for row in rows_of(tmp_path / "out")} == {"1"}


def test_larger_faces_are_shrunk_and_grey_stays_grey(tmp_path):
    crop(write_tree(tmp_path / "photos", FILES), tmp_path / "out", size_px=40)
    sizes = {cv2.imread(str(file), cv2.IMREAD_UNCHANGED).shape for file in (tmp_path / "out/faces").iterdir()}
    assert sizes == {(40, 40), (31, 31)}, "53 becomes 40, 31 stays"


def test_an_interrupted_run_goes_on(tmp_path):
    photos, out = write_tree(tmp_path / "photos", FILES), tmp_path / "out"
    crop(photos, tmp_path / "whole", several="all", workers=1)
    with pytest.raises(KeyboardInterrupt):
        crop(photos, out, Blobs(stop_at=4), several="all", workers=1)
    assert not (out / "faces.csv").exists()
    before = {file.name: file.stat().st_mtime_ns for file in (out / "faces").iterdir()}
    assert before
    with (out / ".crop.jsonl").open("a") as file:
        file.write('{"photo": "train/sad/c.p')  # a line that was not written to its end
    with pytest.raises(ConfigError, match="holds faces of an earlier run: go on with resume"):
        crop(photos, out, several="all")
    with pytest.raises(ConfigError, match="was cut with several all, margin 0.0: give the same again"):
        crop(photos, out, several="skip", margin=0.5, resume=True)
    detector = Blobs()
    report = crop(photos, out, detector, several="all", resume=True, workers=1)
    assert 99 - detector.left == 3, "of six readable photos three were done"
    assert (out / "faces.csv").read_text() == (tmp_path / "whole" / "faces.csv").read_text()
    assert report.faces == 7
    after = {file.name: file.stat().st_mtime_ns for file in (out / "faces").iterdir()}
    assert before.items() <= after.items(), "what was there was not written again"


def test_a_run_goes_on_after_an_image_was_lost_or_photos_came(tmp_path):
    photos, out = write_tree(tmp_path / "photos", FILES), tmp_path / "out"
    crop(photos, out)
    next((out / "faces").iterdir()).unlink()
    write_tree(photos, {"test/happy/new.png": scene(216, seed=9)})
    assert crop(photos, out, resume=True).faces == 5
    assert len(read_dataset(out)) == 5


@pytest.mark.parametrize("what", ["full", "inside", "skip_corrupt", "val_fraction", "labels"])
def test_what_would_have_no_effect_or_mix_things_is_refused(tmp_path, what):
    photos, out = write_tree(tmp_path / "photos", FILES), tmp_path / "out"
    reading, options = ReadOptions(), {}
    if what == "full":
        write_tree(out, {"mine.txt": b"x"})
        message = "out is not empty, it holds mine.txt: choose a new folder"
    elif what == "inside":
        out, message = photos / "out", "lies inside .*: its faces would count as photos"
    elif what == "skip_corrupt":
        reading, message = ReadOptions(skip_corrupt=True), "skip_corrupt has no effect here"
    elif what == "val_fraction":
        reading, message = ReadOptions(val_fraction=0.3), "val_fraction and split_seed have no effect here"
    else:
        reading, options, message = (
            ReadOptions(labels="sad"),
            {"unlabelled": True},
            "unlabelled looks at no labels",
        )
    with pytest.raises(ConfigError, match=message):
        crop(photos, out, reading=reading, **options)


@pytest.mark.parametrize("option", [{"several": "all"}, {"detector_weights": Path("x.onnx")}])
def test_options_of_a_search_are_refused_where_boxes_are_cut(tmp_path, option):
    rows = ["path,label,left,top,right,bottom", "a.png,sad,10,10,90,90", "b.png,happy,10,10,90,90"]
    files = {"a.png": scene(216, seed=1), "b.png": scene(216, seed=2)}
    write_tree(tmp_path, files | {"list.csv": "\n".join(rows).encode()})
    with pytest.raises(ConfigError, match=f"{next(iter(option))} has no effect here: the list gives"):
        crop_photos(tmp_path / "list.csv", tmp_path / "out", CropOptions(**option))
    assert not (tmp_path / "out").exists()


def test_labels_are_chosen_and_renamed_as_in_reading(tmp_path):
    crop(
        write_tree(tmp_path / "photos", FILES),
        tmp_path / "out",
        reading=ReadOptions(labels="up=happy,down=sad"),
    )
    assert {row["label"] for row in rows_of(tmp_path / "out")} == {"up", "down"}


def test_votes_that_give_fractions_are_refused(tmp_path):
    votes = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    lines = [f"{i}.png,0,6,0,4,0,0,0,0,0,0" for i in range(4)]
    files = {f"{i}.png": scene(216, seed=i) for i in range(4)}
    write_tree(tmp_path, files | {"list.csv": "\n".join([f"file,{votes}", *lines]).encode()})
    with pytest.raises(DataError, match="votes give several labels with fractions.*vote_rule=majority"):
        crop(tmp_path / "list.csv", tmp_path / "out")
    crop(tmp_path / "list.csv", tmp_path / "out", reading=ReadOptions(vote_rule="majority"))
    (row, *_) = rows_of(tmp_path / "out")
    assert (row["label"], row["happy"], row["sad"]) == ("happy", "6", "4")


@pytest.mark.parametrize("workers", [1, 5])
def test_threads_share_an_archive(tmp_path, workers):
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(60):
            content = scene(BRIGHT[number % 3], seed=number)
            info = tarfile.TarInfo(f"{'happy' if number % 2 else 'sad'}/{number:03d}.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    crop(path, tmp_path / "out", workers=workers)
    for row in rows_of(tmp_path / "out"):
        number = int(row["photo"].split("/")[1].removesuffix(".png"))
        assert read(tmp_path / "out" / row["file"])[15, 15, 0] // NOISE * NOISE == BRIGHT[number % 3]
    assert len(rows_of(tmp_path / "out")) == 60


def test_names_that_no_file_may_have(tmp_path):
    names = ["a b#c?.png", "x" * 200 + ".png", "über/../ü.png".replace("/../", "_"), ".hidden-not.png"[1:]]
    files = {f"happy/{name}": scene(216, seed=i) for i, name in enumerate(names)}
    files |= {f"sad/{name}": scene(168, seed=i) for i, name in enumerate(names)}
    report = crop(write_tree(tmp_path / "photos", files), tmp_path / "out")
    assert report.faces == 8
    assert len(read_dataset(tmp_path / "out", options=ReadOptions(val_fraction=0.3))) == 8


def test_photos_whose_names_are_not_utf_8(tmp_path):
    files = {name.replace("a.png", "a\udce9.png"): content for name, content in FILES.items()}
    photos, out = write_tree(tmp_path / "photos\udce9", files), tmp_path / "out\udce9"
    report = crop(photos, out)
    assert report.source == rf"{tmp_path}/photos\xe9"
    assert r"train/happy/a\xe9.png" in (out / "faces.csv").read_text()
    repr(report.to_dict()).encode()


def test_a_damaged_member_of_a_zip_is_one_unreadable_photo(tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("happy/a.png", "happy/b.png", "sad/c.png"):
            archive.writestr(name, scene(168, seed=len(archive.namelist())))
        at = archive.getinfo("happy/b.png").header_offset + 500
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(content)
    report = crop(path, tmp_path / "out", detector="whole")
    assert report.faces == 2
    assert ["b.png" in name for name in report.left_out["cannot be read"]] == [True]
