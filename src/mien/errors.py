"""Every error a user can cause, in one tree.

::

    MienError                 one line for the user, exit status 2
    ├── ConfigError           a recipe, an option or a name is wrong; nothing has run yet
    ├── DataError             a dataset or an array of crops is not what was asked for
    ├── ImageError            one picture cannot be read
    ├── BundleError           a model bundle is missing, damaged, foreign or inconsistent
    ├── TrainingError         a run cannot go on
    ├── OutputError           a result cannot be written; nothing half-written is left behind
    ├── FetchError            a download failed or brought the wrong bytes
    └── MissingExtra          an optional dependency is not installed

A message says what was expected, what came, and what to do. Anything else that escapes is a bug of ours.

`MienWarning` is the category of every warning: something was left aside or is odd, and the work goes on.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from typing import TYPE_CHECKING

from mien.escapes import encodable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_OPTION = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


class MienError(Exception):
    """The base of every error that a user's input or machine can cause.

    An option stands in backticks in the message: ```val_fraction` must be ...`` or ``add `votes=FILE```. Python
    shows it without them, the command line as its flag (`with_flags`). A message can be written into any file.
    """

    def __init__(self, message: str = "") -> None:
        message = encodable(message)
        super().__init__(_OPTION.sub(lambda found: found[0].strip("`"), message))
        self._marked = message

    def with_flags(self, flags: Mapping[str, str]) -> str:
        """Return the message for a command line, given the flag of each option: ``--val-fraction``."""

        def flag(found: re.Match[str]) -> str:
            name, value = found.groups()
            if name not in flags:
                return found[0].strip("`")
            return flags[name] if value in (None, "True") else f"{flags[name]} {value}"

        return _OPTION.sub(flag, self._marked)


class ConfigError(MienError):
    """A recipe, an option or a name is wrong; nothing has run yet."""


class DataError(MienError):
    """A dataset or an array of crops is not what was asked for."""


class ImageError(MienError):
    """One picture cannot be read."""


class BundleError(MienError):
    """A model bundle is missing, damaged, foreign or inconsistent."""


class TrainingError(MienError):
    """A training run cannot go on."""


class OutputError(MienError):
    """A result cannot be written."""


class FetchError(MienError):
    """A download failed or brought the wrong bytes."""


class MissingExtra(MienError, ImportError):  # noqa: N818 - named for what the user lacks
    """An optional dependency is not installed."""

    lack: str = ""
    """What is missing, without how to install it here: for documents, as a command may name a private folder."""


class MienWarning(UserWarning):
    """Something in the input was left aside or is odd; the work goes on. The command line prints it as one line."""


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a failed import into the command that installs what is missing.

    ``with needs("train"): import torch``
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "mien":
            raise
        from mien.install import install_command

        missing = MissingExtra(f"{error.name} is not installed: {install_command(extra)}")
        missing.lack = f"{error.name} is not installed; it comes with the extra {extra}"
        raise missing from error


def number_of(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 image``, ``2,000 images``. The plural is the noun with an s."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


_OTHER_WORDS = {"gpu": "cuda", "metal": "mps"}
"""Other words for a choice, which difflib would not find: it takes ``gpu`` for ``cpu``."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean X?"`` for the nearest known word, else an empty string."""
    known = list(known)
    near = [_OTHER_WORDS[word]] if _OTHER_WORDS.get(word) in known else []
    near = near or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
