"""Write the page: the files of `site/`, the graph, the runtime, the detector, and `model.json` about them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from mien import __version__, bundle, files
from mien.classifiers import load_classifier
from mien.detectors.weights import YUNET, verified
from mien.errors import ConfigError, OutputError
from mien.exporting.web import runtime
from mien.palette import colours, hex_code

if TYPE_CHECKING:
    from pathlib import Path

GRAPHS = {"onnx": "model.onnx", "int8": "model.int8.onnx"}
"""The forms of a model that run in a browser, and their files in the page."""
PAGE = "index.html"
SCHEMA = "mien.web/1"


@dataclass(frozen=True)
class Detector:
    """A detector as the page runs it: its graph, and what `detect.js` must know of it."""

    graph: bytes
    facts: dict[str, Any]


def yunet(weights: bytes) -> Detector:
    """Return YuNet's description. Its graph takes BGR pixels from 0 to 255 of exactly 640 x 640."""
    from mien.detectors.yunet import YuNet

    facts = {
        "name": YuNet.name,
        "decoder": "yunet",
        "file": "detector.onnx",
        "side_px": 640,
        "strides": [8, 16, 32],
        "score_threshold": YuNet.score_threshold,
        "iou_threshold": 0.3,
        "frame": YuNet.frame._asdict(),
        "licence": YUNET.licence,
    }
    return Detector(weights, facts)


def at_hand(weights: Path | None = None) -> Detector | None:
    """Return the detector whose weights were given or fetched; None: the user draws the square by hand.

    Raises:
        ConfigError: the file is not the pinned one.
    """
    path = weights or YUNET.cached()
    return yunet(verified(YUNET, path)) if path else None


def site(
    model: str | Path,
    *,
    backend: str = "onnx",
    detector: Detector | None = None,
    runtime_folder: Path | None = None,
) -> dict[str, bytes]:
    """Return every file of the page by its name.

    Args:
        model: a bundle folder or a built-in name.
        backend: ``onnx`` (fp32) or ``int8``.
        detector: what finds faces; None: the user draws the square by hand.
        runtime_folder: where the files of onnxruntime-web lie; by default where `mien fetch` put them.

    Raises:
        BundleError: the model cannot be loaded, or has no such graph.
        ConfigError: the runtime is missing, another backend, or the crops cannot be made in a browser.
    """
    if backend not in GRAPHS:
        raise ConfigError(f"in a browser runs `backend` {' or '.join(GRAPHS)}, got {backend}")
    loaded = bundle.load(model)
    classifier = load_classifier(model, backend=backend)
    preprocess = classifier.preprocess
    if preprocess.interpolation not in ("area", "linear"):
        raise ConfigError(
            f"model {classifier.id.name} resizes by {preprocess.interpolation}: the page knows area and linear"
        )
    gain, offset = preprocess.gain_offset()
    described = {
        "schema": SCHEMA,
        "version": __version__,
        "model": classifier.id.to_dict(),
        "file": GRAPHS[backend],
        "backend": backend,
        "preprocess": {**preprocess.model_dump(), "gain": gain, "offset": offset},
        "colours": {label: hex_code(rgb) for label, rgb in colours(classifier.id.labels).items()},
        "detector": detector.facts if detector else None,
    }
    made = {file.name: file.read_bytes() for file in resources.files(__package__).joinpath("site").iterdir()}
    made.update(runtime.read(runtime_folder))
    made[GRAPHS[backend]] = loaded.graph(backend)
    if detector:
        made[detector.facts["file"]] = detector.graph
    made["model.json"] = (json.dumps(described, indent=1) + "\n").encode()
    return made


def write(made: dict[str, bytes], out: Path) -> None:
    """Write the files into a new folder.

    Raises:
        OutputError: the folder is not empty, or cannot be written.
    """
    left = (".lock", files.TEMPORARY)  # of a command that was killed
    there = [path for path in out.rglob("*") if path.is_file()]
    there = [path for path in there if not path.relative_to(out).parts[0].startswith(left)]
    others = [path for path in there if path.relative_to(out).as_posix() not in made]
    if (out.exists() and not out.is_dir()) or others or (out / PAGE) in there:
        raise OutputError(f"{out} is not an empty folder: choose another `out`")
    with files.locked(out), files.together(out, PAGE) as stage:
        for name, content in made.items():
            files.write(stage / name, content)
