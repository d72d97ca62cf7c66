"""The options that say how a model runs, the same for every command that runs one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mien.cli.flags import Flag, with_flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.classifiers import RunOptions

FLAGS = {
    "backend": Flag(str, "onnx", "Which of the model's graphs runs: onnx, int8, fp16; or torch."),
    "device": Flag(
        str, "cpu", "cpu, cuda, or auto: cuda where it works. A device that is missing is an error."
    ),
    "threads": Flag(int | None, None, "Processor threads of one call; by default the runtime chooses."),
}


def runs_model(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags above; it receives them as one argument, `run`."""
    return with_flags(command, "run", FLAGS, _options)


def _options(**given: Any) -> RunOptions:
    from mien.classifiers import RunOptions

    return RunOptions(**given)
