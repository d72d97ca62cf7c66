"""``mien export``: a bundle converted into one ONNX file, INT8, FP16 or a hub folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.command import (
    DATA_HELP,
    choice_option,
    command,
    flag_words,
    model_argument,
    out_option,
    tell_notes,
)
from mien.errors import ConfigError, needs
from mien.options import PageOptions, ReadOptions

if TYPE_CHECKING:
    from mien.bundle import Card
    from mien.card import ComparedOn
    from mien.exporting.agreement import Agreement


@command("mien export default --to onnx --out exported", "mien export default --to web --out site")
def export(
    model: Annotated[str, model_argument()],
    to: Annotated[
        str,
        choice_option(
            ("onnx", "int8", "fp16", "hub", "web"),
            "onnx: one ONNX file and a file that describes it. int8, fp16: the model with a smaller graph added. "
            "hub: a folder to upload. web: a page that classifies in the browser.",
        ),
    ],
    out: Annotated[Path, out_option("A new folder.")],
    reading: ReadOptions,
    page: PageOptions,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", metavar="DATA", help=f"Images to calibrate and check with. {DATA_HELP}"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The split that calibrates; by default the model's training split."
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="REPO", help="With --to hub: upload it there, with your own login. Uses the network."
        ),
    ] = None,
) -> None:
    """Convert a model to one ONNX file, INT8, FP16, a web page or a hub folder.

    A converted graph is compared with the original, and refused if its answers differ too much.
    """
    from mien import bundle
    from mien.cli.terminal import say
    from mien.exporting import export as convert

    if push and to != "hub":
        raise ConfigError(f"`push` uploads a hub folder: expected `to=hub`, got `to={to}`")
    agreement = convert(
        model, to, out, data=data, split=split, reading=reading, page=page, on_read=tell_notes,
        command=_command(model, to, data, split, reading, out),
    )  # fmt: skip
    if agreement:
        card = bundle.load(out).card if to != "onnx" else None
        _print(agreement, to, card, "images" if data else "drawn faces")
    if to == "web":
        _print_page(out)
    if push:
        with needs("hub"):
            from mien.exporting.ship import push as upload
        say(f"uploaded to {upload(out, push)}")
    say(str(out))


def _command(
    model: str, to: str, data: str | None, split: str | None, reading: ReadOptions, out: Path
) -> str:
    """Return the command that makes this again, for the card; names are without folders of this machine."""
    words = ["mien", "export", Path(model).name, "--to", to]
    if data:
        words += ["--data", Path(data).name, *(["--split", split] if split else []), *flag_words(reading)]
    return shlex.join([*words, "--out", out.name])


def _print_page(out: Path) -> None:
    """Print what a visitor of the page downloads."""
    import gzip
    import json

    from mien.cli.terminal import say
    from mien.detectors import advice

    found = json.loads((out / "model.json").read_text())["detector"]
    say(advice(found["name"]) if found else "no face detector: visitors draw the square of a face")
    files = [file for file in out.rglob("*") if file.is_file()]
    packed = sum(len(gzip.compress(file.read_bytes())) for file in files)
    say(f"{len(files)} files, {packed / 1e6:.2f} MB with gzip; serve them over https or from localhost")


def _where(on: ComparedOn) -> str:
    return f" of {on.split}, {'none of them learnt by the model' if on.unlearnt else 'which the model has learnt'}"


def _print(agreement: Agreement, to: str, card: Card | None, what: str) -> None:
    from mien.cli.terminal import print_table, say

    made = card.exports[to] if card else None
    candidates = made.candidates if made else ()
    if candidates:
        rows = [
            (one["method"], str(one["weight_bits"]), one["layers"], f"{one['n']:,}",
             f"{one['mean_probability_difference']:.4f}", f"{one['equal_labels']:.2%}", f"{one['size_bytes']:,}")
            for one in candidates
        ]  # fmt: skip
        header = ("method", "weight bits", "layers", "images", "mean change", "equal labels", "bytes")
        print_table(header, rows, right=True)
        say("mean change: of the probabilities, against model.onnx")
    if made:
        say(f"kept: {made.method}; {made.size_bytes:,} bytes (model.onnx: {made.onnx_size_bytes:,})")
    chose = ", which also chose the method" if made and made.compared_on.chose and candidates else ""
    where = _where(made.compared_on) if made and made.compared_on.unlearnt is not None else ""
    say(f"compared with model.onnx on {agreement.n:,} {what}{where}{chose}:")
    accuracy = "" if agreement.change is None else f", accuracy {100 * agreement.change:+.2f} points"
    say(
        f"  {agreement.equal_labels:.2%} equal labels{accuracy}, "
        f"probabilities differ by up to {agreement.max_probability_difference:.2g}"
    )
    for score in made.scores if made else ():
        say(f"{score.split}, tta {score.tta}: accuracy {score.accuracy:.2%} of {score.n:,} images")
