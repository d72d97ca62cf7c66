"""A model on disk: a folder with weights, graph, card and a `config.json` that hashes and explains them all.

Loading reads only files that the config names, checks every hash, never unpickles and never downloads.
`config.json` is written last, so a folder with one is a whole bundle.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien import files
from mien.errors import BundleError, did_you_mean
from mien.preprocess import Preprocess
from mien.results import ModelId

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = "config.json"
GRAPH = "model.onnx"
GRAPHS = {"onnx": GRAPH, "int8": "model.int8.onnx", "fp16": "model.fp16.onnx"}
"""The deployed graphs by the name of the backend that runs them; the first is in every bundle."""
WEIGHTS = "model.safetensors"
TRAINED_ON = "trained_on.bin"
"""Keys of the training images (`mien.data.twins`), so that a report can tell them from new ones."""
RUN = "run"
"""The folder beside them in which a run keeps its checkpoint and history."""
ENSEMBLE = "ensemble"
"""The architecture of a bundle that joins others; it has a graph and no weights of torch's."""
DEFAULT_MODEL = "mien_nano"
"""The built-in bundle that answers to the name ``default``."""


class Card(BaseModel):
    """Everything a bundle says about itself, beside the hashes of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    architecture: str
    """A name in the catalog of networks."""
    labels: tuple[str, ...] = Field(min_length=2)
    preprocess: Preprocess
    parameters: int
    """As deployed."""
    recipe: dict[str, Any]
    """Every option of the run."""
    command: str
    """Rebuilds the bundle, given the data."""
    data: dict[str, Any]
    """Name, fingerprint and counts of what it was trained and judged on."""
    training: dict[str, Any]
    """Epochs, the chosen one, wall time, machine."""
    versions: dict[str, str]
    scores: list[dict[str, Any]]
    """Evaluation reports, each with its split, test-time augmentation and protocol."""
    exports: dict[str, dict[str, Any]] = {}
    """How each further graph was made and how it fared against `model.onnx`, by its backend's name."""
    calibration: dict[str, Any] = {}
    """Temperature, the split it was fitted to and what it did there; empty where there is none."""

    @property
    def temperature(self) -> float:
        """What the graphs divide the network's logits by, as their last step."""
        return float(self.calibration.get("temperature", 1.0))

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Splits whose pictures the model, or a member of it, has learnt."""
        own = self.recipe.get("train_split")
        return tuple(self.training.get("trained_on", [own] if own else []))

    @property
    def chosen_on(self) -> tuple[str, ...]:
        """Splits on which its epoch, its members' or their weights were chosen, or its temperature fitted."""
        own, fitted = self.training.get("validation_split"), self.calibration.get("split")
        chosen = self.training.get("chosen_on", [own] if own else [])
        return tuple(dict.fromkeys([*chosen, *([fitted] if fitted else [])]))


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["mien.bundle/1"]
    card: Card
    sha256: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A checked bundle, its files in memory."""

    card: Card
    contents: Mapping[str, bytes]

    @property
    def id(self) -> ModelId:
        """Name, hash of the deployed graph and labels."""
        return self.identity("onnx")

    def identity(self, backend: str) -> ModelId:
        """Return name, hash of the graph that this backend runs (torch stands for the first) and labels."""
        return ModelId(self.card.name, files.sha256(self.graph(backend)), self.card.labels)

    def graph(self, backend: str) -> bytes:
        """Return the graph that a backend runs.

        Raises:
            BundleError: the bundle was not exported to it.
        """
        name = GRAPHS.get(backend, GRAPH)
        if name not in self.contents:
            raise BundleError(
                f"model {self.card.name} has no {name}: `mien export` makes it, with --to {backend} "
                f"(the bundle holds {', '.join(self.contents)})"
            )
        return self.contents[name]

    @property
    def preprocess(self) -> Preprocess:
        """How a picture becomes this model's input."""
        return self.card.preprocess

    def read(self, name: str) -> bytes:
        """Return a file of the bundle.

        Raises:
            BundleError: the bundle has no such file.
        """
        if name not in self.contents:
            raise BundleError(
                f"model {self.card.name} has no {name}: expected one of {', '.join(self.contents)}"
            )
        return self.contents[name]


def built_in() -> list[str]:
    """Return the names of the bundles shipped in the package."""
    folder = resources.files("mien").joinpath("models")
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.joinpath(CONFIG).is_file())


def find(model: str | Path) -> Path:
    """Return a bundle's folder: a string may be a built-in name, a path is always a path.

    Raises:
        BundleError: no such folder or name, or a name that means both.
    """
    folder = Path(model)
    name = DEFAULT_MODEL if model == "default" else model
    if isinstance(name, str) and name in built_in():
        if os.path.exists(folder / CONFIG):  # noqa: PTH110 - never raises, whatever the name
            raise BundleError(
                f"{model!r} is a built-in model and a bundle here: write ./{model} for the one here"
            )
        return Path(str(resources.files("mien").joinpath("models", name)))
    if not os.path.isdir(folder):  # noqa: PTH112
        known = ["default", *built_in()]
        hint = did_you_mean(str(model), known)
        raise BundleError(
            f"no model {str(model)!r}: expected a bundle folder or one of {', '.join(known)}{hint}"
        )
    return folder


def load(model: str | Path = "default") -> Bundle:
    """Load a bundle folder, or a built-in one by name; every file is checked against its hash.

    Raises:
        BundleError: missing, damaged, tampered with or foreign.
    """
    folder = find(model)
    config = _read_config(folder)
    contents = {}
    for name, expected in config.sha256.items():
        if Path(name).name != name:
            raise BundleError(f"bundle {folder} names the file {name!r} outside itself")
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise BundleError(f"bundle {folder} lacks its file {name}: {error.strerror or error}") from error
        if (found := files.sha256(contents[name])) != expected:
            raise BundleError(
                f"bundle {folder}: {name} has SHA-256 {found[:12]}..., expected {expected[:12]}...: "
                f"the file was changed or damaged; copy or train the bundle again"
            )
    return Bundle(config.card, contents)


def save(folder: Path, card: Card, contents: Mapping[str, bytes]) -> None:
    """Write a bundle into `folder`, or over the one there; the config is put in place last.

    Raises:
        OutputError: it can't be written; what was there is as it was.
    """
    hashes = {name: files.sha256(content) for name, content in contents.items()}
    config = _Config(format="mien.bundle/1", card=card, sha256=hashes)
    text = json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
    files.write_together(folder, {**contents, CONFIG: text.encode()})


def _read_config(folder: Path) -> _Config:
    try:
        return _Config.model_validate_json((folder / CONFIG).read_bytes())
    except FileNotFoundError as error:
        if (folder / RUN).is_dir():
            raise BundleError(
                f"{folder} holds an unfinished run, which becomes a model when it ends: go on with it by the "
                f"`mien train` command that began it and --resume"
            ) from error
        raise BundleError(f"{folder} is not a model bundle: it has no {CONFIG}") from error
    except OSError as error:
        raise BundleError(f"bundle {folder}: cannot read {CONFIG}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f"{folder / CONFIG} is not a mien bundle config: {where or 'JSON'}: {first['msg']}"
        ) from error
