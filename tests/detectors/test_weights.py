"""Fetching by name, against a server on this machine."""

from __future__ import annotations

import http.server
import threading

import pytest

from mien.detectors.weights import YUNET, Weights, fetch
from mien.errors import FetchError
from mien.files import sha256

CONTENT = b"weights" * 1000


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == "/w.onnx"
            self.send_response(200 if known else 404)
            self.end_headers()
            if known:
                self.wfile.write(CONTENT)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def pinned(url: str, content: bytes = CONTENT) -> Weights:
    return Weights("w", url, "w.onnx", sha256(content), "MIT")


def test_the_right_bytes_are_kept(server, no_cache):
    weights = pinned(f"{server}/w.onnx")
    assert weights.cached() is None
    assert fetch(weights) == no_cache / "w.onnx" == weights.cached()
    assert weights.cached().read_bytes() == CONTENT


def test_the_wrong_bytes_are_not_kept(server, no_cache):
    with pytest.raises(FetchError, match=r"brought 7,000 bytes with SHA-256 .*, expected .*: not kept"):
        fetch(pinned(f"{server}/w.onnx", b"other"))
    assert list(no_cache.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{}/none.onnx", "HTTP Error 404"),
        ("http://127.0.0.1:9/x", "Connection refused"),
        ("http://127.0.0.1/a b", "cannot fetch"),
        ("file:///etc/passwd", r"expected an http\(s\) address"),
    ],
)
def test_no_answer(server, no_cache, url, message):
    with pytest.raises(FetchError, match=message):
        fetch(YUNET, url.format(server))
    assert list(no_cache.iterdir()) == []


def test_the_pinned_hash_is_that_of_the_published_file(yunet_weights):
    assert sha256(yunet_weights.read_bytes()) == YUNET.sha256
