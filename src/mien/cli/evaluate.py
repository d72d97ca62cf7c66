"""``mien evaluate``: a model evaluated on a split of a dataset, or on several datasets."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.command import DATA_HELP, SPLITS, Json, Tta, command, model_argument, out_option, tell_notes
from mien.errors import ConfigError
from mien.options import FINDERS, ReadOptions, RunOptions, check_choices, option, weights_option

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from jaxtyping import Int

    from mien.classifiers import Classifier
    from mien.evaluation.across import Across, OnDataset
    from mien.evaluation.found import Found
    from mien.evaluation.report import FullReport
    from mien.preprocess import Preprocess
    from mien.results import EvalReport
    from mien.statistics import Estimate


@dataclass(frozen=True)
class Parts:
    """What else the full report shows."""

    slice: list[str] | None = option(
        None, "Results for each value of this column of the table; may be repeated.", metavar="COLUMN"
    )
    corruptions: bool = option(False, "Results under blur, noise, low light and more, at five strengths.")
    explain: bool = option(
        False, "Mean maps of each class: which places of a face its answers depend on (see `mien explain`)."
    )
    end_to_end: bool = option(
        False, "The dataset has whole photos: find the faces first; a missed face counts as an error."
    )
    detector: str = option(
        "auto", "What finds the faces; auto takes yunet if it was fetched, else haar.",
        choices=FINDERS,
    )  # fmt: skip
    detector_weights: Path | None = weights_option()

    dpi: int = option(120, "Dots per inch of the figures' PNGs, from 50 to 1200.")

    def __post_init__(self) -> None:
        """Check each option, and refuse a detector if no faces are searched.

        Raises:
            ConfigError: an unknown word, a number out of range, or a detector without `end_to_end`.
        """
        check_choices(self)
        if not 50 <= self.dpi <= 1200:
            raise ConfigError(f"`dpi` must be from 50 to 1200, got {self.dpi}")
        if not self.end_to_end and (self.detector != "auto" or self.detector_weights):
            raise ConfigError("`detector` and `detector_weights` find faces in photos: add `end_to_end`")

    def check_single(self) -> None:
        """Refuse parts of the full report if several datasets share one table.

        Raises:
            ConfigError: says which part was asked for.
        """
        for name in self._asked():
            raise ConfigError(f"`{name}` belongs to the report on one dataset: give one `data`")

    def check(self, out: Path | None) -> None:
        """Refuse parts of the full report if no full report is written.

        Raises:
            ConfigError: says which part was asked for.
        """
        for name in self._asked() if out is None else ():
            raise ConfigError(f"`{name}` belongs to the full report: say where it goes with `out=FOLDER`")

    def _asked(self) -> list[str]:
        """Return the options that are not at their default, but for the detector, which belongs to `end_to_end`."""
        names = ("slice", "corruptions", "explain", "end_to_end", "dpi")
        return [name for name in names if getattr(self, name) != getattr(Parts, name)]


@command(
    "mien evaluate default --data synthetic --split test",
    "mien evaluate default --data fer2013.zip --split test --data b.zip --split all",
)
def evaluate(
    model: Annotated[str, model_argument()],
    data: Annotated[
        list[str],
        typer.Option(
            "--data", "-d", metavar="DATA", help=f"{DATA_HELP} Several give one table across datasets."
        ),
    ],
    split: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help=f"The split to use: {SPLITS}. With several datasets: once for all of them, or once for each, in "
            "their order.",
        ),
    ],
    reading: ReadOptions,
    run: RunOptions,
    parts: Parts,
    tta: Tta = "none",
    out: Annotated[
        Path | None, out_option("Folder for the full report: page, figures, predictions, JSON, CSV.")
    ] = None,
    labels_of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA:NAMES",
            help="With several datasets: --labels of one of them, such as b.zip:angry=furious,happy.",
        ),
    ] = None,
    json_to: Json = None,
) -> None:
    """Measure how often a model is right on a dataset.

    Prints accuracy, macro-F1, the figures of each class and the confusion matrix.
    """
    from mien.classifiers import load_classifier
    from mien.classifiers.combine import with_tta
    from mien.files import locked

    classifier = load_classifier(model, **vars(run))
    with_tta(classifier, tta)  # refuses an unknown name before an image is read
    parts.check(out)
    several = len(data) > 1
    if several:
        parts.check_single()
    elif len(split) > 1 or labels_of:
        raise ConfigError(
            "one dataset has one `split`, and `labels` in place of `labels_of`: several need a `data` each"
        )
    # Locked first, so that minutes of work are not lost because the folder cannot be written.
    with locked(out) if out else nullcontext():
        if several:
            _across(classifier, data, split, labels_of or [], reading, tta, out, json_to)
        else:
            _one(model, classifier, data[0], split[0], reading, parts, tta, out, json_to)


def _one(
    model: str,
    classifier: Classifier,
    data: str,
    split: str,
    reading: ReadOptions,
    parts: Parts,
    tta: str,
    out: Path | None,
    json_to: str | None,
) -> None:
    from mien.cli.terminal import give
    from mien.data.read import read_split
    from mien.evaluation.evaluate import evaluate as judge

    photos = _find(data, split, reading, classifier.preprocess, parts) if parts.end_to_end else None
    dataset = photos.found if photos else read_split(data, classifier.preprocess, split, reading)
    tell_notes(dataset)
    if out is None:
        report = judge(classifier, dataset, split, tta=tta)
        give(report.to_dict(), json_to, lambda: _print_report(report))
        return
    from mien.evaluation.report import judge as judge_fully
    from mien.evaluation.report import write_report

    full = judge_fully(
        classifier, dataset, split, tta=tta, trained_on=_trained_on(model),
        slice_by=parts.slice or (), corruptions=parts.corruptions,
        explain=parts.explain, photos=photos,
    )  # fmt: skip
    write_report(full, out, dpi=parts.dpi)
    give(full.to_dict(), json_to, lambda: _print_full(full, out))


def _across(
    classifier: Classifier,
    data: list[str],
    splits: list[str],
    labels_of: list[str],
    reading: ReadOptions,
    tta: str,
    out: Path | None,
    json_to: str | None,
) -> None:
    """Evaluate on several datasets and show one table."""
    from mien.cli.terminal import give, say
    from mien.data.read import read_split
    from mien.evaluation.across import across
    from mien.evaluation.across_report import write_across

    if len(splits) not in (1, len(data)):
        raise ConfigError(
            f"`split` is given once, or once for each dataset: got {len(splits)} for {len(data)} datasets"
        )
    maps = _maps(data, labels_of)
    read = []
    for path, split in zip(data, splits * len(data) if len(splits) == 1 else splits, strict=False):
        dataset = read_split(
            path, classifier.preprocess, split, replace(reading, labels=maps.get(path, reading.labels))
        )
        tell_notes(dataset, Path(path).name)
        read.append((dataset, split))
    found = across(classifier, read, tta=tta)
    page = write_across(found, out) if out else None

    def show() -> None:
        _print_across(found)
        if page:
            say(f"wrote {page}")

    give(found.to_dict(), json_to, show)


def _maps(data: list[str], labels_of: list[str]) -> dict[str, str]:
    """Return the label map of each dataset that has one of its own; a dataset is named by its path or file name."""
    maps = {}
    for words in labels_of:
        name, colon, labels = words.rpartition(":")
        meant = [path for path in data if name in (path, Path(path).name)]
        if not colon or len(meant) != 1:
            raise ConfigError(
                f"`labels_of` is DATA:NAMES, DATA one of {', '.join(Path(path).name for path in data)}; got {words!r}"
            )
        maps[meant[0]] = labels
    return maps


def _print_across(found: Across) -> None:
    from mien.cli.terminal import print_table, say, shorten
    from mien.evaluation.across import is_clear

    say(f"{found.model.name}, test-time augmentation: {found.tta}; values with 95 % intervals")
    say()
    rows = [
        (f"{one.letter}  {shorten(f'{Path(one.report.data).name} {one.report.split}', 24)}", f"{one.report.n:,}",
         f"{len(one.classes)}", _shown(one.accuracy), _shown(one.balanced_accuracy))
        for one in found.datasets
    ]  # fmt: skip
    print_table(("dataset", "images", "classes", "accuracy, %", "balanced, %"), rows, right=True)
    say()
    say("Recall by class, %; in brackets the difference from A in points (*: its 95 %")
    say("interval does not contain 0).")
    header = ("true label", *(one.letter for one in found.datasets))
    labels = [label for label in found.model.labels if any(label in one.recall for one in found.datasets)]
    lines = [(label, *(_recall_cell(one, label, is_clear) for one in found.datasets)) for label in labels]
    if found.shared:
        shared = [
            _shown(one.shared_balanced_accuracy) for one in found.datasets if one.shared_balanced_accuracy
        ]
        lines.append((f"mean of the {len(found.shared)} shared", *shared))
    lines.append(("accuracy, own classes only", *(_shown(one.limited_accuracy) for one in found.datasets)))
    print_table(header, lines, right=True)
    say()
    for line in found.summary():
        say(line)
    for one in found.datasets:
        for note in one.notes:
            say(f"note: {one.letter} {note}")


def _shown(one: Estimate) -> str:
    return f"{100 * one.value:.1f} ({100 * one.low:.1f} - {100 * one.high:.1f})"


def _recall_cell(one: OnDataset, label: str, is_clear: Callable[[Estimate], bool]) -> str:
    if label not in one.recall:
        return "-"
    moved = one.moved.get(label)
    change = "" if moved is None else f" ({100 * moved.value:+.1f}{'*' if is_clear(moved) else ' '})"
    return f"{100 * one.recall[label].value:.1f}{change}"


def _trained_on(model: str) -> Int[np.ndarray, " m"] | None:
    """Return the keys of the images a model was trained on, if it keeps them."""
    from mien import bundle
    from mien.classifiers import is_graph
    from mien.evaluation.protocol import keys_learnt

    return None if is_graph(model) else keys_learnt(bundle.load(model))


def _find(data: str, split: str, reading: ReadOptions, preprocess: Preprocess, parts: Parts) -> Found:
    from mien.cli.terminal import complain
    from mien.data.read import opened
    from mien.detectors import auto_advice, open_detector
    from mien.evaluation.found import find_faces

    finder = open_detector(parts.detector, parts.detector_weights)
    if parts.detector == "auto":
        complain(auto_advice(parts.detector_weights))
    with opened(data, split, reading) as rows:
        return find_faces(rows, finder, preprocess)


def _print_full(full: FullReport, out: Path) -> None:
    from mien.cli.terminal import say

    _print_report(full.counted, full.headline)
    for section in full.sections:
        say(f"{section.title}: {section.text}")
    say(f"wrote {out / 'report.html'} and its figures")


def _print_report(report: EvalReport, judged: Mapping[str, Estimate] | None = None) -> None:
    """Print the figures of a report; with `judged`, the headline figures of its page, so that both are the same."""
    import numpy as np

    from mien.cli.terminal import print_table, say, shorten
    from mien.evaluation.report import warnings
    from mien.statistics import balanced_accuracy, class_intervals, macro_f1, resampled_confusion, wilson_of

    hits = wilson_of(round(report.accuracy * report.n), report.n)
    counts = np.array(report.confusion)
    exact, drawn = class_intervals(counts), resampled_confusion(counts)
    judged = judged or {"macro_f1": macro_f1(drawn), "balanced_accuracy": balanced_accuracy(drawn)}
    say(f"{report.model.name} on {report.split} of {report.data}")
    say(f"{report.n:,} images, test-time augmentation: {report.tta}")
    say()
    n = report.n
    top = [(f"top-{k} accuracy", wilson_of(round(part * n), n)) for k, part in report.top_k_accuracy.items()]
    lines = [
        ("accuracy", hits),
        ("macro-F1", judged["macro_f1"]),
        ("balanced accuracy", judged["balanced_accuracy"]),
        *top,
    ]
    print_table(
        ("", "value", "95 % interval"),
        [(name, f"{one.value:.1%}", f"{100 * one.low:.1f} - {100 * one.high:.1f} %") for name, one in lines],
        right=True,
    )
    rows = [
        (shorten(label, 20), "-" if f1 is None else f"{row.f1:.1%}",
         "-" if f1 is None else f"{100 * f1.low:.1f} - {100 * f1.high:.1f} %",
         f"{row.precision:.1%}" if predicted else "-", f"{row.recall:.1%}" if row.support else "-",
         f"{row.support:,}")
        for (label, row), f1, predicted in zip(
            report.per_class.items(), exact["f1"], counts.sum(axis=0).tolist(), strict=True
        )
    ]  # fmt: skip
    say()
    print_table(("true label", "F1", "95 % interval", "precision", "recall", "images"), rows, right=True)
    for line in warnings(report):
        say(f"note: {line}")
    say()
    say("Confusion matrix: rows are true labels, columns are predicted labels.")
    _print_confusion(tuple(report.per_class), report.model.labels, report.confusion)


def _print_confusion(
    truths: Sequence[str], labels: Sequence[str], confusion: Sequence[Sequence[int]]
) -> None:
    """Print the counts under the labels, or under numbers if the labels are too wide, in blocks that fit."""
    from mien.cli.terminal import print_table, shorten, terminal_width

    counts = [[f"{count}" for count in row] for row in confusion]
    names, heads = [shorten(truth) for truth in truths], list(labels)
    if _width(names, heads, counts) > terminal_width():
        heads = [f"{number}" for number in range(1, len(labels) + 1)]
        numbers = {label: number for number, label in zip(heads, labels, strict=True)}
        names = [f"{numbers.get(truth, '-')} {shorten(truth)}" for truth in truths]
    block = len(heads)
    while block > 1 and _width(names, heads[:block], [row[:block] for row in counts]) > terminal_width():
        block -= 1
    for start in range(0, len(heads), block):
        part = slice(start, start + block)
        print_table(
            ("", *heads[part]),
            [(name, *row[part]) for name, row in zip(names, counts, strict=True)],
            right=True,
        )


def _width(names: Sequence[str], heads: Sequence[str], counts: Sequence[Sequence[str]]) -> int:
    cells = max(len(cell) for row in (heads, *counts) for cell in row) + 2
    return max(map(len, names)) + cells * len(heads)
