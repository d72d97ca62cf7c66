"""A table across datasets as a folder: a page, JSON, CSV and LaTeX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien import files
from mien.evaluation.across import is_clear
from mien.evaluation.render import latex, page, spread, table
from mien.palette import colours, hex_code

if TYPE_CHECKING:
    from mien.evaluation.across import Across

PAGE = "across.html"
HEADER = (
    *("", "dataset", "split", "images", "classes", "accuracy", "balanced accuracy"),
    *("balanced, shared classes", "accuracy, own classes only"),
)


def write_across(found: Across, out: Path) -> Path:
    """Write ``across.html``, ``across.json``, ``across.csv``, ``across.tex`` and ``recall.csv``; returns the page.

    Raises:
        OutputError: it can't be written.
    """
    with files.together(out, PAGE, replaces=True) as stage:
        _write(found, stage)
    return out / PAGE


def _write(found: Across, out: Path) -> None:
    files.write(out / "across.json", json.dumps(found.to_dict(), indent=2) + "\n")
    rows = [
        (one.letter, Path(one.report.data).name, one.report.split, one.report.n, len(one.classes), one.accuracy,
         one.balanced_accuracy, one.shared_balanced_accuracy, one.limited_accuracy)
        for one in found.datasets
    ]  # fmt: skip
    files.write(out / "across.csv", table(*spread(("letter", *HEADER[1:]), rows)))
    values = [[getattr(cell, "value", cell) for cell in row[1:]] for row in rows]
    files.write(out / "across.tex", latex(HEADER[1:], values))
    classes = [label for label in found.model.labels if any(label in one.recall for one in found.datasets)]
    recall = [
        (label, one.letter, one.report.per_class[label].support, one.recall[label], one.moved.get(label))
        for label in classes for one in found.datasets if label in one.recall
    ]  # fmt: skip
    files.write(out / "recall.csv", table(*spread(("class", "dataset", "images", "recall", "moved"), recall)))
    hues = {label: hex_code(rgb) for label, rgb in colours(found.model.labels).items()}
    facts: dict[str, Any] = {
        "found": found,
        "header": HEADER,
        "rows": rows,
        "classes": classes,
        "colours": hues,
    }
    text = page("across.html.j2", **facts, names=[row[1] for row in rows], is_clear=is_clear)
    files.write(out / PAGE, text)
