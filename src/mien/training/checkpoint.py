"""The state of an unfinished run on disk, written after every epoch and gone when the bundle is there."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from mien import files
from mien.errors import ConfigError
from mien.history import EpochRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from mien.config import Recipe

Weights = dict[str, torch.Tensor]


class Part(Protocol):
    """Anything of torch's that has a state."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take the state on."""


@dataclass(frozen=True)
class Checkpoint:
    """One file; it belongs to one recipe and one dataset and refuses others."""

    path: Path
    recipe: Recipe
    fingerprint: str

    def exists(self) -> bool:
        """Say whether there is an unfinished run."""
        return self.path.exists()

    def save(self, parts: Mapping[str, Part], history: list[EpochRow], best: Weights) -> None:
        """Write the state so that a crash at any moment leaves this one or the one before.

        Raises:
            OutputError: it can't be written.
        """
        states = {name: part.state_dict() for name, part in parts.items()}
        rows = [asdict(row) for row in history]
        buffer = io.BytesIO()
        torch.save({"parts": states, "claim": self._claim(), "history": rows, "best": best}, buffer)
        files.write(self.path, buffer.getvalue())

    def load(self, parts: Mapping[str, Part]) -> tuple[list[EpochRow], Weights]:
        """Put the saved states into `parts`; return the history and the best weights so far.

        Raises:
            ConfigError: the file is damaged or of another version, or the run was begun with another recipe or other
                data.
        """
        try:
            content = torch.load(self.path, weights_only=True, map_location="cpu")
        except Exception as error:  # a damaged archive raises whatever its bytes provoke
            raise ConfigError(f"{self.path} is damaged: remove {self.path.parent} to start anew") from error
        for what, value in self._claim().items():
            if content["claim"][what] != value:
                raise ConfigError(
                    f"{self.path.parent} was begun with another {what}: "
                    f"resume with the same one, or choose another --out"
                )
        try:
            history = [EpochRow(**row) for row in content["history"]]
        except TypeError as error:
            raise ConfigError(
                f"{self.path} was written by another version of mien: go on with that one, or remove "
                f"{self.path.parent} to start anew"
            ) from error
        for name, part in parts.items():
            part.load_state_dict(content["parts"][name])
        return history, content["best"]

    def remove(self) -> None:
        """Remove the file: the run is finished."""
        self.path.unlink()

    def _claim(self) -> dict[str, str]:
        return {"recipe": self.recipe.model_dump_json(), "dataset": self.fingerprint}
