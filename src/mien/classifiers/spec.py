"""What must be known of an ONNX graph to use it as a classifier, and how that is written down.

For a bundle its config says it; for a single graph of ours its metadata; for a graph of another tool a small TOML or
JSON file.
"""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from mien import files
from mien.errors import BundleError, ConfigError
from mien.preprocess import Preprocess
from mien.results import UNCERTAIN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUFFIXES = (".spec.toml", ".spec.json")
"""A spec beside ``peer.onnx`` is called ``peer.spec.toml`` or ``peer.spec.json``."""
EXAMPLE = (
    'labels = ["angry", "happy"], output = "logits" (or "probabilities" after a softmax) and [preprocess] with '
    'channels = 1, size_px = 64, scale = 1.0, mean = [0.0], std = [1.0]; layout = "nhwc" where the graph has '
    "channels last; input_name and output_name where it has several"
)
_LABELS, _PREPROCESS = "mien.labels", "mien.preprocess"


class Spec(BaseModel):
    """What must be known of a graph to use it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=2)
    preprocess: Preprocess
    output: Literal["logits", "probabilities"]
    """Has no default: a wrong guess would apply softmax twice or not at all. Checked on the first batch."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """Order of the input's axes."""
    input_name: str | None = None
    output_name: str | None = None
    """Which output has the scores; needed only where the graph has several."""

    @field_validator("labels")
    @classmethod
    def _distinct_words(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        labels = tuple(label.strip() for label in labels)
        for number, label in enumerate(labels):
            if not label or not label.isprintable():
                raise ValueError(f"label {number} is {label!r}: expected a printable word")
            if label == UNCERTAIN:
                raise ValueError(
                    f"label {number} is {label!r}, as answers are called whose highest probability is low: give it "
                    f"another name"
                )
            if label in labels[:number]:
                raise ValueError(f"{label!r} is listed twice")
        return labels


def of_ours(name: str, labels: tuple[str, ...], preprocess: Preprocess) -> Spec:
    """Return the spec of every graph that this package exports.

    Raises:
        BundleError: labels that no model can have.
    """
    try:
        return Spec(
            labels=labels, preprocess=preprocess, output="logits", input_name="image", output_name="logits"
        )
    except ValidationError as error:
        raise BundleError(f"model {name}: {_first(error)}") from error


def from_metadata(name: str, metadata: Mapping[str, str]) -> Spec | None:
    """Return what a graph of ours says of itself; None for a graph that does not.

    Raises:
        BundleError: its metadata are damaged.
    """
    if not {_LABELS, _PREPROCESS} <= metadata.keys():
        return None
    try:
        labels = TypeAdapter(tuple[str, ...]).validate_json(metadata[_LABELS])
        preprocess = Preprocess.model_validate_json(metadata[_PREPROCESS])
    except ValidationError as error:
        raise BundleError(
            f"model {name}: the labels or preprocessing in its metadata are damaged: {_first(error)}: export it again"
        ) from error
    return of_ours(name, labels, preprocess)


def read_spec(path: Path) -> Spec:
    """Read a spec from TOML or JSON.

    Raises:
        ConfigError: it can't be read, or says something wrong or unknown.
    """
    try:
        text = files.regular(path).read_text(encoding="utf-8")
        return Spec.model_validate(json.loads(text) if path.suffix == ".json" else tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"cannot read the spec {path}: {error.strerror or error}") from error
    except ValidationError as error:
        raise ConfigError(f"spec {path}: {_first(error)}; expected {EXAMPLE}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"spec {path} is neither TOML nor JSON: {error}") from error


def _first(error: ValidationError) -> str:
    """Return the first thing that is wrong, with its place."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
