"""What a search found: the trials, the best of them, and the recipe that it makes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.trial import FrozenTrial

    from mien.config import Recipe
    from mien.tune.space import Space

SCHEMA = "mien.search/1"


@dataclass(frozen=True)
class Trial:
    """One set of values, and what came of it."""

    number: int
    """Number of the trial, from 1."""
    params: Mapping[str, Any]
    value: float
    """The monitored figure of the kept epoch; higher is better, so a loss is negative. For a trial that was ended
    early, the figure of its last epoch; NaN if there is none."""
    is_complete: bool
    epochs: int
    """Number of epochs after which it was validated last."""
    seconds: float
    error: str = ""
    """Why training with these values failed; empty if it did not."""

    @classmethod
    def of(cls, trial: FrozenTrial) -> Trial:
        """Return a trial of a study that has ended."""
        steps = trial.intermediate_values
        last = max(steps, default=0)
        value = trial.value if trial.value is not None else steps.get(last, math.nan)
        done = trial.state.name == "COMPLETE"
        took = trial.duration.total_seconds() if trial.duration else math.nan
        return cls(trial.number + 1, trial.params, value, done, last, took, trial.user_attrs.get("error", ""))

    @property
    def state(self) -> str:
        """``complete``, ``ended early``, or ``impossible`` if training with these values failed."""
        return "complete" if self.is_complete else "impossible" if self.error else "ended early"


@dataclass(frozen=True)
class Search:
    """All trials of a study."""

    data: str
    split: str
    n_judged: int
    """Number of images on which every trial was validated."""
    monitor: str
    space: Space
    trials: tuple[Trial, ...]
    best: Trial
    recipe: Recipe
    """The recipe with the values of the best trial."""
    importance: Mapping[str, float]
    """Fraction of the variance that each option explains; empty where there are too few trials to say."""

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row for each trial."""
        return [
            {"trial": one.number, "state": one.state, self.monitor: _shown(one.value, self.monitor),
             "epochs": one.epochs, "seconds": one.seconds, **one.params}
            for one in self.trials
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return every number as a dictionary; NaN becomes None."""
        plain = ("data", "split", "n_judged", "monitor")
        rows = [{name: _jsonable(cell) for name, cell in row.items()} for row in self.to_rows()]
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in plain},
            "space": self.space.to_dict(),
            "best": next(row for row in rows if row["trial"] == self.best.number),
            "importance": dict(self.importance),
            "trials": rows,
        }


def _shown(value: float, monitor: str) -> float:
    return -value if monitor == "loss" else value


def _jsonable(cell: Any) -> Any:
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def to_toml(recipe: Recipe) -> str:
    """Return the options of a recipe that differ from the defaults, as `mien.read_recipe` reads them."""
    options = recipe.model_dump(mode="json", exclude_defaults=True)
    if "copies" in options.get("balance", {}):  # its defaults are not those of `augment`
        options["balance"]["copies"] = recipe.balance.copies.model_dump(mode="json")
    return "\n".join(_lines(options, "")) + "\n"


def _lines(options: Mapping[str, Any], section: str) -> list[str]:
    plain = [
        f"{_key(name)} = {_value(value)}" for name, value in options.items() if not isinstance(value, dict)
    ]
    lines = ["", f"[{section}]", *plain] if section and plain else plain
    for name, value in options.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{section}.{_key(name)}" if section else _key(name))
    return lines


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return repr(value)
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    """Return a text in quotes: as in JSON, but TOML has no pairs of escapes for one letter, and escapes DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
