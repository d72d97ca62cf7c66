"""Starting from other weights: where they come from, what of them fits, and what stays frozen."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import nn

from mien import bundle, files
from mien.errors import BundleError, ConfigError, FetchError, MienWarning, number_of
from mien.networks import catalog

if TYPE_CHECKING:
    from mien.bundle import Bundle
    from mien.config import Recipe

HUB = "hub"


def head(network: nn.Module) -> nn.Linear:
    """Return the layer that answers: a network's last linear one. The rest is its backbone."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ConfigError(f"{type(network).__name__} ends in no linear layer, which mien trains as its head")
    return linear[-1]


def load_start(network: nn.Module, recipe: Recipe, labels: tuple[str, ...] = ()) -> None:
    """Put the weights that the recipe starts from into `network`, which answers `labels`.

    Raises:
        ConfigError: no such file or bundle, it is damaged, or of another architecture.
        FetchError: the hub cannot be reached.
    """
    source = recipe.transfer.weights
    if not source:
        return
    given = _from_hub(network, recipe) if source == HUB else _from_disk(source)
    if labels and (start := start_bundle(recipe)):
        for name in _names_of(network, head(network)) & given.keys():
            known = start.card.labels
            if set(known) == set(labels):
                given[name] = given[name][[known.index(label) for label in labels]]
            else:
                del given[name]
    _load_fitting(network, given, source)


def check_sources(recipe: Recipe) -> None:
    """Refuse weights to start from, or teachers, that are not there; nothing is built, and the hub is not asked.

    Raises:
        ConfigError: no such file or bundle, or a teacher takes other crops.
        BundleError: a teacher is missing, damaged, an ensemble, or came without weights of torch's.
    """
    source = recipe.transfer.weights
    if source not in ("", HUB) and not Path(source).is_file():
        _from_disk(source)
    for name in recipe.distillation.teachers:
        teacher = bundle.load(name)
        teacher.check_has(bundle.WEIGHTS)
        if difference := recipe.input.differs_in_crops(teacher.card.preprocess):
            raise ConfigError(f"teacher {teacher.id.name} takes other pictures than the recipe: {difference}")


def start_bundle(recipe: Recipe) -> Bundle | None:
    """Return the bundle whose weights the recipe starts from, if it is one."""
    source = recipe.transfer.weights
    return None if source in ("", HUB) or Path(source).is_file() else bundle.load(source)


def parents(recipe: Recipe) -> list[Bundle]:
    """Return the bundles that a run learns from: where it starts, and its teachers."""
    start = start_bundle(recipe)
    return [*([start] if start else []), *map(bundle.load, recipe.distillation.teachers)]


def origin(source: str) -> dict[str, str]:
    """Return what a reader needs to find weights again: name and SHA-256."""
    if source == HUB:
        return {"name": "timm's on the hub", "sha256": ""}
    path = Path(source)
    digest = files.sha256(path.read_bytes()) if path.is_file() else bundle.load(source).id.sha256
    return {"name": path.name, "sha256": digest}


def freeze(network: nn.Module, *, frozen: bool) -> None:
    """Freeze or release everything but the head; a frozen BatchNorm keeps its statistics, too."""
    answering = head(network)
    network.requires_grad_(not frozen)
    answering.requires_grad_(True)
    network.train(not frozen)
    answering.train()


def _load_fitting(network: nn.Module, given: dict[str, torch.Tensor], source: str) -> None:
    """Load what fits; the head may be for other classes, the first layer for other colours, places for a size."""
    own, answering = network.state_dict(), _names_of(network, head(network))
    if missing := sorted(own.keys() - given.keys() - answering):
        raise ConfigError(
            f"{source} does not fit {type(network).__name__}: it lacks {len(missing)} of {len(own)} tensors, "
            f"such as {missing[0]}"
        )
    if extra := sorted(given.keys() - own.keys()):
        warnings.warn(
            f"{source}: left out, without a place in {type(network).__name__}: {number_of(len(extra), 'tensor')} of "
            f"{len(given)}, such as {extra[0]}; is it of another network?",
            MienWarning,
            stacklevel=2,
        )
    first = next(name for name, value in own.items() if value.ndim == 4)
    for name in own.keys() & given.keys():
        value = given[name]
        if name == first:
            value = _to_colours(value, own[name].shape[1])
        elif name == "pos_embed" and hasattr(network, "patch_embed"):  # one of timm's vision transformers
            value = _to_size(value, network)
        if value.shape == own[name].shape:
            own[name] = value
        elif name not in answering:
            raise ConfigError(
                f"{source} does not fit: its {name} is {list(value.shape)}, here {list(own[name].shape)}"
            )
    network.load_state_dict(own)


def _to_colours(filters: torch.Tensor, channels: int) -> torch.Tensor:
    """Sum colour filters for grey pictures, spread grey ones over colours: the answer to a grey picture stays."""
    if filters.shape[1] == channels:
        return filters
    return filters.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


def _to_size(places: torch.Tensor, network: nn.Module) -> torch.Tensor:
    """Resample what a vision transformer knows of the places of a picture for one of another size."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    known = getattr(network, "num_prefix_tokens", 1)
    side = math.isqrt(places.shape[1] - known)
    if side * side + known != places.shape[1]:
        return places
    return resample_abs_pos_embed(places, list(network.patch_embed.grid_size), num_prefix_tokens=known)  # type: ignore[union-attr,arg-type]


def _names_of(network: nn.Module, layer: nn.Module) -> set[str]:
    prefix = next(name for name, module in network.named_modules() if module is layer)
    return {f"{prefix}.{name}" for name in layer.state_dict()}


def _from_hub(network: nn.Module, recipe: Recipe) -> dict[str, torch.Tensor]:
    if not recipe.network.startswith(catalog.TIMM):
        raise ConfigError(
            f"transfer.weights = {HUB!r} is for timm/ networks; for {recipe.network} give a file"
        )
    classes = head(network).out_features
    try:
        made = catalog.build(recipe.network, classes, recipe.input, recipe.network_options, pretrained=True)
    except Exception as error:  # the hub's client raises whatever its transport does
        raise FetchError(
            f"cannot get {recipe.network} from the hub ({type(error).__name__}: {error}): "
            f"download its weights elsewhere and give the file as transfer.weights"
        ) from error
    return made.state_dict()


def _from_disk(source: str) -> dict[str, torch.Tensor]:
    path = Path(source)
    if path.suffix == ".safetensors" and path.is_file():
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ConfigError(f"{source} is not a safetensors file: {error}") from error
    if path.is_file():
        try:
            content = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # damaged bytes raise whatever they provoke
            reason = next(iter(str(error).splitlines()), type(error).__name__)  # torch explains at length
            raise ConfigError(f"{source} holds no weights that can be loaded safely: {reason}") from error
        return _unwrapped(content, source)
    try:
        return load(bundle.load(source).read(bundle.WEIGHTS))
    except (BundleError, SafetensorError) as error:
        raise ConfigError(
            f"transfer.weights: expected a file, a bundle or {HUB}; got {source!r}: {error}"
        ) from error


def _unwrapped(content: object, source: str) -> dict[str, torch.Tensor]:
    """Return the tensors by name: checkpoints often keep them under a key, and under a wrapper's prefix."""
    for key in ("state_dict", "model"):
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise ConfigError(f"{source} holds no table of tensors by name")
    return {str(name).removeprefix("module."): value for name, value in content.items()}
