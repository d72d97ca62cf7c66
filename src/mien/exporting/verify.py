"""Check that a bundle's graphs, torch and the photo pipeline give the same answers to the same images.

`model.onnx` is the reference, because it was evaluated and is shipped. Each row of the result is compared with the
`Bound` of its runtime.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import bundle
from mien.classifiers import load_classifier, probabilities
from mien.data.synthetic import draw_dataset
from mien.errors import BundleError, MissingExtra
from mien.exporting.agreement import BOUNDS, EXACT, Agreement, Bound, compare
from mien.pipeline import Pipeline
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float32, Int, UInt8

    from mien.bundle import Bundle
    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset
    from mien.results import ModelId

SCHEMA = "mien.verification/1"
REFERENCE = "onnx"
DRAWN = 350
NOT_JUDGED = Bound(equal_labels=0.0, drop=1.0)
"""No limit: for a graph that was fitted to photographs, on drawn faces."""


@dataclass(frozen=True)
class Row:
    """One runtime compared with the reference."""

    runtime: str
    agreement: Agreement
    bound: Bound | None
    """Limits of the runtime; None if they are not made for images of this kind."""
    breaches: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """The comparison of all runtimes on the same images, and of all ways to give a photo to the pipeline."""

    model: ModelId
    data: str
    split: str
    n: int
    rows: tuple[Row, ...]
    left_out: dict[str, str]
    """Runtimes that were not compared, and why."""
    inputs: dict[str, float]
    """For each way to give the photo: the largest difference of any number from the result for the file."""

    @property
    def passed(self) -> bool:
        """Whether every limit holds and the photo gives the same numbers in every form."""
        return not any(row.breaches for row in self.rows) and not any(self.inputs.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a dictionary for JSON, with the name of its schema."""
        return {"schema": SCHEMA, "passed": self.passed, **asdict(self), "model": self.model.to_dict()}


def verify(model: str | Path, data: FaceDataset | None = None, split: str = "") -> Verification:
    """Run a bundle in every runtime that it has, on one split, or on drawn faces and the shipped photo.

    Raises:
        BundleError: the bundle or one of its graphs is missing, damaged or of another format.
        DataError: no such split, or labels the model does not know.
    """
    loaded = bundle.load(model)
    reference = load_classifier(model)
    rows, truth = pictures(loaded, data, split)
    crops, split = rows.images, split if data is not None else "drawn"
    expected, found, left_out = probabilities(reference.logits(crops)), [], {}
    for name in ("torch", "pipeline", *(backend for backend in bundle.GRAPHS if backend != REFERENCE)):
        try:
            ours = _runtime(name, model, reference)(crops)
        except (BundleError, MissingExtra) as error:
            needed = bundle.GRAPHS.get(name, bundle.WEIGHTS)
            if isinstance(error, BundleError) and needed in loaded.sha256:
                raise  # it is there, and damaged or foreign
            left_out[name] = error.lack if isinstance(error, MissingExtra) else str(error)
            continue
        agreement = compare(expected, ours, truth, loaded.id.labels)
        bound = BOUNDS.get(name, EXACT) if data is not None or name not in BOUNDS else None
        found.append(Row(name, agreement, bound, tuple(agreement.breaches(bound or NOT_JUDGED))))
    itself = compare(expected, probabilities(load_classifier(model).logits(crops)), truth, loaded.id.labels)
    found.insert(0, Row(REFERENCE, itself, EXACT, tuple(itself.breaches(EXACT))))
    return Verification(
        loaded.id,
        rows.source,
        split,
        len(crops),
        tuple(found),
        left_out,
        ways_in(Pipeline(reference, "haar")),
    )


def pictures(
    model: Bundle, data: FaceDataset | None = None, split: str = ""
) -> tuple[FaceDataset, Int[np.ndarray, " n"] | None]:
    """Return the images to compare on, of one split or drawn, and their labels, where all of them have one.

    Raises:
        DataError: no such split, or labels the model does not know.
    """
    if data is None:
        return draw_dataset(model.preprocess, {"drawn": DRAWN}), None
    rows = data.select(split).relabel(model.id.labels)
    return rows, rows.truth if rows.targets.any(axis=1).all() else None


def _runtime(
    name: str, model: str | Path, reference: Classifier
) -> Callable[[UInt8[np.ndarray, "n s s c"]], Float32[np.ndarray, "n k"]]:
    """Return what gives a runtime's probabilities.

    Raises:
        BundleError, MissingExtra: it is not there.
    """
    if name != "pipeline":
        one = load_classifier(model, backend=name)
        return lambda crops: probabilities(one.logits(crops))
    pipeline = Pipeline(reference, "whole")

    def each(crops: UInt8[np.ndarray, "n s s c"]) -> Float32[np.ndarray, "n k"]:
        rows = []
        for crop in crops:
            (face,) = pipeline(np.repeat(crop, 3, axis=2) if crop.shape[2] == 1 else crop).faces
            rows.append(list(face.probs.values()))
        return np.array(rows, np.float32)

    return each


def ways_in(pipeline: Pipeline) -> dict[str, float]:
    """Give the shipped photo to the pipeline in every form; return the differences from the result for the file."""
    path = str(files("mien").joinpath("assets", "sample.jpg"))
    with open(path, "rb") as file:  # noqa: PTH123 - a resource's name, not a user's path
        data = file.read()
    uri = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    expected = _numbers(pipeline, path)
    given = {"bytes": data, "base64": uri, "array": images.decode(data)}
    return {name: _difference(expected, _numbers(pipeline, source)) for name, source in given.items()}


def _numbers(pipeline: Pipeline, source: Any) -> list[list[float]]:
    return [[*face.box_xyxy_px, *face.probs.values()] for face in pipeline(source).faces]


def _difference(expected: list[list[float]], found: list[list[float]]) -> float:
    if len(expected) != len(found) or not expected:
        return float("inf")
    return float(np.abs(np.array(expected) - np.array(found)).max())
