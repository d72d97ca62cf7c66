"""The command line: parsing and printing only. Results go to stdout, progress and errors to stderr.

Exit status: 0 done; 1 done, but some inputs could not be read (or a bug, with its traceback); 2 wrong input,
one line says what; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer

from mien import __version__
from mien.cli.command import Group
from mien.cli.completion import answer_shells
from mien.cli.terminal import complain
from mien.cli.warning import print_warnings
from mien.errors import did_you_mean

COMMANDS = {
    "Use a model": {
        "predict": "Find the faces in photos and videos and classify their expressions.",
        "explain": "Show which places of a face its label depends on.",
        "serve": "Answer HTTP requests: find faces in pictures and classify their expressions.",
    },
    "Train a model": {
        "data": "Look at a dataset, audit and split it, cut faces out of photos, pack it, preview augmentation.",
        "recipes": "List the shipped training recipes, or show one.",
        "train": "Train a network on a dataset and write its model folder.",
        "tune": "Search for better options of a recipe.",
        "detector": "Train a face detector on drawn scenes.",
    },
    "Judge models": {
        "evaluate": "Measure how often a model is right on a dataset.",
        "compare": "Test which of several models, or recipes, is better on the same images.",
        "benchmark": "Measure speed, size and memory of models.",
        "verify": "Check that all files of a model give the same answers.",
    },
    "Improve and ship a model": {
        "calibrate": "Make a model's probabilities match how often it is right.",
        "ensemble": "Join several models into one.",
        "export": "Convert a model to one ONNX file, INT8, FP16, a web page or a hub folder.",
    },
    "Look up": {
        "doctor": "Say what is installed, what is missing for which command, and what this machine can do.",
        "models": "List the built-in models and the networks.",
        "completion": "Print the script by which a shell completes commands and options.",
        "fetch": "Download the weights of a face detector, or the runtime of the web page.",
    },
}
"""Commands by task. Each is the name of a module here and of the command in it; imported when it is run."""


class _Root(Group):
    def list_commands(self, _: Any) -> list[str]:
        """Return the names, without importing a command."""
        return [name for names in COMMANDS.values() for name in names]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command's module and return the command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        return getattr(import_module(f"mien.cli.{cmd_name}"), cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, or say which was meant."""
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}{did_you_mean(args[0], names)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, _: Any, formatter: Any) -> None:
        """Write the commands by task, in one column."""
        width = max(len(name) for names in COMMANDS.values() for name in names)
        for task, names in COMMANDS.items():
            with formatter.section(task):
                formatter.write_dl([(f"{name:{width}}", sentence) for name, sentence in names.items()])


_app = typer.Typer(
    cls=_Root,
    help="Recognise facial expressions: use a model, train one, judge it, ship it.",
    epilog="`mien COMMAND --help` explains a command and ends with an example.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> bool:
    if wanted:
        print(f"mien {__version__}")
        raise typer.Exit
    return wanted


@_app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command. Wrong words on the command line are one line and status 2."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as of a program that has no terminal
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a label may be in any script
    answer_shells()
    print_warnings(f"mien {sys.argv[1]}" if len(sys.argv) > 1 else "mien")
    app = typer.main.get_command(_app)
    try:
        status = app.main(prog_name="mien", standalone_mode=False)
    except typer.TyperException as error:
        path = getattr(getattr(error, "ctx", None), "command_path", "mien")
        complain(f"{path}: {error.format_message()} (see {path} --help)")
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
