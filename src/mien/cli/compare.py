"""``mien compare``: several models judged on the same images."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.dataset import DATA_HELP, reads_data

if TYPE_CHECKING:
    from mien.data.reading import ReadOptions
    from mien.evaluation.compare import Comparison


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(reads_data(compare))


def compare(
    models: Annotated[
        list[str],
        typer.Argument(help="Bundle folders, finished run folders or built-in names, two or more."),
    ],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    split: Annotated[str, typer.Option(help="Which part of the dataset to judge on.")],
    out: Annotated[Path, typer.Option(help="Folder for the comparison: page, figures, JSON, CSV.")],
    options: ReadOptions,
    tta: Annotated[
        str, typer.Option(help="Test-time augmentation of every model: none, flip or ten_crops.")
    ] = "none",
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    json_to: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write the numbers there; - prints only JSON."),
    ] = None,
) -> None:
    """Say which of several models is better on the same images, by paired tests, and at what cost. Needs no torch."""
    from mien.data.sources import read_dataset
    from mien.evaluation.compare import compare as judge
    from mien.evaluation.comparison_report import write_comparison
    from mien.evaluation.contenders import enter
    from mien.files import make_folder, write

    contenders = enter(models)
    make_folder(out)  # minutes of answering must not end at a folder that can't be written
    read = partial(read_dataset, data, split=split, options=options)
    with _Progress(len(contenders)) as progress:
        comparison = judge(contenders, read, split, tta=tta, seed=seed, announce=progress.turn)
    page = write_comparison(comparison, out)
    document = json.dumps(comparison.to_dict(), indent=2) + "\n"
    if json_to == "-":
        print(document, end="")
        return
    _print(comparison)
    print(f"wrote {page} and what it shows beside it")
    if json_to:
        write(Path(json_to), document)
        print(f"wrote {json_to}")


class _Progress:
    """A bar over the models with the time left, on stderr where somebody looks at it."""

    def __init__(self, models: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(
            *columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True),
            disable=not sys.stderr.isatty(), transient=True,
        )  # fmt: skip
        self._task, self._begun = self._bar.add_task("reading", total=models), False

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def turn(self, name: str) -> None:
        """Name the model that answers now; the one before is done."""
        self._bar.update(self._task, description=name, advance=int(self._begun))
        self._begun = True


def _print(comparison: Comparison) -> None:
    from mien.cli.tables import print_table

    models = comparison.models
    print(
        f"{len(models)} models on {comparison.split} of {comparison.data}, {len(comparison.truth):,} images, "
        f"tta {comparison.tta}"
    )
    header = ("model", "parameters", "accuracy", "95 % interval", "macro F1", "ms a face")
    rows = [
        (
            f"{model.letter}  {model.name}",
            f"{model.parameters:,}",
            f"{model.accuracy.value:.2%}",
            f"{100 * model.accuracy.low:.1f} - {100 * model.accuracy.high:.1f}",
            f"{model.macro_f1.value:.2%}",
            f"{model.latency_ms:.3g}",
        )
        for model in models
    ]
    print_table(header, rows, right=True)
    print("ms a face: one thread, one face at a time, a quick measurement")
    for model in models:
        for caveat in model.caveats:
            print(f"{model.name} {caveat}")
    for pair in comparison.pairs:
        print(pair.meaning)
    if comparison.skipped:
        print(f"left out {len(comparison.skipped)} corrupt pictures: {', '.join(comparison.skipped)}")
