"""``mien train``: a recipe and a dataset in, a model bundle out."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.dataset import DATA_HELP, flag_words, reads_data
from mien.errors import needs

if TYPE_CHECKING:
    from mien.data.reading import ReadOptions
    from mien.training.history import EpochRow
    from mien.training.loop import Step


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(reads_data(train))


def train(
    recipe: Annotated[
        str, typer.Argument(help="Name of a shipped recipe (see `mien recipes`) or a TOML file.")
    ],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    out: Annotated[Path, typer.Option(help="Folder for the bundle; the run's history goes to its run/.")],
    options: ReadOptions,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change an option of the recipe.")
    ] = None,
    track: Annotated[
        list[str] | None, typer.Option(help="Also log every epoch to tensorboard or mlflow.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in OUT.")] = False,
) -> None:
    """Train a network and write its bundle. Ctrl-C loses at most one epoch; --resume goes on."""
    from mien.config import read_recipe

    checked = read_recipe(recipe, settings or [])
    with needs("train"):
        from mien.training.loop import check
        from mien.training.loop import train as run
        from mien.training.track import check_trackers, tracker
    from mien.data.sources import read_dataset

    check(checked, out, device=device, resume=resume)
    check_trackers(track or [])
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    command = _rebuild_command(recipe, data, out, device, settings or [], flag_words(options))
    speaks = os.environ.get("RANK", "0") == "0"  # of several processes, one draws and logs
    tracked = sorted(set(track or [])) if speaks else []
    with _Progress(f"reading {data}", checked.epochs, speaks=speaks) as progress:
        dataset = read_dataset(data, checked.input, options=options)
        if dataset.skipped:
            progress.say(f"left out {len(dataset.skipped)} corrupt pictures: {', '.join(dataset.skipped)}")
        try:
            with ExitStack() as logs:
                listeners = [logs.enter_context(tracker(name, checked, out)) for name in tracked]

                def listen(row: EpochRow) -> None:
                    for listener in (progress.epoch, *listeners):
                        listener(row)

                bundle = run(
                    checked, dataset, out, device=device, resume=resume, command=command,
                    on_step=progress.step, on_epoch=listen,
                )  # fmt: skip
        except KeyboardInterrupt:
            progress.say("interrupted; finished epochs are kept: the same command with --resume goes on")
            raise
    if speaks:
        print(bundle)


def _rebuild_command(
    recipe: str, data: str, out: Path, device: str, settings: list[str], reading: list[str]
) -> str:
    """Return what a reader of the model card types, names without this machine's folders."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    launch = ["torchrun", f"--nproc-per-node={processes}", "-m", "mien"] if processes > 1 else ["mien"]
    words = [*launch, "train", recipe, "--data", Path(data).name, *reading, "--out", out.name]
    words += [] if device == "auto" else ["--device", device]
    return shlex.join(words + [word for setting in settings for word in ("--set", setting)])


class _Progress:
    """A bar with loss, accuracy and time left, and a line an epoch, on stderr."""

    def __init__(self, beginning: str, epochs: int, *, speaks: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}  left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not (speaks and sys.stderr.isatty()),
            transient=True,
        )
        self._speaks, self._epochs = speaks, epochs
        self._task = self._bar.add_task(beginning, total=None, loss=0.0, accuracy=0.0)
        self._begun = False

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._speaks:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, step: Step) -> None:
        """Move the bar; the time left counts from where this process began."""
        done = (step.epoch - 1) * step.steps + step.step
        if not self._begun:
            self._begun = True
            self._bar.reset(self._task, total=step.epochs * step.steps, completed=done)
        where = f"epoch {step.epoch}/{step.epochs}"
        self._bar.update(
            self._task, completed=done, description=where, loss=step.loss, accuracy=step.accuracy
        )

    def epoch(self, row: EpochRow) -> None:
        """Print an epoch's figures."""
        self.say(
            f"epoch {row.epoch:3}/{self._epochs}  "
            f"train loss {row.train_loss:.3f} accuracy {row.train_accuracy:6.1%}  "
            f"val loss {row.val_loss:.3f} accuracy {row.val_accuracy:6.1%} "
            f"macro-F1 {row.val_macro_f1:.3f}  {row.seconds:.1f} s"
        )
