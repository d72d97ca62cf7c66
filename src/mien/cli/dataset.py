"""The options that say how a dataset is read, the same for every command that reads one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.cli.flags import Flag, with_flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.data.reading import ReadOptions

DATA_HELP = "A dataset in any form (docs/data.md): class folders, zip, CSV, arrays, Parquet; or `synthetic`."


FLAGS = {
    "format": Flag(str, "auto", "Form of the data: folders, pixels, list, arrays, parquet, packed."),
    "labels": Flag(
        str | None,
        None,
        "Classes: angry,happy selects, negative=angry+sad merges; names 0, 1, 2... of arrays.",
    ),
    "targets": Flag(str | None, None, "File with the labels of an array of pictures."),
    "votes": Flag(str | None, None, "FER+ votes, a table."),
    "vote_rule": Flag(
        str,
        "distribution",
        "The target: majority; distribution, each emotion its share; beside: the data's own label, votes are kept.",
    ),
    "vote_unknown": Flag(str, "drop", "Votes for unknown or no face: drop the picture, or ignore them."),
    "val_fraction": Flag(float, 0.1, "Part of each class that becomes val where the data names no splits."),
    "split_seed": Flag(int, 0, "Seed of that split."),
    "skip_corrupt": Flag(bool, False, "Leave out corrupt pictures; they are listed."),
}


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags above; it receives them as one argument, `options`."""
    return with_flags(command, "options", FLAGS, _options)


def _options(**given: Any) -> ReadOptions:
    from mien.data.reading import ReadOptions

    return ReadOptions(**given)


def check_pair(data: str | None, split: str | None) -> None:
    """Refuse a dataset without a part, or a part without a dataset, where both are optional.

    Raises:
        ConfigError: one is missing.
    """
    from mien.errors import ConfigError

    if (data is None) != (split is None):
        given, missing = ("--data", "--split") if data else ("--split", "--data")
        raise ConfigError(f"{given} needs {missing}: they name the pictures together")


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
