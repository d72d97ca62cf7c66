"""The figures of a report: each has a drawing, its data as a table, and an alternative text."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mien.errors import needs
from mien.palette import PLOT_STYLE, SERIES_HEX, colours, hex_code
from mien.saliency.draw import overlay, strength
from mien.statistics import BINS, confidence_bins

with needs("report"):
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from sklearn.metrics import precision_recall_curve, roc_curve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from jaxtyping import Int, Num, UInt8
    from matplotlib.axes import Axes

    from mien.saliency.occlusion import Deepest
    from mien.statistics import Estimate

STROKES = ("-", "--", "-.", ":")
"""Lines differ in their strokes, too, for readers who see no colours."""
CURVE_POINTS = 200
CELL_INK = "#101418"
"""Colour of text on a pale background, which stays pale in dark mode."""
GRID = (4, 6)
"""Rows and columns of a picture grid."""


def styled() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws in the style of all figures."""
    return mpl.rc_context(PLOT_STYLE)


class Drawing(NamedTuple):
    """One figure."""

    name: str
    title: str
    alt: str
    """Alternative text for readers who cannot see the figure."""
    figure: Figure
    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    """The data of the figure, as rows."""


def rendered(drawing: Drawing, kind: str, dpi: int = 120) -> bytes:
    """Return a drawing under its title as ``png`` or ``svg``, the same bytes each time."""
    buffer = io.BytesIO()
    with mpl.rc_context(PLOT_STYLE):
        drawing.figure.suptitle(drawing.title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        metadata = {"Date": None} if kind == "svg" else None
        drawing.figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
        drawing.figure.set_layout_engine("none")  # the next kind has the same places
    return buffer.getvalue()


def inline(svg: bytes, alt: str) -> str:
    """Return an SVG for a page: as wide as its place, no background, black lines in the colour of the text."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    rest = re.sub(
        r'<g id="patch_1">.*?</g>', "", rest, count=1, flags=re.DOTALL
    )  # the white ground of the figure
    rest = re.sub(r'(<g id="axes_\d+">\s*)<g id="patch_\d+">.*?</g>', r"\1", rest, flags=re.DOTALL)
    for ink in ("#000000", "#262626"):
        rest = rest.replace(f"stroke: {ink}", "stroke: currentColor").replace(
            f"fill: {ink}", "fill: currentColor"
        )
    return f'{head} role="img" aria-label="{html.escape(alt)}">{rest}'


def confusion(counts: Int[np.ndarray, "k k"], labels: Sequence[str]) -> Drawing:
    """Draw counts and fractions of each row: rows are true labels, columns predictions."""
    k = len(labels)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with mpl.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(1.6 + 0.75 * k, 1.2 + 0.62 * k), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for row in range(k):
            for column in range(k):
                text = f"{counts[row, column]:,}\n{shares[row, column]:.0%}"
                colour = "white" if shares[row, column] > 0.55 else CELL_INK
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        axes.set_xticks(range(k), labels, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(k), labels)
        axes.set(xlabel="predicted", ylabel="true label")
        axes.spines[:].set_visible(False)
    off = counts - np.diag(counts.diagonal())
    worst = divmod(int(off.argmax()), k)
    alt = (
        f"Confusion matrix of {k} classes. The most frequent mistake: {labels[worst[0]]} answered as "
        f"{labels[worst[1]]}, {off[worst]} times ({shares[worst]:.0%} of {labels[worst[0]]})."
        if off.any()
        else f"Confusion matrix of {k} classes, without a mistake."
    )
    rows = [(labels[row], labels[column], int(counts[row, column]), float(shares[row, column]))
            for row in range(k) for column in range(k)]  # fmt: skip
    return Drawing(
        "confusion", "Confusion matrix", alt, figure, ("truth", "answered", "images", "share"), rows
    )


def precision_recall(
    probs: Num[np.ndarray, "n k"],
    truth: Int[np.ndarray, " n"],
    labels: Sequence[str],
    averages: Sequence[float | None],
) -> Drawing:
    """Draw precision over recall for each class against the rest, from scores."""
    curves = {}
    for label in _occurring(truth, len(labels)):
        precision, recall, _ = precision_recall_curve(truth == label, probs[:, label])
        curves[label] = recall[::-1], precision[::-1]
    named = [f"{labels[label]} ({averages[label]:.2f})" for label in curves]
    _, figure = _curves(curves, labels, named, "recall", "precision", "average precision")
    best, worst = (pick(curves, key=lambda label: averages[label] or 0) for pick in (max, min))
    alt = (
        f"Precision over recall, one curve a class. Highest average precision: {labels[best]} "
        f"({averages[best]:.2f}); lowest: {labels[worst]} ({averages[worst]:.2f})."
    )
    rows = _curve_rows(curves, labels)
    return Drawing(
        "precision_recall", "Precision and recall", alt, figure, ("class", "recall", "precision"), rows
    )


def roc(probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"], labels: Sequence[str]) -> Drawing:
    """Draw true positives over false positives of each class against the rest, from scores."""
    curves, areas = {}, {}
    for label in _occurring(truth, len(labels)):
        if (truth == label).all():
            continue  # no false positive is possible
        false, hits, _ = roc_curve(truth == label, probs[:, label])
        curves[label], areas[label] = (false, hits), float(np.trapezoid(hits, false))
    axes, figure = _curves(
        curves,
        labels,
        [f"{labels[label]} ({areas[label]:.2f})" for label in curves],
        "false positive rate",
        "true positive rate",
        "area",
    )
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    alt = "ROC, one curve a class. Areas: " + ", ".join(
        f"{labels[label]} {areas[label]:.2f}" for label in curves
    )
    return Drawing(
        "roc", "ROC", alt + ".", figure, ("class", "false_alarms", "hits"), _curve_rows(curves, labels)
    )


def reliability(probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"], error: float) -> Drawing:
    """Draw accuracy over confidence, and the number of images at each confidence."""
    confidence, hit = probs.max(axis=1), probs.argmax(axis=1) == truth
    bins = confidence_bins(confidence)
    counts = np.bincount(bins, minlength=BINS)
    filled = np.flatnonzero(counts)
    sure = np.bincount(bins, confidence, BINS)[filled] / counts[filled]
    right = np.bincount(bins, hit, BINS)[filled] / counts[filled]
    with mpl.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(4.6, 4.8), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfectly calibrated")
        axes.plot(sure, right, "o-", color=SERIES_HEX[0], markersize=4, label="this model")
        axes.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(fontsize=8)
        below.bar((filled + 0.5) / BINS, counts[filled], 0.9 / BINS, color=SERIES_HEX[0])
        below.set(xlabel="confidence", ylabel="images")
    mean = float(hit.mean() - confidence.mean())
    lean = (
        "underconfident"
        if mean > 0.005
        else "overconfident"
        if mean < -0.005
        else "as confident as it is accurate"
    )
    alt = f"Accuracy over confidence in {BINS} bins. On the whole the model is {lean}; calibration error {error:.1%}."
    rows = [(int(b), int(counts[b]), float(s), float(r)) for b, s, r in zip(filled, sure, right, strict=True)]
    return Drawing(
        "reliability", "Reliability", alt, figure, ("bin", "images", "mean_confidence", "accuracy"), rows
    )


def coverage(probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> Drawing:
    """Draw the accuracy on the most confident images over the fraction of images that these are."""
    unsure, n = -probs.max(axis=1), len(truth)
    order = np.argsort(unsure)
    hits, unsure = (probs.argmax(axis=1) == truth)[order], unsure[order]
    share = np.arange(1, n + 1) / n
    accuracy = hits.cumsum() / np.arange(1, n + 1)
    last = np.searchsorted(unsure, unsure, "right") - 1  # images of equal confidence are answered together
    shown = np.unique(last[np.linspace(0, n - 1, CURVE_POINTS).round().astype(int)])
    with mpl.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        axes = figure.subplots()
        marker = "." if len(shown) < 15 else None
        axes.plot(share[shown], accuracy[shown], color=SERIES_HEX[0], marker=marker)
        axes.set(
            xlabel="fraction of images that is answered, most confident first",
            ylabel="accuracy on them",
            xlim=(0, 1.01),
        )
        axes.set_ylim(min(0.5, float(accuracy.min())), 1.01)
    half = accuracy[last[max(0, n // 2 - 1)]]
    alt = f"Accuracy over coverage. All images: {accuracy[-1]:.1%}; the most confident half: {half:.1%}."
    rows = [(float(share[i]), float(accuracy[i]), float(-unsure[i])) for i in shown]
    return Drawing(
        "coverage", "Accuracy and coverage", alt, figure, ("coverage", "accuracy", "least_confidence"), rows
    )


def bars_with_intervals(
    name: str, title: str, rows: Sequence[tuple[str, int, Estimate]], *, axis: str = ""
) -> Drawing:
    """Draw a fraction with its interval for each group, the number of its images beside its name."""
    with mpl.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(5.2, 1.2 + 0.34 * len(rows)), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(rows))[::-1]
        values = np.array([figure.value for *_, figure in rows])
        low, high = (np.array([getattr(figure, side) for *_, figure in rows]) for side in ("low", "high"))
        axes.barh(places, values, 0.62, color=SERIES_HEX[5])
        reach = np.maximum([values - low, high - values], 0)
        axes.errorbar(values, places, xerr=reach, fmt="none", ecolor="black", capsize=3, linewidth=1)
        axes.set_yticks(places, [f"{group} (n = {n:,})" for group, n, _ in rows])
        axes.set(xlim=(0, 1), xlabel="accuracy, with 95 % interval", ylabel=axis)
    said = ", ".join(f"{group} {figure.value:.0%}" for group, _, figure in rows)
    table = [(group, n, *figure) for group, n, figure in rows]
    return Drawing(
        name, title, f"{title}: {said}.", figure, ("group", "images", "accuracy", "low", "high"), table
    )


def strength_curves(lines: dict[str, list[float]], untouched: float, strengths: Sequence[int]) -> Drawing:
    """Draw accuracy over the strength of each corruption; strength 0 is the uncorrupted images."""
    across = (0, *strengths)
    with mpl.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(5.2, 4.6), layout="constrained")
        axes = figure.subplots()
        for number, (kind, values) in enumerate(lines.items()):
            colour, stroke = SERIES_HEX[number % len(SERIES_HEX)], STROKES[number % len(STROKES)]
            axes.plot(
                across, [untouched, *values], stroke, color=colour, label=kind, marker="o", markersize=3
            )
        axes.set(xlabel="strength", ylabel="accuracy", ylim=(0, 1), xticks=across)
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    ends = ", ".join(f"{kind} {values[-1]:.0%}" for kind, values in lines.items())
    alt = f"Accuracy falls from {untouched:.0%} with the strength of a corruption. At the greatest: {ends}."
    rows = [(kind, strength, value) for kind, values in lines.items()
            for strength, value in zip(across, [untouched, *values], strict=True)]  # fmt: skip
    return Drawing(
        "robustness", "Accuracy under corruption", alt, figure, ("corruption", "strength", "accuracy"), rows
    )


def mean_maps(
    maps: Sequence[tuple[str, UInt8[np.ndarray, "s s c"], Num[np.ndarray, "s s"], Deepest]],
) -> Drawing:
    """Draw the mean face of each class under the mean map of its occlusions: class, face, map, deepest place."""
    full = strength(np.stack([change for _, _, change, _ in maps]))
    columns = min(4, len(maps))
    lines = -(-len(maps) // columns)
    with mpl.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(1.7 * columns, 2.05 * lines), layout="constrained")
        for place, axes in enumerate(np.ravel(figure.subplots(lines, columns, squeeze=False))):
            axes.axis("off")
            if place < len(maps):
                label, face, change, most = maps[place]
                axes.imshow(overlay(face, change, full))
                axes.set_title(f"{label}\n{-100 * most.fall:+.0f} points", fontsize=9)
    said = "; ".join(f"{label} {100 * most.fall:.0f} points, {most.where}" for label, _, _, most in maps)
    alt = f"Mean face and occlusion map of each class, full colour at {100 * full:.0f} points. Largest fall: {said}."
    rows = [(label, most.fall, most.x, most.y, most.where) for label, _, _, most in maps]
    header = ("class", "fall", "x", "y", "where")
    return Drawing("mean_maps", "Mean occlusion maps", alt, figure, header, rows)


def pictures(
    name: str, title: str, images: UInt8[np.ndarray, "n h w c"], captions: Sequence[str], ids: Sequence[str]
) -> Drawing:
    """Draw a grid of images with their true and predicted labels."""
    with mpl.rc_context(PLOT_STYLE):
        columns = GRID[1]
        used = max(1, -(-len(images) // columns))
        lines = max((caption.count("\n") + 1 for caption in captions), default=2)
        height = 1 + 0.15 * lines  # of a picture and its caption, in units of a place's width
        figure = Figure(figsize=(1.35 * columns, 1.35 * height * used), layout="constrained")
        axes = figure.subplots()  # one for all: a grid takes longer to lay out than to draw
        axes.axis("off")
        for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
            top, left = -height * (place // columns), place % columns
            box = (left + 0.03, left + 0.97, top - height, top - height + 0.94)
            axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, extent=box)
            axes.text(left + 0.5, box[3] + 0.04, caption, ha="center", va="bottom", fontsize=7.5)
        axes.set(xlim=(0, columns), ylim=(-height * used, 0), aspect="equal")
    shown = "; ".join(caption.replace("\n", ", ") for caption in captions[:3])
    alt = f"{len(images)} pictures. The first: {shown}." if len(images) else "No such picture."
    return Drawing(name, title, alt, figure, ("id", "caption"), list(zip(ids, captions, strict=True)))


def _occurring(truth: Int[np.ndarray, " n"], k: int) -> list[int]:
    return [label for label in range(k) if (truth == label).any()]


def _curves(
    curves: dict[int, tuple[Num[np.ndarray, " m"], Num[np.ndarray, " m"]]],
    labels: Sequence[str],
    names: Sequence[str],
    x: str,
    y: str,
    title: str,
) -> tuple[Axes, Figure]:
    with mpl.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(4.8, 5.0), layout="constrained")
        axes = figure.subplots()
        colour = [hex_code(rgb) for rgb in colours(labels).values()]
        for (label, (across, up)), name in zip(curves.items(), names, strict=True):
            kept = _thinned(across, up)
            stroke = STROKES[label // 2 % len(STROKES)]
            axes.plot(across[kept], up[kept], stroke, color=colour[label], label=name, linewidth=1.3)
        axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        if curves:
            longest = max(map(len, names))
            columns = 1 if longest > 28 else 2 if longest > 18 else 3
            figure.legend(title=title, loc="outside lower center", ncols=columns, fontsize=8)
    return axes, figure


def _curve_rows(
    curves: dict[int, tuple[Num[np.ndarray, " m"], Num[np.ndarray, " m"]]], labels: Sequence[str]
) -> list[tuple[Any, ...]]:
    return [
        (labels[label], float(across[point]), float(up[point]))
        for label, (across, up) in curves.items()
        for point in _thinned(across, up)
    ]


def _thinned(across: Num[np.ndarray, " m"], up: Num[np.ndarray, " m"]) -> Int[np.ndarray, " p"]:
    """Return points of a curve at even distances along it, because a rare class has its steps at few thresholds."""
    length = np.concatenate([[0], (np.abs(np.diff(across)) + np.abs(np.diff(up))).cumsum()])
    wanted = np.linspace(0, length[-1], CURVE_POINTS)
    return np.unique(np.searchsorted(length, wanted).clip(max=len(across) - 1))
