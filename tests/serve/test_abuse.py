"""Whatever is sent, the answer is one problem without a path or a traceback, and the service goes on."""

from __future__ import annotations

import struct
import time
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.serve.bodies import shown
from tests.fakes import ConstantClassifier, FixedDetector
from tests.pictures import jpeg, photo, png
from tests.serve.conftest import BOX, fake_pipeline
from tests.serve.test_api import JPEG, uri


def bomb(width: int, height: int) -> bytes:
    """Return a PNG that says it has so many pixels, and has few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


JSON = {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
WRONG = {
    "an empty body": (b"", JPEG, 422, "expected a picture, got an empty file"),
    "text": (b"hello", JPEG, 422, "not a picture in a known format"),
    "no type": (b"x", {}, 415, "content type '(none)' is not taken"),
    "html": (b"x", {"Content-Type": "text/html"}, 415, "content type 'text/html' is not taken"),
    "compressed": (b"x", {**JPEG, "Content-Encoding": "gzip"}, 415, "the body is compressed"),
    "half a jpeg": (jpeg(photo())[:2000], JPEG, 422, "damaged or truncated picture"),
    "a bomb": (bomb(60_000, 60_000), JPEG, 422, "picture of 60000x60000 pixels is over the limit of"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(60), JPEG, 422, "HEIC is not read here"),
    "broken json": (b"{", JSON, 422, "JSON body: Invalid JSON"),
    "deep json": (b"[" * 100_000, JSON, 422, "JSON body: Invalid JSON"),
    "a list": (b"[]", JSON, 422, "JSON body: Input should be an object"),
    "no images": (b'{"images": []}', JSON, 422, "no picture in the request"),
    "another key": (b'{"images": [], "url": "x"}', JSON, 422, "url: Extra inputs are not permitted"),
    "numbers": (b'{"images": [1]}', JSON, 422, "images.0: Input should be a valid string"),
    "an address": (b'{"images": ["http://localhost/a.jpg"]}', JSON, 422, "addresses and paths are not opened"),
    "a path": (b'{"images": ["/etc/passwd"]}', JSON, 422, "addresses and paths are not opened"),
    "a file address": (b'{"images": ["file:///etc/passwd"]}', JSON, 422, "addresses and paths are not opened"),
    "base64 alone": (b'{"images": ["/9j/2wBDAAMCAgMCAgMD"]}', JSON, 422, "begins with '/9j/2wBDAAMC'"),
    "no base64": (b'{"images": ["data:image/png;base64,$$"]}', JSON, 422, "what follows base64, is not base64"),
    "no boundary": (b"x", {"Content-Type": "multipart/form-data"}, 422, "Missing boundary"),
    "no encoding": (
        b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n--b--",
        {"Content-Type": "multipart/form-data; charset=undefined; boundary=b"}, 422, "cannot be read",
    ),
    "broken multipart": (b"--b\r\nx", MULTIPART, 422, "no picture in the request"),
    "cut multipart": (
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\nabc',
        {"Content-Type": "multipart/form-data; boundary=b"}, 422, "ends too early",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_bodies(client, case):
    body, headers, status, detail = WRONG[case]
    answer = client.post("/v1/predict", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert detail in problem["detail"]
    assert "/root" not in answer.text
    assert "Traceback" not in answer.text


def test_wrong_fields_names_and_methods(client):
    data = jpeg(photo())
    assert "unexpected field 'file'" in client.post("/v1/predict", files=[("file", data)]).json()["detail"]
    text = client.post("/v1/predict", files=[("images", data)], data={"images": "x"})
    assert "unexpected field 'images'" in text.json()["detail"]
    unknown = client.post("/v1/predict?anotated=true", content=data, headers=JPEG)
    assert (unknown.status_code, "anotated" in unknown.json()["detail"]) == (422, True)
    assert client.get("/v1/predict").status_code == 405
    assert client.get("/../../etc/passwd").status_code == 404
    for path in ("/v1/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fetc/passwd"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.jpg", "a.jpg"),
        ("a\x1b[31m\r\nb\u202e.jpg", "a[31mb.jpg"),
        ("x" * 999, "x" * 200),
        ("", ""),
    ],
)
def test_a_file_name_is_only_a_label(client, name, kept):
    assert shown(name) == kept
    answer = client.post("/v1/predict", files=[("images", ("../../etc/passwd", jpeg(photo())))])
    assert answer.json()["images"][0]["source"] == "passwd"


def test_limits_of_a_request(service):
    client = service(max_body_mb=0.01, max_pictures=2, max_pixels=5000, max_faces=1)
    large = client.post("/v1/predict", content=bytes(20_000), headers=JPEG)
    assert (large.status_code, "limit of 10,485 bytes" in large.json()["detail"]) == (413, True)
    chunked = client.post("/v1/predict", content=iter([bytes(9_000)] * 3), headers=JPEG)
    assert chunked.status_code == 413
    many = client.post("/v1/classify", json={"images": [uri(png(size=(31, 31)))] * 3})
    assert (many.status_code, "limit of a request is 2" in many.json()["detail"]) == (413, True)
    for count in (3, 4, 9):
        form = service(max_pictures=2).post("/v1/classify", files=[("images", png(size=(31, 31)))] * count)
        assert (form.status_code, "limit of a request" in form.json()["detail"]) == (413, True)
    wide = client.post("/v1/classify", content=png(size=(71, 73)), headers=JPEG)
    assert (wide.status_code, "limit of 5,000 pixels" in wide.json()["detail"]) == (422, True)


@pytest.mark.parametrize("one", [b'"data:;base64,"', b'"a"', b"1"])
def test_very_many_pictures_in_a_json_body_are_refused_before_they_are_read(client, one):
    """The event loop reads JSON: nobody else is answered meanwhile."""
    body = b'{"images": [' + (one + b",") * 500_000 + one + b"]}"
    began = time.process_time()
    answer = client.post("/v1/predict", content=body, headers=JSON)
    assert answer.status_code == 413
    assert "far more pictures than 32, the limit of a request" in answer.json()["detail"]
    assert time.process_time() - began < 1


def test_too_many_faces_are_an_error_and_not_left_out(service):
    crowd = fake_pipeline(detector=FixedDetector(*[BOX] * 7))
    answer = service(crowd, max_faces=6).post("/v1/predict", content=jpeg(photo()), headers=JPEG)
    assert answer.json()["detail"] == "7 faces, the limit of a picture is 6"
    assert (
        service(crowd, max_faces=7).post("/v1/predict", content=jpeg(photo()), headers=JPEG).status_code
        == 200
    )


class Broken(ConstantClassifier):
    def logits(self, crops):
        raise RuntimeError("secret /root/place")


def test_a_bug_is_logged_and_not_told(service, caplog):
    client = service(fake_pipeline(Broken()))
    answer = client.post("/v1/predict", content=jpeg(photo()), headers=JPEG)
    assert answer.status_code == 500
    assert answer.json()["detail"] == "internal error; the server's log has more"
    assert "secret" not in answer.text
    assert "secret" in caplog.text
    assert client.get("/healthz").status_code == 200
    assert "mien_queue_pictures 0.0" in client.get("/metrics").text


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300),
    st.sampled_from(
        ["image/jpeg", "application/json", "multipart/form-data; boundary=b", "multipart/form-data"]
    ),
    st.sampled_from(
        [b"", b"--b\r\nContent-Disposition: form-data; name=images; filename=a\r\n\r\n", b'{"images":["']
    ),
)
def test_no_body_is_a_bug(client, body, kind, before):
    answer = client.post("/v1/predict", content=before + body, headers={"Content-Type": kind})
    assert answer.status_code in (200, 413, 415, 422)
