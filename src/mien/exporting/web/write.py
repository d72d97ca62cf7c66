"""Write the page: the files of `site/`, the graph, the runtime, the detector, and `model.json` about them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from mien import __version__, bundle, files
from mien.classifiers import load_classifier
from mien.detectors import CATALOG, built_in_folder
from mien.detectors.weights import YUNET, verified
from mien.errors import ConfigError, OutputError
from mien.exporting.web import runtime
from mien.palette import colours, hex_code

if TYPE_CHECKING:
    from pathlib import Path

GRAPHS = {"onnx": "model.onnx", "int8": "model.int8.onnx"}
"""The forms of a model that run in a browser, and their files in the page."""
DETECTOR_FILE = "detector.onnx"
PAGE = "index.html"
SCHEMA = "mien.web/1"


@dataclass(frozen=True)
class Detector:
    """A detector for the page: its graph, and the facts that `detect.js` needs."""

    graph: bytes
    facts: dict[str, Any]


def _yunet(weights: Path | None) -> Detector:
    """Return YuNet. Its graph takes BGR pixels from 0 to 255 of exactly 640 x 640."""
    from mien.detectors.yunet import YuNet

    facts = {
        "name": YuNet.name,
        "finder": "yunet",
        "file": DETECTOR_FILE,
        "side_px": 640,
        "strides": [8, 16, 32],
        "score_threshold": YuNet.score_threshold,
        "iou_threshold": 0.3,
        "frame": YuNet.frame._asdict(),
        "licence": YUNET.licence,
    }
    return Detector(verified(YUNET, weights or YUNET.cached()), facts)


def _mien(folder: Path | None) -> Detector:
    """Return the detector of this package, or one in a folder that `mien detector` wrote."""
    from mien.detectors import bundle as trained
    from mien.detectors import mien

    known, graphs = trained.read(folder or built_in_folder())
    facts = {
        "name": mien.Mien.name,
        "finder": "mien",
        "file": DETECTOR_FILE,
        "side_px": mien.Mien.longest_side_px,
        "stride": mien.STRIDE,
        "step": mien.STEP,
        "whole_px": mien.WHOLE_PX,
        "margin_px": mien.MARGIN_PX,
        "outside": mien.OUTSIDE,
        "least_logit": mien.LEAST_LOGIT,
        "most": mien.MOST,
        "support_iou": mien.SUPPORT_IOU,
        "no_support_logit": mien.NO_SUPPORT_LOGIT,
        "same_iou": mien.SAME_IOU,
        "inside": mien.INSIDE,
        "gain": known.gain,
        "bias": known.bias,
        "score_threshold": known.threshold,
        "licence": CATALOG["mien"].licence,
    }
    return Detector(list(graphs.values())[-1], facts)


def detector_for(name: str = "auto", weights: Path | None = None) -> Detector | None:
    """Return a detector of the page; None: the user draws the square of a face by hand.

    Args:
        name: one of `mien.options.PAGE_DETECTORS`; ``auto`` is YuNet where its weights were given or fetched, else
            the detector in this package.
        weights: YuNet's file, or a folder that `mien detector` wrote.

    Raises:
        ConfigError: the file is not the pinned one, is missing, or is not needed.
        BundleError: the folder holds no detector.
    """
    if name == "none":
        if weights:
            raise ConfigError("a page without a detector takes no weights: leave out `detector_weights`")
        return None
    if name == "auto":
        is_folder = weights is not None and weights.is_dir()
        name = "yunet" if not is_folder and (weights or YUNET.cached()) else "mien"
    return _yunet(weights) if name == "yunet" else _mien(weights)


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
