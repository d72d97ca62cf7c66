"""The state of an unfinished run on disk, gone when the bundle is there; and which recipe may continue it."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from mien import files
from mien.config import checked_recipe, facts_of
from mien.errors import ConfigError
from mien.history import EpochRow
from mien.training.fit import State

if TYPE_CHECKING:
    from pathlib import Path

    from mien.config import Recipe

CHECKPOINT = "checkpoint.pt"
"""The file in ``run/`` with which an interrupted run goes on."""
_NAMED = 3
"""At most so many differing options are named in a message."""


@dataclass(frozen=True)
class Checkpoint:
    """One file; it belongs to one recipe and one dataset and refuses others."""

    path: Path
    recipe: Recipe
    fingerprint: str
    validation_split: str
    """What ``validation.split`` of the recipe stands for."""
    teachers: tuple[str, ...] = ()
    """SHA-256 of each model that the run learns from: another model may have the same name."""

    def exists(self) -> bool:
        """Say whether there is an unfinished run."""
        return self.path.exists()

    def save(self, state: State) -> None:
        """Write the state so that a crash at any moment leaves this one or the one before.

        Raises:
            OutputError: it can't be written.
        """
        claim = {
            "recipe": self.recipe.model_dump_json(),
            "dataset": self.fingerprint,
            "validation_split": self.validation_split,
            "teachers": list(self.teachers),
        }
        rows = [asdict(row) for row in state.history]
        buffer = io.BytesIO()
        torch.save({"parts": state.parts, "claim": claim, "history": rows, "best": state.best}, buffer)
        files.write(self.path, buffer.getvalue())

    def load(self) -> State:
        """Return the saved state.

        Raises:
            ConfigError: the file is damaged or of another version, or the run was begun with another recipe, other
                data or other teachers.
        """
        try:
            content = torch.load(self.path, weights_only=True, map_location="cpu")
            claim, rows = content["claim"], content["history"]
            recipe, split = json.loads(claim["recipe"]), claim.get("validation_split")
            dataset, parts, best = claim["dataset"], content["parts"], content["best"]
        except Exception as error:  # a damaged archive raises whatever its bytes provoke
            raise ConfigError(f"{self.path} is damaged: remove {self.path.parent} to start anew") from error
        if dataset != self.fingerprint:
            self._refuse("dataset", "resume with the same one")
        now = facts_of(self.recipe)
        if what := differences(finished_recipe(recipe, split), settled(now, self.validation_split)):
            self._refuse("recipe", f"resume with the same one ({what})")
        if claim.get("teachers", [*self.teachers]) != [*self.teachers]:  # older versions did not write it
            self._refuse("teacher", "its name is the same, but not the model; resume with the same one")
        try:
            history = [EpochRow(**row) for row in rows]
        except TypeError as error:
            raise ConfigError(
                f"{self.path} was written by another version of mien: go on with that one, or remove "
                f"{self.path.parent} to start anew"
            ) from error
        return State(history, _with_average(parts), best)

    def _refuse(self, what: str, advice: str) -> None:
        raise ConfigError(
            f"{self.path.parent} was begun with another {what}: {advice}, or choose another --out"
        )

    def remove(self) -> None:
        """Remove the file: the run is finished."""
        self.path.unlink(missing_ok=True)


def finished_recipe(options: dict[str, Any], validation_split: str | None) -> dict[str, Any]:
    """Return the options of a run that was begun, maybe by an older version, as this version understands them.

    New options have their defaults. Before ``validation.keep`` there was, the best epoch was kept and ``auto`` could
    be ``test``; `validation_split` is the split that ``auto`` stood for, where that is known.
    """
    validation = {"keep": "best", **options.get("validation", {})}
    try:
        recipe = checked_recipe({**options, "validation": validation})
    except ConfigError:  # a recipe of another version, or an ensemble's
        return options
    known = validation_split or ("test" if "keep" not in options.get("validation", {}) else None)
    return settled(facts_of(recipe), known)


def settled(facts: dict[str, Any], validation_split: str | None) -> dict[str, Any]:
    """Return a recipe's options with the split that ``auto`` stands for, where that is known."""
    if facts["validation"]["split"] == "auto" and validation_split:
        facts["validation"]["split"] = validation_split
    return facts


def differences(begun: dict[str, Any], now: dict[str, Any]) -> str:
    """Return which options differ and how, as ``epochs was 4, is 6``; empty where none does."""
    old, new = dict(_flat(begun)), dict(_flat(now))
    names = [name for name in {**old, **new} if name != "options_chosen_on"]  # changes no run
    found = [name for name in names if old.get(name) != new.get(name)]
    named = [f"{name} was {old.get(name)}, is {new.get(name)}" for name in found[:_NAMED]]
    return "; ".join(named + ([f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []))


def _flat(options: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat = []
    for name, value in options.items():
        if isinstance(value, dict):
            flat += _flat(value, f"{prefix}{name}.")
        else:
            flat.append((f"{prefix}{name}", list(value) if isinstance(value, tuple) else value))
    return flat


def _with_average(parts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the states with the moving average as this version keeps it; older ones had torch's `AveragedModel`."""
    old = parts.get("average", {})
    if "n_averaged" not in old:
        return parts
    module = {name.removeprefix("module."): value for name, value in old.items() if name != "n_averaged"}
    return {**parts, "average": {"steps": int(old["n_averaged"]), "module": module}}
