"""A search as a folder: the best recipe, all trials as CSV and JSON, and three figures."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import files
from mien.config import checked_recipe
from mien.errors import needs
from mien.evaluation.figures import Drawing, styled
from mien.evaluation.render import table, write_drawings
from mien.palette import SERIES_HEX
from mien.tune.results import to_toml
from mien.tune.space import Range, stored

with needs("report"):
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

if TYPE_CHECKING:
    from pathlib import Path

    from mien.tune.results import Search

BEST = "best.toml"
AXES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "loss": "cross-entropy"}
_COLUMNS = 3


def write_search(found: Search, out: Path) -> Path:
    """Write ``best.toml``, ``trials.csv``, ``search.json`` and ``figures/``; returns the first.

    Raises:
        OutputError: it cannot be written.
    """
    with files.together(out, BEST, replaces=True) as stage:
        _write(found, stage)
    return out / BEST


def _write(found: Search, out: Path) -> None:
    rows = found.to_rows()
    header = tuple(dict.fromkeys(name for row in rows for name in row))
    files.write(
        out / "trials.csv", table(header, [[_cell(row.get(name)) for name in header] for row in rows])
    )
    files.write(out / "search.json", json.dumps(found.to_dict(), indent=2) + "\n")
    write_drawings(drawings(found), out / "figures")
    files.write(out / BEST, best_toml(found))


def best_toml(found: Search) -> str:
    """Return the recipe of the best trial as TOML, and how it was found as a comment."""
    complete = sum(one.is_complete for one in found.trials)
    text = to_toml(found.recipe)
    import tomllib

    assert checked_recipe(tomllib.loads(text)) == found.recipe
    return (
        f"# Trial {found.best.number}, the best of {len(found.trials)} ({complete} complete), found by mien tune: "
        f"{AXES[found.monitor]} {abs(found.best.value):.4f}\n"
        f"# on {found.n_judged:,} images of {found.split}. The best of many reads better on the images that chose it "
        f"than on others.\n\n{text}"
    )


def drawings(found: Search) -> list[Drawing]:
    """Return the figures: the history, the options, and the importance of each option if it is known."""
    return [history(found), options(found), *([importance(found)] if found.importance else [])]


def history(found: Search) -> Drawing:
    """Draw the figure of every trial and the best so far."""
    complete = [one for one in found.trials if one.is_complete]
    ended = [one for one in found.trials if not one.is_complete and not math.isnan(one.value)]
    best = np.maximum.accumulate([one.value for one in complete])
    with styled():
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        numbers = [one.number for one in complete]
        axes.step(numbers, np.abs(best), where="post", color=SERIES_HEX[0], label="best so far")
        axes.plot(
            numbers, [abs(one.value) for one in complete], "o", color=SERIES_HEX[0], label="complete", ms=5
        )
        if ended:
            shown = [abs(one.value) for one in ended]
            axes.plot(
                [one.number for one in ended],
                shown,
                "x",
                color="0.5",
                label="ended early, its last epoch",
                ms=5,
            )
        axes.set(xlabel="trial", ylabel=f"{AXES[found.monitor]} on {found.split}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=3)
    alt = (
        f"{len(found.trials)} trials, {len(complete)} of them complete. The best: trial {found.best.number}, "
        f"{AXES[found.monitor]} {abs(found.best.value):.3f}."
    )
    rows = [(one.number, one.state, _cell(abs(one.value)), one.epochs) for one in found.trials]
    return Drawing("history", "Trials", alt, figure, ("trial", "state", found.monitor, "epochs"), rows)


def importance(found: Search) -> Drawing:
    """Draw which fraction of the variance of the figure each option explains."""
    names, values = list(found.importance), list(found.importance.values())
    with styled():
        figure = Figure(figsize=(6.4, 1.2 + 0.34 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.barh(names, values, 0.62, color=SERIES_HEX[5])
        for place, value in enumerate(values):
            axes.text(value, place, f" {value:.0%}", va="center", fontsize=8)
        axes.invert_yaxis()
        axes.set(xlabel="fraction of the variance between complete trials", xlim=(0, 1.08))
    said = ", ".join(f"{name} {value:.0%}" for name, value in found.importance.items())
    rows = list(found.importance.items())
    return Drawing(
        "importance", "What matters", f"Importance: {said}.", figure, ("option", "importance"), rows
    )


def options(found: Search) -> Drawing:
    """Draw the figure over the values of each option."""
    names = list(found.space.options)
    known = [one for one in found.trials if not math.isnan(one.value)]
    down, across = math.ceil(len(names) / _COLUMNS), min(_COLUMNS, len(names))
    with styled():
        figure = Figure(figsize=(max(3.2, 2.5 * across), 2.6 * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharey=True)
        for place, axes in enumerate(grid.flat):
            if place >= len(names):
                axes.set_visible(False)
                continue
            _one_option(axes, names[place], found, known)
        for axes in grid[:, 0]:
            axes.set_ylabel(AXES[found.monitor])
    rows = [(name, one.params[name], one.state, abs(one.value))
            for name in names for one in known if name in one.params]  # fmt: skip
    alt = (
        f"{AXES[found.monitor]} of every trial over the value of each of {len(names)} options: {', '.join(names)}. "
        f"The dotted line: the best trial."
    )
    header = ("option", "value", "state", found.monitor)
    return Drawing("options", "Values that were tried", alt, figure, header, rows)


def _one_option(axes: Any, name: str, found: Search, known: list[Any]) -> None:
    kind = found.space.options[name]
    names = [] if isinstance(kind, Range) else [stored(value) for value in kind.values]
    for is_complete, mark, colour in ((False, "x", "0.5"), (True, "o", SERIES_HEX[0])):
        some = [one for one in known if one.is_complete == is_complete and name in one.params]
        values = [names.index(one.params[name]) if names else one.params[name] for one in some]
        axes.plot(values, [abs(one.value) for one in some], mark, color=colour, markersize=4)
    best = found.best.params[name]
    axes.axvline(names.index(best) if names else best, color="0.6", linestyle=":", linewidth=1)
    if isinstance(kind, Range):
        axes.set_xscale("log" if kind.log else "linear")
        if kind.log:  # a range of less than a decade would have no label
            axes.set_xticks(np.geomspace(kind.low, kind.high, 3))
        axes.set_xlim(kind.low, kind.high)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        rotation = 30 if max(len(str(one)) for one in names) > 6 else 0
        axes.set_xticks(range(len(names)), [str(one) for one in names], rotation=rotation)
        axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xlabel(name, fontsize=8)


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
