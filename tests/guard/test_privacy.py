"""No output tells where the user's files lie, who the user is, or what a camera wrote into a picture."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import mien
from mien import bundle
from mien.auditing.page import write_audit
from mien.cropping import crop_photos
from mien.data.folding import write_folds
from mien.data.read import convert, read_dataset
from mien.detectors.yunet import YuNet
from mien.evaluation import render
from mien.evaluation.across import across
from mien.evaluation.across_report import write_across
from mien.evaluation.report import judge, write_report
from mien.exporting import ship
from mien.options import Clip, CropOptions, Outputs
from mien.pipeline import Pipeline
from mien.preprocess import Preprocess
from mien.saliency.explain import pipeline_for
from mien.saliency.written import Written
from mien.sinks import Sinks, recorded
from mien.tracking.tracker import Tracker
from mien.vision.frames import frames
from tests.fakes import ConstantClassifier, FixedDetector
from tests.pictures import png

USER, ARTIST = "jane-doe-4711", "Ansel-Photographer"
BOX = (5.0, 6.5, 41.0, 42.25)
SEEN = ConstantClassifier(size_px=8)


def drawn(_: object, form: str, dpi: int) -> bytes:
    return png() if form == "png" else b"<svg></svg>"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Return a dataset of photos that say who took them and where, in the folder of a user."""
    monkeypatch.setattr(render, "rendered", drawn)  # drawing takes seconds
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    monkeypatch.setenv("HOME", str(tmp_path / USER))
    folder = tmp_path / USER / "photos"
    for number in range(68):
        path = folder / ("train", "test")[number % 2] / ("happy", "sad")[number // 2 % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x013B] = ARTIST
        exif.get_ifd(0x8825)[2] = (48.0, 12.0, 47.0)
        pixels = np.random.default_rng(number).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(pixels).save(path, exif=exif, comment=ARTIST.encode())
    assert ARTIST.encode() in path.read_bytes()
    return folder


def evaluate(photos, out):
    data = read_dataset(photos, SEEN.preprocess)
    write_report(judge(SEEN, data, "test"), out)
    write_across(across(SEEN, [(data, "test"), (data, "train")]), out)


def pack(photos, out):
    convert(photos, out / "set.npz", Preprocess(size_px=8))
    write_folds(photos, out, 2, preprocess=Preprocess(size_px=8))
    write_folds(photos, out, 2, as_lists=True)


def audit(photos, out):
    write_audit(mien.audit(photos, model=SEEN, draws=True), out)


def predict(photos, out):
    used = Pipeline(SEEN, FixedDetector(BOX), views=1)
    given = Outputs(
        out=out, csv=out / "x.csv", jsonl=out / "x.jsonl", parquet=out / "x.parquet", crops=out / "crops"
    )
    with Sinks(given, used.facts) as sinks:
        for _ in recorded(used, frames("photos"), sinks, workers=1):
            pass


def explain(photos, out):
    with Written(out, pipeline_for(model=SEEN, detector=FixedDetector(BOX)), None) as written:
        list(written.explain(frames("photos/test/sad")))


def crop(photos, out):
    crop_photos(photos, out, CropOptions(workers=1), detector=FixedDetector(BOX))


def export(photos, out):
    ship.ship(bundle.load("default"), "onnx", out / "graph")
    ship.ship(bundle.load("default"), "hub", out / "hub")


COMMANDS = (evaluate, pack, audit, predict, explain, crop, export)


def inside(path: Path) -> bytes:
    """Return the content of a file, unpacked."""
    content = path.read_bytes()
    if path.suffix == ".npz":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = b"".join(archive.read(name) for name in archive.namelist())
        return parts + parts.replace(b"\0\0\0", b"")  # NumPy's texts have four bytes a letter
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return content + json.dumps(pq.read_table(path).to_pylist()).encode()
    if path.suffix in (".jpg", ".png"):
        with Image.open(io.BytesIO(content)) as image:
            assert not image.getexif(), path
            assert not {"comment", "exif", "gps"} & image.info.keys(), path
    return content


@pytest.mark.parametrize("command", [evaluate, audit, crop])
def test_nor_does_a_note_about_a_table(photos, tmp_path, monkeypatch, command):
    rows = [
        f"{path.relative_to(photos)},{path.parent.name},5,6,41,42" for path in sorted(photos.rglob("*.jpg"))
    ]
    (photos / "faces.csv").write_text("\n".join(["image,label,x0,y0,x1,y1", *rows]))
    notes = read_dataset(photos, SEEN.preprocess).notes
    assert "labels are read from photos:faces.csv, not from folders" in notes
    test_no_output_tells_of_the_user_or_the_camera(photos, tmp_path, monkeypatch, command)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_output_tells_of_the_user_or_the_camera(photos, tmp_path, monkeypatch, command):
    out = photos.parent / "out"  # a list names its images by their way from here
    out.mkdir()
    monkeypatch.chdir(photos.parent)
    command(photos, out)
    made = [path for path in out.rglob("*") if path.is_file()]
    assert made
    for path in made:
        content = inside(path)
        for secret in (USER, ARTIST, str(tmp_path)):
            assert secret.encode() not in content, f"{path.relative_to(out)} holds {secret}"


@pytest.mark.parametrize("how", ["blur", "pixelate"])
def test_faces_hidden_in_a_clip_are_not_found_again(shared, yunet_weights, tmp_path, how):
    """The detector that found them searches the video that was written, at half size and double."""
    clip = shared / "photos" / "talking_face.mp4"
    finder, tracker = YuNet(yunet_weights.read_bytes()), Tracker()
    used, few = Pipeline(SEEN, finder, views=1), Clip(end=0.4)
    with Sinks(Outputs(out=tmp_path, **{how: True}), used.facts | tracker.facts) as sinks:
        results = list(recorded(used, frames(str(clip), clip=few), sinks, tracker=tracker, workers=1))
    (film,) = tmp_path.glob("*.mp4")
    before, after = list(frames(str(clip), clip=few)), list(frames(str(film)))
    assert len(after) == len(before) == len(results) >= 5
    for frame, hidden, result in zip(before, after, results, strict=True):
        assert len(finder.detect(frame.image_rgb_u8)) == 1
        assert not finder.detect(hidden.image_rgb_u8)
        assert not finder.detect(cv2.resize(hidden.image_rgb_u8, None, fx=0.5, fy=0.5))
        x0, y0, x1, y1 = map(int, result.faces[0].box_xyxy_px)
        fine = [
            cv2.Laplacian(
                cv2.cvtColor(one.image_rgb_u8[y0 + 9 : y1 - 9, x0 + 9 : x1 - 9], 7), cv2.CV_64F
            ).std()
            for one in (frame, hidden)
        ]
        assert fine[1] < (fine[0] / 3 if how == "blur" else fine[0])
