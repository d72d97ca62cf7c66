"""The page in a browser: crops, boxes, bars, the table; mouse, keyboard and camera."""

from __future__ import annotations

import base64
import csv
import io

import numpy as np
import pytest

from mien.pipeline import Pipeline
from mien.results import Face
from tests.pictures import jpeg, photo

TOLERANCE = 1e-3
CLASSIFY = """async ([data, boxes]) => {
  const { open, decode, classify } = await import("./model.js");
  globalThis.opened ??= await open();
  const file = new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))]);
  const { rgba } = await decode(file);
  return classify(globalThis.opened, rgba, boxes.map((box) => ({ box, frame: box })));
}"""


def in_browser(page, data: bytes, boxes) -> list[dict]:
    return page.evaluate(CLASSIFY, [base64.b64encode(data).decode(), [list(box) for box in boxes]])


def in_python(pipeline, image, boxes) -> np.ndarray:
    faces = [Face(box, frame_xyxy_px=box) for box in boxes]
    return pipeline.name(pipeline.crops(image, faces))


def test_the_crops_of_a_jpeg_give_the_same_probabilities(page, shared):
    from mien.vision.images import decode

    pipeline = Pipeline(detector="whole")
    data = (shared / "photos" / "multi_face.jpg").read_bytes()
    image = decode(data)
    height, width = image.shape[:2]
    boxes = [
        (101.0, 53.0, 197.0, 149.0),  # twice the side: shrunk by a whole number
        (230.5, 80.5, 311.2, 161.2),  # shrunk by a fraction
        (60.0, 40.0, 83.0, 63.0),  # enlarged
        (-20.0, -11.0, 80.0, 89.0),  # beyond the left upper corner
        (width - 60.0, height - 50.0, width + 41.0, height + 51.0),
        (0.0, 0.0, float(min(width, height)), float(min(width, height))),
    ]
    found = in_browser(page, data, boxes)
    rows = in_python(pipeline, image, boxes)
    labels = pipeline.classifier.id.labels
    for face, row in zip(found, rows, strict=True):
        assert [face["probs"][label] for label in labels] == pytest.approx(row.tolist(), abs=TOLERANCE)
        assert face["label"] == labels[int(row.argmax())]


def test_photos_give_boxes_bars_and_the_table(page, shared, yunet_weights):
    path = shared / "photos" / "multi_face.jpg"
    photos = (("=party.jpg", path.read_bytes()), ("broken.jpg", b"broken"))
    page.set_input_files(
        "#files", [{"name": n, "mimeType": "image/jpeg", "buffer": data} for n, data in photos]
    )
    page.get_by_role("status").filter(has_text="2 photos").wait_for(timeout=180_000)
    assert page.get_by_role("heading", name="Face 1: happy").is_visible()
    assert page.get_by_text("Error: not a picture that this browser can read").is_visible()
    pixels, boxes = (page.locator(".card canvas").nth(number).bounding_box() for number in (0, 1))
    assert pixels == boxes  # drawn over the picture, however long the list of faces beside it is
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the table").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))
    expected = Pipeline(detector="yunet", detector_weights=yunet_weights)(path).faces
    faces = [row for row in rows if row["face"]]
    assert len(faces) == len(expected)
    for row, face in zip(faces, expected, strict=True):
        assert row["source"] == "'=party.jpg"  # no spreadsheet takes it for a formula
        assert row["label"] == face.label
        box = [float(row[name]) for name in ("x0_px", "y0_px", "x1_px", "y1_px")]
        assert box == pytest.approx(list(face.box_xyxy_px), abs=0.1 * (box[2] - box[0]))


def test_a_face_that_fills_a_large_photo_is_found(page, shared, yunet_weights):
    import cv2

    from mien.detectors import open_detector
    from mien.vision.images import read

    whole = read(shared / "photos" / "single_face.jpg")
    x0, y0, x1, y1 = map(round, open_detector("yunet", yunet_weights).detect(whole)[0].box_xyxy_px)
    close = cv2.resize(whole[y0 - 3 : y1 + 3, x0 - 3 : x1 + 3], (1200, 1200), interpolation=cv2.INTER_LINEAR)
    page.set_input_files("#files", [{"name": "selfie.jpg", "mimeType": "image/jpeg", "buffer": jpeg(close)}])
    card = page.locator(".card").filter(has_text="selfie.jpg")
    card.get_by_role("heading", name="Face 1: ").wait_for(timeout=60_000)


def test_a_square_by_keyboard(page):
    page.get_by_role("button", name="Remove all").click() if page.locator(".card").count() else None
    page.set_input_files(
        "#files", [{"name": "grey.jpg", "mimeType": "image/jpeg", "buffer": jpeg(photo() // 9 + 90)}]
    )
    page.get_by_role("status").filter(has_text="1 photo,").wait_for(timeout=180_000)
    before = page.locator(".face").count()
    page.get_by_role("application").focus()
    for key in ("ArrowLeft", "ArrowUp", "+", "-", "Enter"):
        page.keyboard.press(key)
    page.locator(".face").nth(before).wait_for()
    assert page.get_by_role("status").inner_text().startswith(f"Face {before + 1}: ")


def test_the_camera_runs_and_stops(page):
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#live[data-frames='2']").wait_for(timeout=180_000)
    assert page.get_by_role("img", name="Probabilities of the largest face").is_visible()
    page.get_by_role("button", name="Stop the camera").click()
    page.get_by_role("status").filter(has_text="The camera is off").wait_for()
    assert page.locator("#live").is_hidden()


def test_nothing_leaves_the_page(page, address):
    assert page.mien_errors == []
    assert page.mien_addresses
    assert all(one.startswith((address, "blob:", "data:")) for one in page.mien_addresses)
    assert page.get_by_text("nothing is uploaded").is_visible()
    assert page.get_by_text("inferring emotions of people at work or in education is prohibited").is_visible()


def test_a_phone_in_light_and_dark(browser, address, page):
    phone = browser.new_page(viewport={"width": 360, "height": 640}, color_scheme="light")
    phone.goto(address)
    phone.wait_for_selector("body[data-ready]", timeout=180_000)
    for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 24, 27)")):
        phone.emulate_media(color_scheme=scheme)
        assert phone.evaluate("() => getComputedStyle(document.body).backgroundColor") == paper
        assert phone.evaluate("() => document.documentElement.scrollWidth") <= 360
    phone.close()
