"""Options that several commands share, defined once: a table of flags that reach a command as one argument."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ARGUMENTS = ("ReadOptions", "RunOptions")
"""Types of those arguments, which a command names for type checkers only."""


class Flag(NamedTuple):
    """One option of a command line."""

    type: Any
    default: Any
    help: str


def with_flags(
    command: Callable[..., None], argument: str, flags: Mapping[str, Flag], build: Callable[..., object]
) -> Callable[..., None]:
    """Give a command the flags of a table; it receives what `build` makes of them as `argument`."""
    own = inspect.signature(command)
    hints = get_type_hints(command, localns=dict.fromkeys(ARGUMENTS, object), include_extras=True)
    kept = [parameter for parameter in own.parameters.values() if parameter.name != argument]
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=flag.default,
            annotation=Annotated[flag.type, typer.Option(f"--{name.replace('_', '-')}", help=flag.help)],
        )
        for name, flag in flags.items()
    ]  # fmt: skip

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        built = build(**{name: given.pop(name) for name in flags})
        command(**given, **{argument: built})

    del wrapped.__dict__["__wrapped__"]
    parameters = [parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
                  for parameter in kept]  # fmt: skip
    wrapped.__signature__ = inspect.Signature([*parameters, *added])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in [*parameters, *added]}
    return wrapped
