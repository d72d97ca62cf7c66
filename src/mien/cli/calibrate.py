"""``mien calibrate``: a temperature fitted to a split and stored in the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.command import Data, command, model_argument, out_option
from mien.errors import ConfigError
from mien.options import ReadOptions


@command("mien calibrate default --data synthetic --split val --out calibrated")
def calibrate(
    model: Annotated[str, model_argument("A model folder; a built-in name needs --out.")],
    data: Data,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="The split to fit to; not one the model was trained on.")
    ],
    reading: ReadOptions,
    out: Annotated[
        Path | None,
        out_option("Folder for a calibrated copy; without it the model folder itself is changed."),
    ] = None,
) -> None:
    """Make a model's probabilities match how often it is right.

    Fits one number, the temperature, and stores it in the model. Labels do not change; probabilities do.
    """
    from mien import bundle
    from mien.cli.terminal import print_table, say
    from mien.data.read import read_dataset

    loaded = bundle.load(model)
    if out is None and (model == "default" or model in bundle.built_in()):
        raise ConfigError(
            f"{model} is part of the package: say where a calibrated copy goes with `out=FOLDER`"
        )
    from mien.export.temperature import check_place, save_calibrated

    place = out or Path(model)
    check_place(loaded, place)
    dataset = read_dataset(data, loaded.preprocess, split=split, options=reading)
    found = save_calibrated(loaded, dataset, split, place)
    rows = [
        ("log-loss", f"{found.log_loss:.4f}", f"{found.log_loss_calibrated:.4f}"),
        ("calibration error", f"{found.ece:.2%}", f"{found.ece_calibrated:.2%}"),
    ]
    say(f"temperature {found.temperature:.3f}, fitted to {found.n:,} images of {split}")
    print_table(("", "before", "after, cross-validated"), rows, right=True)
    say(str(place))
