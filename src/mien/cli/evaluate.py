"""``mien evaluate``: a model judged on one split of a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.dataset import DATA_HELP, reads_data
from mien.cli.running import runs_model

if TYPE_CHECKING:
    from mien.classifiers import RunOptions
    from mien.data.reading import ReadOptions
    from mien.results import EvalReport


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(reads_data(runs_model(evaluate)))


def evaluate(
    model: Annotated[str, typer.Argument(help="A bundle folder or a built-in name (see `mien models`).")],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    split: Annotated[str, typer.Option(help="Which part of the dataset to judge on.")],
    options: ReadOptions,
    run: RunOptions,
    tta: Annotated[
        str,
        typer.Option(help="Test-time augmentation: none, flip (mean with the mirror image) or ten_crops."),
    ] = ("none"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for the whole report: page, figures, predictions, JSON, CSV.")
    ] = None,
    json_to: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the report there; - prints only JSON.")
    ] = None,
) -> None:
    """Judge a model: accuracy, macro-F1, per-class figures and the confusion matrix. Needs no torch."""
    from mien.classifiers import load_classifier
    from mien.classifiers.combine import with_tta
    from mien.data.sources import read_dataset
    from mien.evaluation.evaluate import evaluate as judge
    from mien.files import write

    classifier = load_classifier(model, **vars(run))
    with_tta(classifier, tta)  # refuses an unknown name before a picture is read
    dataset = read_dataset(data, classifier.preprocess, split=split, options=options)
    if out:
        from mien.evaluation.report import judge as judge_fully
        from mien.evaluation.report import write_report

        full = judge_fully(classifier, dataset, split, tta=tta)
        page, report = write_report(full, out), full.counted
    else:
        report = judge(classifier, dataset, split, tta=tta)
    document = json.dumps(report.to_dict(), indent=2) + "\n"
    if json_to == "-":
        print(document, end="")
        return
    _print_report(report)
    if out:
        print(f"wrote {page} and what it shows beside it")
    if json_to:
        write(Path(json_to), document)
        print(f"wrote {json_to}")


def _print_report(report: EvalReport) -> None:
    from mien.cli.tables import print_table

    print(f"{report.model.name} on {report.split} of {report.data}, {report.n:,} images, tta {report.tta}")
    figures = ("accuracy", "macro_f1", "balanced_accuracy")
    shown = [f"{name.replace('_', ' ')} {getattr(report, name):.2%}" for name in figures]
    print("   ".join(shown + [f"top-{k} {share:.2%}" for k, share in report.top_k_accuracy.items()]))
    rows = []
    for (label, row), counts in zip(report.per_class.items(), report.confusion, strict=True):
        scores = (f"{value:.1%}" for value in (row.precision, row.recall, row.f1))
        rows.append((label, *scores, str(row.support), "|", *map(str, counts)))
    answers = (f"-> {label}" for label in report.model.labels)
    print_table(("class", "precision", "recall", "F1", "images", "|", *answers), rows, right=True)
    print("right of the bar: how often the class was answered as each")
    if report.skipped:
        print(f"left out {len(report.skipped)} corrupt pictures: {', '.join(report.skipped)}")
