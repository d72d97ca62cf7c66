"""Requests and faces a second of ``mien serve``: shared batches against one request at a time; overload; abuse.

    python benchmarks/service.py                 # 16 clients, the services in turn
    python benchmarks/service.py --inside        # the same without sockets and clients: processor time a request
    python benchmarks/service.py --overload 60   # ten times what it sustains, with slow and cut uploads, for 60 s
    python benchmarks/service.py --fuzz 100000   # so many damaged bodies, inside one process

The client runs on the same machine and takes part of its cores. One at a time is the same service with
``--workers 1 --max-batch 1``. Needs psutil.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import http.client
import json
import logging
import random
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from machine import describe, spread
from mien.pipeline import Pipeline
from mien.serve.app import make_app
from mien.serve.options import LimitOptions, ServeOptions
from mien.statistics import percentile

SERVICES = {
    "one at a time": ("--workers", "1", "--max-batch", "1"), "shared batches": (),
    "shared, no wait": ("--max-wait-ms", "0"),
}  # fmt: skip
MODEL = "mien_nano"
ROOM = ("--queue", "1024")  # nothing is refused while both are compared


def start(*words: str) -> tuple[subprocess.Popen[str], int]:
    """Start a service and return it with its port."""
    command = [sys.executable, "-m", "mien", "serve", MODEL, "--port", "0", *words]
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
    """Measure the services in turn, several rounds."""
    photo = Path(options.photo).read_bytes()
    loads = {
        "1 crop": ("/v1/classify", *form([crop(0)]), 1),
        "16 crops": ("/v1/classify", *form([crop(seed) for seed in range(16)]), 16),
        "a photo": ("/v1/predict", photo, "image/jpeg", 1),
    }
    look = ["--detector-weights", options.yunet, "--detector", "yunet"] if options.yunet else []
    running = {name: start(*words, *look, *ROOM) for name, words in SERVICES.items()}
    print(
        f"{'load':10} {'service':15} {'requests/s':>10} {'faces/s':>8} {'p50 ms':>7} {'p99 ms':>7} "
        f"{'its processor, ms a request':>28}"
    )
    try:
        for title, (path, body, kind, faces) in loads.items():
            found: dict[str, list[tuple[float, list[float], float]]] = {name: [] for name in SERVICES}
            for turn in range(options.rounds + 1):
                for name, (process, port) in running.items():
                    before = spent(process)
                    statuses, times = load(port, path, body, kind, options.clients, options.seconds)
                    assert set(statuses) == {200}, statuses
                    if turn:  # the first is a warm-up
                        each = 1000 * (spent(process) - before) / len(times)
                        found[name].append((len(times) / options.seconds, times, each))
            for name, rounds in found.items():
                rate = statistics.median(rate for rate, _, _ in rounds)
                each = statistics.median(each for _, _, each in rounds)
                times = [1000 * took for _, round_, _ in rounds for took in round_]
                print(
                    f"{title:10} {name:15} {rate:10.1f} {rate * faces:8.1f} {statistics.median(times):7.1f} "
                    f"{shown(percentile(times, 99), 7)} {each:28.2f}",
                    flush=True,
                )
    finally:
        for process, _ in running.values():
            process.terminate()
            process.wait(30)


def spent(process: subprocess.Popen[str]) -> float:
    """Return the seconds of processor that a service has taken."""
    used = psutil.Process(process.pid).cpu_times()
    return float(used.user + used.system)


def overload(options: argparse.Namespace) -> None:
    """Send ten times what the service sustains, and uploads that are slow or cut; see whether it recovers."""
    process, port = start("--queue", "16", "--max-pictures", "16", "--detector", "whole")
    body, kind = Path(options.photo).read_bytes(), "image/jpeg"
    memory = psutil.Process(process.pid).memory_info
    try:
        load(port, "/v1/predict", body, kind, 4, 5)
        alone, _ = load(port, "/v1/predict", body, kind, 4, 5)
        sustained = alone[200] / 5
        print(f"sustained by 4 clients: {sustained:.1f} requests/s; memory {memory().rss / 2**20:.0f} MiB")
        over, sizes = threading.Event(), [memory().rss]
        rude = [
            threading.Thread(target=one, args=(port, body, over)) for one in (slow, cut) for _ in range(8)
        ]
        for thread in rude:
            thread.start()
        statuses: Counter[int] = Counter()
        times: list[float] = []
        for _ in range(6):
            some, took = load(port, "/v1/predict", body, kind, 160, options.overload / 6)
            statuses, times = statuses + some, times + took
            sizes.append(memory().rss)
        over.set()
        begun = time.perf_counter()
        calm, _ = load(port, "/v1/predict", body, kind, 1, 0.01)
        recovered = time.perf_counter() - begun
        offered = statuses.total() / options.overload
        print(f"offered {offered:.0f} requests/s, {offered / sustained:.1f} times that: {dict(statuses)}")
        milliseconds = [1000 * took for took in times]
        print(
            f"accepted: p50 {statistics.median(milliseconds):.0f} ms, "
            f"p99 {shown(percentile(milliseconds, 99))} ms"
        )
        print(f"memory in MiB before and after each sixth: {[round(size / 2**20) for size in sizes]}")
        print(f"a lone client after it: {dict(calm)} in {recovered:.2f} s")
        for thread in rude:
            thread.join()
    finally:
        process.terminate()
        process.wait(30)


def head(length: int) -> bytes:
    """Return the first lines of a request with a body of this length."""
    lines = ("POST /v1/predict HTTP/1.1", "Host: localhost", "Content-Type: image/jpeg")
    return "\r\n".join((*lines, f"Content-Length: {length}", "", "")).encode()


def slow(port: int, body: bytes, over: threading.Event) -> None:
    """Send an upload a hundred bytes at a time, until the service ends it or the load is over."""
    while not over.is_set():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(head(len(body)))
            for at in range(0, len(body), 100):
                connection.sendall(body[at : at + 100])
                if over.wait(0.2):
                    break


def cut(port: int, body: bytes, over: threading.Event) -> None:
    """Send half an upload and leave, again and again."""
    while not over.wait(0.2):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(head(len(body)) + body[: len(body) // 2])


async def ask(app: Any, body: bytes, kind: bytes, path: str = "/v1/classify") -> tuple[int, bytes]:
    """Send a request to an app without a socket; return its status and answer."""
    answers: list[Any] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", kind)]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return answers[0]["status"], b"".join(one.get("body", b"") for one in answers[1:])


def inside(options: argparse.Namespace) -> None:
    """Print the processor time of a request of one crop, with 16 at once, and of the classifier alone."""
    pipeline = Pipeline(MODEL, "whole")
    crops = np.random.default_rng(0).integers(0, 256, (16, 1, 48, 48, 1), np.uint8)
    for size in (1, 4, 16):
        pipeline.name(crops[:size])
        begun = time.process_time()
        for _ in range(320 // size):
            pipeline.name(crops[:size])
        spent = 1000 * (time.process_time() - begun) / (320 // size * size)
        print(f"the classifier, {size:2} crops at once: {spent:.2f} ms of processor a face")
    body, kind = form([crop(0)])

    async def rounds(workers: int, most: int) -> float:
        limits = LimitOptions(queue=1024, max_batch=most)
        app = make_app(lambda: pipeline, ServeOptions(), limits, workers)
        async with app.router.lifespan_context(app):

            async def client(count: int) -> None:
                for _ in range(count):
                    assert (await ask(app, body, kind.encode()))[0] == 200

            await asyncio.gather(*(client(5) for _ in range(options.clients)))
            begun = time.process_time()
            await asyncio.gather(*(client(40) for _ in range(options.clients)))
            return 1000 * (time.process_time() - begun) / (40 * options.clients)

    found: dict[str, list[float]] = {"one at a time": [], "shared batches": []}
    for _ in range(options.rounds):
        found["one at a time"].append(asyncio.run(rounds(1, 1)))
        found["shared batches"].append(asyncio.run(rounds(2, 64)))
    for name, spent in found.items():
        print(f"a request of 1 crop, {name}: {spread(spent)} ms of processor")
    print(
        f"ratio {statistics.median(found['one at a time']) / statistics.median(found['shared batches']):.2f}"
    )


def fuzz(options: argparse.Namespace) -> None:
    """Send damaged bodies of every kind; each answer must be one problem or a result, and memory must stay."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # as `mien serve` does
    rng, good = random.Random(options.seed), crop(0)
    uri = b"data:image/png;base64," + base64.b64encode(good)
    bodies = {
        b"image/png": good,
        b"image/jpeg": Path(options.photo).read_bytes()[:4000],
        b"multipart/form-data; boundary=b": form([good, good])[0],
        b"application/json": json.dumps({"images": [uri.decode()]}).encode(),
    }
    pipeline, statuses = Pipeline(MODEL, "whole"), Counter[int]()
    memory = psutil.Process().memory_info

    async def run() -> None:
        app = make_app(lambda: pipeline, ServeOptions(), LimitOptions(), 2)
        async with app.router.lifespan_context(app):
            for number in range(options.fuzz):
                kind = rng.choice(list(bodies))
                body = damaged(rng, rng.choice(list(bodies.values())) if rng.random() < 0.1 else bodies[kind])
                status, answer = await ask(app, body, kind, rng.choice(("/v1/classify", "/v1/predict")))
                statuses[status] += 1
                told = json.loads(answer)
                assert status in (200, 413, 415, 422), (status, body[:200])
                assert ("images" if status == 200 else "detail") in told
                assert b"Traceback" not in answer
                if number % (options.fuzz // 10 or 1) == 0:
                    print(f"{number:9,} {memory().rss / 2**20:.0f} MiB {dict(statuses)}", flush=True)

    asyncio.run(run())
    print(f"{options.fuzz:9,} {memory().rss / 2**20:.0f} MiB {dict(statuses)}")


def damaged(rng: random.Random, body: bytes) -> bytes:
    """Return a body with a few things wrong: bytes changed, cut out, doubled, or its end missing."""
    made = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(made) + 1), rng.choice((1, 1, 4, 40))
        what = rng.randrange(4)
        if what == 0:
            made[at : at + length] = rng.randbytes(length)
        elif what == 1:
            del made[at : at + length]
        elif what == 2:
            made[at:at] = made[at : at + length] * rng.choice((1, 2, 50))
        else:
            del made[at:]
    return bytes(made)


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
    parser.add_argument("--inside", action="store_true", help="processor time inside one process")
    parser.add_argument("--fuzz", type=int, help="number of damaged bodies, in place of the comparison")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    given = parser.parse_args()
    print(describe("fastapi", "uvicorn", "onnxruntime"))
    chosen = overload if given.overload else inside if given.inside else fuzz if given.fuzz else compare
    chosen(given)
