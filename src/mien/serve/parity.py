"""Check that Python, HTTP and a browser give the same answers to the same pictures.

The service runs in a thread of this process, on a port of this machine, and serves the page. A headless browser opens
the page, classifies the pictures by itself, and sends its answers back.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import time
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn

from mien import bundle
from mien.errors import ConfigError
from mien.exporting.agreement import BOUNDS, Bound, compare
from mien.exporting.verify import Row
from mien.exporting.web import browser, runtime, write
from mien.pipeline import Pipeline
from mien.serve.app import make_app
from mien.serve.options import LimitOptions, ServeOptions
from mien.serve.run import listening
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fastapi import FastAPI
    from jaxtyping import Float32, Int, UInt8

    from mien.results import Box

PAGE = "exporting/web/proof"
BOUND = Bound(equal_labels=1.0, drop=0.0, probability_difference=1e-3)
"""Limits for full precision, for every way."""
MOST_CROPS = 350
BOX_PX = 0.05
"""Most pixels by which a side of a box may differ from Python's, in a picture without loss (PNG)."""
WAIT_S = 300.0
"""Most seconds that the browser may take."""
SQUARES = (
    (101.0, 53.0, 197.0, 149.0),
    (130.5, 80.5, 211.2, 161.2),
    (60.0, 40.0, 83.0, 63.0),
    (-20.0, -11.0, 80.0, 89.0),
)
"""Further crops, x0, y0, x1, y1 in pixels: shrunk by a whole number and by a fraction, enlarged, beyond a corner."""


@dataclass(frozen=True)
class Pictures:
    """The pictures that every way must classify."""

    crops: UInt8[np.ndarray, "n s s c"]
    truth: Int[np.ndarray, " n"] | None
    photo: UInt8[np.ndarray, "h w 3"]

    @property
    def crop_files(self) -> list[bytes]:
        """The crops as PNG."""
        return [images.encode_png(np.repeat(c, 3, axis=2) if c.shape[2] == 1 else c) for c in self.crops]


@dataclass(frozen=True)
class Seen:
    """The answers of one way."""

    crops: Float32[np.ndarray, "n k"]
    boxes: list[Box]
    faces: Float32[np.ndarray, "m k"]
    """Probabilities of the photo's faces, as this way found them."""
    squares: Float32[np.ndarray, "q k"] | None = None
    """Probabilities of the squares that Python cut from the photo."""
    facts: dict[str, Any] | None = None
    """Facts about the browser and its times."""


def check(runtime_folder: Path | None = None) -> None:
    """Check what is needed, before anything runs.

    Raises:
        ConfigError: no browser, or the runtime of the page is missing.
    """
    browser.find()
    runtime.read(runtime_folder)


def sample(crops: UInt8[np.ndarray, "n s s c"], truth: Int[np.ndarray, " n"] | None) -> Pictures:
    """Return at most `MOST_CROPS` of these crops, evenly chosen, and the photo in this package."""
    kept = np.unique(np.linspace(0, len(crops) - 1, min(len(crops), MOST_CROPS)).astype(int))
    photo = resources.files("mien").joinpath("assets", "sample.jpg").read_bytes()
    return Pictures(crops[kept], None if truth is None else truth[kept], images.decode(photo))


def web_rows(
    model: str | Path,
    pictures: Pictures,
    *,
    runtime_folder: Path | None = None,
    backends: Sequence[str] = ("onnx", "int8"),
) -> tuple[list[Row], dict[str, Any]]:
    """Classify pictures by Python, HTTP and a browser; return a row for each comparison, and the browser's facts.

    The INT8 graph, if the model has one, is compared with the same graph in Python.

    Raises:
        ConfigError: no browser, or the runtime of the page is missing, or the browser gave no answer.
    """
    check(runtime_folder)
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    for backend in backends:
        if backend != "onnx" and bundle.GRAPHS[backend] not in bundle.load(model).sha256:
            continue
        pipeline = Pipeline(model, "mien", backend=backend)
        site = write.site(
            model, backend=backend, detector=write.detector_for("mien"), runtime_folder=runtime_folder
        )
        expected, by_http, by_browser = answers(pipeline, site, pictures)
        facts[backend] = by_browser.facts
        rows += _compared(pipeline, pictures, expected, {"http": by_http, "browser": by_browser}, backend)
    return rows, facts


def answers(
    pipeline: Pipeline, site: dict[str, bytes], pictures: Pictures, *, repeat: int = 1
) -> tuple[Seen, Seen, Seen]:
    """Return the answers of Python, HTTP and the browser, which answers the photo `repeat` times.

    Raises:
        ConfigError: the browser gave no answer.
    """
    expected, squares = _by_python(pipeline, pictures)
    proof = {
        file.name: file.read_bytes() for file in resources.files("mien").joinpath(*PAGE.split("/")).iterdir()
    }
    photo = images.encode_png(pictures.photo)
    proof["proof.json"] = json.dumps({
        "crops": [base64.b64encode(one).decode() for one in pictures.crop_files],
        "photos": [{"data": base64.b64encode(photo).decode(), "frames": squares}] * repeat,
    }).encode()  # fmt: skip
    limits = LimitOptions(timeout_s=WAIT_S)
    app = make_app(lambda: pipeline, ServeOptions(port=0), limits, page=lambda: {**site, **proof})
    labels = pipeline.classifier.id.labels
    with _served(app) as (port, told):
        _ask_page(port)
        by_http = _by_http(port, pictures, photo, limits.max_pictures, labels)
        with browser.opened(f"http://127.0.0.1:{port}/proof.html") as runs:
            return expected, by_http, _by_browser(told.wait(runs))


def _by_python(pipeline: Pipeline, pictures: Pictures) -> tuple[Seen, list[Box]]:
    """Return Python's answers, and the squares of the photo that are asked for."""
    from mien.results import Face

    faces = pipeline.find(pictures.photo)
    squares = [*(face.frame_xyxy_px or face.box_xyxy_px for face in faces), *SQUARES]
    cut = pipeline.crops(pictures.photo, [Face(square, frame_xyxy_px=square) for square in squares])
    probs = pipeline.name(cut)
    of_crops = pipeline.name(pictures.crops[:, None])
    return Seen(of_crops, [face.box_xyxy_px for face in faces], probs[: len(faces)], probs), squares


def _ask_page(port: int) -> None:
    """Request the page once, because the service compresses its files at the first request; this is not measured."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()


def _by_http(port: int, pictures: Pictures, photo: bytes, most: int, labels: Sequence[str]) -> Seen:
    def ask(path: str, pictures: Sequence[bytes]) -> list[dict[str, Any]]:
        uris = ["data:image/png;base64," + base64.b64encode(one).decode() for one in pictures]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        with contextlib.closing(connection):
            body = json.dumps({"images": uris})
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer: dict[str, Any] = json.load(connection.getresponse())
            return [face for image in answer["images"] for face in image["faces"]]

    def probs(faces: list[dict[str, Any]]) -> Float32[np.ndarray, "n k"]:
        return np.array([[face["probs"][label] for label in labels] for face in faces], np.float32)

    files = pictures.crop_files
    crops = [
        face
        for start in range(0, len(files), most)
        for face in ask("/v1/classify", files[start : start + most])
    ]
    found = ask("/v1/predict", [photo])
    return Seen(probs(crops), [tuple(face["box_xyxy_px"]) for face in found], probs(found))


def _by_browser(told: dict[str, Any]) -> Seen:
    photo = told["photos"][0]
    return Seen(
        np.array(told["crops"], np.float32),
        [tuple(face["box"]) for face in photo["found"]],
        np.array([face["probs"] for face in photo["found"]], np.float32),
        np.array(photo["given"], np.float32),
        {name: told[name] for name in ("agent", "opened_ms", "first_ms", "face_ms", "photo_ms")},
    )


class _Told:
    """The answers that the page sends."""

    def __init__(self) -> None:
        self._there, self._answer = threading.Event(), dict[str, Any]()

    def take(self, answer: dict[str, Any]) -> None:
        self._answer = answer
        self._there.set()

    def wait(self, runs: Any) -> dict[str, Any]:
        """Return the answer.

        Raises:
            ConfigError: the browser ended or did not answer in time, or its page failed.
        """
        end = time.monotonic() + WAIT_S
        while not self._there.wait(0.2):
            if not runs():
                raise ConfigError("the browser ended before it answered: does it start by itself here?")
            if time.monotonic() > end:
                raise ConfigError(f"the browser gave no answer in {WAIT_S:.0f} s")
        if error := self._answer.get("error"):
            raise ConfigError(f"the page failed in the browser: {error}")
        return self._answer


@contextlib.contextmanager
def _served(app: FastAPI) -> Iterator[tuple[int, _Told]]:
    """Run an app in a thread, on a free port of this machine."""
    told = _Told()

    @app.post("/proof", include_in_schema=False)
    async def proof(answer: dict[str, Any]) -> None:
        told.take(answer)

    config = uvicorn.Config(app, log_level="error", access_log=False, ws="none")
    server = uvicorn.Server(config)
    with listening(ServeOptions(port=0)) as sock:
        thread = threading.Thread(target=server.run, args=([sock],), name="mien-proof")
        thread.start()
        try:
            yield sock.getsockname()[1], told
        finally:
            server.should_exit = True
            thread.join()


def _compared(
    pipeline: Pipeline, pictures: Pictures, expected: Seen, ways: dict[str, Seen], backend: str
) -> list[Row]:
    """Return a row for the crops, for the photo's faces and for its squares, by each way."""
    labels = pipeline.classifier.id.labels
    bound = BOUND if backend == "onnx" else BOUNDS[backend]
    rows: list[Row] = []

    def held(name: str, ours: np.ndarray, theirs: np.ndarray, *further: str) -> None:
        if len(ours) != len(theirs):
            further = (f"{len(theirs)} faces, expected {len(ours)}", *further)
            ours = theirs = np.zeros((1, len(labels)), np.float32)
        truth = pictures.truth if name == way else None
        agreement = compare(ours, theirs, truth, labels)
        full = name if backend == "onnx" else f"{name}, {backend} against {backend}"
        rows.append(Row(full, agreement, bound, (*further, *agreement.breaches(bound))))

    for way, seen in ways.items():
        held(way, expected.crops, seen.crops)
        if expected.squares is not None and seen.squares is not None:
            held(f"{way}, squares of a photo", expected.squares, seen.squares)
        held(f"{way}, faces of a photo", expected.faces, seen.faces, *_moved(expected.boxes, seen.boxes))
    return rows


def _moved(expected: list[Box], found: list[Box]) -> list[str]:
    """Return a text if boxes differ by more than `BOX_PX`, else an empty list."""
    if len(expected) != len(found) or not found:
        return []
    most = float(np.abs(np.array(expected) - np.array(found)).max())
    return [f"boxes differ by up to {most:.2f} px, the limit is {BOX_PX:g}"] if most > BOX_PX else []
