"""Write the parts of a report: tables as CSV, drawings as PNG, SVG and data, and the page that shows them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import cv2

from mien import files
from mien.errors import needs
from mien.escapes import csv_cell, csv_lines
from mien.evaluation.figures import inline, rendered
from mien.statistics import Estimate

with needs("report"):
    from jinja2 import ChoiceLoader, Environment, PackageLoader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from jaxtyping import UInt8

    from mien.evaluation.figures import Drawing


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV; fractions with six digits, texts as `csv_cell` writes them."""
    cells = ([f"{cell:.6g}" if isinstance(cell, float) else csv_cell(cell) for cell in row] for row in rows)
    return csv_lines([map(csv_cell, header), *cells])


def spread(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return a table in which a figure with an interval has three columns: itself, ``low`` and ``high``."""
    rows = list(rows)
    wide = [any(isinstance(row[place], Estimate) for row in rows) for place in range(len(header))]
    named = [f"{name}{end}" for name, is_wide in zip(header, wide, strict=True)
             for end in (("", " low", " high") if is_wide else ("",))]  # fmt: skip
    cells = [
        [part for cell, is_wide in zip(row, wide, strict=True)
         for part in ((cell or (None,) * 3) if is_wide else (cell,))]
        for row in rows
    ]  # fmt: skip
    return named, cells


def shown(cell: Any) -> str:
    """Return a cell as text: fractions in percent, an interval after its figure."""
    if cell is None:
        return "–"
    if isinstance(cell, Estimate):
        return f"{100 * cell.value:.1f} % ({100 * cell.low:.1f} – {100 * cell.high:.1f})"
    if isinstance(cell, float):
        return f"{100 * cell:.1f} %"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def write_drawings(drawings: Iterable[Drawing], folder: Path, *, dpi: int = 120) -> list[dict[str, str]]:
    """Write each drawing as PNG, SVG and CSV; return title, alt text and inline source for a page.

    Raises:
        OutputError: `folder` can't be written.
    """
    shown = []
    for drawing in drawings:
        png, svg = (rendered(drawing, kind, dpi) for kind in ("png", "svg"))
        files.write(folder / f"{drawing.name}.png", png)
        files.write(folder / f"{drawing.name}.svg", svg)
        files.write(folder / f"{drawing.name}.csv", table(drawing.header, drawing.rows))
        shown.append(
            {
                "name": drawing.name,
                "title": drawing.title,
                "alt": drawing.alt,
                "source": inline(svg, drawing.alt),
            }
        )
    return shown


def latex(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table for a paper, for the package booktabs; fractions in percent with one digit."""

    def cell(value: Any) -> str:
        text = "--" if value is None else f"{100 * value:.1f}" if isinstance(value, float) else str(value)
        return "".join(_TEX.get(letter, letter) for letter in text)

    lines = [" & ".join(map(cell, row)) + r" \\" for row in rows]
    head = " & ".join(map(cell, header)) + r" \\"
    columns = "l" + "r" * (len(header) - 1)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head,
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


_TEX = {letter: "\\" + letter for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"
}  # fmt: skip


def png_source(image: UInt8[np.ndarray, "h w c"]) -> str:
    """Return an image as the source of an ``img`` element."""
    encoded = cv2.imencode(".png", image if image.shape[2] == 1 else image[:, :, ::-1])[1]
    return f"data:image/png;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def page(template: str, room: str = "mien.evaluation", /, **facts: Any) -> str:
    """Return a page from the folder `pages` of a room, facts escaped; all extend `base.html.j2` of this room."""
    loaders = [PackageLoader(name, "pages") for name in dict.fromkeys((room, "mien.evaluation"))]
    environment = Environment(loader=ChoiceLoader(loaders), autoescape=True)
    environment.filters["shown"] = shown
    return environment.get_template(template).render(**facts)
