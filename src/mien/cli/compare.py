"""``mien compare``: several models evaluated on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.command import Data, Json, Split, Tta, command, out_option, telling_once
from mien.options import ReadOptions

if TYPE_CHECKING:
    from mien.evaluation.compare import Comparison
    from mien.evaluation.recipes import Recipes


@command(
    "mien compare default run1 --data fer2013.zip --split test --out compared",
    "mien compare 'nano/seed*' 'base/seed*' --data fer2013.zip --split test --out c",
)
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL MODEL...",
            help="Two or more model folders, folders of finished runs or built-in names. A quoted pattern such as "
            "'nano/seed*' names several runs of one recipe.",
        ),
    ],
    data: Data,
    split: Split,
    out: Annotated[Path, out_option("Folder for the comparison: page, figures, JSON, CSV.")],
    reading: ReadOptions,
    tta: Tta = "none",
    seed: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Random seed of the bootstrap, which gives the intervals of macro-F1."
        ),
    ] = 0,
    json_to: Json = None,
) -> None:
    """Test which of several models, or recipes, is better on the same images.

    Paired tests say which differences are more than chance; the page also shows size and speed. Recipes
    with several runs each are tested over runs and images together.
    """
    from mien.cli.progress import progress
    from mien.cli.terminal import give, say
    from mien.data.read import read_split
    from mien.evaluation.compare import judge
    from mien.evaluation.comparison_report import write_comparison
    from mien.evaluation.contenders import enter
    from mien.files import locked

    contenders = enter(models)
    read = telling_once(lambda preprocess: read_split(data, preprocess, split, reading))
    turns = iter(range(len(contenders)))
    # Locked first, so that minutes of work are not lost because the folder cannot be written.
    with locked(out), progress("models", len(contenders)) as step:

        def announce(name: str) -> None:
            step(min(next(turns), 1), title=name)  # the model before this one is done

        comparison = judge(contenders, read, split, tta=tta, seed=seed, announce=announce)
        page = write_comparison(comparison, out)

    def show() -> None:
        _print(comparison)
        say(f"wrote {page} and its figures")

    give(comparison.to_dict(), json_to, show)


def _print(comparison: Comparison) -> None:
    from mien.cli.terminal import print_table, say, shorten

    models = comparison.models
    say(
        f"{len(models)} models on {comparison.split} of {comparison.data}, {len(comparison.truth):,} images, "
        f"tta {comparison.tta}"
    )
    header = ("model", "accuracy", "95 % interval", "macro-F1", "parameters", "ms/face")
    rows = [
        (
            f"{model.letter}  {shorten(model.name, 22)}",
            f"{model.accuracy.value:.1%}",
            f"{100 * model.accuracy.low:.1f} - {100 * model.accuracy.high:.1f} %",
            f"{model.macro_f1.value:.1%}",
            f"{model.parameters:,}",
            f"{model.latency_ms:.3g}",
        )
        for model in models
    ]
    print_table(header, rows, right=True)
    say("ms/face: one thread, one face at a time, a quick measurement")
    for model in models:
        for caveat in model.caveats:
            say(f"{model.name} {caveat}")
    if comparison.recipes.groups:
        _print_recipes(comparison.recipes)
    for pair in comparison.pairs if len(comparison.recipes.groups) < 2 else ():
        say(pair.meaning)


def _print_recipes(recipes: Recipes) -> None:
    from mien.cli.terminal import print_table, say, shorten

    rows = [
        (
            shorten(one.name, 32),
            f"{len(one.models)}",
            f"{one.accuracy:.1%}",
            f"{100 * one.accuracy_sd:.1f}",
            f"{one.macro_f1:.1%}",
            f"{100 * one.macro_f1_sd:.1f}",
        )
        for one in recipes.groups
    ]
    say()
    print_table(("recipe", "runs", "accuracy", "sd", "macro-F1", "sd"), rows, right=True)
    say("mean and standard deviation of the runs, in points")
    for one in recipes.groups:
        if one.caveat:
            say(f"{one.name}: {one.caveat}")
    for pair in recipes.pairs:
        say(pair.meaning)
