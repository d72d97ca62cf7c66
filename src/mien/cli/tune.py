"""``mien tune``: search for better options of a recipe."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.command import Data, Json, Settings, choice_option, command, flag_words, note_lines, out_option
from mien.errors import needs, number_of
from mien.options import ReadOptions, RecipeOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.cli.progress import Progress
    from mien.config import Recipe
    from mien.data.dataset import FaceDataset
    from mien.tune.results import Search, Trial


@command("mien tune nano --data fer2013.zip --space space.toml --trials 40 --out tuned")
def tune(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A name from `mien recipes`, or a TOML file.")
    ],
    data: Data,
    space: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="TOML with a range or a list of values for each option to vary; see docs/tuning.md.",
        ),
    ],
    out: Annotated[Path, out_option("Folder for the study, the best recipe, tables and figures.")],
    changes: RecipeOptions,
    reading: ReadOptions,
    trials: Annotated[
        int,
        typer.Option(metavar="N", help="Number of trials, those of earlier calls with --resume included."),
    ] = 20,
    minutes: Annotated[
        float | None, typer.Option(metavar="X", help="Begin no trial after this many minutes.")
    ] = None,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that train at the same time.")] = 1,
    search_seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the choice of values.")] = 0,
    device: Annotated[
        str, choice_option(("auto", "cpu", "cuda", "mps"), "Where to train; auto takes the fastest there is.")
    ] = "auto",
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study in the folder of --out.")
    ] = False,
    json_to: Json = None,
) -> None:
    """Search for better options of a recipe.

    Trials are judged on the recipe's validation images, never on test. The best recipe is written as a TOML file
    for `mien train`. Ctrl-C loses the trial in progress; the same command with --resume goes on.
    """
    from mien.cli.progress import progress
    from mien.cli.terminal import give
    from mien.config import read_recipe

    with needs("tune"):
        from mien.tune.report import write_search
        from mien.tune.search import check_place, search, trials_of
        from mien.tune.space import read_space

    given, wanted = changes.settings(settings or []), read_space(space)
    checked = wanted.base(read_recipe(recipe, given), given)
    wanted.check(checked)
    check_place(out, resume=resume)
    with progress(f"reading {data}") as bar:
        dataset = _read(data, checked, reading, bar)
        bar.begin("trials", trials)
        found = search(
            checked, dataset, wanted, out, trials=trials, minutes=minutes, workers=workers, seed=search_seed,
            device=device, resume=resume, on_trial=_teller(checked.validation.monitor, trials_of(out), trials, bar),
        )  # fmt: skip
    best = write_search(found, out)
    give(found.to_dict(), json_to, lambda: _print(found, best, [data, *flag_words(reading, folders=True)]))


def _read(data: str, recipe: Recipe, reading: ReadOptions, bar: Progress) -> FaceDataset:
    from mien.data.read import read_dataset

    dataset = read_dataset(data, recipe.input, options=reading)
    for line in note_lines(dataset):
        bar.say(line)
    if recipe.validation.split == "test":
        bar.say("trials are judged on a hold-out of the training images, in place of the recipe's test")
    return dataset


def _teller(monitor: str, before: Sequence[Trial], trials: int, bar: Progress) -> Callable[[Trial], None]:
    """Return a function that prints a line for each trial, with a mark at the best so far.

    `before` are the trials of earlier calls. A line counts the trials that have ended: a trial that was interrupted
    keeps its number, so numbers may be higher.
    """
    highest = [max((one.value for one in before if one.is_complete), default=float("-inf"))]
    ended = itertools.count(len(before) + 1)
    bar(len(before))

    def tell(trial: Trial) -> None:
        best = trial.is_complete and trial.value > highest[0]
        highest[0] = max(highest[0], trial.value) if trial.is_complete else highest[0]
        figure = (
            trial.error
            or f"{_figure(monitor, trial.value)}{f' in epoch {trial.epochs}' if not trial.is_complete else ''}"
        )
        values = " ".join(
            f"{path.rpartition('.')[2]}={_short(value)}" for path, value in trial.params.items()
        )
        bar(1)
        bar.say(
            f"{next(ended):3}/{trials}  trial {trial.number}, {trial.state}: {figure}{'  * best' if best else ''}  "
            f"{values}"
        )

    return tell


def _figure(monitor: str, value: float) -> str:
    return (
        f"loss {-value:.4f}"
        if monitor == "loss"
        else f"{monitor.replace('macro_f1', 'macro-F1')} {value:.2%}"
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _print(found: Search, best: Path, data: Sequence[str]) -> None:
    import shlex

    from mien.cli.terminal import print_table, say

    counts = {
        state: sum(one.state == state for one in found.trials)
        for state in ("complete", "ended early", "impossible")
    }
    told = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    say(f"{number_of(len(found.trials), 'trial')} of {found.data}: {told}")
    say(
        f"best: trial {found.best.number}, {_figure(found.monitor, found.best.value)} on {found.n_judged:,} "
        f"images of {found.split}"
    )
    rows = [
        (path, _short(value), f"{found.importance[path]:.0%}" if path in found.importance else "")
        for path, value in found.best.params.items()
    ]
    print_table(("option", "best value", "importance"), rows, right=True)
    if found.monitor == "accuracy" and 0 < found.best.value < 1:
        error = (found.best.value * (1 - found.best.value) / found.n_judged) ** 0.5
        say(f"an accuracy here has a standard error of {100 * error:.1f} points")
    say("the best of many trials looks better than it is")
    for trial in found.trials:
        if trial.error:
            say(f"trial {trial.number} failed: {trial.error}")
    words = ["mien", "train", str(best), "--data", *data, "--out", "run"]
    say(f"wrote {best} and figures; next: {shlex.join(words)}")
