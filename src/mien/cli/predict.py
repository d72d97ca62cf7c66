"""``mien predict``: photos and folders in, faces with their expressions out."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.command import Json, Model, Tta, command, out_option
from mien.errors import ConfigError
from mien.options import RunOptions, option

if TYPE_CHECKING:
    from mien.classifiers import Classifier
    from mien.pipeline import Pipeline
    from mien.results import ImageResult

SAMPLE = "sample"
_OF_PHOTOS = ("detector", "detector_weights", "uncertain_below", "out", "json_to", "workers")
_OF_ROWS = ("id_column", "label_column", "numbers")


@dataclass(frozen=True)
class Look:
    """How photos are looked at."""

    detector: str = option(
        "auto", "What finds the faces; whole takes each image as one face.",
        choices=("auto", "yunet", "haar", "whole"),
    )  # fmt: skip
    detector_weights: Path | None = option(None, "The weights of YuNet.", metavar="FILE")
    uncertain_below: float = option(
        0.0, "Label a face `uncertain` if no probability is at least this high.", metavar="X"
    )
    workers: int | None = option(None, "Photos in work at once; by default one per core.")

    def __post_init__(self) -> None:
        """Check the number of photos in work."""
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"`workers` must be at least 1, got {self.workers}")


@dataclass(frozen=True)
class Contest:
    """A contest's CSV, one label per image, in place of photos."""

    submission: Path | None = option(
        None, "Write a label for each image of one dataset; each image is one face.", metavar="FILE"
    )
    id_column: str = option("Id", "First column; a column of the dataset of this name gives the ids.")
    label_column: str = option("Category", "Second column.")
    numbers: bool = option(False, "Write each label's number in the model's order, not its name.")


@command("mien predict sample --out faces")
def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Image files or folders; `sample` is the photo that comes with mien. For --submission: a dataset.",
        ),
    ],
    look: Look,
    run: RunOptions,
    contest: Contest,
    context: typer.Context,
    model: Model = "default",
    tta: Tta = "none",
    out: Annotated[Path | None, out_option("Folder for annotated photos and predictions.json.")] = None,
    json_to: Json = None,
) -> None:
    """Find the faces in photos and classify their expressions."""
    named = [_sample() if source == SAMPLE and not os.path.exists(source) else source for source in sources]  # noqa: PTH110
    if contest.submission:
        _refuse(context, _OF_PHOTOS, "--submission takes every picture as a face and writes one CSV")
        _submit(named, model, run, tta, contest.submission, contest)
        return
    _refuse(context, _OF_ROWS, "only a --submission has columns")
    from mien.classifiers.combine import with_tta
    from mien.pipeline import Pipeline, find_images

    paths = find_images(named, skip=out)
    workers = look.workers or _cores(len(paths))
    classifier = with_tta(_load(model, run, workers), tta)
    pipeline = Pipeline(
        classifier,
        look.detector,
        detector_weights=look.detector_weights,
        uncertain_below=look.uncertain_below,
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
    for one in context.command.params:
        source = context.get_parameter_source(one.name or "")
        if one.name in names and source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"{why}: leave out {one.opts[0]}")


def _submit(sources: list[str], model: str, run: RunOptions, tta: str, path: Path, contest: Contest) -> None:
    from collections import Counter

    from mien.classifiers import load_classifier
    from mien.classifiers.combine import with_tta
    from mien.evaluation.submission import read_rows, write_submission

    if len(sources) != 1:
        raise ConfigError(f"--submission answers the rows of one dataset, {len(sources)} are named")
    classifier = with_tta(load_classifier(model, **vars(run)), tta)
    ids, crops = read_rows(sources[0], classifier.preprocess, contest.id_column)
    answers = write_submission(
        path,
        ids,
        crops,
        classifier,
        columns=(contest.id_column, contest.label_column),
        numbers=contest.numbers,
    )
    counted = Counter(answers)
    for number, label in enumerate(classifier.id.labels):
        print(f"{number} {label:10} {counted[str(number) if contest.numbers else label]:,}")
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
    from mien.cli.terminal import print_table

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
