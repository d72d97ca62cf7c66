"""Plot accuracy over latency, one point for each model and runtime."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from mien.errors import needs
from mien.palette import PLOT_STYLE, SERIES_HEX

with needs("report"):
    import matplotlib as mpl
    from matplotlib.figure import Figure

if TYPE_CHECKING:
    from mien.benchmark.timings import Benchmark, Timing

MARKERS = {"torch": "o", "torch compiled": "D", "onnx": "s", "int8": "^", "fp16": "v"}
_FILLS = ("full", "none", "left", "top")


def draw(measured: Benchmark) -> bytes | None:
    """Return a PNG for the smallest batch; names state device and threads. None if no row has an accuracy."""
    least = min((row.batch for row in measured.rows), default=1)
    rows = [row for row in measured.rows if row.batch == least and row.accuracy is not None]
    if not rows:
        return None
    with mpl.rc_context(PLOT_STYLE):
        return _drawn(measured, rows, least)


def _drawn(measured: Benchmark, rows: list[Timing], least: int) -> bytes:
    """Return the plot of these rows as a PNG."""
    figure = Figure(figsize=(7.5, 4.8), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    models = list(dict.fromkeys(row.model for row in rows))
    places = list(dict.fromkeys((row.device, row.threads) for row in rows))
    for row in rows:
        accuracy, x = 100 * (row.accuracy or 0), row.p50_ms / least
        colour = SERIES_HEX[models.index(row.model) % len(SERIES_HEX)]
        words = [row.model] if len(models) > 1 else []
        words += [row.runtime, *([f"{row.device} x{row.threads}"] if len(places) > 1 else [])]
        axes.plot(
            x, accuracy, MARKERS[row.runtime], color=colour, markersize=9, label=f"{' '.join(words)}: {x:.3f} ms",
            fillstyle=_FILLS[places.index((row.device, row.threads)) % len(_FILLS)],
        )  # fmt: skip
        axes.plot([x, (row.p95_ms or row.p50_ms) / least], [accuracy] * 2, color=colour, linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.margins(x=0.15, y=0.25)
    axes.legend(fontsize=8)
    axes.set_xlabel(f"ms a face at batch {least}, median; the line ends at p95")
    axes.set_ylabel(f"accuracy, %, on {measured.accuracy_on}")
    axes.set_title(f"{', '.join(models)}\n{measured.machine}", fontsize=9, wrap=True)
    axes.grid(alpha=0.3)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
