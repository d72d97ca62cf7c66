"""The forms of answers, as OpenAPI shows them, and the conversion of results into answers."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from mien.serve.bodies import FIELD, JSON, MULTIPART
from mien.serve.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.predictions import ImageResult

_ROW = {
    "angry": 0.01,
    "disgust": 0.0,
    "fear": 0.01,
    "happy": 0.91,
    "neutral": 0.04,
    "sad": 0.01,
    "surprise": 0.02,
}


class Query(BaseModel):
    """Parameters that may follow the question mark of an address."""

    model_config = ConfigDict(extra="forbid")

    annotated: bool = Field(
        False, description="Add each picture with boxes and labels, as a data URI (JPEG)."
    )


class NoQuery(BaseModel):
    """No parameters may follow the question mark of an address."""

    model_config = ConfigDict(extra="forbid")


class FaceAnswer(BaseModel):
    """One face."""

    box_xyxy_px: tuple[float, float, float, float] = Field(examples=[(101.0, 53.0, 197.0, 149.0)])
    detector: str = Field(examples=["yunet"])
    detection_score: float | None = Field(examples=[0.93])
    label: str = Field(examples=["happy"])
    probs: dict[str, float] = Field(
        examples=[_ROW], description="Probability of each label; they sum to one."
    )


class ImageAnswer(BaseModel):
    """One picture."""

    source: str = Field(examples=["party.jpg"], description="The file name that the client gave, if any.")
    index: int
    time_s: float | None
    width: int | None = Field(examples=[330])
    height: int | None = Field(examples=[210])
    faces: list[FaceAnswer] = Field(description="From left to right.")
    error: str | None = Field(description="Why the picture cannot be read; null: it can.")
    annotated: str | None = Field(
        None, description="The picture with boxes and labels as a data URI, if asked for."
    )


class ModelAnswer(BaseModel):
    """Which model answered."""

    name: str
    sha256: str
    labels: list[str]


class PredictionsAnswer(BaseModel):
    """The same document as ``mien predict --json`` writes."""

    model_config = ConfigDict(
        json_schema_extra={"description": "The document that `mien predict --json` writes."}
    )

    schema_: str = Field(alias="schema", examples=["mien.predictions/2"])
    version: str
    model: ModelAnswer
    backend: str
    detector: str
    views: int
    uncertain_below: float
    images: list[ImageAnswer]


class ProblemAnswer(BaseModel):
    """Every answer that is not a result (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


def _problem(meaning: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemAnswer"}
    return {"description": meaning, "content": {MEDIA_TYPE: {"schema": schema}}}


RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"model": ProblemAnswer, **_problem("No API key, or a wrong one.")},
    413: _problem("The body is too large, or holds too many pictures."),
    415: _problem("Not a content type that is taken."),
    422: _problem(
        "Not a picture, or a wrong form. If one of several pictures cannot be read, the status is 200."
    ),
    429: _problem("Busy: try again after the seconds in the header Retry-After."),
    503: _problem("The request took too long, or the service stops."),
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {
                        FIELD: {"type": "array", "items": {"type": "string", "contentMediaType": "image/*"}}
                    },
                }
            },
            "image/*": {"schema": {"type": "string", "contentMediaType": "image/*"}},
            "application/octet-stream": {"schema": {"type": "string", "contentMediaType": "image/*"}},
            JSON: {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "array", "items": {"type": "string"}}},
                },
                "example": {FIELD: ["data:image/png;base64,iVBORw0KGgo..."]},
            },
        },
    }
}


def document(
    facts: dict[str, Any], results: Sequence[ImageResult], drawn: Sequence[bytes | None]
) -> dict[str, Any]:
    """Return the answer to a request; `drawn` has each annotated picture, or None."""
    rows = []
    for result, picture in zip(results, drawn, strict=True):
        row = result.to_dict()
        if picture is not None:
            row["annotated"] = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
        rows.append(row)
    return {**facts, "images": rows}
