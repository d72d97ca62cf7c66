"""``mien evaluate``: a model judged on one split of a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.dataset import DATA_HELP, reads_data

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int

    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset
    from mien.data.reading import ReadOptions
    from mien.evaluation.found import Found
    from mien.evaluation.report import FullReport
    from mien.preprocess import Preprocess
    from mien.results import EvalReport


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(reads_data(evaluate))


def evaluate(
    model: Annotated[str, typer.Argument(help="A bundle folder or a built-in name (see `mien models`).")],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    split: Annotated[str, typer.Option(help="Which part of the dataset to judge on.")],
    options: ReadOptions,
    tta: Annotated[
        str,
        typer.Option(help="Test-time augmentation: none, flip (mean with the mirror image) or ten_crops."),
    ] = ("none"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for the whole report: page, figures, predictions, JSON, CSV.")
    ] = None,
    slice_by: Annotated[
        list[str] | None,
        typer.Option(
            "--slice", metavar="COLUMN", help="Also by each value of this column of a list of files."
        ),
    ] = None,
    corruptions: Annotated[
        bool,
        typer.Option("--corruptions", help="Also under blur, noise, low light and more, at five strengths."),
    ] = False,
    photos: Annotated[
        bool,
        typer.Option(
            "--end-to-end", help="The data are photos: find the faces first; missed ones are errors."
        ),
    ] = False,
    detector: Annotated[str, typer.Option(help="For --end-to-end: auto, yunet or haar.")] = "auto",
    detector_weights: Annotated[Path | None, typer.Option(help="YuNet's weights file.")] = None,
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

    classifier = load_classifier(model)
    with_tta(classifier, tta)  # refuses an unknown name before a picture is read
    parts: dict[str, Any] = {"slice_by": tuple(slice_by or ()), "corruptions": corruptions}
    if out is None:
        _refuse_without_out(photos, **parts)
    if photos:
        parts["photos"] = _find(data, split, options, classifier.preprocess, detector, detector_weights)
        dataset = parts["photos"].found
    else:
        dataset = read_dataset(data, classifier.preprocess, split=split, options=options)
    full = (
        None if out is None else _judge_fully(classifier, dataset, split, out, tta=tta, model=model, **parts)
    )
    report = full.counted if full else judge(classifier, dataset, split, tta=tta)
    text = json.dumps((full or report).to_dict(), indent=2) + "\n"
    if json_to == "-":
        print(text, end="")
        return
    _print_report(report)
    for section in full.sections if full else ():
        print(f"{section.title}: {section.text}")
    if out:
        print(f"wrote {out / 'report.html'} and what it shows beside it")
    if json_to:
        write(Path(json_to), text)
        print(f"wrote {json_to}")


def _judge_fully(
    classifier: Classifier, data: FaceDataset, split: str, out: Path, *, tta: str, model: str, **parts: Any
) -> FullReport:
    from mien.evaluation.report import judge, write_report

    full = judge(classifier, data, split, tta=tta, trained_on=_trained_on(model), **parts)
    write_report(full, out)
    return full


def _refuse_without_out(photos: bool, slice_by: tuple[str, ...], corruptions: bool) -> None:
    from mien.errors import ConfigError

    given = {"--end-to-end": photos, "--slice": slice_by, "--corruptions": corruptions}
    for option, wanted in given.items():
        if wanted:
            raise ConfigError(f"{option} is a part of the whole report: say where it goes with --out")


def _trained_on(model: str) -> Int[np.ndarray, " m"] | None:
    """Return the keys of the images a model was trained on, if it keeps them."""
    from mien import bundle
    from mien.data.twins import from_bytes

    content = bundle.load(model).contents.get(bundle.TRAINED_ON)
    return None if content is None else from_bytes(content)


def _find(
    data: str, split: str, options: ReadOptions, preprocess: Preprocess, detector: str, weights: Path | None
) -> Found:
    from mien.data.sources import opened
    from mien.evaluation.found import find_faces
    from mien.vision.detect import open_detector

    finder = open_detector(detector, weights)
    with opened(data, split, options) as reading:
        return find_faces(reading, finder, preprocess)


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
