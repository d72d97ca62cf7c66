"""Explain every face of photos by an occlusion map."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien import files
from mien.errors import ConfigError, ImageError, did_you_mean
from mien.pipeline import Pipeline
from mien.results import Face
from mien.saliency.occlusion import PLACES, occlusion
from mien.vision.frames import frames

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from jaxtyping import UInt8

    from mien.predictions import ImageResult
    from mien.results import FaceResult
    from mien.saliency.occlusion import Occlusion
    from mien.vision.frames import Frame

SCHEMA = "mien.explanations/1"
NOTHING = 0.005
"""A smaller fall of a probability counts as none, because it would be shown as 0 points."""


@dataclass(frozen=True, eq=False)
class ExplainedFace:
    """A face and what its label depends on."""

    face: FaceResult
    label: str
    """The label that is explained: the face's own, or the one that was asked for."""
    crop: UInt8[np.ndarray, "s s c"]
    """What the classifier saw."""
    occlusion: Occlusion

    @property
    def column(self) -> int:
        """Column of the explained label in the probabilities."""
        return list(self.face.probs).index(self.label)

    def sentence(self) -> str:
        """One sentence: the label, its probability, and the place that it depends on most."""
        most, prob = self.occlusion.deepest(self.column), self.face.probs[self.label]
        if most.fall < NOTHING:
            return f"{self.label} {prob:.0%}; no hidden place lowers it"
        return f"{self.label} {prob:.0%}; {prob - most.fall:.0%} when the {most.where} is hidden"

    def to_dict(self) -> dict[str, Any]:
        """Return the face with its map: ``falls`` is a grid of rows, from the crop's top to its bottom."""
        most, grid = self.occlusion.deepest(self.column), self.occlusion.falls[:, :, self.column]
        return {
            **self.face.to_dict(),
            "explained": self.label,
            "deepest": {
                "fall": round(most.fall, 6), "x": round(most.x, 4), "y": round(most.y, 4), "where": most.where
            },
            "falls": [[round(fall, 6) for fall in row] for row in grid.tolist()],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Explanation:
    """An image with its faces explained, or why it could not be read."""

    source: str
    index: int = 0
    faces: tuple[ExplainedFace, ...] = ()
    """From left to right."""
    error: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """Return a sheet: each face's crop, its map over the crop, and its probabilities.

        Raises:
            ImageError: there is no face to show.
        """
        from mien.saliency.draw import sheet

        if not self.faces:
            raise ImageError(f"{self.source or 'the image'}: {self.error or 'no face found'}")
        return sheet(self)

    def save(self, path: str | Path) -> Path:
        """Write `picture` as PNG.

        Raises:
            ImageError: there is no face to show.
            OutputError: the file cannot be written.
        """
        from mien.vision.images import encode_png

        files.write(Path(path), encode_png(self.picture()))
        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        """Return every number."""
        return {
            "source": self.source,
            "index": self.index,
            "faces": [face.to_dict() for face in self.faces],
            "error": self.error,
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def _repr_png_(self) -> bytes | None:
        """Show the sheet in a notebook."""
        from mien.vision.images import encode_png

        return encode_png(self.picture()) if self.faces else None


def explain(source: object, *, label: str | None = None, **options: Any) -> list[Explanation]:
    """Explain every face of anything that `mien.frames` takes; `options` are those of `Pipeline`.

    ``mien.explain("photo.jpg", label="sad")[0].save("why.png")``

    An image that cannot be read is a result with its `error`.

    Args:
        source: images, folders, arrays and so on.
        label: the label to explain; without it, each face's own.
        options: model, detector and what runs them. One view of each face is explained.

    Raises:
        ConfigError, BundleError: as `Pipeline` and `frames` do; the model has no such label.
    """
    return list(explained(pipeline_for(**options), frames(source), label=label))


def pipeline_for(**options: Any) -> Pipeline:
    """Return the pipeline whose faces are explained.

    Raises:
        ConfigError: more than one view, or faces without a label are asked for.
    """
    for name in ("views", "uncertain_below"):
        if name in options:
            raise ConfigError(
                f"`{name}` has no effect on what is explained, one crop of each face: leave it out"
            )
    return Pipeline(**options)


def facts_of(pipeline: Pipeline) -> dict[str, Any]:
    """Return what a reader must know of these explanations: schema, version, model, detector and method."""
    kept = {name: pipeline.facts[name] for name in ("version", "model", "backend", "detector")}
    return {"schema": SCHEMA, **kept, "method": "occlusion", "places": PLACES}


def check_label(pipeline: Pipeline, label: str | None) -> None:
    """Refuse a label that the model does not have.

    Raises:
        ConfigError: names its labels.
    """
    labels = pipeline.classifier.id.labels
    if label is not None and label not in labels:
        raise ConfigError(
            f"the model has no label {label!r}: expected one of {', '.join(labels)}{did_you_mean(label, labels)}"
        )


def explained(
    pipeline: Pipeline, stream: Iterable[Frame], *, label: str | None = None
) -> Iterator[Explanation]:
    """Yield each image of a stream with its faces explained, in order.

    Raises:
        ConfigError: the model has no such label.
    """
    check_label(pipeline, label)
    facts = facts_of(pipeline)
    for result in pipeline.stream(stream, workers=1):
        one = Explanation(result.source, result.index, error=result.error, facts=facts)
        yield replace(one, faces=_faces(pipeline, result, label)) if result.faces else one


def _faces(pipeline: Pipeline, result: ImageResult, label: str | None) -> tuple[ExplainedFace, ...]:
    found = [
        Face(one.box_xyxy_px, one.detection_score, one.detector, one.frame_xyxy_px) for one in result.faces
    ]
    crops = pipeline.crops(result.image_rgb_u8, found)[:, 0]
    maps = occlusion(pipeline.classifier, crops)
    return tuple(
        ExplainedFace(face, label or face.label, crop, one)
        for face, crop, one in zip(result.faces, crops, maps, strict=True)
    )
