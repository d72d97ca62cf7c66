"""``mien export``: a bundle in the form in which it leaves the house."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.dataset import DATA_HELP, flag_words, reads_data
from mien.errors import ConfigError, needs

if TYPE_CHECKING:
    from mien.bundle import Card
    from mien.data.reading import ReadOptions
    from mien.export.agreement import Agreement


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(reads_data(export))


def export(
    model: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A bundle folder or a built-in name (see `mien models`).")
    ],
    to: Annotated[
        str,
        typer.Option(
            help="onnx: one graph and its spec. int8, fp16: the bundle and that graph. hub: a folder to upload."
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    options: ReadOptions,
    data: Annotated[
        str | None, typer.Option(help=f"Pictures to calibrate and compare with. {DATA_HELP}")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="The split that calibrates; by default the one the model was trained on."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="REPO", help="With --to hub: upload it there, under your own login. Uses the network."
        ),
    ] = None,
) -> None:
    """Convert a model, compare it with the original, and keep it only if it keeps its promise."""
    from mien import bundle
    from mien.data.sources import read_dataset

    if split and not data:
        raise ConfigError(f"--split {split} names a part of a dataset: give --data too")
    if push and to != "hub":
        raise ConfigError(f"--push uploads a hub folder: expected --to hub, got --to {to}")
    with needs("export"):
        from mien.export.ship import check_target, ship
        from mien.export.ship import push as upload

    check_target(to, out, has_data=data is not None)
    source = bundle.load(model)
    dataset = read_dataset(data, source.preprocess, options=options) if data else None
    words = ["mien", "export", Path(model).name, "--to", to]
    words += (
        ["--data", Path(data).name, *(["--split", split] if split else []), *flag_words(options)]
        if data
        else []
    )
    command = shlex.join([*words, "--out", out.name])
    agreement = ship(source, to, out, data=dataset, split=split, command=command)
    if agreement:
        _print(agreement, to, bundle.load(out).card if to != "onnx" else None)
    if push:
        print(f"pushed to {upload(out, push)}")
    print(out)


def _print(agreement: Agreement, to: str, card: Card | None) -> None:
    from mien.cli.tables import print_table

    made = card.exports[to] if card else None
    candidates = made.candidates if made else ()
    if candidates:
        rows = [
            (one["method"], str(one["weight_bits"]), one["layers"], f"{one['n']:,}",
             f"{one['mean_probability_difference']:.4f}", f"{one['equal_labels']:.2%}", f"{one['size_bytes']:,}")
            for one in candidates
        ]  # fmt: skip
        header = (
            "calibration",
            "weight bits",
            "layers",
            "images",
            "probability moved",
            "equal labels",
            "bytes",
        )
        print_table(header, rows, right=True)
    if made:
        print(f"kept: {made.method}; {made.size_bytes:,} bytes (model.onnx: {made.onnx_size_bytes:,})")
    chose = ", which also chose the candidate" if made and made.compared_on.chose and candidates else ""
    accuracy = "" if agreement.change is None else f", accuracy {100 * agreement.change:+.2f} points"
    print(
        f"against model.onnx on {agreement.n:,} pictures{chose}: {agreement.equal_labels:.2%} equal labels"
        f"{accuracy}, probabilities differ by up to {agreement.max_probability_difference:.2g}"
    )
    for score in made.scores if made else ():
        print(f"{score.split}, tta {score.tta}: accuracy {score.accuracy:.2%} of {score.n:,}")
