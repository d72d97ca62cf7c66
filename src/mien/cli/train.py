"""``mien train``: train a network by a recipe on a dataset, and write a model folder."""

from __future__ import annotations

import math
import os
import shlex
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.command import (
    Data,
    Settings,
    choice_option,
    command,
    flag_words,
    note_line,
    note_lines,
    out_option,
)
from mien.errors import ConfigError, needs
from mien.options import ReadOptions, RecipeOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.cli.progress import Progress
    from mien.config import Recipe
    from mien.data.dataset import FaceDataset
    from mien.history import EpochRow
    from mien.training.loop import Step

RUNS = Path("runs") / "train"
"""Default folder for models, numbered from 001, if `--out` is not given."""
LONG_SECONDS = 60.0
"""A run that takes longer than this prints an estimate of its time when it begins."""
TRIAL_SECONDS = 6.0
"""Seconds for which a dry run trains, to estimate the time of the whole run."""


Score = Annotated[
    str,
    choice_option(
        ("all", "validation"), "Splits on which the finished model is scored; validation does not read test."
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the interrupted run in the folder of --out.")
]
Folds = Annotated[
    int | None,
    typer.Option(
        metavar="K",
        help="Train K models, each without another fold of the training images, and join them; test is not read.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, say how long training takes, and write nothing.")
]
Out = Annotated[
    Path | None,
    out_option("Folder for the model, its history in run/; by default runs/train/ and the next number."),
]
Device = Annotated[
    str, choice_option(("auto", "cpu", "cuda", "mps"), "Where to train; auto takes the fastest there is.")
]
Trackers = Annotated[
    list[str] | None,
    choice_option(("tensorboard", "mlflow"), "Also log every epoch there; may be repeated."),
]


@command(
    "mien train nano --data synthetic --out run1",
    "mien train nano --data fer2013.zip --epochs 40 --dry-run",
    "mien train nano --data fer2013.zip --folds 5 --out folds",
)
def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A name from `mien recipes`, or a TOML file.")
    ],
    data: Data,
    changes: RecipeOptions,
    reading: ReadOptions,
    out: Out = None,
    device: Device = "auto",
    settings: Settings = None,
    score: Score = "all",
    track: Trackers = None,
    resume: Resume = False,
    folds: Folds = None,
    dry_run: DryRun = False,
) -> None:
    """Train a network on a dataset and write its model folder.

    Ctrl-C loses at most one epoch, or a few very short ones: the same command with --resume continues.
    """
    from mien.cli.folds import check_run, first_fold, fold_words, tell_folds, train_folds
    from mien.cli.progress import progress
    from mien.cli.terminal import say
    from mien.config import read_recipe
    from mien.options import check_choice

    settings = changes.settings(settings or [])
    checked = read_recipe(recipe, settings)
    check_choice("score", score, ("all", "validation"))
    with needs("train"):
        from mien.training.track import check_trackers
    out = out or _numbered(resume=resume)
    command = _rebuild_command(
        recipe, data, out, device, settings, [*flag_words(reading), *fold_words(folds)]
    )
    check_trackers(track or [])
    check_run(checked, out, folds, device=device, resume=resume)
    speaks = os.environ.get("RANK", "0") == "0"  # of several processes, one draws and logs
    tracked = sorted(set(track or [])) if speaks else []
    with progress(f"reading {data}", quiet=not speaks) as bar:
        dataset = _read(data, checked, reading, bar)
        if dry_run:
            _try(*first_fold(checked, dataset, folds), device, bar, folds)
            return
        options = {"device": device, "resume": resume, "score": score, "command": command}
        if folds is None:
            _train(checked, dataset, out, tracked, bar, options)
        else:
            run = partial(_train, tracked=tracked, bar=bar)
            found = train_folds(checked, dataset, out, folds, bar, run, options | {"score": "validation"})
    if folds is not None:
        tell_folds(found, out)
    elif speaks:
        _tell_end(out, [data, *flag_words(reading, folders=True)])
    if speaks:
        say(str(out))


def _read(data: str, recipe: Recipe, reading: ReadOptions, bar: Progress) -> FaceDataset:
    """Read the dataset and say what it holds."""
    from mien.data.read import read_dataset
    from mien.data.survey import counts_of, warnings_of

    dataset = read_dataset(data, recipe.input, options=reading)
    for line in (*counts_of(dataset), *note_lines(dataset), *map(note_line, warnings_of(dataset))):
        bar.say(line)
    return dataset


def _train(
    recipe: Recipe,
    data: FaceDataset,
    out: Path,
    tracked: Sequence[str],
    bar: Progress,
    options: dict[str, Any],
) -> None:
    """Train, and print each step and epoch."""
    from mien.training.loop import train as run
    from mien.training.track import tracker

    with ExitStack() as logs:
        listeners = [logs.enter_context(tracker(name, recipe, out)) for name in tracked]
        teller = _Teller(recipe, bar, out / "run" / "history.csv" if options["resume"] else None)
        on_epoch = _epochs([teller.epoch, *listeners])
        try:
            run(recipe, data, out, on_step=teller.step, on_epoch=on_epoch, **options)
        except KeyboardInterrupt:
            bar.say("interrupted; finished epochs are kept: the same command with --resume goes on")
            raise


def _numbered(*, resume: bool) -> Path:
    """Return the next free folder of `RUNS`, or the last one to resume."""
    taken = sorted(int(path.name) for path in RUNS.glob("[0-9]*") if path.name.isdecimal())
    if resume and not taken:
        raise ConfigError(f"--resume: there is no run in {RUNS}: name its folder with --out")
    return RUNS / f"{taken[-1] if resume else (taken or [0])[-1] + 1:03d}"


def _rebuild_command(
    recipe: str, data: str, out: Path, device: str, settings: list[str], reading: list[str]
) -> str:
    """Return the command that makes the model again, for its card; names are without folders of this machine."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    launch = ["torchrun", f"--nproc-per-node={processes}", "-m", "mien"] if processes > 1 else ["mien"]
    recipe = Path(recipe).name if recipe.endswith(".toml") else recipe
    words = [*launch, "train", recipe, "--data", Path(data).name, *reading, "--out", out.name]
    words += [] if device == "auto" else ["--device", device]
    return shlex.join(words + [word for setting in settings for word in ("--set", _without_folders(setting))])


def _without_folders(setting: str) -> str:
    key, _, value = setting.partition("=")
    if key == "transfer.weights":
        return f"{key}={Path(value.strip(chr(34))).name}"
    if key == "distillation.teachers":
        import json
        import tomllib

        try:
            names = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            return setting
        return f"{key}={json.dumps([Path(name).name for name in names])}"
    return setting


def _epochs(listeners: Sequence[Callable[[EpochRow], None]]) -> Callable[[EpochRow], None]:
    def tell(row: EpochRow) -> None:
        for listener in listeners:
            listener(row)

    return tell


class _Teller:
    """Moves the bar, says once how long the run will take, and prints a line for each epoch."""

    def __init__(self, recipe: Recipe, bar: Progress, earlier: Path | None = None) -> None:
        from mien.history import read_csv
        from mien.training.history import figure

        self.recipe, self.bar = recipe, bar
        self.done, self.steps = -1, 0
        rows = read_csv(earlier) if earlier and earlier.exists() else []
        figures = [figure(row, recipe.validation.monitor) for row in rows]
        self.best = max((one for one in figures if not math.isnan(one)), default=-math.inf)
        self.first: tuple[int, float] | None = None
        self.estimated = False

    def step(self, step: Step) -> None:
        """Move the bar; the time left counts from where this process began."""
        done, title = (step.epoch - 1) * step.steps + step.step, f"epoch {step.epoch}/{step.epochs}"
        if self.done < 0:
            self.bar.begin(title, step.epochs * step.steps, done)
            self.done, self.first = done, (done, time.perf_counter())
        self._estimate(step, done)
        self.bar(done - self.done, title=title, note=f"loss {step.loss:.3f}  accuracy {step.accuracy:.1%}")
        self.done, self.steps = done, step.steps

    def _estimate(self, step: Step, done: int) -> None:
        from mien.training.summary import duration

        assert self.first is not None
        before, since = self.first
        took = time.perf_counter() - since
        if not self.estimated and took >= TRIAL_SECONDS / 2 and done > before:
            self.estimated = True
            left = took * _work_left(self.recipe, before, done, step.epochs * step.steps)
            if left < LONG_SECONDS:
                return
            self.bar.say(
                f"about {duration(left)} to go: {step.epochs} epochs of {step.steps} steps, judging not counted"
            )

    def epoch(self, row: EpochRow) -> None:
        """Print an epoch's line."""
        from mien.training.history import figure

        value = figure(row, self.recipe.validation.monitor)
        is_best = value > self.best  # False if the epoch was not validated
        self.best = value if is_best else self.best
        self.bar.say(_line(row, self.recipe.epochs, self.steps, is_best=is_best))


def _work_left(recipe: Recipe, before: int, done: int, steps: int) -> float:
    """Return the work of a run after `done` of its steps, as a multiple of that from step `before` to `done`."""
    start, now, end = (recipe.work_until(step / steps) for step in (before, done, steps))
    return (end - now) / (now - start)


def _line(row: EpochRow, epochs: int, steps: int, *, is_best: bool) -> str:
    judged = (
        f"val loss {row.val_loss:.3f} accuracy {row.val_accuracy:6.1%} macro-F1 {row.val_macro_f1:.3f}"
        if not math.isnan(row.val_loss)
        else "not judged"
    )
    return (
        f"epoch {row.epoch:3}/{epochs}  train loss {row.train_loss:.3f} accuracy {row.train_accuracy:6.1%}  "
        f"{judged}  "
        f"{row.seconds:.1f} s, {1000 * row.seconds / max(1, steps):.0f} ms a step{'  * best' if is_best else ''}"
    )


def _try(recipe: Recipe, data: FaceDataset, device: str, bar: Progress, folds: int | None) -> None:
    """Train for a few seconds and say what a run would do and how long it would take."""
    from mien.cli.terminal import say
    from mien.training.fit import fit, with_judges
    from mien.training.summary import duration

    class Enough(Exception):  # noqa: N818
        pass

    stamps: list[tuple[float, Step]] = []

    def stamp(step: Step) -> None:
        stamps.append((time.perf_counter(), step))
        if stamps[-1][0] - stamps[0][0] >= TRIAL_SECONDS:
            raise Enough

    def end(*_: object) -> None:
        raise Enough

    begun = time.perf_counter()
    with suppress(Enough):
        fit(recipe, data, device=device, on_step=stamp, on_epoch=end)
    bar.stop()
    (start, first), (now, last) = stamps[0], stamps[-1]
    if last.step == first.step:  # an epoch shorter than the first report
        start, steps = begun, last.step
    else:
        steps = last.step - first.step
    judged, split = with_judges(recipe, data)
    seconds, total = (now - start) / steps, recipe.epochs * last.steps
    whole = (now - start) * (1 + _work_left(recipe, 0, steps, total))
    say(f"{recipe.network}, {len(data.labels)} classes: {', '.join(data.labels)}")
    say(f"trains on {len(judged.rows(recipe.train_split)):,} images of {recipe.train_split}, judged on "
        f"{len(judged.rows(split)):,} of {split}; the {recipe.validation.keep} epoch is kept")  # fmt: skip
    say(f"{recipe.epochs} epochs of {last.steps} steps of {recipe.batch_size} images: {1000 * seconds:.0f} ms "
        f"a step, about {duration(whole)}, judging not counted")  # fmt: skip
    say("nothing was written (dry run)" + (f"; {folds} folds take {folds} times as long" if folds else ""))


def _tell_end(out: Path, data: Sequence[str]) -> None:
    """Print the summary on stderr; stdout has the folder alone, for scripts."""
    from mien import bundle
    from mien.cli.terminal import visible
    from mien.history import read_csv
    from mien.training.summary import summary

    history = out / "run" / "history.csv"
    for line in summary(bundle.load(out).card, read_csv(history) if history.exists() else [], out, data):
        typer.echo(visible(line), err=True)
