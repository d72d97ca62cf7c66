"""The command line: parsing and printing only. Results go to stdout, progress and errors to stderr.

Exit status: 0 done; 1 done, but some inputs could not be read (or a bug, with its traceback); 2 wrong input,
one line says what; 130 interrupted.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated

import typer

from mien import __version__
from mien.cli.warning import print_warnings
from mien.errors import MienError

COMMANDS = (
    *("predict", "train", "evaluate", "compare", "calibrate", "ensemble"),
    *("export", "verify", "benchmark", "data", "models", "recipes", "fetch"),
)

app = typer.Typer(
    help="Facial-expression classifiers the whole way: train, judge, ship, use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mien {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for _name in COMMANDS:
    import_module(f"mien.cli.{_name}").register(app)


def main() -> None:
    """Run a command; an error of the user's input or machine is one line and status 2."""
    command = f"mien {sys.argv[1]}" if len(sys.argv) > 1 else "mien"
    print_warnings(command)
    try:
        app()
    except MienError as error:
        print(f"{command}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
