"""``mien ensemble``: several bundles joined into one."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.dataset import DATA_HELP, flag_words, reads_data
from mien.errors import needs

if TYPE_CHECKING:
    from mien.data.reading import ReadOptions
    from mien.evaluation.mixture import MixtureReport


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(reads_data(ensemble))


def ensemble(
    members: Annotated[list[str], typer.Argument(help="Bundle folders or built-in names, two or more.")],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    split: Annotated[str, typer.Option(help="The split that weights are fitted to and rules compared on.")],
    out: Annotated[Path, typer.Option(help="Folder for the bundle.")],
    options: ReadOptions,
    rule: Annotated[
        str, typer.Option(help="mean of probabilities, weighted mean (fitted to the split), or vote.")
    ] = "mean",
) -> None:
    """Join models into one, which is a model like any other, and say what that gains."""
    from mien import bundle
    from mien.data.sources import read_dataset

    with needs("export"):
        from mien.export.ensemble import check_members, save_ensemble

    loaded = [bundle.load(member) for member in members]
    check_members(loaded, rule)
    dataset = read_dataset(data, loaded[0].preprocess, options=options)
    words = ["mien", "ensemble", *(Path(member).name for member in members), "--data", Path(data).name]
    words += ["--split", split, *flag_words(options), "--out", out.name, "--rule", rule]
    report = save_ensemble(loaded, dataset, split, out, rule=rule, command=shlex.join(words))
    _print(report, [one.id.name for one in loaded], split)
    if report.is_worse(rule):
        print(
            f"the ensemble ({report.accuracy(rule):.2%}) is worse on {split} than its best member "
            f"({max(report.members):.2%})",
            file=sys.stderr,
        )
    print(out)


def _print(report: MixtureReport, names: list[str], split: str) -> None:
    from mien.cli.tables import print_table

    rows = [
        (name, f"{accuracy:.2%}", f"{weight:.3f}")
        for name, accuracy, weight in zip(names, report.members, report.weights, strict=True)
    ]
    rows += [("mean", f"{report.mean:.2%}", ""), ("vote", f"{report.vote:.2%}", "")]
    rows += [("weighted, fitted to these images", f"{report.weighted:.2%}", "")]
    rows += [("weighted, cross-validated", f"{report.weighted_cross_validated:.2%}", "")]
    print_table(("on " + split, "accuracy", "weight"), rows, right=True)
    print(
        f"cross-validated weights gain {100 * report.gain:+.2f} points over the mean "
        f"(standard error {100 * report.gain_standard_error:.2f})"
    )
