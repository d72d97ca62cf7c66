"""The endpoints: what they answer, and that a client gets what Python gets."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from mien.errors import ConfigError
from mien.pipeline import Pipeline
from mien.serve.app import make_app
from mien.serve.options import LimitOptions, ServeOptions
from tests.pictures import jpeg, photo, png
from tests.serve.conftest import fake_pipeline

JPEG = {"Content-Type": "image/jpeg"}


def uri(data: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def test_a_raw_picture_gives_the_document_of_the_command_line(client):
    answer = client.post("/v1/predict", content=jpeg(photo()), headers=JPEG)
    assert answer.status_code == 200
    document = answer.json()
    assert {"schema", "version", "model", "detector", "views", "images"} <= document.keys()
    (image,) = document["images"]
    assert (image["width"], image["height"], image["error"]) == (330, 210, None)
    (face,) = image["faces"]
    assert face["box_xyxy_px"] == [101.0, 53.0, 197.0, 149.0]
    assert face["label"] == "happy"
    assert face["probs"] == pytest.approx({"sad": 0.119203, "happy": 0.880797})


def test_http_gives_what_python_gives(service, shared, yunet_weights):
    pipeline = Pipeline(detector="yunet", detector_weights=yunet_weights)
    data = (shared / "photos" / "multi_face.jpg").read_bytes()
    answer = service(pipeline).post("/v1/predict", content=data, headers=JPEG).json()
    expected = pipeline(data).to_dict()
    assert len(expected["faces"]) >= 4
    assert answer["images"] == [expected]
    assert {**answer, "images": None} == {**pipeline.facts, "images": None}


@pytest.mark.parametrize("form", ["multipart", "json"])
def test_several_pictures_keep_their_order_and_a_broken_one_its_place(client, form):
    pictures = [jpeg(photo()), b"no picture", png(size=(211, 217))]
    if form == "multipart":
        files = [("images", (f"{n}.jpg", data)) for n, data in enumerate(pictures)]
        answer = client.post("/v1/predict", files=files)
    else:
        answer = client.post("/v1/predict", json={"images": [uri(data) for data in pictures]})
    first, broken, last = answer.json()["images"]
    assert answer.status_code == 200
    assert (first["width"], last["width"]) == (330, 217)
    assert broken["error"].startswith("not a picture in a known format")
    assert broken["faces"] == []
    if form == "multipart":
        assert [first["source"], broken["source"], last["source"]] == ["0.jpg", "1.jpg", "2.jpg"]


def test_the_annotated_picture_as_data_uri_and_as_jpeg(client):
    document = client.post("/v1/predict?annotated=true", content=jpeg(photo()), headers=JPEG).json()
    head, _, body = document["images"][0]["annotated"].partition(",")
    assert head == "data:image/jpeg;base64"
    drawn = client.post("/v1/predict", content=jpeg(photo()), headers={**JPEG, "Accept": "image/jpeg"})
    assert drawn.headers["content-type"] == "image/jpeg"
    for data in (base64.b64decode(body), drawn.content):
        assert Image.open(io.BytesIO(data)).size == (330, 210)
        assert data != jpeg(photo())


def test_classify_takes_each_picture_as_one_face(client):
    document = client.post("/v1/classify", content=png(size=(53, 53)), headers=JPEG).json()
    assert document["detector"] == "whole"
    (face,) = document["images"][0]["faces"]
    assert face["box_xyxy_px"] == [0, 0, 53, 53]
    assert face["detector"] == "whole"


def test_models_names_the_model_and_the_limits(client):
    answer = client.get("/v1/models").json()
    assert answer["models"][0]["labels"] == ["sad", "happy"]
    assert answer["models"][0]["preprocess"]["size_px"] == 48
    assert answer["limits"]["pictures"] == 32


def test_probes_and_metrics(service):
    client = service()
    assert client.get("/healthz").text == "ok"
    assert client.get("/readyz").text == "ready"
    client.post("/v1/predict", content=jpeg(photo()), headers=JPEG)
    lines = client.get("/metrics").text.splitlines()
    assert 'mien_requests_total{endpoint="/v1/predict",status="200"} 1.0' in lines
    assert "mien_faces_total 1.0" in lines
    assert "mien_queue_pictures 0.0" in lines
    assert 'mien_stage_seconds_count{stage="find"} 1.0' in lines
    assert 'mien_batch_crops_bucket{le="1.0"} 1.0' in lines


def test_openapi_shows_every_endpoint_with_examples(client):
    schema = client.get("/openapi.json").json()
    assert {"/v1/predict", "/v1/classify", "/v1/models", "/healthz", "/readyz", "/metrics"} == set(
        schema["paths"]
    )
    text = json.dumps(schema)
    body = schema["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert body["application/json"]["example"]["images"][0].startswith("data:image/")
    assert '"examples"' in text
    assert {"401", "413", "415", "422", "429", "503"} <= set(
        schema["paths"]["/v1/predict"]["post"]["responses"]
    )
    assert client.get("/docs").status_code == 404  # its script would come from another server


def test_every_answer_has_the_security_headers(client):
    for answer in (client.get("/healthz"), client.get("/none"), client.post("/v1/predict")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_cors_only_for_the_origins_that_are_named(service):
    client = service(options=ServeOptions(cors_origin="https://a.example, https://b.example"))
    for origin, allowed in (("https://a.example", "https://a.example"), ("https://c.example", None)):
        answer = client.get("/healthz", headers={"Origin": origin})
        assert answer.headers.get("access-control-allow-origin") == allowed


def test_a_page_of_another_origin_may_send_a_key_and_reads_why_it_is_refused(service, tmp_path):
    """A browser asks first, without the key, whether the header is allowed."""
    (tmp_path / "keys").write_text("first-key-0123456789")
    client = service(options=ServeOptions(cors_origin="https://a.example", api_key_file=tmp_path / "keys"))
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    for origin, status in (("https://a.example", 200), ("https://c.example", 400)):
        answer = client.options("/v1/predict", headers={"Origin": origin, **asked})
        assert answer.status_code == status
    refused = client.post("/v1/predict", headers={"Origin": "https://a.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://a.example")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read `?api_key_file`?"),
        ("# none\n", "holds no key"),
        ("short\n", "fewer than 16 characters"),
    ],
)
def test_a_wrong_file_of_keys_is_refused_before_the_service_listens(tmp_path, content, message):
    path = tmp_path / "keys.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        make_app(fake_pipeline, ServeOptions(api_key_file=path), LimitOptions())


def test_a_key_is_needed_where_there_is_a_file_of_keys(service, tmp_path):
    keys = tmp_path / "keys.txt"
    keys.write_text("# ours\nfirst-key-0123456789\n\nsecond-key-0123456789\n")
    client = service(options=ServeOptions(api_key_file=keys))
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer wrong-key-0123456789"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer # ours"}, 401),
        ({"Authorization": "Bearer second-key-0123456789"}, 200),
        ({"X-API-Key": "first-key-0123456789"}, 200),
    ):
        assert client.get("/v1/models", headers=headers).status_code == status, headers
        assert client.get("/metrics", headers=headers).status_code == status, headers
    assert client.get("/healthz").status_code == 200


def test_a_key_is_its_bytes_and_a_file_may_begin_with_a_mark(service, tmp_path):
    """Some editors put a byte order mark in front of UTF-8."""
    (tmp_path / "keys").write_bytes("\ufefffirst-key-0123456789\nключ-ключ-ключ-à\n".encode())
    client = service(options=ServeOptions(api_key_file=tmp_path / "keys"))
    for key in ("first-key-0123456789", "ключ-ключ-ключ-à"):
        for name, value in (("X-API-Key", key), ("Authorization", f"Bearer {key}")):
            assert client.get("/v1/models", headers={name: value.encode()}).status_code == 200, (name, key)


def test_the_page_is_there_as_a_whole_or_is_waited_for(service):
    """Two visitors come while its files are packed."""
    begun, going = threading.Event(), threading.Event()

    class Files(dict):
        def items(self):
            yield "page.js", b"x"
            begun.set()
            going.wait(5)
            yield "index.html", b"hello"

    client = service(page=lambda: Files(there=True))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.get, "/")
        assert begun.wait(5)
        second = pool.submit(client.get, "/")
        time.sleep(0.2)
        going.set()
        assert [first.result(5).text, second.result(5).text] == ["hello", "hello"]


def test_a_foreign_host_name_is_refused_on_loopback_alone(service):
    headers = {"Host": "stranger.example"}
    assert service().get("/healthz", headers=headers).status_code == 400
    assert service(options=ServeOptions(host="0.0.0.0")).get("/healthz", headers=headers).status_code == 200
    for host in ("[2001:db8::1]:8000", "stranger.example]"):
        assert service().get("/healthz", headers={"Host": host}).status_code == 400
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert service().get("/healthz", headers={"Host": host}).status_code == 200
    assert service().get("/healthz", headers={"Host": "testserver"}).status_code == 400


def test_every_address_of_this_machine_alone_is_loopback(service):
    own = ServeOptions(host="127.0.0.2")
    assert [one.is_loopback for one in (own, ServeOptions(host="::1"), ServeOptions(host="0.0.0.0"))] == [
        True,
        True,
        False,
    ]
    assert service(options=own).get("/healthz", headers={"Host": "127.0.0.2:8000"}).status_code == 200
    assert service(options=own).get("/healthz", headers={"Host": "stranger.example"}).status_code == 400
