"""The runtime's files: fetched from an archive on this machine, checked, and found again."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import os
import shutil
import tarfile
import threading

import pytest

from mien.errors import ConfigError, FetchError, OutputError
from mien.exporting.web import runtime
from mien.exporting.web.write import site, write
from mien.files import sha256
from tests.serve.conftest import service  # noqa: F401 - a fixture


def archive(names=tuple(file.name for file in runtime.FILES)) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for name in names:
            content = f"content of {name}".encode()
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def integrity(data: bytes) -> str:
    return base64.b64encode(hashlib.sha512(data).digest()).decode()


@pytest.fixture
def pinned(monkeypatch):
    """Pin the files of `archive`."""
    own = tuple(runtime.File(one.name, sha256(f"content of {one.name}".encode())) for one in runtime.FILES)
    monkeypatch.setattr(runtime, "FILES", own)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    answers = {"/good.tgz": archive(), "/short.tgz": archive(names=("x",)), "/text.tgz": b"text"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b""))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", answers
        running.shutdown()


def test_the_two_files_are_kept_and_found(server, pinned):
    address, answers = server
    assert not runtime.is_there()
    folder = runtime.fetch(f"{address}/good.tgz", integrity=integrity(answers["/good.tgz"]))
    assert runtime.is_there()
    assert sorted(path.name for path in folder.iterdir()) == sorted(file.name for file in runtime.FILES)
    assert runtime.read()["ort.wasm.bundle.min.mjs"] == b"content of ort.wasm.bundle.min.mjs"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("good.tgz", "with SHA-512 .*, expected .*: not kept"),
        ("none.tgz", "HTTP Error 404"),
        ("short.tgz", "is not the archive of onnxruntime-web"),
        ("text.tgz", "is not the archive of onnxruntime-web"),
    ],
)
def test_other_bytes_are_not_kept(server, name, message):
    address, answers = server
    digest = runtime.INTEGRITY if name == "good.tgz" else integrity(answers.get(f"/{name}", b""))
    with pytest.raises(FetchError, match=message):
        runtime.fetch(f"{address}/{name}", integrity=digest)
    assert not runtime.folder().exists()


def test_a_missing_or_foreign_runtime_is_one_error(tmp_path):
    with pytest.raises(ConfigError, match="run `mien fetch web-runtime`, or give the folder"):
        site("default", runtime_folder=tmp_path)
    (tmp_path / runtime.FILES[0].name).write_bytes(b"other")
    with pytest.raises(ConfigError, match="is not that of onnxruntime-web"):
        site("default", runtime_folder=tmp_path)
    with pytest.raises(ConfigError, match="in a browser runs backend onnx or int8, got torch"):
        site("default", backend="torch")


def test_a_full_folder_is_not_written_into(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(OutputError, match="is not an empty folder"):
        write({"b": b""}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_served_page_has_the_names_of_the_folder_and_no_others(
    service,  # noqa: F811
    pinned,
    tmp_path,
):
    for file in runtime.FILES:
        (tmp_path / file.name).write_bytes(f"content of {file.name}".encode())
    made = site("default", runtime_folder=tmp_path)
    client = service(page=lambda: made)
    index = client.get("/")
    assert index.text == made["index.html"].decode()
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    for name, content in made.items():
        answer = client.get(f"/{name}")
        assert answer.content == content
        assert client.get(f"/{name}", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert client.get("/ort-wasm-simd-threaded.wasm").headers["content-type"] == "application/wasm"
    assert client.get("/config.json").status_code == 404
    assert "mien fetch web-runtime" in service().get("/").text


@pytest.mark.parametrize(
    ("npm", "message"),
    [
        (
            None,
            r"npm is not installed, so the address of onnxruntime-web@\d+\.\d+\.\d+ is not known: install",
        ),
        (
            "exit 1",
            r"npm does not say where onnxruntime-web@.* is: no answer; give its address, .*ADDRESS",
        ),
        ("echo E404 >&2; exit 1", r"npm does not say where onnxruntime-web@.* is: E404; give its address"),
    ],
)
def test_npm_says_where_the_archive_is(tmp_path, monkeypatch, npm, message):
    if npm:
        (tmp_path / "npm").write_text(f"#!/bin/sh\n{npm}\n")
        (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin" if npm else str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / name) if npm else None)
    with pytest.raises(ConfigError, match=message):
        runtime.fetch()
