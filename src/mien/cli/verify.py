"""``mien verify``: check that every form of a model gives the same answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.command import DATA_HELP, Json, check_together, command, model_argument, tell_notes
from mien.errors import ConfigError, needs
from mien.options import ReadOptions

if TYPE_CHECKING:
    from mien.exporting.verify import Row, Verification


@command("mien verify default", "mien verify default --web")
def verify(
    model: Annotated[str, model_argument()],
    reading: ReadOptions,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", metavar="DATA", help=f"Images to compare on; drawn ones without it. {DATA_HELP}"
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="The split of the dataset to use.")
    ] = None,
    web: Annotated[
        bool,
        typer.Option(
            "--web",
            help="Ask the service and the page in a browser, too; needs chromium and `mien fetch web-runtime`.",
        ),
    ] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --web: the files of onnxruntime-web, in place of `mien fetch web-runtime`.",
        ),
    ] = None,
    json_to: Json = None,
) -> None:
    """Check that all files of a model give the same answers.

    Compares torch, ONNX, INT8, FP16 and the photo pipeline on the same images. Status 1 if a limit is broken.
    """
    from mien import bundle
    from mien.cli.terminal import give
    from mien.data.read import read_split
    from mien.exporting.verify import pictures
    from mien.exporting.verify import verify as prove

    check_together(data, split, reading)
    if runtime and not web:
        raise ConfigError("`runtime` is for the page in a browser: give `web`, too")
    preprocess = bundle.load(model).preprocess
    dataset = read_split(data, preprocess, split, reading) if data and split else None
    if dataset:
        tell_notes(dataset)
    if web:
        with needs("serve"):
            from mien.serve import parity
        parity.check(runtime)
    proof = prove(model, dataset, split or "")
    if web:
        crops, truth = pictures(bundle.load(model), dataset, split or "")
        rows = parity.web_rows(model, parity.sample(crops.images, truth), runtime_folder=runtime)[0]
        proof = replace(proof, rows=(*proof.rows, *rows))
    give(proof.to_dict(), json_to, lambda: _print(proof))
    if not proof.passed:
        raise typer.Exit(1)


def _print(proof: Verification) -> None:
    from mien.cli.terminal import print_table, say

    where = f"{proof.split} of {proof.data}" if proof.split != "drawn" else "drawn faces"
    say(f"{proof.model.name} on {where}, {proof.n:,} images, against model.onnx")
    header = ("runtime", "largest difference", "equal labels", "accuracy", "change, points (95 %)", "verdict")
    print_table(header, [_cells(row) for row in proof.rows], right=True)
    for row in proof.rows:
        for breach in row.breaches:
            say(f"{row.runtime}: {breach}")
        changes = (row.agreement.per_class_change or {}).items()
        if changed := [f"{label} {100 * by:+.2f}" for label, by in changes if by]:
            say(f"{row.runtime}, change of recall per class, points: {', '.join(changed)}")
    for runtime, reason in proof.left_out.items():
        say(f"{runtime} left out: {reason}")
    same = ", ".join(
        f"{way} {'same' if not by else f'differs by {by:g}'}" for way, by in proof.inputs.items()
    )
    say(f"the sample photo given in other ways, against its file: {same}")
    say("passed" if proof.passed else "FAILED")


def _cells(row: Row) -> tuple[str, ...]:
    found = row.agreement
    accuracy = "" if found.accuracy is None else f"{found.accuracy:.2%}"
    change = ""
    if found.change is not None and found.change_interval_95 is not None:
        low, high = (100 * end for end in found.change_interval_95)
        change = f"{100 * found.change:+.2f} ({low:+.2f} to {high:+.2f})"
    verdict = "not judged" if row.bound is None else "FAILED" if row.breaches else "passed"
    return (
        row.runtime, f"{found.max_probability_difference:.2g}", f"{found.equal_labels:.2%}", accuracy, change, verdict
    )  # fmt: skip
