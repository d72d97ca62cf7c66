"""Print results: lines and tables that fit the terminal and cannot control it, and JSON."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.escapes import visible as visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_GAP = 2
"""Blanks between the columns of a table."""
_LEAST = 6
"""Columns are not made narrower than this."""
_NAME = 32
"""Longest name; longer ones are shortened before other columns become narrower than their words."""


def say(line: str = "") -> None:
    """Print one line of the result on stdout, control characters escaped."""
    print(visible(line))


def complain(line: str) -> None:
    """Print one line on stderr: any white space becomes one blank, control characters are escaped."""
    print(visible(" ".join(line.split())), file=sys.stderr)


def give(document: dict[str, Any], json_to: str | None, show: Callable[[], None]) -> None:
    """Show a result, and write its JSON where ``--json`` says; ``-`` prints the JSON alone.

    Raises:
        OutputError: the file cannot be written.
    """
    text = json.dumps(document, indent=2) + "\n"
    if json_to == "-":
        print(text, end="")
        return
    show()
    if json_to:
        from mien.files import write

        write(Path(json_to), text)
        say(f"wrote {json_to}")


def shorten(name: str, most: int = _NAME) -> str:
    """Return a name of at most this many characters, cut in the middle: its end often tells more."""
    if len(name) <= most:
        return name
    front = (most - 1) // 2
    return f"{name[:front]}…{name[len(name) - (most - 1 - front) :]}"


def terminal_width() -> int:
    """Return the width of the terminal in characters; 80 if stdout is no terminal."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: bool = False) -> None:
    """Print rows under a header, as wide as the terminal at most.

    If they are wider, cells of several words wrap, and a long name is shortened in the middle. `right` aligns all
    but the first column to the right, for figures.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [[visible(cell) for cell in row] for row in (header, *rows)]
    widths = column_widths(lines, terminal_width())
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=False)
    for number, width in enumerate(widths):
        table.add_column(width=width, justify="right" if right and number else "left", overflow="fold")
    for line in lines:
        cells = (
            shorten(cell, width) if " " not in cell else cell
            for cell, width in zip(line, widths, strict=True)
        )
        table.add_row(*map(Text, cells))
    console = Console(width=sum(widths) + _GAP * len(widths), color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    for printed in captured.get().splitlines():
        print(printed.rstrip())


def column_widths(lines: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the width of each column: that of its longest cell, or less, so that all columns fit into `room`.

    The widest columns are made narrower first, down to their longest word, then further.
    """
    from rich.cells import cell_len

    columns = list(zip(*lines, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    words = [
        min(_NAME, max(cell_len(word) for cell in column for word in (cell.split() or [""])))
        for column in columns
    ]
    for least in (words, [_LEAST] * len(words)):
        while sum(widths) + _GAP * (len(widths) - 1) > room:
            spare = [width - low for width, low in zip(widths, least, strict=True)]
            if max(spare) <= 0:
                break
            widths[spare.index(max(spare))] -= 1
    return widths
