"""A comparison as a folder: a page, every number as JSON and CSV, every figure as PNG, SVG and data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mien import files
from mien.evaluation.comparison_figures import draw
from mien.evaluation.paired import shown_p
from mien.evaluation.render import latex, page, table, write_drawings
from mien.statistics import CHANCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mien.evaluation.compare import Comparison

PAGE = "compare.html"


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write ``compare.html``, ``compare.json``, four tables (six with recipes), ``models.tex`` and ``figures/``.

    Returns the page.

    Raises:
        OutputError: it can't be written.
    """
    with files.together(out, PAGE, replaces=True) as stage:
        _write(comparison, stage)
    return out / PAGE


def _write(comparison: Comparison, out: Path) -> None:
    document = comparison.to_dict()
    files.write(out / "compare.json", json.dumps(document, indent=2) + "\n")
    for name, (header, rows) in _tables(comparison).items():
        files.write(out / f"{name}.csv", table(header, rows))
    figures = ("model", "accuracy", "low", "high", "macro-F1", "low", "high", "balanced", "parameters")
    rows = [(m.name, *m.accuracy, *m.macro_f1, m.report.balanced_accuracy, f"{m.parameters:,}")
            for m in comparison.models]  # fmt: skip
    files.write(out / "models.tex", latex(figures, rows))
    shown = write_drawings(draw(comparison), out / "figures")
    letters = {model.name: model.letter for model in comparison.models}
    text = page(
        "compare.html.j2",
        comparison=document,
        figures=shown,
        shown_p=shown_p,
        letters=letters,
        summary=summary(comparison),
    )
    files.write(out / PAGE, text)


def summary(comparison: Comparison) -> str:
    """Return which model is best, and to which others the difference is clear."""
    best = max(comparison.models, key=lambda model: model.accuracy.value)
    beaten = [
        pair.second if pair.first == best.name else pair.first
        for pair in comparison.pairs
        if best.name in (pair.first, pair.second) and pair.p_holm < CHANCE
    ]
    told = f"Most accurate: {best.name}, {best.accuracy.value:.1%} of {len(comparison.truth):,} images."
    if not beaten:
        return f"{told} No other model is clearly worse (McNemar's test, p < {CHANCE})."
    whom = "every other model" if len(beaten) == len(comparison.models) - 1 else ", ".join(beaten)
    return f"{told} It is clearly better than {whom} (McNemar's test, p < {CHANCE})."


def _tables(comparison: Comparison) -> dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
    measured = ("accuracy", "macro_f1")
    bounds = tuple(f"{name}{end}" for name in measured for end in ("", "_low", "_high"))
    models = [
        (
            m.letter, m.name, m.architecture, m.parameters, m.latency_ms, *m.accuracy, *m.macro_f1,
            m.report.balanced_accuracy, m.past.train_accuracy, m.past.validation_split, m.past.validation_accuracy,
            m.report.model.sha256,
        )
        for m in comparison.models
    ]  # fmt: skip
    about = ("balanced_accuracy", "train_accuracy", "validation_split", "validation_accuracy", "sha256")
    counts = ("both_right", "only_first", "only_second", "both_wrong", "p_exact", "p_mid", "p_holm")
    pairs = [
        (
            p.first, p.second, *(getattr(p, name) for name in counts), *p.accuracy, *p.macro_f1, p.agreement,
            p.kappa, p.meaning,
        )
        for p in comparison.pairs
    ]  # fmt: skip
    names = tuple(model.name for model in comparison.models)
    return {
        "models": (("letter", "model", "architecture", "parameters", "latency_ms", *bounds, *about), models),
        "pairs": (("first", "second", *counts, *bounds, "agreement", "kappa", "meaning"), pairs),
        "per_class": (("class", "images", "figure", *names), list(_class_rows(comparison))),
        "answers": (("id", "truth", *names), list(_answer_rows(comparison))),
        **(_recipe_tables(comparison) if comparison.recipes.groups else {}),
    }


def _recipe_tables(comparison: Comparison) -> dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
    figures = ("accuracy", "accuracy_sd", "macro_f1", "macro_f1_sd")
    groups = [(one.name, len(one.models), *(getattr(one, name) for name in figures), one.caveat)
              for one in comparison.recipes.groups]  # fmt: skip
    pairs = [(one.first, one.second, *one.accuracy, one.p, one.p_holm, one.degrees, one.meaning)
             for one in comparison.recipes.pairs]  # fmt: skip
    bounds = ("accuracy", "accuracy_low", "accuracy_high")
    return {
        "recipes": (("recipe", "runs", *figures, "caveat"), groups),
        "recipe_pairs": (("first", "second", *bounds, "p", "p_holm", "degrees", "meaning"), pairs),
    }


def _class_rows(comparison: Comparison) -> Iterator[tuple[Any, ...]]:
    for number, label in enumerate(comparison.labels):
        images = int((comparison.truth == number).sum())
        for figure in ("f1", "recall"):
            known = [getattr(model.per_class[label], figure) for model in comparison.models]
            yield label, images, figure, *(value and value.value for value in known)


def _answer_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    labels = comparison.labels
    for name, true, answers in zip(
        comparison.ids, comparison.truth.tolist(), comparison.answers.T.tolist(), strict=True
    ):
        yield name, labels[true], *(labels[answer] for answer in answers)
