"""Tables on stdout, for people: the same look everywhere, and wide enough when nobody watches."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def new_table(*left: str) -> Table:
    """Return a table without borders, with left-aligned columns; more can be added."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in left:
        table.add_column(column)
    return table


def print_table(table: Table, width: int = 140) -> None:
    """Print text as it is (a file name is no markup); a file or pipe gets at least `width` columns."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, width)
    console.print(table)
