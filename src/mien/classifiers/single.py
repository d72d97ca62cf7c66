"""One ONNX file as a classifier: a deployed graph of ours, or a peer's model with a spec beside it.

What a bundle's config says, a single file must say itself: in its metadata, as every graph of ours does, or in a
small TOML or JSON file.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien import files
from mien.classifiers import log_probabilities
from mien.classifiers.onnx_runtime import BATCH_SIZE, open_session
from mien.errors import BundleError, ConfigError
from mien.preprocess import Preprocess
from mien.results import ModelId

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8
    from onnxruntime import InferenceSession

    from mien.classifiers import RunOptions

SPEC_SUFFIXES = (".spec.toml", ".spec.json")
EXAMPLE = (
    'labels = ["angry", "happy"] and [preprocess] with channels = 1, size_px = 64, scale = 1.0, mean = [0.0], '
    'std = [1.0]; layout = "nhwc" and output = "probabilities" where they differ'
)


class Spec(BaseModel):
    """What must be known of a graph to use it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=2)
    preprocess: Preprocess
    layout: Literal["nchw", "nhwc"] = "nchw"
    """Order of the input's axes."""
    output: Literal["logits", "probabilities"] = "logits"


class SingleClassifier:
    """A graph with one image in and one row of scores a picture out, whatever it calls them."""

    def __init__(self, identity: ModelId, spec: Spec, session: InferenceSession) -> None:
        """Hold the graph's shapes against the spec.

        Raises:
            BundleError: they don't fit.
        """
        self.id, self.preprocess, self._spec, self._session = identity, spec.preprocess, spec, session
        inputs, outputs = session.get_inputs(), session.get_outputs()
        side, channels = spec.preprocess.size_px, spec.preprocess.channels
        wanted = [channels, side, side] if spec.layout == "nchw" else [side, side, channels]
        takes = inputs[0].shape
        fits = len(inputs) == 1 and len(takes) == 4 and inputs[0].type == "tensor(float)"
        if not fits or any(isinstance(n, int) and n != w for n, w in zip(takes[1:], wanted, strict=True)):
            raise BundleError(
                f"{identity.name} takes {inputs[0].type} {takes}, its spec says float [batch, "
                f"{', '.join(map(str, wanted))}]: state channels, size_px and layout as the graph has them"
            )
        gives = outputs[0].shape
        if len(gives) != 2 or (isinstance(gives[1], int) and gives[1] != len(spec.labels)):
            raise BundleError(
                f"{identity.name} gives {gives}, its spec names {len(spec.labels)} labels: expected [batch, "
                f"{len(spec.labels)}]"
            )
        self._input, self._output = inputs[0].name, outputs[0].name
        self._batch = takes[0] if isinstance(takes[0], int) else None

    def logits(self, crops: UInt8[np.ndarray, "n s s c"]) -> Float32[np.ndarray, "n k"]:
        """Return one row of logits a crop; n may be zero."""
        out = np.empty((len(crops), len(self.id.labels)), np.float32)
        step = self._batch or BATCH_SIZE
        for start in range(0, len(crops), step):
            part = self.preprocess.normalise(crops[start : start + step])
            if self._spec.layout == "nhwc":
                part = np.ascontiguousarray(part.transpose(0, 2, 3, 1))
            rows = len(part)
            if self._batch and rows < self._batch:  # a graph of a fixed batch gets the last one filled up
                part = np.concatenate([part, np.zeros((self._batch - rows, *part.shape[1:]), np.float32)])
            (scores,) = self._session.run([self._output], {self._input: part})
            out[start : start + rows] = scores[:rows]
        if self._spec.output == "probabilities":
            return log_probabilities(out)
        return out


def load_single(model: str | Path, options: RunOptions, spec: Path | None = None) -> SingleClassifier:
    """Open an ``.onnx`` file; what it is comes from `spec`, from a file beside it, or from its metadata.

    Raises:
        ConfigError: no such backend for a single graph, a spec that is wrong, or the device is not there.
        BundleError: not an ONNX graph, one that nobody explains, or one of another shape.
    """
    path = Path(model)
    if options.backend != "onnx":
        raise ConfigError(
            f"{path} is one graph, run by ONNX Runtime: backend {options.backend} needs a bundle"
        )
    try:
        graph = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read the model {path}: {error.strerror or error}") from error
    session, _ = open_session(path.name, graph, threads=options.threads, device=options.device)
    metadata = session.get_modelmeta().custom_metadata_map
    beside = [path.with_name(path.stem + suffix) for suffix in SPEC_SUFFIXES]
    written = spec or next((file for file in beside if file.is_file()), None)
    if written:
        known = read_spec(written)
    elif {"mien.labels", "mien.preprocess"} <= metadata.keys():
        preprocess = Preprocess.model_validate_json(metadata["mien.preprocess"])
        known = Spec(labels=json.loads(metadata["mien.labels"]), preprocess=preprocess)
    else:
        raise BundleError(
            f"{path} does not say its labels and preprocessing: give them in a file, with --spec FILE or as "
            f"{beside[0].name} beside it: {EXAMPLE}"
        )
    return SingleClassifier(ModelId(path.stem, files.sha256(graph), known.labels), known, session)


def read_spec(path: Path) -> Spec:
    """Read a spec from TOML or JSON.

    Raises:
        ConfigError: it can't be read, or says something unknown.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return Spec.model_validate(json.loads(text) if path.suffix == ".json" else tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"cannot read the spec {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"spec {path}: {where}: {first['msg']}; expected {EXAMPLE}") from error
    except ValueError as error:
        raise ConfigError(f"spec {path} is neither TOML nor JSON: {error}") from error
