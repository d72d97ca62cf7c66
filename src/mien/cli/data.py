"""``mien data``: look at a dataset, pack it, see what a recipe does to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.dataset import DATA_HELP, reads_data
from mien.errors import ConfigError

if TYPE_CHECKING:
    from mien.data.reading import ReadOptions
    from mien.results import DatasetReport

_Source = Annotated[str, typer.Argument(metavar="PATH", help=DATA_HELP)]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    commands = typer.Typer(
        help="Look at a dataset, pack it, preview a recipe's augmentation.", no_args_is_help=True
    )
    for command in (info, convert, preview):
        commands.command()(reads_data(command))
    app.add_typer(commands, name="data")


def info(
    path: _Source,
    options: ReadOptions,
    json_to: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the report there; - prints only JSON.")
    ] = None,
) -> None:
    """Show splits, classes, counts, sizes, imbalance and a fingerprint. Decodes every picture."""
    from mien.data.sources import survey
    from mien.files import write

    report = survey(path, options)
    document = json.dumps(report.to_dict(), indent=2) + "\n"
    if json_to == "-":
        print(document, end="")
        return
    _print_report(report)
    if json_to:
        write(Path(json_to), document)
        print(f"wrote {json_to}")


def convert(
    path: _Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The packed file, such as faces.npz.")],
    options: ReadOptions,
    size_px: Annotated[int, typer.Option(help="Side of the packed pictures.")] = 48,
    channels: Annotated[int, typer.Option(help="1 grey, 3 colour.")] = 1,
    enlarged_by: Annotated[
        str | None,
        typer.Option(metavar="RECIPE", help="Also pack the copies that this recipe's balance makes."),
    ] = None,
) -> None:
    """Write one packed file, which is mapped when it is read: a set larger than memory trains from it."""
    from mien.config import checked_recipe, read_recipe
    from mien.data.sources import convert as pack
    from mien.errors import needs

    shape = {"network": "none", "input": {"size_px": size_px, "channels": channels}}
    preprocess = checked_recipe(shape).input
    if enlarged_by is None:
        dataset = pack(path, out, preprocess, options)
    else:
        recipe = read_recipe(enlarged_by)
        if not recipe.balance.enlarge_to_ratio:
            raise ConfigError(f"recipe {enlarged_by} makes no copies: it needs balance.enlarge_to_ratio")
        with needs("train"):
            from mien.training.batches import enlarged
        dataset = pack(path, out, preprocess, options, change=lambda data: enlarged(data, recipe))
    print(f"{out}: {len(dataset):,} pictures, {out.stat().st_size / 2**20:,.1f} MiB")
    _print_skipped(dataset.skipped)


def preview(
    path: _Source,
    options: ReadOptions,
    recipe: Annotated[str, typer.Option(help="Name of a shipped recipe or a TOML file.")],
    out: Annotated[Path, typer.Option(help="The picture to write (PNG).")] = Path("preview.png"),
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change an option of the recipe.")
    ] = None,
) -> None:
    """Draw real samples before and after a recipe's augmentation, with their labels."""
    from mien.config import read_recipe
    from mien.data.sources import read_dataset
    from mien.errors import needs
    from mien.files import write

    checked = read_recipe(recipe, settings or [])
    with needs("train"):
        from mien.training.preview import examples
    from mien.vision.draw import contact_sheet
    from mien.vision.images import encode_png

    columns = examples(read_dataset(path, checked.input, split=checked.train_split, options=options), checked)
    write(out, encode_png(contact_sheet(columns)))
    print(f"wrote {out}: one line a sample, first as it is, then as training sees it")


def _print_report(report: DatasetReport) -> None:
    from mien.cli.tables import print_table

    print(f"{report.source}: {report.n:,} pictures, {report.form}")
    rows = []
    for split, counts in report.counts.items():
        ratio = f"{report.imbalance_ratio[split]:.1f}"
        rows.append((split, *map(str, counts.values()), str(report.unlabelled[split]), ratio))
    print_table(("split", *report.labels, "no label", "imbalance"), rows, right=True)
    print("imbalance: the largest class against the smallest")
    for size in report.sizes:
        print(
            f"{size['n']:,} pictures of {size['height']}x{size['width']} pixels, {size['channels']} channels"
        )
    if report.left_out:
        print(f"left out for want of votes: {report.left_out:,}")
    print(f"fingerprint {report.fingerprint}")
    _print_skipped(report.skipped)


def _print_skipped(skipped: tuple[str, ...]) -> None:
    if skipped:
        print(f"left out as corrupt: {len(skipped)}")
        print("\n".join(f"  {name}" for name in skipped))
