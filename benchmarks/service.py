"""Requests and faces a second of ``mien serve``: shared batches against one request at a time, and under overload.

    python benchmarks/service.py                 # 16 clients, both services in turn
    python benchmarks/service.py --overload 60   # ten times as many clients as places, for 60 s

The client runs on the same machine and takes part of its cores. One at a time is the same service with
``--workers 1 --max-batch 1``. Needs psutil.
"""

from __future__ import annotations

import argparse
import http.client
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import psutil

from machine import describe
from mien.statistics import percentile

SERVICES = {"one at a time": ("--workers", "1", "--max-batch", "1"), "shared batches": ()}
ROOM = ("--queue", "1024")  # nothing is refused while both are compared


def start(*words: str) -> tuple[subprocess.Popen[str], int]:
    """Start a service and return it with its port."""
    command = [sys.executable, "-m", "mien", "serve", "--port", "0", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"listening on http://127.0.0.1:(\d+)/", line):
            return process, int(found[1])
    raise SystemExit("the service did not start")


def load(
    port: int, path: str, body: bytes, kind: str, clients: int, seconds: float
) -> tuple[Counter[int], list[float]]:
    """Send requests from so many clients and return the statuses, and the times of those with status 200."""
    statuses: Counter[int] = Counter()
    times: list[float] = []
    end, lock = time.monotonic() + seconds, threading.Lock()

    def client() -> None:
        own: list[tuple[int, float]] = []
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < end:
            begun = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            answer.read()
            own.append((answer.status, time.perf_counter() - begun))
            if answer.status == 429:
                time.sleep(0.05)  # far sooner than Retry-After asks for
        connection.close()
        with lock:
            statuses.update(status for status, _ in own)
            times.extend(took for status, took in own if status == 200)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, times


def form(pictures: list[bytes]) -> tuple[bytes, str]:
    """Return a multipart body of these pictures and its content type."""
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n' + one + b"\r\n"
        for one in pictures
    ]
    return b"".join(parts) + b"--b--\r\n", "multipart/form-data; boundary=b"


def crop(seed: int) -> bytes:
    """Return noise of 48 x 48 pixels as a PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])


def shown(value: float | None, width: int = 0) -> str:
    """Return a time with one decimal; a dash for a percentile of too few requests."""
    return f"{'-' if value is None else f'{value:.1f}':>{width}}"


def compare(options: argparse.Namespace) -> None:
    """Measure both services in turn, several rounds."""
    photo = Path(options.photo).read_bytes()
    loads = {
        "1 crop": ("/v1/classify", *form([crop(0)]), 1),
        "16 crops": ("/v1/classify", *form([crop(seed) for seed in range(16)]), 16),
        "a photo": ("/v1/predict", photo, "image/jpeg", 1),
    }
    look = ["--detector-weights", options.yunet, "--detector", "yunet"] if options.yunet else []
    running = {name: start(*words, *look, *ROOM) for name, words in SERVICES.items()}
    print(f"{'load':10} {'service':15} {'requests/s':>10} {'faces/s':>8} {'p50 ms':>7} {'p99 ms':>7}")
    try:
        for title, (path, body, kind, faces) in loads.items():
            found: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in SERVICES}
            for turn in range(options.rounds + 1):
                for name, (_, port) in running.items():
                    statuses, times = load(port, path, body, kind, options.clients, options.seconds)
                    assert set(statuses) == {200}, statuses
                    if turn:  # the first is a warm-up
                        found[name].append((len(times) / options.seconds, times))
            for name, rounds in found.items():
                rate = statistics.median(rate for rate, _ in rounds)
                times = [1000 * took for _, round_ in rounds for took in round_]
                print(
                    f"{title:10} {name:15} {rate:10.1f} {rate * faces:8.1f} {statistics.median(times):7.1f} "
                    f"{shown(percentile(times, 99), 7)}"
                )
    finally:
        for process, _ in running.values():
            process.terminate()
            process.wait(30)


def overload(options: argparse.Namespace) -> None:
    """Send far more than the service can bear, and see whether it recovers."""
    process, port = start("--queue", "16", "--max-pictures", "16", "--detector", "whole")
    body, kind = Path(options.photo).read_bytes(), "image/jpeg"
    memory = psutil.Process(process.pid).memory_info
    try:
        load(port, "/v1/predict", body, kind, 4, 5)
        before = memory().rss
        statuses, times = load(port, "/v1/predict", body, kind, 160, options.overload)
        after = memory().rss
        begun = time.perf_counter()
        calm, _ = load(port, "/v1/predict", body, kind, 1, 1)
        slowest = percentile([1000 * took for took in times], 99)
        print(f"statuses {dict(statuses)}, p99 of the {len(times)} accepted {shown(slowest)} ms")
        print(f"memory {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
        print(f"a lone client in the {time.perf_counter() - begun:.1f} s after it: {dict(calm)}")
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--yunet", help="file with YuNet's weights; without it, the detector is the one at hand"
    )
    parser.add_argument("--photo", default="src/mien/assets/sample.jpg")
    parser.add_argument("--overload", type=float, help="seconds of overload, in place of the comparison")
    given = parser.parse_args()
    print(describe("fastapi", "uvicorn", "onnxruntime"))
    (overload if given.overload else compare)(given)
