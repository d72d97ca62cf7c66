"""``mien explain``: which places of a face its label depends on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.command import Json, Model, command, out_option, tell_idle_video_options, with_sample
from mien.errors import ConfigError
from mien.options import FINDERS, Clip, RunOptions, option, weights_option

if TYPE_CHECKING:
    from mien.saliency.explain import Explanation


@dataclass(frozen=True)
class Finding:
    """How the faces are found."""

    detector: str = option(
        "auto", "What finds the faces. auto takes yunet if it was fetched, else haar, and an image of at most 64 "
        "pixels as one face; whole takes each image as one face.",
        choices=(*FINDERS, "whole"),
    )  # fmt: skip
    detector_weights: Path | None = weights_option()


@command("mien explain photo.jpg --out why", "mien explain crops/ --detector whole --label sad --out why")
def explain(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...", help="Images, folders, zips, patterns, videos: as in `mien predict`."
        ),
    ],
    out: Annotated[Path, out_option("Folder for a picture of each photo and explanations.jsonl.")],
    finding: Finding,
    clip: Clip,
    run: RunOptions,
    model: Model = "default",
    label: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Explain this label, not the most probable one of each face."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an interrupted run: leave out the photos that are done."),
    ] = False,
    json_to: Json = None,
) -> None:
    """Show which places of a face its label depends on.

    Hides one place after another and draws how the label's probability changes.
    """
    from mien.cli.progress import progress
    from mien.cli.terminal import complain, give, say
    from mien.detectors import auto_advice
    from mien.saliency.explain import pipeline_for
    from mien.saliency.written import Written
    from mien.vision.frames import frames
    from mien.workers import cores

    stream = frames(with_sample(sources), skip=out, clip=clip)
    if stream.live:
        raise ConfigError("a camera or network stream does not end: explain images of it")
    tell_idle_video_options(stream, clip)
    pipeline = pipeline_for(model=model, **vars(finding), **vars(run) | {"threads": run.threads or cores()})
    errors = 0
    with Written(out, pipeline, label, resume=resume) as written, progress("photos", stream.expected) as step:
        if finding.detector == "auto":
            step.say(auto_advice(finding.detector_weights))
        step(len(written.done))
        for one in written.explain(stream):
            errors += one.error is not None
            for line in () if json_to == "-" else _lines(one):
                say(line)
            step()
        document: dict[str, Any] = written.document()

    def show() -> None:
        say(f"wrote {out}: a picture of each photo with faces, and explanations.jsonl")

    give(document, json_to, show)
    if errors:
        complain(f"{errors} of the photos could not be read")
        raise typer.Exit(1)


def _lines(one: Explanation) -> list[str]:
    from mien.cli.terminal import shorten

    name = f"{shorten(Path(one.source).name or 'image', 28):28}"
    if one.error is not None:
        return [f"{name}  error: {one.error}"]
    if not one.faces:
        return [f"{name}  no face found"]
    return [f"{name}  {number:>2}  {face.sentence()}" for number, face in enumerate(one.faces, start=1)]
