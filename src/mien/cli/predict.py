"""``mien predict``: photos in, faces with their expressions out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.command import Model, Tta, command, tell_idle_video_options, with_sample
from mien.errors import ConfigError, number_of
from mien.options import Clip, LookOptions, Outputs, RunOptions, TrackOptions, option
from mien.scale.options import ScaleOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mien.pipeline import Pipeline
    from mien.predictions import ImageResult

_OF_ROWS = ("id_column", "label_column", "numbers", "tta")


@dataclass(frozen=True)
class Contest:
    """A contest's CSV: one label for each image of a dataset, in place of photos."""

    submission: Path | None = option(
        None, "Write a label for each image of one dataset; each image is one face.", metavar="FILE"
    )
    id_column: str = option("Id", "First column; a column of the dataset of this name gives the ids.")
    label_column: str = option("Category", "Second column.")
    numbers: bool = option(False, "Write each label's number in the model's order, not its name.")


@command(
    "mien predict sample --out faces",
    "mien predict holiday/ 'more/*.png' --csv faces.csv --resume",
    "mien predict talk.mp4 --out faces --detect-every 3",
    "mien predict camera:0 --window",
    "mien predict s3://bucket/photos --engine ray --parquet results --resume",
)
def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Images, videos, folders, zips, patterns, camera:0, rtsp://..., - for stdin; `sample` is the photo "
            "that comes with mien. "
            "For --submission: a dataset.",
        ),
    ],
    look: LookOptions,
    outputs: Outputs,
    clip: Clip,
    tracks: TrackOptions,
    run: RunOptions,
    scale: ScaleOptions,
    contest: Contest,
    context: typer.Context,
    model: Model = "default",
    tta: Tta = "none",
) -> None:
    """Find the faces in photos and videos and classify their expressions."""
    named = with_sample(sources)
    if contest.submission:
        of_photos = [*vars(look), *vars(outputs), *vars(clip), *vars(tracks), *vars(scale)]
        _refuse(context, of_photos, "--submission takes every image as a face and writes one CSV")
        _submit(named, model, run, tta, contest)
        return
    _refuse(context, _OF_ROWS, "it is for --submission only")
    if scale.engine == "ray":
        idle = [name for name in vars(outputs) if name not in ("parquet", "resume")]
        _refuse(
            context, [*idle, *vars(clip), *vars(tracks)], "--engine ray writes Parquet files of images only"
        )
        _score(named, model, run, look, outputs, scale)
        return
    _refuse(context, scale.given, "it is for --engine ray only")
    _look(named, model, run, look, outputs, clip, tracks)


def _look(
    named: list[str],
    model: str,
    run: RunOptions,
    look: LookOptions,
    outputs: Outputs,
    clip: Clip,
    tracks: TrackOptions,
) -> None:
    from mien.cli.progress import progress, stopped_by_ctrl_c
    from mien.cli.terminal import complain, say
    from mien.detectors import auto_advice
    from mien.pipeline import Pipeline
    from mien.sinks import STDOUT, Sinks, check_hiding, recorded
    from mien.tracking.tracker import tracker_for
    from mien.vision.frames import frames
    from mien.vision.listing import counted

    written = [folder for folder in (outputs.out, outputs.crops) if folder]
    stream = frames(named, skip=written, clip=clip)
    tracker = tracker_for(stream, tracks)
    tell_idle_video_options(stream, clip, tracks)
    pipeline = Pipeline(model, **look.of_pipeline(), **vars(run) | {"threads": run.threads or 1})
    _prepare_opencv(several=pipeline.workers_for(stream.total, look.workers) > 1, pipeline=pipeline)
    quiet, seen = outputs.json == STDOUT, Counter[str]()
    facts = pipeline.facts | (tracker.facts | clip.facts if tracker else {})
    if outputs.hides:
        check_hiding(stream, tracker)
    with (
        stopped_by_ctrl_c(stream) as hint,
        Sinks(outputs, facts, stream.stop) as sinks,
        progress("frames" if tracker else "photos", stream.expected) as step,
    ):
        if hint:
            step.say(hint)
        if look.detector == "auto":
            step.say(auto_advice(look.detector_weights))
        passed = 0
        for result in recorded(pipeline, stream, sinks, tracker=tracker, workers=look.workers):
            seen.update(_kinds(result))
            for line in () if quiet else _lines(result):
                say(line)
            step(1 + sinks.left_out - passed)
            passed = sinks.left_out
    if not quiet:
        say(_summary(seen, sinks.left_out, counted(stream.skipped)))
        for path in sinks.written:
            say(f"wrote {path}")
    for line in _notes(seen, sinks.relative):
        complain(line)
    if seen["errors"]:
        raise typer.Exit(1)


def _prepare_opencv(*, several: bool, pipeline: Pipeline) -> None:
    """Set options of OpenCV for the whole process; allowed, because the process belongs to the command."""
    import cv2

    cv2.utils.logging.setLogLevel(0)  # else OpenCV prints lines of its own if a camera is missing
    if several and not pipeline.finds_one_at_a_time:
        cv2.setNumThreads(1)  # its own threads would compete with the workers


def _score(
    named: list[str], model: str, run: RunOptions, look: LookOptions, outputs: Outputs, scale: ScaleOptions
) -> None:
    """Score the sources on the workers of a Ray cluster."""
    from mien.cli.progress import progress
    from mien.cli.terminal import say
    from mien.detectors import auto_advice
    from mien.scale.run import score
    from mien.vision.listing import counted

    if outputs.parquet is None:
        raise ConfigError("`engine=ray` writes a folder of Parquet files: name it with `parquet`")
    arguments = look.of_pipeline() | vars(run) | {"model": model, "threads": run.threads or 1}
    with progress("images") as step:
        if look.detector == "auto":
            step.say(auto_advice(look.detector_weights))
        try:
            scored = score(
                named, outputs.parquet, resume=outputs.resume, options=scale, workers=look.workers,
                on_images=step, on_note=step.say, **arguments,
            )  # fmt: skip
        except KeyboardInterrupt:
            step.say("interrupted; whole shards are kept: the same command with --resume goes on")
            raise
    seen = {
        "images": scored.images - scored.done_before, "faces": scored.faces, "without a face": scored.without,
        "errors": scored.errors,
    }  # fmt: skip
    say(_summary(Counter(seen), scored.done_before, counted(scored.skipped)))
    say(f"wrote {scored.folder}: {scored.shards} Parquet files and a manifest")
    if scored.errors:
        raise typer.Exit(1)


def _kinds(result: ImageResult) -> dict[str, int]:
    """Return the counts for one image."""
    none = result.error is None and not result.faces
    return {
        "images": 1,
        "faces": len(result.faces),
        "without a face": int(none),
        "small without a face": int(none and result.is_small),
        "errors": int(result.error is not None),
    }


def _summary(seen: Counter[str], done: int, skipped: str) -> str:
    parts = [f"images: {seen['images']}", f"faces: {seen['faces']}"]
    parts += [f"{kind}: {seen[kind]}" for kind in ("without a face", "errors") if seen[kind]]
    parts += [f"done before: {done}"] if done else []
    return ", ".join(parts) + (f"; skipped: {skipped}" if skipped else "")


def _notes(seen: Counter[str], relative: int) -> Iterator[str]:
    """Yield what the user should check; `relative` images were left out as done by their relative paths."""
    if relative:
        yield (
            f"{number_of(relative, 'image')} left out as done: the tables hold the same relative paths; start "
            "--resume in the folder of the earlier run, or give absolute paths"
        )
    if seen["small without a face"]:
        yield "small images without a face: if they are face crops, use --detector whole"


def _lines(result: ImageResult) -> list[str]:
    """Return a line for each face: image, number, label and the three highest probabilities."""
    from mien.cli.terminal import shorten

    name = f"{shorten(Path(result.source).name or 'image', 28):28}"
    if result.time_s is not None:
        name += f"  {result.time_s:8.2f} s"
    if result.error is not None:
        return [f"{name}  error: {result.error}"]
    if not result.faces:
        return [f"{name}  no face found"]
    lines = []
    for place, face in enumerate(result.faces, start=1):
        number = place if face.track is None else face.track
        best = sorted(face.probs.items(), key=lambda item: -item[1])[:3]
        probs = ", ".join(f"{label} {prob:.0%}" for label, prob in best)
        lines.append(f"{name}  {number:>2}  {face.label:10}  {probs}")
    return lines


def _refuse(context: typer.Context, names: list[str] | tuple[str, ...], why: str) -> None:
    """Refuse options that would be ignored, if the user gave them."""
    for one in context.command.params:
        source = context.get_parameter_source(one.name or "")
        if one.name in names and source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"leave out {one.opts[0]}: {why}")


def _submit(sources: list[str], model: str, run: RunOptions, tta: str, contest: Contest) -> None:
    from mien.classifiers import load_classifier
    from mien.classifiers.combine import with_tta
    from mien.cli.terminal import say
    from mien.evaluation.submission import read_rows, write_submission

    if len(sources) != 1:
        raise ConfigError(f"`submission` needs one dataset, got {len(sources)}")
    classifier: Any = with_tta(load_classifier(model, **vars(run)), tta)
    ids, crops = read_rows(sources[0], classifier.preprocess, contest.id_column)
    columns = (contest.id_column, contest.label_column)
    assert contest.submission
    answers = write_submission(
        contest.submission, ids, crops, classifier, columns=columns, numbers=contest.numbers
    )
    counts = Counter(answers)
    for number, label in enumerate(classifier.id.labels):
        say(f"{number} {label:10} {counts[str(number) if contest.numbers else label]:,}")
    say(f"wrote {contest.submission}, {len(ids):,} rows")
