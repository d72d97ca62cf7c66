"""A space: which options of a recipe may take which values. A TOML file of the form of a recipe.

::

    epochs = 10                                        # a value: the same in every trial
    batch_size = [64, 128, 256]                        # a list: one of these

    [optim]
    peak_lr = { low = 0.01, high = 0.5, log = true }   # a range: even in the logarithm
    weight_decay = { low = 0.0, high = 1e-3 }

If an option takes whole numbers, so does its range; ``step`` makes a grid of it.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mien.config import Recipe, checked_recipe
from mien.errors import ConfigError, did_you_mean
from mien.networks.catalog import build, network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from optuna import Trial

_RANGE = ("low", "high", "log", "step")
FIXED = {
    "seed": "another seed is luck, not a better recipe",
    "train_split": "all trials learn the same images",
    "validation": "all trials are judged by the same rule on the same images",
    "input": "the images are read once, for all trials",
}
"""Options that no trial may vary, and why."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """The values to check before anything runs."""
        return self.low, self.high

    def drawn(self, trial: Trial, name: str) -> float:
        """Let Optuna choose a value."""
        if self.whole:
            return trial.suggest_int(
                name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log
            )
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to check before anything runs."""
        return self.values

    def drawn(self, trial: Trial, name: str) -> Any:
        """Let Optuna choose a value; it stores lists as JSON."""
        named = {stored(value): value for value in self.values}
        return named[trial.suggest_categorical(name, list(named))]


def stored(value: Any) -> Any:
    """Return a value as a study keeps it: a list as JSON."""
    return json.dumps(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Space:
    """The values of options, by their paths such as ``optim.peak_lr``."""

    options: Mapping[str, Range | Choice]
    fixed: Mapping[str, Any]
    """Values that are the same in every trial."""

    def base(self, recipe: Recipe, settings: Sequence[str] = ()) -> Recipe:
        """Return the recipe with the fixed values; `settings` are its ``key=value`` changes that a user gave.

        Raises:
            ConfigError: an unknown option, a value out of range, or an option that `settings` name, too.
        """
        for setting in settings:
            name = setting.partition("=")[0].strip()
            both = [one for one in (*self.options, *self.fixed) if one == name or one.startswith(f"{name}.")]
            if both:
                raise ConfigError(
                    f"the space has {both[0]}, and {setting} is given, too: leave one of them out"
                )
        return with_values(recipe, self.fixed)

    def check(self, recipe: Recipe) -> None:
        """Check the ends of every range and every choice, one value at a time.

        Raises:
            ConfigError: the recipe or its network does not allow a value.
        """
        for path, values in self.options.items():
            for value in values.ends:
                changed = with_values(recipe, {path: value})
                if path == "network":
                    network(changed.network)
                elif path.startswith("network_options") and "network" not in self.options:
                    build(changed.network, 2, changed.input, changed.network_options)

    def drawn(self, trial: Trial) -> dict[str, Any]:
        """Let Optuna choose a value of every option."""
        return {path: values.drawn(trial, path) for path, values in self.options.items()}

    def restored(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a trial as the recipe has them, from what the study kept."""
        values = dict(params)
        for path, kind in self.options.items():
            if isinstance(kind, Choice) and path in values:
                values[path] = next(value for value in kind.values if stored(value) == values[path])
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return the space as a study keeps it."""
        varied = {
            path: vars(one) if isinstance(one, Range) else list(one.values)
            for path, one in self.options.items()
        }
        return {**varied, **self.fixed}


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with other values of options that are named by their path.

    Raises:
        ConfigError: an unknown option, or a value out of range.
    """
    options = recipe.model_dump()
    for path, value in values.items():
        section = options
        *above, name = path.split(".")
        for one in above:
            section = section.setdefault(one, {})
            if not isinstance(section, dict):
                raise ConfigError(f"unknown option {path}: {one} is a value, not a section")
        section[name] = value
    return checked_recipe(options)


def read_space(path: str | Path) -> Space:
    """Read a space from a TOML file.

    Raises:
        ConfigError: no such file, no TOML, nothing that varies, or a range or list that is not valid.
    """
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"space {path} cannot be read as TOML: {reason}") from error
    options: dict[str, Range | Choice] = {}
    fixed: dict[str, Any] = {}
    for name, value in _flat(given):
        try:
            if isinstance(value, dict):
                options[name] = _range(name, value)
            elif isinstance(value, list):
                options[name] = _choice(value)
            else:
                fixed[name] = value
        except ValueError as error:
            raise ConfigError(f"space {path}, {name}: {error}") from error
    if not options:
        raise ConfigError(
            f"space {path} has nothing to vary: expected a range such as peak_lr = {{ low = 0.01, high = 0.5 }} or "
            f"a list of values"
        )
    for name in options:
        why = FIXED.get(name.split(".")[0])
        if why:
            raise ConfigError(f"space {path} must not vary {name}: {why}; one value of it is allowed")
    return Space(options, fixed)


def _flat(given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield options by their paths; a table with a key of a range is a range, any other a section."""
    for name, value in given.items():
        if isinstance(value, dict) and not set(_RANGE) & set(value):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _range(name: str, given: Mapping[str, Any]) -> Range:
    _check_keys(given)
    low, high, log, step = given["low"], given["high"], given.get("log", False), given.get("step")
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithm needs low above 0, got {low}")
    if log and step is not None:
        raise ValueError("log and step exclude each other")
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"step must lie between 0 and high - low = {high - low:g}, got {step}")
    whole = _is_whole(name, low, high)
    if whole and any(value != int(value) for value in (low, high, step or 1)):
        raise ValueError(
            f"expected whole numbers, got low = {low}, high = {high}{f', {step=}' if step else ''}"
        )
    return Range(low, high, log, step, whole)


def _check_keys(given: Mapping[str, Any]) -> None:
    for key, value in given.items():
        if key not in _RANGE:
            raise ValueError(
                f"a range has no {key!r}: expected {', '.join(_RANGE)}{did_you_mean(key, _RANGE)}"
            )
        is_word = isinstance(value, bool)
        if key == "log" and not is_word:
            raise ValueError(f"log must be true or false, got {value!r}")
        if key != "log" and (is_word or not isinstance(value, int | float) or not abs(value) < float("inf")):
            raise ValueError(f"{key} must be a number, got {value!r}")
    if "low" not in given or "high" not in given:
        raise ValueError("a range needs low and high")


def _choice(values: list[Any]) -> Choice:
    if len(values) < 2:
        raise ValueError("a list needs two values or more; one value is written without brackets")
    if any(value in values[:place] for place, value in enumerate(values)):
        raise ValueError(f"a value stands twice in {json.dumps(values)}")
    if any(not isinstance(value, bool | int | float | str | list) for value in values):
        raise ValueError("expected a list of numbers, words or lists")
    return Choice(tuple(values))


def _is_whole(path: str, low: float, high: float) -> bool:
    """Return whether an option takes whole numbers; for an option of a network, whether the ends are whole."""
    model: Any = Recipe
    for name in path.split("."):
        field = (
            model.model_fields.get(name) if isinstance(model, type) and issubclass(model, BaseModel) else None
        )
        if field is None:
            return isinstance(low, int) and isinstance(high, int)
        model = field.annotation
    return model is int
