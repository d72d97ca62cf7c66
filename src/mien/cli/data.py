"""``mien data``: show a dataset, pack it, preview the augmentation of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.audit import audit, split
from mien.cli.command import DATA_HELP, Json, Settings, command, group, out_option, tell_notes
from mien.cli.crop import crop
from mien.errors import ConfigError, number_of
from mien.options import ReadOptions

if TYPE_CHECKING:
    from mien.results import DatasetReport

_SIZES = 5
"""Most sizes of images that are listed; further ones are summed up."""
_Source = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]


@command("mien data info synthetic")
def info(path: _Source, reading: ReadOptions, json_to: Json = None) -> None:
    """Show splits, classes, counts, sizes, imbalance and a fingerprint.

    Reads every image.
    """
    from mien.cli.terminal import give
    from mien.data.survey import survey

    report = survey(path, reading)
    give(report.to_dict(), json_to, lambda: _print_report(report))


@command("mien data convert synthetic faces.npz")
def convert(
    path: _Source,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The packed file to write, such as faces.npz.")],
    reading: ReadOptions,
    size_px: Annotated[int, typer.Option(metavar="N", help="Side of the packed images, in pixels.")] = 48,
    channels: Annotated[int, typer.Option(metavar="N", help="1 for grey, 3 for colour.")] = 1,
    enlarged_by: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE", help="Also pack the augmented copies that this recipe makes of rare classes."
        ),
    ] = None,
) -> None:
    """Write a dataset as one packed file.

    A packed file is read piece by piece, so that a dataset larger than the memory can be trained on.
    """
    from mien.cli.command import note_line
    from mien.cli.terminal import say
    from mien.config import checked_recipe, read_recipe
    from mien.data.read import convert as pack
    from mien.data.survey import warnings_of
    from mien.errors import needs

    shape = {"network": "none", "input": {"size_px": size_px, "channels": channels}}
    preprocess = checked_recipe(shape).input
    if enlarged_by is None:
        dataset = pack(path, out, preprocess, reading)
    else:
        recipe = read_recipe(enlarged_by)
        if not recipe.balance.enlarge_to_ratio:
            raise ConfigError(f"recipe {enlarged_by} makes no copies: it needs balance.enlarge_to_ratio")
        with needs("train"):
            from mien.training.batches import enlarged
        dataset = pack(path, out, preprocess, reading, change=lambda data: enlarged(data, recipe))
    say(f"{out}: {number_of(len(dataset), 'image')}, {out.stat().st_size / 2**20:,.1f} MiB")
    for note in (*dataset.notes, *warnings_of(dataset)):
        say(note_line(note))
    _print_skipped(dataset.skipped)


@command("mien data preview synthetic --recipe nano")
def preview(
    path: _Source,
    reading: ReadOptions,
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="A name from `mien recipes`, or a TOML file.")
    ],
    out: Annotated[Path, out_option("The image to write (PNG).", metavar="FILE")] = Path("preview.png"),
    settings: Settings = None,
) -> None:
    """Draw images of a dataset before and after a recipe's augmentation.

    Needs the extra `train`.
    """
    from mien.cli.terminal import say
    from mien.config import read_recipe
    from mien.data.read import read_dataset
    from mien.errors import needs
    from mien.files import write

    checked = read_recipe(recipe, settings or [])
    with needs("train"):
        from mien.training.preview import examples
    from mien.vision.draw import contact_sheet
    from mien.vision.images import encode_png

    dataset = read_dataset(path, checked.input, split=checked.train_split, options=reading)
    tell_notes(dataset)
    columns = examples(dataset, checked)
    write(out, encode_png(contact_sheet(columns)))
    say(f"wrote {out}: one row per image, first as it is, then augmented")


def _print_report(report: DatasetReport) -> None:
    from mien.cli.command import note_line
    from mien.cli.terminal import print_table, say

    say(f"{report.source}: {number_of(report.n, 'image')}, {report.form}")
    order = ("train", "val", "test")
    splits = sorted(report.counts, key=lambda split: order.index(split) if split in order else len(order))
    rows = [(label, *(f"{report.counts[split][label]:,}" for split in splits)) for label in report.labels]
    if any(report.unlabelled.values()):
        rows.append(("no label", *(f"{report.unlabelled[split]:,}" for split in splits)))
    totals = [sum(report.counts[split].values()) + report.unlabelled[split] for split in splits]
    rows.append(("all", *(f"{total:,}" for total in totals)))
    rows.append(("imbalance", *(f"{report.imbalance_ratio[split]:.1f}" for split in splits)))
    print_table(("class", *splits), rows, right=True)
    say("imbalance: images of the largest class for each image of the smallest")
    for size in report.sizes[:_SIZES]:
        colour = "grey" if size["channels"] == 1 else "colour"
        say(f"{number_of(size['n'], 'image')} of {size['width']}x{size['height']} pixels, {colour}")
    if rest := report.sizes[_SIZES:]:
        sides = [side for size in rest for side in (size["width"], size["height"])]
        say(
            f"{number_of(sum(size['n'] for size in rest), 'image')} of {number_of(len(rest), 'other size')}, "
            f"sides from {min(sides)} to {max(sides)} pixels"
        )
    if report.left_out:
        say(f"left out, because their votes give no label: {report.left_out:,}")
    say(f"fingerprint {report.fingerprint}")
    for note in report.notes:
        say(note_line(note))
    _print_skipped(report.skipped)


def _print_skipped(skipped: tuple[str, ...]) -> None:
    from mien.cli.terminal import say

    if skipped:
        say(f"left out as corrupt: {len(skipped)}")
        for name in skipped:
            say(f"  {name}")


data = group(
    {"info": info, "audit": audit, "split": split, "crop": crop, "convert": convert, "preview": preview},
    "Look at a dataset, audit and split it, cut faces out of photos, pack it, preview augmentation.",
)
