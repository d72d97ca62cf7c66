"""Feed every reader with damaged files for some minutes and count: ``make fuzz MINUTES=10``.

The good files are made here, by code; each input is one of them with a few things wrong. A find is an exception that
is no `MienError`, a crash, an input that takes longer than `SECONDS`, or more memory than `MEMORY_BYTES`.
Finds are kept in ``fuzz-finds/`` and the exit status is 1. The same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import resource
import signal
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mien import bundle, escapes
from mien.classifiers.onnx_runtime import open_graph
from mien.classifiers.spec import read_spec
from mien.config import read_recipe
from mien.data.read import read_dataset
from mien.errors import MienError
from mien.history import read_csv
from mien.options import ReadOptions
from mien.preprocess import Preprocess
from mien.vision import images
from mien.vision.frames import frames

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS, MEMORY_BYTES = 20, 2**31
BATCH = 200
"""Inputs of one process: a crash costs one of them."""
FINDS = Path("fuzz-finds")
SMALL = Preprocess(size_px=8)
RAW_BYTES = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff",
    b"'",
    b'"',
    b"\n",
    b"=",
    b"[" * 999,
)


def picture(kind: str, size: tuple[int, int] = (9, 7), **options: object) -> bytes:
    """Return a small picture in a format."""
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def tree() -> dict[str, bytes]:
    """Return a dataset of class folders."""
    return {
        f"{split}/{label}/{number}.png": picture("PNG", (8 + number, 8))
        for split in ("train", "test")
        for label in ("happy", "sad")
        for number in range(2)
    }


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    """Return a packed tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def arrays(save: Callable[..., None], *given: object, **named: object) -> bytes:
    """Return what one of NumPy's functions saves."""
    out = io.BytesIO()
    save(out, *given, **named)
    return out.getvalue()


def parquet() -> bytes:
    """Return a small Parquet file with images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    rows = {"image": [picture("PNG", (8, 8 + row)) for row in range(6)], "label": ["happy", "sad"] * 3}
    pq.write_table(pa.table(rows), out)
    return out.getvalue()


TABLE = "emotion,pixels,Usage\n" + "".join(
    f"{row % 7},{' '.join(str((row * 31 + n) % 256) for n in range(64))},{('Training', 'PublicTest')[row % 2]}\n"
    for row in range(14)
)
SPEC = {"labels": ["happy", "sad"], "size_px": 48, "channels": 1}


def dataset(path: Path) -> None:
    """Read a dataset."""
    read_dataset(path, SMALL, options=ReadOptions())


def photos(path: Path) -> None:
    """Read frames; what cannot be read is a frame with its error."""
    for frame in frames(str(path)):
        _ = frame.error


def bundle_config(path: Path) -> None:
    """Open a bundle whose config is the input."""
    (path.parent / "config.json").write_bytes(path.read_bytes())
    bundle.load(path.parent)


def graph(path: Path) -> None:
    """Open a graph and run it on nothing."""
    given = bundle.load("default")
    open_graph(given.id, given.preprocess, path.read_bytes())


def request(path: Path) -> None:
    """Decode what a client could send, and show its name."""
    content = path.read_bytes()
    escapes.csv_text(str(escapes.csv_cell(escapes.visible(content.decode("latin-1")))))
    images.decode(content, pixel_limit=40_000_000)


def corpus() -> list[tuple[str, bytes, Callable[[Path], object]]]:
    """Return the good files: a name, the content, and who reads it."""
    config = (bundle.find("default") / "config.json").read_bytes()
    recipe = b'network = "nano"\nepochs = 3\n[optim]\npeak_lr = 0.1\n[augment]\nrotation_deg = 5.0\n'
    lines = [{"file_name": f"{n}.png", "label": n % 2} for n in range(4)]
    whole = [
        (f"x.{kind.lower()}", picture(kind), request)
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
    ]
    return [
        *whole,
        ("progressive.jpg", picture("JPEG", (40, 40), progressive=True), request),
        ("photos.zip", zipped(tree()), photos),
        ("set.zip", zipped(tree()), dataset),
        ("set.tar.gz", tarred(tree()), dataset),
        ("set.csv", TABLE.encode(), dataset),
        ("set.csv.gz", gzip.compress(TABLE.encode()), dataset),
        ("list.csv", b"path,label,split\na.png,happy,train\nb.png,sad,test\n", dataset),
        ("metadata.jsonl", "\n".join(map(json.dumps, lines)).encode(), dataset),
        ("x.npy", arrays(np.save, np.zeros((6, 8, 8), np.float32)), dataset),
        ("set.npz", arrays(np.savez_compressed, x=np.zeros((6, 8, 8), np.uint8), y=np.arange(6) % 2), dataset),
        ("set.parquet", parquet(), dataset),
        ("spec.json", json.dumps(SPEC).encode(), read_spec),
        ("spec.toml", b'labels = ["happy", "sad"]\nsize_px = 48\n', read_spec),
        ("recipe.toml", recipe, lambda path: read_recipe(str(path))),
        ("history.csv", b"epoch,seconds,lr\n1,2.5,0.1\n", read_csv),
        ("bundle.json", config, bundle_config),
        ("model.onnx", bundle.load("default").graph("onnx"), graph),
    ]  # fmt: skip


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return a file with one to four things wrong: bytes, a piece gone or twice, an end cut off."""
    made = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(made) + 1), draw.choice((1, 2, 4, 16, 64, 512))
        how = draw.randrange(6)
        if how == 0 and made:
            made[at % len(made)] ^= 1 << draw.randrange(8)
        elif how == 1:
            made[at : at + length] = draw.randbytes(length)
        elif how == 2:
            del made[at : at + length]
        elif how == 3:
            made[at:at] = made[at : at + length]
        elif how == 4:
            piece = draw.choice(RAW_BYTES)
            made[at : at + len(piece)] = piece
        elif draw.random() < 0.3:
            del made[at:]
    return bytes(made)


def batch(first: int, answer: int, folder: Path, files: list) -> None:
    """Run one batch in this process, and write a line for each input before it is read and for each find."""
    warnings.simplefilter("ignore")
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - libraries talk there
    with Path("/proc/self/statm").open() as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    for number in range(first, first + BATCH):
        draw = random.Random(number)
        name, content, reader = files[number % len(files)]
        path = folder / name
        path.write_bytes(damaged(content, draw))
        os.write(answer, f"{number} {name}\n".encode())
        signal.alarm(SECONDS)
        try:
            reader(path)
        except MienError:
            pass
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error}"[:200].replace("\n", " ")
            os.write(
                answer, f"FIND {number} {name} {told} at {Path(last.filename).name}:{last.lineno}\n".encode()
            )
        finally:
            signal.alarm(0)


def main() -> int:
    """Fuzz for so many minutes; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    end, first, files = time.monotonic() + 60 * options.minutes, options.seed, corpus()
    counts: Counter[str] = Counter()
    finds: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "a", "b")  # a table's pictures are looked for around its folder, too
        folder.mkdir(parents=True)
        while time.monotonic() < end:
            reading, writing = os.pipe()
            child = os.fork()
            if not child:
                os.close(reading)
                batch(first, writing, folder, files)
                os._exit(0)
            os.close(writing)
            with os.fdopen(reading) as answer:
                lines = answer.read().splitlines()
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            inputs = [line for line in lines if not line.startswith("FIND")]
            counts.update(line.partition(" ")[2] for line in inputs)
            found = [line for line in lines if line.startswith("FIND")]
            if status:
                found.append(f"FIND {inputs[-1] if inputs else first} the process ended with {status}")
            for line in found:
                _, number, name, told = line.split(" ", 3)
                if finds.setdefault(f"{name} {told}", number) == number:
                    FINDS.mkdir(exist_ok=True)
                    content = damaged(files[int(number) % len(files)][1], random.Random(int(number)))
                    (FINDS / f"{number}-{name}").write_bytes(content)
                    print(f"find: input {number}, {name}: {escapes.visible(told)}", flush=True)
            first = int(inputs[-1].split()[0]) + 1 if inputs else first + BATCH
    print(
        f"{counts.total():,} inputs over {len(counts)} readers in {options.minutes:g} min, {len(finds)} finds"
    )
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
