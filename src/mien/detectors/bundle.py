"""A trained detector on disk: a folder with its graphs, a card, and `detector.json` with their hashes and the facts.

It differs from the bundle of a classifier: it has no labels and no preprocessing. When the folder is opened, its
files are read and compared with their hashes; nothing is unpickled or downloaded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from mien import __version__, files
from mien.classifiers.session import as_bundle_error, open_session
from mien.detectors.mien import Mien, Scale
from mien.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jaxtyping import Float32

CONFIG, PAGE = "detector.json", "README.md"
GRAPHS = {"onnx": "model.onnx", "int8": "model.int8.onnx"}
"""Names of the graphs' files; a folder holds one of them or both, and the last that is there is used."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Facts(_Strict):
    """What is known of a trained detector."""

    name: str
    parameters: int
    threshold: float
    """Candidates with a lower probability are not faces."""
    gain: float
    bias: float
    """From a logit of the network to a probability: 1 / (1 + exp(-(gain * logit + bias)))."""
    training: dict[str, float]
    """Settings of the training run."""
    material: tuple[str, ...]
    """What it was trained on, with authors and licences; a line each."""
    checked: dict[str, float]
    """What was measured on held-out material when it was made."""
    notes: tuple[str, ...] = ()
    """Sentences that a user should know: limits, fairness."""
    command: str = ""
    made_with: str = __version__


class _Config(_Strict):
    format: Literal["mien.detector/2"]
    facts: Facts
    sha256: dict[str, str]


def save(folder: Path, facts: Facts, graphs: Mapping[str, bytes]) -> None:
    """Write a detector's folder; `graphs` by the keys of `GRAPHS`. The config is written last.

    Raises:
        OutputError: it cannot be written.
    """
    contents = {GRAPHS[kind]: graph for kind, graph in graphs.items()} | {PAGE: page(facts, graphs).encode()}
    hashes = {name: files.sha256(content) for name, content in contents.items()}
    config = _Config(format="mien.detector/2", facts=facts, sha256=hashes)
    text = json.dumps(config.model_dump(), indent=1, ensure_ascii=False) + "\n"
    with files.together(folder, CONFIG) as stage:
        for name, content in (contents | {CONFIG: text.encode()}).items():
            files.write(stage / name, content)


def read(folder: Path) -> tuple[Facts, dict[str, bytes]]:
    """Return the facts and the graphs of a detector's folder, checked against their hashes.

    Raises:
        BundleError: it is no such folder, or a file is missing, changed or damaged.
    """
    try:
        config = _Config.model_validate_json(files.regular(folder / CONFIG).read_bytes())
    except OSError as error:
        raise BundleError(
            f"{folder} is no trained detector: cannot read its {CONFIG} ({error.strerror})"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        hint = "; train the detector again with `mien detector`" if place == "format" else ""
        raise BundleError(f"{folder / CONFIG} cannot be used: {place}: {first['msg']}{hint}") from error
    graphs = {}
    for kind, name in GRAPHS.items():
        if name not in config.sha256:
            continue
        try:
            content = files.regular(folder / name).read_bytes()
        except OSError as error:
            raise BundleError(f"cannot read {folder / name}: {error.strerror or error}") from error
        if (found := files.sha256(content)) != config.sha256[name]:
            raise BundleError(
                f"detector {folder}: {name} has SHA-256 {found[:12]}..., expected {config.sha256[name][:12]}...: the "
                f"file was changed or damaged; copy or train the detector again"
            )
        graphs[kind] = content
    if not graphs:
        raise BundleError(f"detector {folder} holds no graph: expected one of {', '.join(GRAPHS.values())}")
    return config.facts, graphs


def open_bundle(folder: Path, kind: str | None = None) -> Mien:
    """Open a trained detector with one of its graphs; by default INT8 where it is there.

    Raises:
        BundleError: the folder is damaged, or has no such graph.
    """
    facts, graphs = read(folder)
    chosen = kind or list(graphs)[-1]
    if chosen not in graphs:
        raise BundleError(f"detector {folder} has no {chosen} graph: expected one of {', '.join(graphs)}")
    graph, scale = graphs[chosen], Scale(facts.gain, facts.bias)
    identity = f"mien@{files.sha256(graph + repr((scale, facts.threshold)).encode())[:12]}"
    return Mien(run_by_onnx_runtime(graph), scale, facts.threshold, identity)


def run_by_onnx_runtime(graph: bytes) -> Any:
    """Return a function from grey f32 [1, 1, y, x] to the map of the graph, on one thread.

    Raises:
        BundleError: it is no such graph; the function raises it if the graph fails, or gives another form.
    """
    session = open_session("of the face detector", graph, threads=1)
    names = [output.name for output in session.outputs]
    if [one.name for one in session.inputs] != ["grey"] or names != ["faces"]:
        raise BundleError(f"this graph finds no faces: expected grey -> faces; it answers {', '.join(names)}")

    def run(grey: Float32[np.ndarray, "1 1 y x"]) -> Any:
        with as_bundle_error("the face detector's graph fails"):
            answer = session.runtime.run(names, {"grey": grey})[0]
        if answer.ndim != 4 or answer.shape[:2] != (1, 4) or not np.isfinite(answer).all():
            raise BundleError(
                f"this graph finds no faces: expected finite numbers [1, 4, y, x], got {list(answer.shape)}"
                f"{'' if np.isfinite(answer).all() else ' with numbers that are not finite'}"
            )
        return answer

    return run


def page(facts: Facts, graphs: Mapping[str, bytes]) -> str:
    """Return the card of a detector as Markdown."""
    sizes = ", ".join(f"`{GRAPHS[kind]}` {len(graph) / 1000:,.0f} KB" for kind, graph in graphs.items())
    lines = [
        f"# {facts.name}", "",
        f"A face detector of {facts.parameters:,} parameters: {sizes}. Grey image in, face frames out: the squares "
        f"that images of FER2013 would show. Made by `{facts.command}` with mien {facts.made_with}.", "",
        f"A candidate is a face if its probability is at least {facts.threshold:.2f}.", "",
        "## Trained on", "", *(f"- {line}" for line in facts.material), "",
        "| run | |", "|---|---|", *(f"| {name} | {value:,g} |" for name, value in facts.training.items()), "",
        "## Checked on held-out material when it was made", "",
        "| | |", "|---|---|", *(f"| {name} | {value:,.3g} |" for name, value in facts.checked.items()), "",
        *(["## What to know", "", *(f"- {line}" for line in facts.notes), ""] if facts.notes else []),
    ]  # fmt: skip
    return "\n".join(lines)
