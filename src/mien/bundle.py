"""A model on disk: a folder with weights, graphs, card and a `config.json` that hashes and explains them all.

Loading reads `config.json`; every other file is read, and held against its hash, when it is used. Nothing is
unpickled, nothing is downloaded. `config.json` alone decides which state of the files counts: see `save`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from mien import __version__, files
from mien.card import ENSEMBLE as ENSEMBLE
from mien.card import Card as Card
from mien.card.page import render
from mien.errors import BundleError, MienWarning, OutputError, did_you_mean
from mien.preprocess import Preprocess
from mien.results import ModelId

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONFIG = "config.json"
GRAPH = "model.onnx"
GRAPHS = {"onnx": GRAPH, "int8": "model.int8.onnx", "fp16": "model.fp16.onnx"}
"""The deployed graphs by the name of the backend that runs them; the first is in every bundle."""
WEIGHTS = "model.safetensors"
TRAINED_ON = "trained_on.bin"
"""Keys of the training images (`mien.data.duplicates`), so that a report can tell them from new ones."""
PAGE = "README.md"
"""The card, for people. It decides nothing: a bundle whose page was edited loads, with a warning."""
NEW = ".new"
"""Ends the name of a file that `save` has written and not yet renamed."""
RUN = "run"
"""The folder beside them in which a run keeps its checkpoint and history."""
DEFAULT_MODEL = "mien_trio"
"""The built-in bundle that answers to the name ``default``."""


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["mien.bundle/1"]
    card: Card
    sha256: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: what its config says. The other files are read when they are asked for."""

    card: Card
    folder: Path
    sha256: Mapping[str, str]
    """The hash of every file, by its name."""

    @property
    def id(self) -> ModelId:
        """Name, hash of the deployed graph and labels."""
        return self.identity("onnx")

    def identity(self, backend: str) -> ModelId:
        """Return name, hash of the graph that this backend runs (torch stands for the first) and labels.

        Raises:
            BundleError: the bundle was not exported to it.
        """
        return ModelId(self.card.name, self.sha256[self._graph_name(backend)], self.card.labels)

    def graph(self, backend: str) -> bytes:
        """Return the graph that a backend runs.

        Raises:
            BundleError: the bundle was not exported to it, or the file is missing or damaged.
        """
        return self.read(self._graph_name(backend))

    @property
    def preprocess(self) -> Preprocess:
        """How a picture becomes this model's input."""
        return self.card.preprocess

    def check_has(self, name: str) -> None:
        """Refuse a file that is not in this bundle.

        Raises:
            BundleError: it is not.
        """
        if name in self.sha256:
            return
        if name == WEIGHTS and self.card.architecture == ENSEMBLE:
            members = ", ".join(member["name"] for member in self.card.recipe.get("members", ()))
            raise BundleError(
                f"model {self.card.name} is an ensemble, so it runs in ONNX Runtime only: where torch is needed, "
                f"name one of its members instead ({members})"
            )
        if name == WEIGHTS:
            raise BundleError(
                f"model {self.card.name} came without {WEIGHTS}, so it runs in ONNX Runtime only: to train on from "
                "it, or to let it teach, make it anew with the command in its card"
            )
        raise BundleError(f"model {self.card.name} has no {name}: expected one of {', '.join(self.sha256)}")

    def read(self, name: str) -> bytes:
        """Return a file of the bundle, checked against its hash.

        Raises:
            BundleError: the bundle has no such file, or it is missing, damaged or not a regular file.
        """
        self.check_has(name)
        path, expected = self.folder / name, self.sha256[name]
        for place in (path, _new(path)):  # the second: `save` was interrupted before it renamed the file
            with contextlib.suppress(BundleError):
                content = _read_file(place)
                if files.sha256(content) == expected:
                    return content
        content = _read_file(path)
        if (found := files.sha256(content)) == expected:  # another process has just renamed it
            return content
        raise BundleError(
            f"bundle {self.folder}: {name} has SHA-256 {found[:12]}..., expected {expected[:12]}...: "
            f"the file was changed or damaged; copy or train the bundle again"
        )

    def _graph_name(self, backend: str) -> str:
        name = GRAPHS.get(backend, GRAPH)
        if name not in self.sha256:
            raise BundleError(
                f"model {self.card.name} has no {name}: `mien export` makes it, with --to {backend} "
                f"(the bundle holds {', '.join(self.sha256)})"
            )
        return name


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
    if os.path.isfile(folder) and folder.suffix.lower() == ".onnx":  # noqa: PTH113
        raise BundleError(
            f"{model} is a graph alone, and this command takes a model folder, which has a card beside its graphs; "
            f"`mien predict`, `evaluate` and `benchmark` take a graph"
        )
    if not os.path.isdir(folder):  # noqa: PTH112
        known = ["default", *built_in()]
        hint = did_you_mean(str(model), known)
        raise BundleError(
            f"no model {str(model)!r}: expected a model folder or one of {', '.join(known)}{hint}"
        )
    return folder


def load(model: str | Path = "default") -> Bundle:
    """Open a bundle folder, or a built-in one by name. Its graphs and weights are read when they are used.

    Warns:
        MienWarning: the config has fields that this version does not know, or the page was edited.

    Raises:
        BundleError: no such bundle, a foreign config, or one of a later format.
    """
    folder = find(model)
    config = _read_config(folder)
    for name in config.sha256:
        if Path(name).name != name or name in ("", ".."):
            raise BundleError(f"bundle {folder} names the file {name!r} outside itself")
    opened = Bundle(config.card, folder, config.sha256)
    if PAGE in opened.sha256:
        try:
            opened.read(PAGE)
        except BundleError:
            _warn(
                f"{folder / PAGE} was edited, or is missing: the model is used all the same, with the facts "
                f"in {CONFIG}; the next command that writes this bundle makes the page again"
            )
    return opened


def save(folder: Path, card: Card, contents: Mapping[str, bytes], base: Bundle | None = None) -> None:
    """Write a bundle into `folder`, or over the one there; the card's page is made here.

    Files of `base` that `contents` does not replace come along; `folder` may be its own. The order makes the
    config the one moment of change: all files are written under another name (`NEW`), then the config is
    replaced, then the files are renamed. `Bundle.read` knows both names, so that a bundle loads whenever this
    was interrupted: as the old one before that moment, as the new one after it.

    Raises:
        BundleError: a file of `base` is missing or damaged.
        OutputError: it cannot be written, or another command changes the folder; the message says what holds.
    """
    contents = {**contents, PAGE: render(card).encode()}
    kept = {name: digest for name, digest in base.sha256.items() if name not in contents} if base else {}
    in_place = base is not None and folder.resolve() == base.folder.resolve()
    if base and not in_place:
        contents |= {name: base.read(name) for name in kept}
    hashes = {**kept, **{name: files.sha256(content) for name, content in contents.items()}}
    config = _Config(format="mien.bundle/1", card=card, sha256=hashes)
    text = json.dumps(config.model_dump(mode="json", exclude_none=True), indent=2) + "\n"
    with files.locked(folder):
        _settle(folder, contents)
        if base and in_place and _read_config(folder).sha256 != base.sha256:
            raise OutputError(
                f"another command has changed {folder} since this one read it: nothing was changed by this one; "
                f"repeat it"
            )
        try:
            for name, content in contents.items():
                files.write(_new(folder / name), content)
            files.write(folder / CONFIG, text)
        finally:
            _settle(folder, contents)


def _settle(folder: Path, names: Iterable[str]) -> None:
    """Rename every new file that the config counts, and remove every other one: wherever `save` has stopped."""
    known = _read_config(folder).sha256 if (folder / CONFIG).exists() else {}
    for name in {**known, **dict.fromkeys(names)}:
        new = _new(folder / name)
        if not new.is_file():
            continue
        if files.sha256(new.read_bytes()) != known.get(name):
            new.unlink()
            continue
        try:
            new.replace(folder / name)
        except OSError as error:
            raise OutputError(
                f"the new model is in {folder} and works, but {new.name} there could not be renamed to {name}: "
                f"{error.strerror or error}; rename it yourself"
            ) from error


def _new(path: Path) -> Path:
    return path.with_name(path.name + NEW)


def read_model_file(path: Path, what: str) -> bytes:
    """Read a file of a model; `what` begins the message if that cannot be done.

    Raises:
        BundleError: it is missing, a pipe or device (reading one may never end), or a Git LFS pointer.
    """
    try:
        if path.exists() and not path.is_file():
            raise BundleError(f"{what}: it is not a regular file but a folder, pipe or device")
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # the second: a name with a null character
        raise BundleError(f"{what}: {getattr(error, 'strerror', None) or error}") from error
    if content.startswith(_LFS_POINTER):
        raise BundleError(f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` there")
    return content


def _read_file(path: Path) -> bytes:
    return read_model_file(path, f"bundle {path.parent}: cannot read {path.name}")


def _read_config(folder: Path) -> _Config:
    path = folder / CONFIG
    try:
        given = from_json(_read_file(path))
        _check_format(path, given)
        known, unknown = _known(given)
        config = _Config.model_validate(known)
    except BundleError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        if (folder / RUN).is_dir():
            raise BundleError(
                f"{folder} holds an unfinished training run, not a model yet: finish it with the same "
                f"`mien train` command and --resume"
            ) from error
        graph = folder / GRAPH
        way_out = f"; the graph in it has the name {graph}" if graph.is_file() else ""
        raise BundleError(f"{folder} is not a model folder: it has no {CONFIG}{way_out}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path} is not a mien bundle config: {where or 'JSON'}: {first['msg']}") from error
    except ValueError as error:
        raise BundleError(f"{path} is not a mien bundle config: it is not JSON: {error}") from error
    if unknown:
        _warn(
            f"{path} has fields that mien {__version__} does not know and ignores: {', '.join(unknown)}; "
            f"a later version wrote it"
        )
    return config


def _check_format(path: Path, given: Any) -> None:
    form = str(given.get("format")) if isinstance(given, dict) else ""
    if form != _FORMAT and re.fullmatch(r"mien\.bundle/\d+", form):
        raise BundleError(
            f"{path} has the format {form}, this is mien {__version__}, which reads {_FORMAT}: upgrade mien"
        )


def _known(config: Any) -> tuple[Any, list[str]]:
    """Return a config without the fields that this version does not know, and the paths of those."""
    unknown: list[str] = []

    def keep(model: type[BaseModel], given: Any, prefix: str) -> Any:
        if not isinstance(given, dict):
            return given
        known = {*model.model_fields, *_FORMER.get(model, ())}
        unknown.extend(f"{prefix}{name}" for name in given if name not in known)
        return {
            name: keep(_SECTIONS[name], value, f"{prefix}{name}.") if name in _SECTIONS else value
            for name, value in given.items()
            if name in known
        }

    return keep(_Config, config, ""), unknown


def _warn(message: str) -> None:
    """Warn, as if from here: of one place, Python prints an equal message once."""
    warnings.warn(message, MienWarning, stacklevel=1)


_FORMAT = "mien.bundle/1"
_SECTIONS: dict[str, type[BaseModel]] = {"card": Card, "preprocess": Preprocess}
_FORMER: dict[type[BaseModel], tuple[str, ...]] = {Preprocess: ("crops",)}
"""Fields of earlier versions, which the model itself takes care of."""
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
