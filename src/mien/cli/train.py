"""``mien train``: a recipe and a dataset in, a model bundle out."""

from __future__ import annotations

import logging
import os
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.command import Data, Settings, choice_option, command, flag_words, out_option
from mien.errors import needs
from mien.options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.cli.progress import Progress
    from mien.history import EpochRow
    from mien.training.loop import Step


@command("mien train nano --data synthetic --out run1")
def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A name from `mien recipes`, or a TOML file.")
    ],
    data: Data,
    out: Annotated[Path, out_option("Folder for the model; the history of the run goes to its run/.")],
    reading: ReadOptions,
    device: Annotated[
        str, choice_option(("auto", "cpu", "cuda", "mps"), "Where to train; auto takes the fastest there is.")
    ] = "auto",
    settings: Settings = None,
    track: Annotated[
        list[str] | None,
        choice_option(("tensorboard", "mlflow"), "Also log every epoch there; may be repeated."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in the folder of --out.")
    ] = False,
) -> None:
    """Train a network on a dataset and write its model folder.

    Ctrl-C loses at most one epoch: the same command with --resume continues.
    """
    from mien.cli.progress import progress
    from mien.cli.terminal import say
    from mien.config import read_recipe

    checked = read_recipe(recipe, settings or [])
    with needs("train"):
        from mien.training.loop import check
        from mien.training.loop import train as run
        from mien.training.track import check_trackers, tracker
    from mien.data.read import read_dataset

    check(checked, out, device=device, resume=resume)
    check_trackers(track or [])
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    command = _rebuild_command(recipe, data, out, device, settings or [], flag_words(reading))
    speaks = os.environ.get("RANK", "0") == "0"  # of several processes, one draws and logs
    tracked = sorted(set(track or [])) if speaks else []
    with progress(f"reading {data}", quiet=not speaks) as bar:
        dataset = read_dataset(data, checked.input, options=reading)
        if dataset.skipped:
            bar.say(f"left out {len(dataset.skipped)} corrupt images: {', '.join(dataset.skipped)}")
        with ExitStack() as logs:
            listeners = [logs.enter_context(tracker(name, checked, out)) for name in tracked]
            on_epoch = _epochs([lambda row: bar.say(_line(row, checked.epochs)), *listeners])
            try:
                bundle = run(
                    checked, dataset, out, device=device, resume=resume, command=command,
                    on_step=_steps(bar), on_epoch=on_epoch,
                )  # fmt: skip
            except KeyboardInterrupt:
                bar.say("interrupted; finished epochs are kept: the same command with --resume goes on")
                raise
    if speaks:
        say(str(bundle))


def _rebuild_command(
    recipe: str, data: str, out: Path, device: str, settings: list[str], reading: list[str]
) -> str:
    """Return what a reader of the model card types, names without this machine's folders."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    launch = ["torchrun", f"--nproc-per-node={processes}", "-m", "mien"] if processes > 1 else ["mien"]
    words = [*launch, "train", recipe, "--data", Path(data).name, *reading, "--out", out.name]
    words += [] if device == "auto" else ["--device", device]
    return shlex.join(words + [word for setting in settings for word in ("--set", setting)])


def _epochs(listeners: Sequence[Callable[[EpochRow], None]]) -> Callable[[EpochRow], None]:
    def tell(row: EpochRow) -> None:
        for listener in listeners:
            listener(row)

    return tell


def _steps(bar: Progress) -> Callable[[Step], None]:
    """Return what moves the bar; the time left counts from where this process began."""
    seen = -1

    def move(step: Step) -> None:
        nonlocal seen
        done, title = (step.epoch - 1) * step.steps + step.step, f"epoch {step.epoch}/{step.epochs}"
        if seen < 0:
            bar.begin(title, step.epochs * step.steps, done)
            seen = done
        bar(done - seen, title=title, note=f"loss {step.loss:.3f}  accuracy {step.accuracy:.1%}")
        seen = done

    return move


def _line(row: EpochRow, epochs: int) -> str:
    return (
        f"epoch {row.epoch:3}/{epochs}  "
        f"train loss {row.train_loss:.3f} accuracy {row.train_accuracy:6.1%}  "
        f"val loss {row.val_loss:.3f} accuracy {row.val_accuracy:6.1%} "
        f"macro-F1 {row.val_macro_f1:.3f}  {row.seconds:.1f} s"
    )
