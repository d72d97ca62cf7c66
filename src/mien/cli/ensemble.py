"""``mien ensemble``: several bundles joined into one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.command import Data, choice_option, command, flag_words, out_option, tell_notes
from mien.errors import needs
from mien.options import ReadOptions

if TYPE_CHECKING:
    from mien.evaluation.mixture import MixtureReport


@command("mien ensemble run1 run2 --data fer2013.zip --split val --out joined")
def ensemble(
    members: Annotated[
        list[str],
        typer.Argument(metavar="MODEL MODEL...", help="Two or more model folders or built-in names."),
    ],
    data: Data,
    split: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The split that fits weights and compares rules, such as val or holdout.",
        ),
    ],
    out: Annotated[Path, out_option("Folder for the new model.")],
    reading: ReadOptions,
    rule: Annotated[
        str,
        choice_option(
            ("mean", "weighted", "vote"),
            "How answers are joined: the mean of the probabilities, their mean with weights fitted to the split, "
            "or a vote of the labels.",
        ),
    ] = "mean",
) -> None:
    """Join several models into one.

    The result is a model like any other. What joining gains on the split is printed.
    """
    from mien import bundle
    from mien.cli.terminal import complain, say
    from mien.data.dataset import HOLDOUT
    from mien.data.read import read_dataset, with_holdout

    with needs("export"):
        from mien.exporting.ensemble import check_members, save_ensemble

    loaded = [bundle.load(member) for member in members]
    check_members(loaded, rule)
    dataset = read_dataset(data, loaded[0].preprocess, options=reading)
    if split == HOLDOUT:
        dataset = with_holdout(dataset)
    tell_notes(dataset)
    words = ["mien", "ensemble", *(Path(member).name for member in members), "--data", Path(data).name]
    words += ["--split", split, *flag_words(reading), "--out", out.name, "--rule", rule]
    report = save_ensemble(loaded, dataset, split, out, rule=rule, command=shlex.join(words))
    _print(report, [one.id.name for one in loaded], split)
    if report.is_worse(rule):
        complain(
            f"the ensemble ({report.accuracy(rule):.2%}) is worse on {split} than its best member "
            f"({max(report.members):.2%})"
        )
    say(str(out))


def _print(report: MixtureReport, names: list[str], split: str) -> None:
    from mien.cli.terminal import print_table, say, shorten

    rows = [
        (shorten(name), f"{accuracy:.2%}", f"{weight:.3f}")
        for name, accuracy, weight in zip(names, report.members, report.weights, strict=True)
    ]
    rows += [("mean", f"{report.mean:.2%}", ""), ("vote", f"{report.vote:.2%}", "")]
    rows += [("weighted, fitted to these images", f"{report.weighted:.2%}", "")]
    rows += [("weighted, cross-validated", f"{report.weighted_cross_validated:.2%}", "")]
    print_table((f"on {split}", "accuracy", "weight"), rows, right=True)
    say(f"cross-validated weights against the plain mean: {100 * report.gain:+.2f} points of accuracy")
    say(f"(standard error {100 * report.gain_standard_error:.2f})")
