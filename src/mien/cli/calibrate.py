"""``mien calibrate``: temperature, class biases and a class prior stored in the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.command import DATA_HELP, check_together, command, model_argument, out_option, tell_notes
from mien.errors import ConfigError, number_of
from mien.options import ReadOptions

if TYPE_CHECKING:
    from mien.bundle import Bundle

_Split = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The split to fit to, not one that the model was trained on: such as val, or holdout for what "
        "recipes hold out of train.",
    ),
]
_Biases = Annotated[
    bool,
    typer.Option(
        help="With --data: fit a bias of each class, too. Without, labels can change only where probabilities are "
        "averaged, as with --tta and --views."
    ),
]


@command(
    "mien calibrate default --data faces/ --split val --out calibrated",
    "mien calibrate default --prior uniform --out balanced",
    "mien calibrate default --adapt photos/ --out adapted",
)
def calibrate(
    model: Annotated[str, model_argument("A model folder; a built-in name needs --out.")],
    reading: ReadOptions,
    data: Annotated[str | None, typer.Option("--data", "-d", metavar="DATA", help=DATA_HELP)] = None,
    split: _Split = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="uniform|train|none|FILE",
            help="How frequent each label is where the model is used: all equally, as in the training images, or a "
            "JSON file of labels and numbers. none: take back what was set before.",
        ),
    ] = None,
    adapt: Annotated[
        str | None,
        typer.Option(
            metavar="PHOTOS", help="Estimate these frequencies from unlabelled photos of the place of use."
        ),
    ] = None,
    biases: _Biases = True,
    out: Annotated[
        Path | None,
        out_option("Folder for a calibrated copy; without it the model folder itself is changed."),
    ] = None,
) -> None:
    """Make a model's probabilities match how often it is right.

    With --data, fits a temperature and a bias of each class. With --prior or --adapt, moves each class by
    how frequent it is. All are stored in the model; labels of unclear faces may change.
    """
    from mien import bundle
    from mien.cli.terminal import say

    check_together(data, split, reading)
    if sum(bool(one) for one in (data, prior, adapt)) != 1:
        raise ConfigError(
            "expected one of `data` with `split`, `prior` or `adapt`: each is a step of its own"
        )
    if not biases and not data:
        raise ConfigError("--no-biases belongs to `data`: a prior fits no biases")
    loaded = bundle.load(model)
    if out is None and (model == "default" or model in bundle.built_in()):
        raise ConfigError(
            f"{model} is part of the package: say where a calibrated copy goes with `out=FOLDER`"
        )
    from mien.exporting.temperature import check_place

    place = out or Path(model)
    check_place(loaded, place)
    unread = 0 if data else _move(loaded, model, prior, adapt, place)
    if data and split:
        _fit(loaded, data, split, reading, place, biases=biases)
    say(str(place))
    if unread:
        raise typer.Exit(1)


def _fit(loaded: Bundle, data: str, split: str, reading: ReadOptions, place: Path, *, biases: bool) -> None:
    from mien.cli.terminal import print_table, say
    from mien.data.read import read_split
    from mien.exporting.temperature import save_calibrated

    dataset = read_split(data, loaded.preprocess, split, reading)
    tell_notes(dataset)
    found = save_calibrated(loaded, dataset, split, place, biases=biases)
    if loaded.card.calibration and loaded.card.calibration.prior:
        say("the class prior that was set before is gone; set it again with --prior or --adapt")
    low, high = found.ece_calibrated_95
    rows = [
        ("log-loss", f"{found.log_loss:.4f}", f"{found.log_loss_calibrated:.4f}"),
        ("calibration error", f"{found.ece:.2%}", f"{found.ece_calibrated:.2%} ({low:.2%}-{high:.2%})"),
        ("accuracy", f"{found.accuracy:.2%}", f"{found.accuracy_calibrated:.2%}"),
    ]
    also = f" and {len(found.bias)} biases" if found.bias else ""
    say(f"temperature {found.temperature:.3f}{also}, fitted to {found.n:,} images of {split}")
    print_table(("", "before", "after, cross-validated"), rows, right=True)


def _move(loaded: Bundle, model: str, prior: str | None, adapt: str | None, place: Path) -> int:
    """Store a class prior, and return how many photos could not be read."""
    from mien.cli.terminal import complain, print_table, say
    from mien.exporting.temperature import adapted_prior, present_prior, read_prior, save_prior

    before, unread = present_prior(loaded), 0
    if adapt:
        import numpy as np

        from mien.detectors import auto_advice
        from mien.pipeline import predict

        complain(auto_advice())
        results = predict(adapt, model=model)
        if unread := sum(image.error is not None for image in results):
            complain(f"could not be read, and left out: {unread:,} of {number_of(len(results), 'photo')}")
        faces = [face for image in results for face in image.faces]
        probs = np.array([[face.probs[label] for label in loaded.id.labels] for face in faces])
        wanted, source = (
            adapted_prior(loaded, probs.reshape(-1, len(loaded.id.labels))),
            number_of(len(faces), "face"),
        )
    else:
        wanted, source = read_prior(loaded, str(prior)), Path(str(prior)).name
    found = save_prior(loaded, wanted, source, place)
    say("class prior: " + (f"from {source}" if source != "none" else "the model's own"))
    rows = [(label, f"{before[label]:.1%}", f"{found[label]:.1%}") for label in loaded.id.labels]
    print_table(("label", "until now", "from now on"), rows, right=True)
    return unread
