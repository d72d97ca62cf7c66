"""``mien evaluate``: a model judged on one split of a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from mien.cli.dataset import DATA_HELP, reads_data
from mien.cli.flags import Flag, with_flags
from mien.cli.running import runs_model

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int

    from mien.classifiers import RunOptions
    from mien.data.reading import ReadOptions
    from mien.evaluation.found import Found
    from mien.preprocess import Preprocess
    from mien.results import EvalReport


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(with_flags(reads_data(runs_model(evaluate)), "parts", PARTS, Parts))


PARTS = {
    "slice": Flag(list[str] | None, None, "Also by each value of this column of a list of files."),
    "corruptions": Flag(bool, False, "Also under blur, noise, low light and more, at five strengths."),
    "end_to_end": Flag(bool, False, "The data are photos: find the faces first; missed ones are errors."),
    "detector": Flag(str, "auto", "For --end-to-end: auto, yunet or haar."),
    "detector_weights": Flag(Path | None, None, "YuNet's weights file."),
}


class Parts(NamedTuple):
    """What else a report is to hold."""

    slice: list[str] | None
    corruptions: bool
    end_to_end: bool
    detector: str
    detector_weights: Path | None

    def refuse_ignored(self, out: Path | None) -> None:
        """Refuse a detector where no faces are looked for, and parts of the whole report where none is written."""
        from mien.errors import ConfigError

        if not self.end_to_end and (self.detector != "auto" or self.detector_weights):
            raise ConfigError(
                "a detector is for photos: add --end-to-end, or leave out --detector and its weights"
            )
        if out:
            return
        for name in ("slice", "corruptions", "end_to_end"):
            if getattr(self, name):
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} is a part of the whole report: say where it goes with --out")


def evaluate(
    model: Annotated[str, typer.Argument(help="A bundle folder or a built-in name (see `mien models`).")],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    split: Annotated[str, typer.Option(help="Which part of the dataset to judge on.")],
    options: ReadOptions,
    run: RunOptions,
    parts: Parts,
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
    parts.refuse_ignored(out)
    photos = _find(data, split, options, classifier.preprocess, parts) if parts.end_to_end else None
    dataset = (
        photos.found if photos else read_dataset(data, classifier.preprocess, split=split, options=options)
    )
    full = None
    if out:
        from mien.evaluation.report import judge as judge_fully
        from mien.evaluation.report import write_report

        full = judge_fully(
            classifier, dataset, split, tta=tta, trained_on=_trained_on(model),
            slice_by=parts.slice or (), corruptions=parts.corruptions, photos=photos,
        )  # fmt: skip
        write_report(full, out)
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


def _trained_on(model: str) -> Int[np.ndarray, " m"] | None:
    """Return the keys of the images a model was trained on, if it keeps them."""
    from mien import bundle
    from mien.evaluation.facts import keys_learnt

    return None if model.endswith(".onnx") else keys_learnt(bundle.load(model))


def _find(data: str, split: str, options: ReadOptions, preprocess: Preprocess, parts: Parts) -> Found:
    from mien.data.sources import opened
    from mien.detectors import open_detector
    from mien.evaluation.found import find_faces

    finder = open_detector(parts.detector, parts.detector_weights)
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
