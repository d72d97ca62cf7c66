"""The command as a process: it listens, answers, is stopped gently, and bears clients that do not finish."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from mien.errors import BundleError, ConfigError
from mien.serve.options import LimitOptions, ServeOptions
from mien.serve.run import Service, listening, serve
from tests.pictures import jpeg, photo


def start(*words: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "mien", "serve", "--port", "0", *words], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if found := re.search(r"listening on http://127.0.0.1:(\d+)/", line):
            return process, int(found[1])
    raise AssertionError(f"the server did not start: {process.wait(5)}")


def get(port: int, path: str, data: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "image/jpeg"} if data else {}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return answer.status, answer.read()


@pytest.fixture
def started():
    """Return `start`, whose processes are ended with the test."""
    processes = []

    def begin(*words):
        processes.append(start(*words))
        return processes[-1]

    yield begin
    for process, _ in processes:
        process.kill()
        process.stderr.close()
        process.wait(10)


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=20)[1]


def test_a_process_answers_bears_cut_uploads_and_ends_gently(started):
    process, port = started("--detector", "whole")
    picture = jpeg(photo())
    for cut in (b"POST /v1/predict HTTP/1.1\r\nHo", head(len(picture)) + picture[:500], b"\x00\xff" * 99):
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(cut)
    status, body = get(port, "/v1/predict", picture)
    assert status == 200
    assert json.loads(body)["model"]["name"] == "mien_trio"
    running = socket.create_connection(("127.0.0.1", port), 5)
    running.sendall(head(len(picture)) + picture[:-1])
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    running.sendall(picture[-1:])  # a request that had begun is still answered
    assert running.makefile("rb").readline().startswith(b"HTTP/1.1 200")
    running.close()
    said = process.communicate(timeout=20)[1]
    assert process.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in said
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5)


def head(length: int) -> bytes:
    lines = (
        "POST /v1/predict HTTP/1.1",
        "Host: localhost",
        "Content-Type: image/jpeg",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


def test_several_processes_share_a_port_and_their_counts(started):
    process, port = started("--detector", "whole", "--processes", "2")
    for _ in range(3):
        assert get(port, "/v1/predict", jpeg(photo()))[0] == 200
    counts = [get(port, "/metrics")[1].decode() for _ in range(2)]
    assert all("mien_faces_total 3.0" in count for count in counts)
    assert "Traceback" not in stop(process)


def test_what_keeps_a_service_from_starting_is_one_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            serve(Service({}, ServeOptions(port=port), LimitOptions()), print)
    for host in ("a" * 70 + ".example", "a..example"):
        with pytest.raises(ConfigError, match="cannot listen on "):
            listening(ServeOptions(host=host))
    with pytest.raises(BundleError, match="no model 'nothing-here'"):
        serve(Service({"model": "nothing-here"}, ServeOptions(), LimitOptions()), print)
