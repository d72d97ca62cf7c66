"""The figures of a comparison: each has a drawing, its data as a table, and an alternative text."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mien.errors import needs
from mien.evaluation.figures import CELL_INK, STROKES, Drawing, pictures, styled
from mien.palette import SERIES_HEX

with needs("report"):
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from mien.evaluation.compare import Comparison, Judged
    from mien.evaluation.paired import Pair
    from mien.statistics import Estimate

MARKS = "osD^vPX*"
NAME_LENGTH = 30
_BARS = {number: [SERIES_HEX[place] for place in places] for number, places in ((2, (5, 0)), (3, (5, 4, 0)))}
"""Colours by the number of series: light to dark in print, too."""
_COSTS = {
    "parameters": ("parameters", "Accuracy and size"),
    "latency_ms": ("ms a face, one thread, batch 1: a quick measurement", "Accuracy and latency"),
}


class Series(NamedTuple):
    """One bar for each model."""

    label: str
    values: Sequence[float | None]
    """Fractions; None for values that are not known."""
    intervals: Sequence[tuple[float, float]] | None = None


def draw(comparison: Comparison) -> tuple[Drawing, ...]:
    """Draw all figures; learning curves only if a model has its history."""
    models = comparison.models
    curves = [learning_curves(models)] if any(model.past.history for model in models) else []
    return (
        accuracy_bars([_named(model) for model in models], _accuracies(comparison)),
        *curves,
        differences(models, comparison.pairs),
        agreement(models, comparison.pairs),
        *(cost(models, name, comparison.fronts[name]) for name in _COSTS),
        per_class(models, comparison.labels),
        disputed(comparison),
    )


def shortened(name: str, length: int = NAME_LENGTH) -> str:
    """Return a name; if it is too long for a figure, its middle is left out."""
    if len(name) <= length:
        return name
    end = (length - 1) // 2
    return f"{name[: length - 1 - end]}…{name[-end:]}"


def accuracy_bars(names: Sequence[str], series: Sequence[Series]) -> Drawing:
    """Draw the accuracies of every model as bars, one for each series, as reference system E did."""
    thick, places = 0.8 / len(series), np.arange(len(names))
    with styled():
        figure = Figure(figsize=(6.4, 1.2 + (0.24 * len(series) + 0.16) * len(names)), layout="constrained")
        axes = figure.subplots()
        for number, one in enumerate(series):
            at = places + (number - (len(series) - 1) / 2) * thick
            for place, value in zip(at, one.values, strict=True):
                if value is None:
                    axes.text(1, place, "not known", va="center", fontsize=7.5, color="0.35")
            heights = [100 * (value or 0) for value in one.values]
            axes.barh(at, heights, 0.9 * thick, label=one.label, color=_BARS[len(series)][number])
            _bar_ends(axes, at, one)
        axes.set_yticks(places, names)
        axes.set(xlabel="accuracy, %", xlim=(0, 112), ylim=(len(names) - 0.45, -0.55))
        axes.set_xticks(range(0, 101, 20))
        figure.legend(loc="outside lower left", ncols=1, fontsize=8)  # above stands the title
    last = [(value, name) for name, value in zip(names, series[-1].values, strict=True) if value is not None]
    best = max(last, default=None)
    alt = f"Accuracy of {len(names)} models: {'; '.join(one.label for one in series)}." + (
        f" Highest ({series[-1].label}): {best[1]}, {best[0]:.1%}." if best else ""
    )
    rows = [(name, one.label, one.values[place])
            for place, name in enumerate(names) for one in series]  # fmt: skip
    return Drawing("accuracy", "Accuracy", alt, figure, ("model", "on", "accuracy"), rows)


def learning_curves(models: Sequence[Judged]) -> Drawing:
    """Draw training and validation accuracy over the epochs of every model that has its history."""
    told = [(place, model) for place, model in enumerate(models) if model.past.history]
    with styled():
        figure = Figure(figsize=(6.4, 3.3 + 0.2 * len(told)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for place, model in told:
            for axes, key in ((left, "train_accuracy"), (right, "val_accuracy")):
                points = _known(model, key)
                axes.plot(
                    list(points), [100 * value for value in points.values()],
                    _stroke(place), color=SERIES_HEX[place % len(SERIES_HEX)], linewidth=1.3, label=_named(model),
                    marker="." if len(points) < 15 else None,
                )  # fmt: skip
        left.set(title="training, as augmented", xlabel="epoch", ylabel="accuracy, %")
        right.set(title="validation", xlabel="epoch")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.25)
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", fontsize=8)
    bests = (f"{_named(model)} {max(_known(model, 'val_accuracy').values()):.1%}" for _, model in told)
    silent = [_named(model) for model in models if not model.past.history]
    alt = f"Accuracy over epochs. Best on its validation images: {', '.join(bests)}." + (
        f" No history: {', '.join(silent)}." if silent else ""
    )
    rows = [(model.name, row.epoch, row.train_accuracy, row.val_accuracy)
            for _, model in told for row in model.past.history]  # fmt: skip
    header = ("model", "epoch", "train_accuracy", "val_accuracy")
    return Drawing("learning_curves", "Learning curves", alt, figure, header, rows)


def _known(model: Judged, key: str) -> dict[int, float]:
    """Return a figure of each epoch that has it: with `validation.every_epochs`, others were not judged."""
    values = {row.epoch: getattr(row, key) for row in model.past.history}
    return {epoch: value for epoch, value in values.items() if not math.isnan(value)}


def differences(models: Sequence[Judged], pairs: Sequence[Pair]) -> Drawing:
    """Draw each pair's difference in accuracy and macro-F1 with its interval; zero means equal."""
    letters = [f"{a.letter} − {b.letter}" for a, b in combinations(models, 2)]
    places = np.arange(len(pairs))
    with styled():
        figure = Figure(figsize=(6.4, 1.3 + 0.34 * len(pairs) + 0.17 * len(models)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color="0.7", linewidth=1)
        for number, (key, label) in enumerate((("accuracy", "accuracy"), ("macro_f1", "macro-F1"))):
            measured = [getattr(pair, key) for pair in pairs]
            _dots(axes, places + 0.24 * (number - 0.5), measured, number, label)
        axes.set_yticks(places, letters)
        axes.set(xlabel="difference in points, with 95 % interval", ylim=(len(pairs) - 0.4, -0.6))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=8)
        nothing = [Line2D([], [], linestyle="") for _ in models]
        names = [_named(model) for model in models]
        figure.legend(nothing, names, loc="outside lower left", fontsize=8, handlelength=0)
    clear = sum(pair.accuracy.low > 0 or pair.accuracy.high < 0 for pair in pairs)
    alt = (
        f"Difference of each pair in accuracy and macro-F1, with intervals. In accuracy, {clear} of "
        f"{len(pairs)} intervals do not contain zero (not corrected for the number of pairs)."
    )
    rows = [(pair.first, pair.second, key, *getattr(pair, key))
            for pair in pairs for key in ("accuracy", "macro_f1")]  # fmt: skip
    header = ("first", "second", "figure", "difference", "low", "high")
    return Drawing("differences", "Differences of pairs", alt, figure, header, rows)


def agreement(models: Sequence[Judged], pairs: Sequence[Pair]) -> Drawing:
    """Draw how often each two models predict the same label, and Cohen's kappa."""
    m = len(models)
    shares: Any = np.full((m, m), np.nan)
    with styled():
        figure = Figure(figsize=(2.6 + 0.62 * m, 0.8 + 0.5 * m), layout="constrained")
        axes = figure.subplots()
        for (a, b), pair in zip(combinations(range(m), 2), pairs, strict=True):
            shares[a, b] = shares[b, a] = pair.agreement
            kappa = "–" if pair.kappa is None else f"{pair.kappa:.2f}"
            for x, y in ((a, b), (b, a)):
                axes.text(
                    x, y, f"{pair.agreement:.0%}\n{kappa}", ha="center", va="center", fontsize=8,
                    color="white" if pair.agreement > 0.6 else CELL_INK,
                )  # fmt: skip
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(m), [model.letter for model in models])
        axes.set_yticks(range(m), [_named(model) for model in models])
        axes.spines[:].set_visible(False)
    least = min(pairs, key=lambda pair: pair.agreement)
    alt = (
        f"Equal predictions and, below them, Cohen's kappa of each two models. They agree least: {least.first} "
        f"and {least.second}, {least.agreement:.0%}."
    )
    rows = [(pair.first, pair.second, pair.agreement, pair.kappa) for pair in pairs]
    return Drawing("agreement", "Agreement", alt, figure, ("first", "second", "agreement", "kappa"), rows)


def cost(models: Sequence[Judged], name: str, front: Sequence[str]) -> Drawing:
    """Draw accuracy over one of the costs; a line joins the models of the Pareto front."""
    axis, title = _COSTS[name]
    paid = [getattr(model, name) for model in models]
    with styled():
        figure = Figure(figsize=(4.8, 3.6 + 0.17 * len(models)), layout="constrained")
        axes = figure.subplots()
        _log_axis(axes, paid)
        for place, (model, spent) in enumerate(zip(models, paid, strict=True)):
            low, high = _reach([model.accuracy])
            axes.errorbar(
                spent, 100 * model.accuracy.value, (low, high), fmt=_mark(place),
                color=SERIES_HEX[place % len(SERIES_HEX)], markersize=6, elinewidth=0.8, capsize=2,
                label=_named(model),
            )  # fmt: skip
            axes.annotate(
                model.letter,
                (spent, 100 * model.accuracy.value),
                (5, 4),
                textcoords="offset points",
                fontsize=8,
            )
        _front(
            axes, [(c, 100 * m.accuracy.value) for c, m in zip(paid, models, strict=True) if m.name in front]
        )
        axes.set(xlabel=axis, ylabel="accuracy, %, with 95 % interval")
        figure.legend(loc="outside lower left", fontsize=8)
    alt = f"{title}, cheapest first: {', '.join(front)} have no better model in both." if len(front) > 1 else (
        f"{title}: no other model is better in both than {front[0]}."
    )  # fmt: skip
    rows = [(model.name, spent, model.accuracy.value, int(model.name in front))
            for model, spent in zip(models, paid, strict=True)]  # fmt: skip
    return Drawing(f"accuracy_{name}", title, alt, figure, ("model", name, "accuracy", "on_front"), rows)


def per_class(models: Sequence[Judged], labels: Sequence[str]) -> Drawing:
    """Draw every model's F1 and recall for each class, side by side, with intervals."""
    places = np.arange(len(labels))
    step = 0.8 / len(models)
    with styled():
        height = 1.0 + 0.17 * len(models) + (0.13 * len(models) + 0.16) * len(labels)
        figure = Figure(figsize=(6.4, height), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, key in zip(panels, ("f1", "recall"), strict=True):
            for place, model in enumerate(models):
                known = [(at, figures) for at, label in zip(places, labels, strict=True)
                         if (figures := getattr(model.per_class[label], key))]  # fmt: skip
                rows = np.array([at for at, _ in known]) + (place - (len(models) - 1) / 2) * step
                _dots(axes, rows, [figures for _, figures in known], place, _named(model))
            for at in places[1:]:
                axes.axhline(at - 0.5, color="0.9", linewidth=0.8)
            axes.set(xlabel={"f1": "F1, %", "recall": "recall, %"}[key], xlim=(-3, 103))
        panels[0].set_yticks(places, [shortened(label) for label in labels])
        panels[0].set_ylim(len(labels) - 0.5, -0.5)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", fontsize=8)
    table = [
        (label, model.name, key, *(getattr(model.per_class[label], key) or (None,) * 3))
        for label in labels for model in models for key in ("f1", "recall")
    ]  # fmt: skip
    alt = "F1 and recall of every class, with 95 % intervals, the models side by side. " + _widest(
        models, labels
    )
    header = ("class", "model", "figure", "value", "low", "high")
    return Drawing("per_class", "Classes, side by side", alt, figure, header, table)


def disputed(comparison: Comparison) -> Drawing:
    """Draw images on which the predictions differ, the most confident first."""
    captions, ids = [], []
    for row in comparison.disputed[: len(comparison.images)]:
        given: dict[int, list[str]] = {}
        for model, answer in zip(comparison.models, comparison.answers[:, row].tolist(), strict=True):
            given.setdefault(answer, []).append(model.letter)
        truth = int(comparison.truth[row])
        lines = [f"truth: {shortened(comparison.labels[truth], 12)}"]
        for answer, letters in given.items():
            mark = " ✓" if answer == truth else ""
            who = " ".join(letters) if len(letters) < 5 else f"{len(letters)} models"
            lines.append(f"{who}: {shortened(comparison.labels[answer], 11)}{mark}")
        captions.append("\n".join(lines))
        ids.append(comparison.ids[row])
    return pictures("disagreements", "Pictures on which they disagree", comparison.images, captions, ids)


def _named(model: Judged) -> str:
    return f"{model.letter}  {shortened(model.name)}"


def _accuracies(comparison: Comparison) -> list[Series]:
    models, split = comparison.models, comparison.split
    series = [Series("training, as augmented, kept epoch", [model.past.train_accuracy for model in models])]
    if any(model.past.validation_split != split for model in models):
        values = [model.past.validation_accuracy for model in models]
        series.append(Series("validation, kept epoch", values))
    tta = "" if comparison.tta == "none" else f", tta {comparison.tta}"
    measured = [model.accuracy for model in models]
    bounds = [(figure.low, figure.high) for figure in measured]
    return [*series, Series(f"{split}, measured here{tta}", [figure.value for figure in measured], bounds)]


def _bar_ends(axes: Axes, at: Any, one: Series) -> None:
    """Write each bar's value after its end, or after its interval."""
    for number, (place, value) in enumerate(zip(at, one.values, strict=True)):
        if value is None:
            continue
        end = value
        if one.intervals:
            low, end = one.intervals[number]
            axes.plot([100 * low, 100 * end], [place, place], color="black", linewidth=1)
        axes.text(100 * end + 1, place, f"{100 * value:.1f}", va="center", fontsize=7.5)


def _dots(axes: Axes, at: Any, measured: Sequence[Estimate], number: int, label: str) -> None:
    axes.errorbar(
        [100 * figure.value for figure in measured], at, xerr=_reach(measured),
        fmt=_mark(number), color=SERIES_HEX[number % len(SERIES_HEX)], markersize=4, elinewidth=1, label=label,
    )  # fmt: skip


def _stroke(place: int) -> str:
    return STROKES[(place // 2 + place // len(SERIES_HEX)) % len(STROKES)]


def _mark(place: int) -> str:
    """Return the marker of a model; it changes when the colours repeat."""
    return MARKS[(place + place // len(SERIES_HEX)) % len(MARKS)]


def _reach(measured: Sequence[Estimate]) -> Any:
    """Return the lengths of each interval below and above its figure, in points."""
    below = [100 * max(0.0, figure.value - figure.low) for figure in measured]
    above = [100 * max(0.0, figure.high - figure.value) for figure in measured]
    return np.array([below, above])


def _front(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Draw the Pareto front as steps: from below to the cheapest point, and on to the right of the best."""
    low, right = axes.get_ylim()[0], axes.get_xlim()[1]
    best = sorted(points)
    steps = [(best[0][0], low), *best, (right, best[-1][1])]
    axes.step(
        *zip(*steps, strict=True), where="post", color="0.6", linewidth=1.2, label="Pareto front", zorder=0
    )
    axes.set_ylim(bottom=low)


def _log_axis(axes: Axes, values: Sequence[float]) -> None:
    """Set a logarithmic axis with plain numbers, for narrow and for wide ranges."""
    axes.set_xscale("log")
    low, high = min(values), max(values)
    room = max((high / low) ** 0.12, 1.15)
    axes.set_xlim(low / room, high * room)
    axes.xaxis.set_minor_locator(NullLocator())
    wanted = np.geomspace(low, high, min(4, len(set(values)))) if high > low else [low]
    axes.set_xticks([float(f"{tick:.2g}") for tick in wanted])
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.3g}" if value < 1000 else _large(value))
    )


def _large(value: float) -> str:
    return (
        f"{value / 1e6:.3g} M" if value >= 1e6 else f"{value / 1e3:.3g} K" if value >= 1e3 else f"{value:.0f}"
    )


def _widest(models: Sequence[Judged], labels: Sequence[str]) -> str:
    """Return a sentence about the class on which the models differ most."""
    spans = []
    for label in labels:
        known = [(f1.value, model.name) for model in models if (f1 := model.per_class[label].f1)]
        if known:
            spans.append((max(known)[0] - min(known)[0], label, max(known)[1], min(known)[1]))
    width, label, best, worst = max(spans)
    if not width:
        return "They are alike in every class."
    return f"They differ most in {label}: F1 of {best} is {100 * width:.1f} points above {worst}."
