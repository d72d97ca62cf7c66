"""A photo in every form that a user may have: each detector and classifier gives the same answer for all of them."""

from __future__ import annotations

import base64
import io
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from mien.pipeline import Pipeline
from tests.fakes import ConstantClassifier, FixedDetector
from tests.pictures import photo as drawn_photo
from tests.pictures import write_zip


def encoded(image_rgb: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image_rgb).save(out, "PNG")
    return out.getvalue()


def written(folder, image_rgb: np.ndarray):
    path = folder / "photo.png"
    path.write_bytes(encoded(image_rgb))
    return path


SOURCES = {
    "path": written,
    "path as text": lambda folder, image: str(written(folder, image)),
    "folder": lambda folder, image: written(folder, image).parent,
    "pattern": lambda folder, image: str(written(folder, image).parent / "*.png"),
    "list": lambda folder, image: [written(folder, image)],
    "zip": lambda folder, image: write_zip(folder / "photos.zip", {"in/photo.png": encoded(image)}),
    "bytes": lambda folder, image: encoded(image),
    "bytearray": lambda folder, image: bytearray(encoded(image)),
    "file object": lambda folder, image: io.BytesIO(encoded(image)),
    "data URI": lambda folder, image: "data:image/png;base64," + base64.b64encode(encoded(image)).decode(),
    "standard input": lambda folder, image: "-",
    "PIL image": lambda folder, image: Image.fromarray(image),
    "PIL image with a palette": lambda folder, image: Image.fromarray(image).quantize(256),
    "array": lambda folder, image: image,
    "Fortran array": lambda folder, image: np.asfortranarray(image),
    "read-only array": lambda folder, image: np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape),
}


@pytest.fixture(params=SOURCES)
def given(request, tmp_path, monkeypatch):
    """Return a function: an image -> the image in one of the forms, and the pixels that this form holds."""

    def make(image_rgb_u8):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(encoded(image_rgb_u8))))
        made = SOURCES[request.param](tmp_path, image_rgb_u8)
        palette = isinstance(made, Image.Image) and made.mode == "P"  # has fewer colours
        return made, np.asarray(made.convert("RGB")) if palette else image_rgb_u8

    return make


def test_a_photo_gives_the_same_faces_in_every_form(detector, photo, given):
    source, image = given(cv2.resize(photo, (321, 217), interpolation=cv2.INTER_AREA))
    (result,) = Pipeline(ConstantClassifier(), detector).stream(source)
    assert (result.error, result.width, result.height) == (None, 321, 217)
    expected = detector.detect(image)
    assert expected
    assert [face.box_xyxy_px for face in result.faces] == [face.box_xyxy_px for face in expected]
    assert {face.label for face in result.faces} == {"happy"}


def test_a_photo_gives_the_same_probabilities_in_every_form(classifier, given):
    source, image = given(drawn_photo(seed=3))
    boxes = [(101.0, 53.0, 197.0, 149.0), (-7.0, 11.0, 60.0, 101.0)]  # one is not square and partly outside
    pipeline = Pipeline(classifier, FixedDetector(*boxes))
    (result,) = pipeline.stream(source)
    assert [face.box_xyxy_px for face in result.faces] == boxes
    assert tuple(result.faces[0].probs) == classifier.id.labels
    found = [list(face.probs.values()) for face in result.faces]
    expected = pipeline.name(pipeline.crops(image, pipeline.find(image)))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not np.allclose(found[0], found[1], atol=1e-6)
