"""The options that say how a dataset is read, the same for every command that reads one."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.data.reading import ReadOptions

DATA_HELP = "A dataset in any form (docs/data.md): class folders, zip, CSV, arrays, Parquet; or `synthetic`."


class _Flag(NamedTuple):
    type: Any
    default: Any
    help: str


FLAGS = {
    "format": _Flag(str, "auto", "Form of the data: folders, pixels, list, arrays, parquet, packed."),
    "labels": _Flag(
        str | None,
        None,
        "Classes: angry,happy selects, negative=angry+sad merges; names 0, 1, 2... of arrays.",
    ),
    "targets": _Flag(str | None, None, "File with the labels of an array of pictures."),
    "votes": _Flag(str | None, None, "FER+ votes, a table."),
    "vote_rule": _Flag(
        str,
        "distribution",
        "The target: majority; distribution, each emotion its share; beside: the data's own label, votes are kept.",
    ),
    "vote_unknown": _Flag(str, "drop", "Votes for unknown or no face: drop the picture, or ignore them."),
    "val_fraction": _Flag(float, 0.1, "Part of each class that becomes val where the data names no splits."),
    "split_seed": _Flag(int, 0, "Seed of that split."),
    "skip_corrupt": _Flag(bool, False, "Leave out corrupt pictures; they are listed."),
}


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags above; it receives them as one argument, `options`."""
    own = inspect.signature(command)
    hints = get_type_hints(command, localns={"ReadOptions": object}, include_extras=True)
    kept = [parameter for parameter in own.parameters.values() if parameter.name != "options"]
    flags = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=flag.default,
            annotation=Annotated[flag.type, typer.Option(f"--{name.replace('_', '-')}", help=flag.help)],
        )
        for name, flag in FLAGS.items()
    ]  # fmt: skip

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        from mien.data.reading import ReadOptions

        options = ReadOptions(**{name: given.pop(name) for name in FLAGS})
        command(**given, options=options)

    del wrapped.__dict__["__wrapped__"]
    parameters = [parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
                  for parameter in kept]  # fmt: skip
    wrapped.__signature__ = inspect.Signature([*parameters, *flags])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in [*parameters, *flags]}
    return wrapped


def flag_words(options: ReadOptions) -> list[str]:
    """Return the words that give these options on a command line, files without their folders."""
    words = []
    for name, flag in FLAGS.items():
        value = getattr(options, name)
        if value == flag.default:
            continue
        shown = Path(value).name if name in ("targets", "votes") else str(value)
        words += [f"--{name.replace('_', '-')}", *([] if flag.type is bool else [shown])]
    return words
