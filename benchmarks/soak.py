"""Work for long in one process, and see whether memory, open files or threads grow.

``python benchmarks/soak.py --pictures 100000 --requests 10000 --loads 1000``

Pictures go from files through the pipeline into a table; requests go through the app of the service, without a
socket; loads open the built-in model and use it once. Small drawn pictures and the detector `whole` make it quick.
After a first tenth, nothing may grow: the exit status is 1 where memory ends more than `MEMORY_MIB` higher, or more
files or threads are open.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from machine import describe
from mien.classifiers import load_classifier
from mien.detectors.whole import Whole
from mien.pipeline import Pipeline
from mien.serve.app import make_app
from mien.serve.options import LimitOptions, ServeOptions
from mien.sinks.tables import Table
from mien.vision.frames import frames
from mien.vision.images import encode_png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY_MIB = 32
DRAWN = 100
"""Different pictures; they are worked on again and again."""
MOST_PROBES = 20


def state() -> tuple[float, int, int]:
    """Return resident memory in MiB, open files and threads of this process."""
    gc.collect()
    this = psutil.Process()
    return this.memory_info().rss / 2**20, this.num_fds(), this.num_threads()


def watch(name: str, count: int, work: Callable[[int], Iterator[None]]) -> bool:
    """Do the work and look at the process at each twentieth; return whether nothing grew."""
    step, begun = max(1, count // MOST_PROBES), time.monotonic()
    seen = []
    for number, _ in enumerate(work(count), start=1):
        if number % step == 0:
            seen.append(state())
    settled = seen[max(0, len(seen) // 10 - 1) :]
    first, last = settled[0], settled[-1]
    most = max(one[0] for one in settled)
    flat = last[0] - first[0] <= MEMORY_MIB and last[1] <= first[1] and last[2] <= first[2]
    seconds = time.monotonic() - begun
    print(
        f"{name}: {count:,} in {seconds:,.0f} s; memory {first[0]:.0f} MiB after a tenth, {last[0]:.0f} at the end, "
        f"at most {most:.0f}; open files {first[1]} and {last[1]}, threads {first[2]} and {last[2]}: "
        f"{'flat' if flat else 'IT GROWS'}",
        flush=True,
    )
    return flat


def drawn(folder: Path) -> list[Path]:
    """Write small pictures of noise and return their paths."""
    draw, paths = np.random.default_rng(0), []
    for number in range(DRAWN):
        paths.append(folder / f"{number}.png")
        paths[-1].write_bytes(encode_png(draw.integers(0, 256, (24, 24, 3), np.uint8)))
    return paths


def pictures(paths: list[Path], folder: Path) -> Callable[[int], Iterator[None]]:
    """Return the work on pictures: read, find, name, write a row."""
    used = Pipeline(load_classifier("mien_nano", threads=1), Whole(), views=1)

    def work(count: int) -> Iterator[None]:
        with Table(folder / "soak.csv", used.facts) as table:
            for _ in range(count // DRAWN):
                for result in used.stream(frames([str(path) for path in paths]), workers=2):
                    table.write(result)
                    yield

    return work


def requests(paths: list[Path]) -> Callable[[int], Iterator[None]]:
    """Return the work on requests: a picture each, in a few connections at once."""
    used = Pipeline(load_classifier("mien_nano", threads=1), Whole(), views=1)
    app = make_app(lambda: used, ServeOptions(), LimitOptions(), 2)
    bodies = [path.read_bytes() for path in paths]

    async def ask(body: bytes) -> int:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/v1/predict", "raw_path": b"/v1/predict", "query_string": b"", "root_path": "",
            "headers": [(b"host", b"localhost"), (b"content-type", b"image/png")], "server": ("localhost", 80),
            "client": ("localhost", 1),
        }  # fmt: skip
        given, said = iter([{"type": "http.request", "body": body}]), []

        async def receive() -> dict[str, Any]:
            return next(given, {"type": "http.disconnect"})

        async def send(message: dict[str, Any]) -> None:
            said.append(message)

        await app(scope, receive, send)
        return int(said[0]["status"])

    def work(count: int) -> Iterator[None]:
        with asyncio.Runner() as runner:
            context = app.router.lifespan_context(app)
            runner.run(context.__aenter__())
            for number in range(0, count, 4):
                asked = [ask(bodies[(number + one) % DRAWN]) for one in range(4)]

                async def together(asked: list[Any] = asked) -> list[int]:
                    return await asyncio.gather(*asked)

                assert set(runner.run(together())) == {200}
                yield from (None for _ in range(4))
            runner.run(context.__aexit__(None, None, None))

    return work


def loads(count: int) -> Iterator[None]:
    """Open the model and use it, again and again."""
    crop = np.zeros((1, 48, 48, 1), np.uint8)
    for _ in range(count):
        load_classifier("mien_nano", threads=1).logits(crop)
        yield


def main() -> int:
    """Run the three; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--loads", type=int, default=1_000)
    given = parser.parse_args()
    print(describe("onnxruntime", "pillow"))
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        paths = drawn(folder)
        works = {"loads": loads, "requests": requests(paths), "pictures": pictures(paths, folder)}
        counts = {name: getattr(given, name) for name in works}
        flat = [watch(name, counts[name], work) for name, work in works.items() if counts[name]]
    return 0 if all(flat) else 1


if __name__ == "__main__":
    sys.exit(main())
