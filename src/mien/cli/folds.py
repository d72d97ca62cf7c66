"""The option ``--folds`` of ``mien train``."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from mien.errors import ConfigError, needs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mien.cli.progress import Progress
    from mien.config import Recipe
    from mien.data.dataset import FaceDataset
    from mien.tune.folds import CrossValidation


def fold_words(folds: int | None) -> list[str]:
    """Return the words of the command line for these folds."""
    return [] if folds is None else ["--folds", str(folds)]


def check_run(recipe: Recipe, out: Path, folds: int | None, *, device: str, resume: bool) -> None:
    """Refuse a recipe or folder that cannot be used; of folds, fewer than two, and several processes.

    Raises:
        ConfigError: says why.
    """
    with needs("train"):
        from mien.training.loop import check
    if folds is None:
        check(recipe, out, device=device, resume=resume)
        return
    from mien.tune.folds import check_places, fold_recipe

    check_places(fold_recipe(recipe), out, folds, device=device, resume=resume)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "`folds` are trained in one process: start without torchrun, or train each fold by itself"
        )


def first_fold(recipe: Recipe, data: FaceDataset, folds: int | None) -> tuple[Recipe, FaceDataset]:
    """Return the recipe and data for a dry run: those of the first fold, if there are folds."""
    if folds is None:
        return recipe, data
    from mien.tune.folds import divided, fold_recipe, without

    data, part = divided(recipe, data, folds)
    return fold_recipe(recipe), without(data, recipe, part == 0)


def train_folds(
    recipe: Recipe,
    data: FaceDataset,
    out: Path,
    folds: int,
    bar: Progress,
    train: Callable[..., None],
    options: dict[str, Any],
) -> CrossValidation:
    """Train each fold as ``mien train`` does, and print which fold it is."""
    from mien.tune.folds import cross_validate

    left = [
        f"{split} {int((data.split == split).sum()):,}"
        for split in data.splits
        if split != recipe.train_split
    ]
    if left:
        bar.say(f"folds are of {recipe.train_split}; other images are not used: {', '.join(left)}")
    if recipe.validation.split not in ("auto", "holdout"):
        bar.say(
            f"each fold is judged on its held-out images, in place of the recipe's {recipe.validation.split}"
        )
    if recipe.validation.keep == "best" or recipe.validation.patience_epochs:
        bar.say(
            "each fold keeps its last epoch: an epoch chosen on the held-out images would flatter their answers"
        )

    def train_one(recipe: Recipe, data: FaceDataset, place: Path) -> None:
        bar.say(f"{place.name} of {folds}")
        train(recipe, data, place, options=options)

    return cross_validate(
        recipe, data, out, folds, device=options["device"], resume=options["resume"], command=options["command"],
        train_one=train_one,
    )  # fmt: skip


def tell_folds(found: CrossValidation, out: Path) -> None:
    """Print the table of the folds, and the figures over all images, on stderr, like the summary of a run."""
    from mien.cli.terminal import print_table, say

    rows = [(one.folder, f"{one.n:,}", f"{one.accuracy:.1%}", f"{one.macro_f1:.1%}") for one in found.folds]
    (accuracy, accuracy_sd), (f1, f1_sd) = found.spread(), found.spread("macro_f1")
    rows.append(("mean", "", f"{accuracy:.1%}", f"{f1:.1%}"))
    rows.append(("standard deviation", "", f"{100 * accuracy_sd:.1f}", f"{100 * f1_sd:.1f}"))
    whole = found.accuracy
    with contextlib.redirect_stdout(sys.stderr):  # stdout has the folder alone, for scripts
        print_table(("held-out fold", "images", "accuracy", "macro-F1"), rows, right=True)
        say(
            f"all {sum(one.n for one in found.folds):,} images, each by the model without it: accuracy "
            f"{whole.value:.1%} ({100 * whole.low:.1f} to {100 * whole.high:.1f} %), macro-F1 {found.macro_f1:.1%}, "
            f"calibration error {found.calibration_error.value:.1%}"
        )
        say(f"their probabilities: {out / 'out_of_fold.csv'}; the models together: {out / 'ensemble'}")
