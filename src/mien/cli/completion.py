"""``mien completion``: a script that makes the Tab key complete commands and options."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from mien.cli.command import command

ASKED_BY = "_MIEN_COMPLETE"
"""The environment variable by which a shell asks for completions."""


class Shell(StrEnum):
    """Shells that can complete commands of mien."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"


def answer_shells() -> None:
    """Register the shells with Typer, if a shell asks for completions; other commands skip this slow import."""
    if ASKED_BY in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # Typer has no other name for it

        completion_init()


@command("mien completion bash")
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
) -> None:
    """Print the script by which a shell completes commands and options.

    Append it to the file that the shell reads when it starts, such as ~/.bashrc or ~/.zshrc.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    from mien.cli.terminal import say

    script = get_completion_script(prog_name="mien", complete_var=ASKED_BY, shell=shell.value)
    for line in script.splitlines():
        say(line)
