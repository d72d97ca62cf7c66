"""``mien predict``: photos and folders in, faces with their expressions out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.running import runs_model

if TYPE_CHECKING:
    from mien.classifiers import Classifier, RunOptions
    from mien.pipeline import Pipeline
    from mien.results import ImageResult

SAMPLE = "sample"
_OF_PHOTOS = ("detector", "detector_weights", "uncertain_below", "out", "json_to", "workers")
_OF_ROWS = ("id_column", "label_column", "numbers")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(runs_model(predict))


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Picture files or folders; `sample` is the shipped photo. For --submission: one dataset in any form."
        ),
    ],
    run: RunOptions,
    context: typer.Context,
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
    id_column: Annotated[
        str,
        typer.Option(help="First column of the submission; a table's own column of this name gives the ids."),
    ] = "Id",
    label_column: Annotated[str, typer.Option(help="Second column of the submission.")] = "Category",
    numbers: Annotated[
        bool, typer.Option("--numbers", help="In the submission, a label's number in the model's order.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Pictures worked on at once; by default one a core.")
    ] = None,
) -> None:
    """Find the faces in photos and name their expressions, or answer every row of a dataset."""
    named = [_sample() if source == SAMPLE and not os.path.exists(source) else source for source in sources]  # noqa: PTH110
    if submission:
        _refuse(context, _OF_PHOTOS, "--submission takes every picture as a face and writes one CSV")
        _submit(named, model, run, tta, submission, (id_column, label_column), numbers=numbers)
        return
    _refuse(context, _OF_ROWS, "only a --submission has columns")
    from mien.classifiers.combine import with_tta
    from mien.pipeline import Pipeline, find_images

    paths = find_images(named, skip=out)
    workers = workers or _cores(len(paths))
    classifier = with_tta(_load(model, run, workers), tta)
    pipeline = Pipeline(
        classifier, detector, detector_weights=detector_weights, uncertain_below=uncertain_below
    )
    results, written = _look_at(paths, pipeline, out, workers)
    _give(results, written, pipeline, out, json_to)


def _load(model: str, run: RunOptions, workers: int) -> Classifier:
    """Load a classifier; where several pictures are worked on at once, each call is left one thread."""
    from mien.classifiers import load_classifier

    return load_classifier(model, **(vars(run) | {"threads": run.threads or (1 if workers > 1 else None)}))


def _cores(pictures: int) -> int:
    """Return how many of the cores that this process may use have a picture to work on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(len(affinity(0)) if affinity else os.cpu_count() or 1, pictures)


def _give(
    results: list[ImageResult], written: list[Path], pipeline: Pipeline, out: Path | None, json_to: str | None
) -> None:
    """Write the JSON where it is wanted, print the rest, and say by the exit status if a picture failed."""
    from mien.files import write
    from mien.results import predictions_dict

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


def _look_at(
    paths: list[Path], pipeline: Pipeline, out: Path | None, workers: int
) -> tuple[list[ImageResult], list[Path]]:
    """Return the results and the annotated pictures written into `out`."""
    from mien.files import make_folder, write
    from mien.pipeline import spread

    if out:
        make_folder(out)
    names = _picture_names(paths)

    def look(path: Path) -> tuple[ImageResult, Path | None]:
        result, image = pipeline.look_at(path)
        if out is None or image is None:
            return result, None
        from mien.vision.draw import annotate
        from mien.vision.images import encode_jpeg

        write(out / names[path], encode_jpeg(annotate(image, result)))
        return result, out / names[path]

    seen = list(spread(look, paths, workers))
    return [result for result, _ in seen], [picture for _, picture in seen if picture]


def _refuse(context: typer.Context, names: tuple[str, ...], why: str) -> None:
    """Refuse options that would be ignored, where the user gave them."""
    from mien.errors import ConfigError

    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in names and source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"{why}: leave out {option.opts[0]}")


def _submit(
    sources: list[str], model: str, run: RunOptions, tta: str, path: Path, columns: tuple[str, str],
    *, numbers: bool,
) -> None:  # fmt: skip
    from collections import Counter

    from mien.classifiers import load_classifier
    from mien.classifiers.combine import with_tta
    from mien.errors import ConfigError
    from mien.evaluation.submission import read_rows, write_submission

    if len(sources) != 1:
        raise ConfigError(f"--submission answers the rows of one dataset, {len(sources)} are named")
    classifier = with_tta(load_classifier(model, **vars(run)), tta)
    ids, crops = read_rows(sources[0], classifier.preprocess, columns[0])
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
    from mien.pipeline import RESULT

    taken: dict[str, Path] = {}
    for path in paths:
        stem, number = path.stem, 1
        while taken.setdefault(f"{stem}{RESULT}", path) != path:
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
            box = " ".join(f"{side:.0f}" for side in face.box_xyxy_px)
            best = sorted(face.probs.items(), key=lambda item: -item[1])[:3]
            scores = ", ".join(f"{label} {score:.1%}" for label, score in best)
            seen = "-" if face.detection_score is None else f"{face.detection_score:.2f}"
            rows.append((name, str(number), box, seen, face.label, scores))
    print_table(("picture", "face", "box x0 y0 x1 y1, px", "detection", "label", "scores"), rows)
