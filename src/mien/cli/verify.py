"""``mien verify``: proof that every form of a model gives the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.dataset import DATA_HELP, check_pair, reads_data

if TYPE_CHECKING:
    from mien.data.reading import ReadOptions
    from mien.export.verify import Row, Verification


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(reads_data(verify))


def verify(
    model: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A bundle folder or a built-in name (see `mien models`).")
    ],
    options: ReadOptions,
    data: Annotated[str | None, typer.Option(help=f"Pictures to compare on. {DATA_HELP}")] = None,
    split: Annotated[str | None, typer.Option(help="Which part of the dataset.")] = None,
    json_to: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the proof there; - prints only JSON.")
    ] = None,
) -> None:
    """Compare torch, ONNX, INT8, FP16 and the photo pipeline on the same pictures; status 1 if a bound fails."""
    from mien import bundle
    from mien.data.sources import read_dataset
    from mien.export.verify import verify as prove
    from mien.files import write

    check_pair(data, split)
    preprocess = bundle.load(model).preprocess
    dataset = read_dataset(data, preprocess, split=split, options=options) if data else None
    proof = prove(model, dataset, split or "")
    document = json.dumps(proof.to_dict(), indent=2) + "\n"
    if json_to == "-":
        print(document, end="")
    else:
        _print(proof)
        if json_to:
            write(Path(json_to), document)
            print(f"wrote {json_to}")
    if not proof.passed:
        raise typer.Exit(1)


def _print(proof: Verification) -> None:
    from mien.cli.tables import print_table

    where = f"{proof.split} of {proof.data}" if proof.split != "drawn" else "drawn faces"
    print(f"{proof.model.name} on {where}, {proof.n:,} images, against model.onnx")
    header = ("runtime", "largest difference", "equal labels", "accuracy", "change, points (95 %)", "verdict")
    print_table(header, [_cells(row) for row in proof.rows], right=True)
    for row in proof.rows:
        for breach in row.breaches:
            print(f"{row.runtime}: {breach}")
        changes = (row.agreement.per_class_change or {}).items()
        if changed := [f"{label} {100 * by:+.2f}" for label, by in changes if by]:
            print(f"{row.runtime}, recall per class, points: {', '.join(changed)}")
    for runtime, reason in proof.left_out.items():
        print(f"{runtime} left out: {reason}")
    same = ", ".join(
        f"{way} {'same' if not by else f'differs by {by:g}'}" for way, by in proof.inputs.items()
    )
    print(f"the sample photo, against its file: {same}")
    print("passed" if proof.passed else "FAILED")


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
