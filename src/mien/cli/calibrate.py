"""``mien calibrate``: a temperature fitted to a split and stored in the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.dataset import DATA_HELP, reads_data

if TYPE_CHECKING:
    from mien.data.reading import ReadOptions


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(reads_data(calibrate))


def calibrate(
    model: Annotated[str, typer.Argument(help="A bundle folder, or a built-in name with --out.")],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    split: Annotated[str, typer.Option(help="The split to fit to; not the one it was trained on.")],
    options: ReadOptions,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for a calibrated copy; without it the bundle itself is changed."),
    ] = None,
) -> None:
    """Make a model as sure as it is right: fit a temperature and store it, for everything that uses the model."""
    from mien import bundle
    from mien.cli.tables import print_table
    from mien.data.sources import read_dataset
    from mien.errors import ConfigError

    loaded = bundle.load(model)
    if out is None and (model == "default" or model in bundle.built_in()):
        raise ConfigError(f"{model} is part of the package: say where a calibrated copy goes with --out")
    from mien.export.temperature import check_place, save_calibrated

    place = out or Path(model)
    check_place(loaded, place)
    dataset = read_dataset(data, loaded.preprocess, split=split, options=options)
    found = save_calibrated(loaded, dataset, split, place)
    rows = [
        ("log-loss", f"{found.log_loss:.4f}", f"{found.log_loss_calibrated:.4f}"),
        ("calibration error", f"{found.ece:.2%}", f"{found.ece_calibrated:.2%}"),
    ]
    print(f"temperature {found.temperature:.3f}, fitted to {found.n:,} images of {split}")
    print_table(("", "before", "after, cross-validated"), rows, right=True)
    print(place)
