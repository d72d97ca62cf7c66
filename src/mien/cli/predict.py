"""``mien predict``: photos and folders in, faces with their expressions out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.results import ImageResult

SAMPLE = "sample"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(predict)


def predict(
    sources: Annotated[
        list[str], typer.Argument(help="Picture files or folders; `sample` is the shipped photo.")
    ],
    model: Annotated[
        str, typer.Option(help="A bundle folder or a built-in name (see `mien models`).")
    ] = "default",
    detector: Annotated[
        str, typer.Option(help="auto, yunet, haar, or whole (the picture is a face).")
    ] = "auto",
    detector_weights: Annotated[Path | None, typer.Option(help="YuNet's weights file.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for annotated pictures and predictions.json.")
    ] = None,
    json_to: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the JSON there; - prints only JSON.")
    ] = None,
) -> None:
    """Find the faces in photos and name their expressions."""
    from mien.files import make_folder, write
    from mien.pipeline import Pipeline, find_images
    from mien.results import predictions_dict

    named = [_sample() if source == SAMPLE and not os.path.exists(source) else source for source in sources]  # noqa: PTH110
    paths = find_images(named, skip=out)
    pipeline = Pipeline(model, detector, detector_weights=detector_weights)
    if out:
        make_folder(out)
    results, written = [], []
    names = _picture_names(paths)
    for path, (result, image) in zip(paths, pipeline.each(paths), strict=True):
        results.append(result)
        if out and image is not None:
            from mien.vision.draw import annotate
            from mien.vision.images import encode_jpeg

            written.append(out / names[path])
            write(written[-1], encode_jpeg(annotate(image, result)))
    document = json.dumps(predictions_dict(pipeline.classifier.id, results), indent=2) + "\n"
    targets = [out / "predictions.json"] if out else []
    targets += [Path(json_to)] if json_to and json_to != "-" else []
    for target in targets:
        write(target, document)
        written.append(target)
    if json_to == "-":
        print(document, end="")
    else:
        _print_table(results)
        for path in written:
            print(f"wrote {path}")
    if any(result.error for result in results):
        raise typer.Exit(1)


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
