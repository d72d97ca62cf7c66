"""What `fuzz.py` feeds: every form of input, a small good example of it, and its reader."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import re
import tarfile
import tempfile
import zipfile
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import av
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from onnx import TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from PIL import Image
from safetensors.numpy import save as save_weights

from mien import bundle, escapes, files
from mien.classifiers import load_classifier
from mien.classifiers.external_data import has_external_data
from mien.classifiers.onnx_runtime import open_graph
from mien.classifiers.spec import read_spec
from mien.config import read_recipe
from mien.cropping.record import JOURNAL, Journal
from mien.data.read import convert, read_dataset
from mien.detectors import bundle as detector_bundle
from mien.detectors.whole import Whole
from mien.exporting.metadata import describe
from mien.exporting.temperature import read_prior
from mien.history import EpochRow, read_csv
from mien.labels import EMOTIONS_7, FERPLUS_VOTE_ORDER
from mien.options import ReadOptions
from mien.pipeline import Pipeline
from mien.predictions import ImageResult
from mien.preprocess import Preprocess
from mien.results import ModelId
from mien.saliency.explain import facts_of
from mien.saliency.written import Written
from mien.scale.ledger import MANIFEST, SCHEMA, opened
from mien.scale.work import COUNTS
from mien.serve.app import make_app
from mien.serve.guard import read_keys
from mien.serve.options import LimitOptions, ServeOptions
from mien.sinks.tables import Table
from mien.training.transfer import _from_disk
from mien.vision import images
from mien.vision.frames import frames

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = Preprocess(size_px=8)
SPEC = {"labels": ["happy", "sad"], "preprocess": {"size_px": 8, "channels": 1}, "output": "logits"}
SPEC_TOML = b'labels = ["happy", "sad"]\noutput = "logits"\n[preprocess]\nsize_px = 48\n'
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Input(NamedTuple):
    """A form of input."""

    name: str
    """Of the file; several readers look at its ending."""
    content: bytes
    read: Callable[[Path], object]
    weight: int = 1
    """How many damaged ones there are in each round; cheap readers have more."""
    seal: Callable[[bytes], bytes] | None = None
    """Packs the content after it was damaged, so that the checksum of a container does not end everything."""


def picture(kind: str, size: tuple[int, int] = (9, 7), **options: Any) -> bytes:
    """Return a small picture in a format, with as many frames as `frames` says."""
    out, draw = io.BytesIO(), np.random.default_rng(0)
    count = options.pop("frames", 1)
    shown = [
        Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3), np.uint8)) for _ in range(max(1, count))
    ]
    more = {"save_all": True, "append_images": shown[1:]} if count > 1 else {}
    shown[0].save(out, kind, **more, **options)
    return out.getvalue()


def video(form: str, codec: str) -> bytes:
    """Return seven frames of 32x32 pixels."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(7):
            pixels = np.full((32, 32, 3), number * 31, np.uint8)
            pixels[number : number + 9, 3:20] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


def tree() -> dict[str, bytes]:
    """Return a dataset of class folders."""
    return {
        f"{split}/{label}/{number}.png": picture("PNG", (8 + number, 8))
        for split in ("train", "test")
        for label in ("happy", "sad")
        for number in range(2)
    }


def zipped(members: dict[str, bytes]) -> bytes:
    """Return a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """Return a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def with_a_member(content: bytes) -> bytes:
    """Return a zip with one damaged picture in it."""
    return zipped({**tree(), "train/sad/1.png": content})


def arrays(save: Callable[..., None], *given: object, **named: object) -> bytes:
    """Return what one of NumPy's functions saves."""
    out = io.BytesIO()
    save(out, *given, **named)
    return out.getvalue()


def parquet() -> bytes:
    """Return a small Parquet file with images."""
    out = io.BytesIO()
    rows = {"image": [picture("PNG", (8, 8 + row)) for row in range(20)], "label": ["happy", "sad"] * 10}
    pq.write_table(pa.table(rows), out)
    return out.getvalue()


def small_graph() -> bytes:
    """Return a graph for crops of 8 px that says its labels, as ours do."""
    nodes = [make_node("Flatten", ["image"], ["flat"]), make_node("Gemm", ["flat", "w", "b"], ["logits"])]
    weights = [
        onnx.numpy_helper.from_array(np.full((64, 2), 0.5, np.float32), "w"),
        onnx.numpy_helper.from_array(np.zeros(2, np.float32), "b"),
    ]
    made = make_graph(
        nodes, "small",
        [make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])], weights,
    )  # fmt: skip
    model = make_model(made, opset_imports=[make_opsetid("", 18)], ir_version=9)
    describe(model, ("happy", "sad"), SMALL)
    return model.SerializeToString()


PIXELS = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
LIST = b"path,label,split\n0.png,happy,train\n1.png,sad,train\n2.png,happy,test\n3.png,sad,test\n"
HISTORY = ",".join(field.name for field in fields(EpochRow)).encode() + b"\n1,.01,1.5,.3,1.4,.31,.29,2.5\n"
TABLE = "emotion,pixels,Usage\n" + "".join(
    f"{row % 7},{' '.join(str((row * 31 + n) % 256) for n in range(64))},{('Training', 'PublicTest')[row % 2]}\n"
    for row in range(14)
)
VOTES = ",".join(("file", *FERPLUS_VOTE_ORDER)) + "\n" + "".join(
    f"{split}/{label}/{number}.png,8,1,0,0,0,0,0,0,1,0\n"
    for split in ("train", "test") for label in ("happy", "sad") for number in range(2)
)  # fmt: skip


def dataset(path: Path) -> None:
    """Read a dataset."""
    read_dataset(path, SMALL, options=ReadOptions())


@cache
def good_set() -> Path:
    """Return the folder of a good dataset; it ends with the process."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-good-"))
    for name, content in tree().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def votes(path: Path) -> None:
    """Read the votes for a good dataset."""
    read_dataset(good_set(), SMALL, options=ReadOptions(votes=str(path), vote_rule="beside"))


def listed(path: Path) -> None:
    """Read a table that names pictures beside it."""
    beside = {path.with_name(f"{number}.png"): picture("PNG", (8, 8 + number)) for number in range(4)}
    for place, content in beside.items():
        place.write_bytes(content)
    dataset(path)


def photos(path: Path) -> None:
    """Read frames and their pixels; what cannot be read is a frame with its error."""
    for frame in frames(str(path)):
        if not frame.error:
            np.asarray(frame.image_rgb_u8)


def decoded(path: Path) -> None:
    """Decode a picture, and show its name in a table and a terminal."""
    content = path.read_bytes()
    escapes.csv_text(str(escapes.csv_cell(escapes.visible(content.decode("latin-1")))))
    images.decode(content, pixel_limit=40_000_000)


def bundle_config(path: Path) -> None:
    """Open a bundle whose config is the input."""
    (path.parent / "config.json").write_bytes(path.read_bytes())
    bundle.load(path.parent)


def detector_config(path: Path) -> None:
    """Open a detector whose config is the input."""
    path.replace(path.with_name(detector_bundle.CONFIG))
    path.with_name("model.onnx").write_bytes(b"")
    detector_bundle.read(path.parent)


def graph(path: Path) -> None:
    """Open a small graph and run it on two crops."""
    identity = ModelId("small", "0" * 64, ("happy", "sad"))
    open_graph(identity, SMALL, path.read_bytes(), threads=1).logits(np.zeros((2, 8, 8, 1), np.uint8))


def weights_file(path: Path) -> None:
    """Read weights that a recipe names."""
    _from_disk(str(path))


def shipped_graph(path: Path) -> None:
    """Open the built-in graph."""
    given = bundle.load("default")
    open_graph(given.id, given.preprocess, path.read_bytes(), threads=1)


def scanned(path: Path) -> None:
    """Search a graph for weights in other files, as is done before it is opened."""
    with contextlib.suppress(ValueError):
        has_external_data(path.read_bytes())


FACTS = {"model": {"name": "m", "sha256": "0" * 64, "labels": ["happy", "sad"]}, "views": 1}


def table(path: Path) -> None:
    """Go on with a table of results."""
    Table(path, FACTS, resume=True).close()


def table_of_results(ending: str) -> bytes:
    """Return a table of two images without a face."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x.{ending}")
        with Table(path, FACTS) as made:
            for name in ("a.png", "b.png"):
                made.write(ImageResult(name))
        return path.read_bytes()


@cache
def pipeline() -> Pipeline:
    """Return the built-in model, for images that are faces."""
    return Pipeline(load_classifier("default", threads=1), Whole(), views=1)


def explanations(path: Path) -> None:
    """Go on with a folder of explanations."""
    with Written(path.parent, pipeline(), None, resume=True):
        pass


def cropped(path: Path) -> None:
    """Go on with a folder of crops."""
    path.replace(path.with_name(JOURNAL))
    with contextlib.ExitStack() as stack:
        Journal(path.parent, {"size_px": 8}, stack, resume=True)


def shards(path: Path) -> None:
    """Go on with a folder of shards."""
    path.replace(path.with_name(MANIFEST))
    with opened(path.parent, {"model": "m"}, resume=True):
        pass


def packed() -> bytes:
    """Return a packed set."""
    with tempfile.TemporaryDirectory() as folder:
        convert(good_set(), Path(folder, "x.npz"), SMALL)
        return Path(folder, "x.npz").read_bytes()


@cache
def service() -> tuple[asyncio.AbstractEventLoop, Any]:
    """Start the app of the service, without a socket; its process ends with it."""
    app = make_app(pipeline, ServeOptions(), LimitOptions(), 1)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(app.router.lifespan_context(app).__aenter__())
    return loop, app


REQUEST = b"POST /v1/predict?annotated=true HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n\r\n%s"
FORM = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n%s\r\n--b--\r\n'


def request(path: Path) -> None:
    """Give the service a request, as a server hands it over; an answer of 500 is a find."""
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    verb, _, target = first.rpartition(b" ")[0].partition(b" ")
    place, _, query = target.partition(b"?")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": verb.decode("latin-1").upper(),
        "scheme": "http", "path": unquote(place.decode("latin-1")), "raw_path": place, "query_string": query,
        "headers": [(name, value) for name, value in headers if TOKEN.fullmatch(name)],
        "server": ("localhost", 8000), "client": ("localhost", 1), "root_path": "",
    }  # fmt: skip
    said: list[dict[str, Any]] = []
    given = iter([{"type": "http.request", "body": body}])

    async def receive() -> dict[str, Any]:
        return next(given, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    loop, app = service()
    loop.run_until_complete(app(scope, receive, send))
    answer = b"".join(message.get("body", b"") for message in said)
    assert said[0]["status"] != 500, "the service answered 500"
    assert b"Traceback" not in answer, "the answer holds a traceback"


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    """Return JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def corpus() -> list[Input]:
    """Return the forms."""
    config = (bundle.find("default") / "config.json").read_bytes()
    recipe = b'network = "nano"\nepochs = 3\n[optim]\npeak_lr = 0.1\n[augment]\nrotation_deg = 5.0\n'
    lines = [{"file_name": f"{n}.png", "label": n % 2, "split": ("train", "test")[n // 2]} for n in range(4)]
    facts = detector_bundle.Facts(
        name="d", parameters=3, threshold=0.5, gain=1.0, bias=0.0, training={}, material=("none",), checked={}
    )
    detector = {
        "format": "mien.detector/1",
        "facts": facts.model_dump(),
        "sha256": {"model.onnx": files.sha256(b"")},
    }
    weights = {"a.weight": np.zeros((3, 2), np.float32), "b": np.zeros(5, np.float16)}
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    uri = json.dumps({"images": ["data:image/png;base64,iVBORw0KGgo="] * 2}).encode()
    prior = json.dumps(dict.fromkeys(EMOTIONS_7, 1 / 7)).encode()
    same = {"model": facts_of(pipeline())["model"]["sha256"], "asked": None}
    explained = [
        {"source": name, "index": 0, "faces": [], "error": None} | same for name in ("a.png", "b.png")
    ]
    cut = [{"size_px": 8}, {"photo": "a.png", "faces": []}, {"photo": "b.png", "faces": []}]
    shard = {"shard": 0, "file": "part-000000.parquet", "digest": "0" * 64, **dict.fromkeys(COUNTS, 1)}
    whole = [
        Input(f"x.{kind.lower()}", picture(kind), decoded, 8)
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
    ]
    return [
        *whole,
        Input("progressive.jpg", picture("JPEG", (40, 40), progressive=True), decoded, 2),
        Input("moving.gif", picture("GIF", frames=4), photos, 2),
        Input("moving.webp", picture("WEBP", frames=4), photos, 2),
        Input("moving.png", picture("PNG", frames=4), photos, 2),
        Input("pages.tiff", picture("TIFF", frames=3), photos, 2),
        Input("film.mp4", video("mp4", "h264"), photos),
        Input("film.avi", video("avi", "mpeg4"), photos),
        Input("film.mkv", video("matroska", "mjpeg"), photos),
        Input("photos.zip", zipped(tree()), photos, 2),
        Input("set.zip", zipped(tree()), dataset),
        Input("member.zip", picture("PNG", (9, 8)), dataset, 1, with_a_member),
        Input("set.tar", tarred(tree(), "w"), dataset),
        Input("set.tar.gz", tarred(tree(), "w"), dataset, 1, gzip.compress),
        Input("set.csv", TABLE.encode(), dataset, 2),
        Input("set.csv.gz", gzip.compress(TABLE.encode()), dataset),
        Input("list.csv", LIST, listed),
        Input("votes.csv", VOTES.encode(), votes),
        Input("metadata.jsonl", "\n".join(map(json.dumps, lines)).encode(), listed),
        Input("x.npy", arrays(np.save, PIXELS.astype(np.float32)), dataset),
        Input("set.npz", arrays(np.savez, x=PIXELS, y=np.arange(20) % 2), dataset),
        Input("set.parquet", parquet(), dataset),
        Input("spec.json", json.dumps(SPEC).encode(), read_spec, 12),
        Input("spec.toml", SPEC_TOML, read_spec, 10),
        Input("recipe.toml", recipe, lambda path: read_recipe(str(path)), 4),
        Input("history.csv", HISTORY, read_csv, 12),
        Input("prior.json", prior, lambda path: read_prior(bundle.load("default"), str(path)), 2),
        Input("keys.txt", b"0123456789abcdef0123456789abcdef\n# old\n", read_keys, 12),
        Input("results.csv", table_of_results("csv"), table, 8),
        Input("results.jsonl", table_of_results("jsonl"), table, 8),
        Input("results.parquet", table_of_results("parquet"), table),
        Input("explanations.jsonl", as_lines(explained), explanations, 4),
        Input("given-crops.jsonl", as_lines(cut), cropped, 4),
        Input("given-shards.jsonl", as_lines([{"model": "m", "schema": SCHEMA}, shard]), shards, 4),
        Input("packed.npz", packed(), dataset),
        Input("bundle.json", config, bundle_config, 2),
        Input("given-detector.json", json.dumps(detector).encode(), detector_config, 8),
        Input("model.safetensors", save_weights(weights), weights_file, 12),
        Input("model.pth", arrays(lambda out, what: torch.save(what, out), tensors), weights_file, 4),
        Input("small.onnx", small_graph(), graph, 6),
        Input("shipped.onnx", bundle.load("default").graph("onnx"), shipped_graph),
        Input("scanned.onnx", small_graph(), scanned, 16),
        Input("x.http", REQUEST % (b"multipart/form-data; boundary=b", FORM % picture("PNG")), request, 6),
        Input("json.http", REQUEST % (b"application/json", uri), request, 6),
        Input("picture.http", REQUEST % (b"image/png", picture("PNG")), request, 6),
    ]  # fmt: skip
