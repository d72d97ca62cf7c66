"""``mien predict``: photos and folders in, faces with their expressions out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.pipeline import Pipeline
    from mien.results import ImageResult

SAMPLE = "sample"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(predict)


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Picture files or folders; `sample` is the shipped photo. For --submission: one dataset in any form."
        ),
    ],
    model: Annotated[
        str, typer.Option(help="A bundle folder or a built-in name (see `mien models`).")
    ] = "default",
    detector: Annotated[
        str, typer.Option(help="auto, yunet, haar, or whole (the picture is a face).")
    ] = "auto",
    detector_weights: Annotated[Path | None, typer.Option(help="YuNet's weights file.")] = None,
    tta: Annotated[str, typer.Option(help="Test-time augmentation: none, flip or ten_crops.")] = "none",
    uncertain_below: Annotated[
        float, typer.Option(help="Answer `uncertain` where no probability reaches this.")
    ] = 0.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for annotated pictures and predictions.json.")
    ] = None,
    json_to: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the JSON there; - prints only JSON.")
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(help="Write a contest's CSV: one answer for every row, each picture a face."),
    ] = None,
    id_column: Annotated[str, typer.Option(help="First column of the submission.")] = "Id",
    label_column: Annotated[str, typer.Option(help="Second column of the submission.")] = "Category",
    numbers: Annotated[
        bool, typer.Option("--numbers", help="In the submission, a label's number in the model's order.")
    ] = False,
) -> None:
    """Find the faces in photos and name their expressions, or answer every row of a dataset."""
    if submission:
        _refuse_with_submission(sources, detector, out, json_to)
        _submit(sources[0], model, tta, submission, (id_column, label_column), numbers=numbers)
        return
    from mien.classifiers import load_classifier
    from mien.classifiers.combine import with_tta
    from mien.files import write
    from mien.pipeline import Pipeline, find_images
    from mien.results import predictions_dict

    named = [_sample() if source == SAMPLE and not os.path.exists(source) else source for source in sources]  # noqa: PTH110
    paths = find_images(named, skip=out)
    pipeline = Pipeline(
        with_tta(load_classifier(model), tta), detector,
        detector_weights=detector_weights, uncertain_below=uncertain_below,
    )  # fmt: skip
    results, written = _look_at(paths, pipeline, out)
    document = json.dumps(predictions_dict(pipeline.classifier.id, results), indent=2) + "\n"
    targets = [out / "predictions.json"] if out else []
    targets += [Path(json_to)] if json_to and json_to != "-" else []
    for target in targets:
        write(target, document)
    if json_to == "-":
        print(document, end="")
    else:
        _print_table(results)
        for path in written + targets:
            print(f"wrote {path}")
    if any(result.error for result in results):
        raise typer.Exit(1)


def _look_at(paths: list[Path], pipeline: Pipeline, out: Path | None) -> tuple[list[ImageResult], list[Path]]:
    """Return the results and the annotated pictures written into `out`."""
    from mien.files import make_folder, write

    if out:
        make_folder(out)
    results, written, names = [], [], _picture_names(paths)
    for path, (result, image) in zip(paths, pipeline.each(paths), strict=True):
        results.append(result)
        if out and image is not None:
            from mien.vision.draw import annotate
            from mien.vision.images import encode_jpeg

            written.append(out / names[path])
            write(written[-1], encode_jpeg(annotate(image, result)))
    return results, written


def _refuse_with_submission(sources: list[str], detector: str, out: Path | None, json_to: str | None) -> None:
    from mien.errors import ConfigError

    if len(sources) != 1:
        raise ConfigError(f"--submission answers the rows of one dataset, {len(sources)} are named")
    for option, given in (
        ("--out", out),
        ("--json", json_to),
        ("--detector", detector not in ("auto", "whole")),
    ):
        if given:
            raise ConfigError(
                f"--submission takes every picture as a face and writes one CSV: leave out {option}"
            )


def _submit(
    source: str, model: str, tta: str, path: Path, columns: tuple[str, str], *, numbers: bool
) -> None:
    from collections import Counter

    from mien.classifiers import load_classifier
    from mien.classifiers.combine import with_tta
    from mien.data.reading import ReadOptions
    from mien.evaluation.submission import read_rows, write_submission

    classifier = with_tta(load_classifier(model), tta)
    ids, crops = read_rows(source, classifier.preprocess, ReadOptions())
    answers = write_submission(path, ids, crops, classifier, columns=columns, numbers=numbers)
    counted = Counter(answers)
    for number, label in enumerate(classifier.id.labels):
        print(f"{number} {label:10} {counted[str(number) if numbers else label]:,}")
    print(f"wrote {path}, {len(ids):,} rows")


def _sample() -> str:
    from importlib.resources import files

    return str(files("mien").joinpath("assets", "sample.jpg"))


def _picture_names(paths: list[Path]) -> dict[Path, str]:
    """Return a different output name for each picture, even where folders hold the same names."""
    taken: dict[str, Path] = {}
    for path in paths:
        stem, number = path.stem, 1
        while taken.setdefault(f"{stem}.faces.jpg", path) != path:
            number += 1
            stem = f"{path.stem}-{number}"
    return {path: name for name, path in taken.items()}


def _print_table(results: list[ImageResult]) -> None:
    """Print a row a face, its three highest probabilities, and every picture without one."""
    from mien.cli.tables import print_table

    rows = []
    for result in results:
        name = Path(result.source).name
        if not result.faces:
            rows.append(
                (name, "-", "-", "-", "error" if result.error else "no face found", result.error or "")
            )
        for number, face in enumerate(result.faces, start=1):
            box = " ".join(f"{side:.0f}" for side in face.face.box_xyxy_px)
            best = sorted(face.scores.items(), key=lambda item: -item[1])[:3]
            scores = ", ".join(f"{label} {score:.1%}" for label, score in best)
            seen = "-" if face.face.score is None else f"{face.face.score:.2f}"
            rows.append((name, str(number), box, seen, face.label, scores))
    print_table(("picture", "face", "box x0 y0 x1 y1, px", "detection", "label", "scores"), rows)
