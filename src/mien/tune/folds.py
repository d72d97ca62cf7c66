"""`cross_validate`: a recipe trained K times, each time without another fold of the training images.

So every training image is judged by a model that was not trained on it (nor on a duplicate of it), and whose last
epoch is kept, so that nothing was chosen on it either. The spread over
the folds says how far a figure depends on the images. No other split is read: neither ``test`` nor ``val``.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from mien import bundle, files
from mien.classifiers.onnx_runtime import open_graph
from mien.config import Recipe
from mien.data.dataset import HOLDOUT, FaceDataset
from mien.data.splits import folds
from mien.errors import ConfigError, DataError, number_of
from mien.evaluation.calibration import fit as fit_calibration
from mien.evaluation.calibration import log_loss
from mien.evaluation.render import table
from mien.exporting.ensemble import save_folds
from mien.exporting.temperature import without_temperature
from mien.statistics import Estimate, calibration_error, class_figures, confusion, wilson
from mien.training.loop import check, train

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int

SCHEMA = "mien.cross_validation/1"
TABLE = "out_of_fold.csv"
ENSEMBLE = "ensemble"
FOLD = "fold"

TrainOne = Callable[[Recipe, FaceDataset, Path], object]


@dataclass(frozen=True)
class Fold:
    """One of the runs, judged on the images of its fold, which it was not trained on."""

    folder: str
    n: int
    accuracy: float
    macro_f1: float


@dataclass(frozen=True)
class CrossValidation:
    """The figures over all runs."""

    data: str
    split: str
    labels: tuple[str, ...]
    folds: tuple[Fold, ...]
    accuracy: Estimate
    """Accuracy over all images, each judged by the model that was not trained on it; with Wilson's interval."""
    macro_f1: float
    log_loss: float
    """Log-loss of probabilities whose calibration was fitted to the other folds; so is the calibration error."""
    calibration_error: Estimate

    def spread(self, figure: str = "accuracy") -> tuple[float, float]:
        """Return mean and standard deviation of ``accuracy`` or ``macro_f1`` over the folds."""
        values = [getattr(one, figure) for one in self.folds]
        return statistics.fmean(values), statistics.stdev(values)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row for each fold."""
        return [asdict(one) for one in self.folds]

    def to_dict(self) -> dict[str, Any]:
        """Return every number."""
        means = {
            figure: dict(zip(("mean", "sd"), self.spread(figure), strict=True))
            for figure in ("accuracy", "macro_f1")
        }
        return {
            "schema": SCHEMA, "data": self.data, "split": self.split, "labels": list(self.labels),
            "folds": self.to_rows(), "over_folds": means,
            "out_of_fold": {
                "n": sum(one.n for one in self.folds), "accuracy": self.accuracy._asdict(),
                "macro_f1": self.macro_f1, "log_loss": self.log_loss,
                "calibration_error": self.calibration_error._asdict(),
            },
        }  # fmt: skip


def cross_validate(
    recipe: Recipe,
    data: FaceDataset,
    out: str | Path,
    k: int = 5,
    *,
    device: str = "auto",
    resume: bool = False,
    command: str = "",
    train_one: TrainOne | None = None,
) -> CrossValidation:
    """Train `k` models, each without another fold of the training images, and join them to an ensemble.

    Images that belong together (`mien.data.groups`) are in one fold; every class is spread evenly. ``out/fold1`` and
    so on are the models. ``out_of_fold.csv`` has the probabilities of every image by the model that was not trained
    on it, ``folds.json`` has every number, and ``out/ensemble`` is the mean of the models.

    Args:
        recipe: what to train; its ``validation`` chooses no epoch: each fold is trained to the last one.
        data: the dataset; images of other splits than the recipe's ``train_split`` are not read.
        out: folder for all of this.
        k: number of folds, at least two.
        device: as `mien.train`.
        resume: go on where an earlier call was interrupted.
        command: the command that makes the models again; the model cards state it.
        train_one: trains a recipe on a dataset into a folder; by default `mien.training.loop.train`.

    Raises:
        ConfigError: fewer than two folds, a rate that follows the validation loss, or as `mien.train`.
        DataError: a class has too few groups of images for `k` folds, or as `mien.train`.
        TrainingError, OutputError: as `mien.train`.
    """
    out, recipe = Path(out), fold_recipe(recipe)
    places = check_places(recipe, out, k, device=device, resume=resume)
    joined = out / ENSEMBLE
    data, part = divided(recipe, data, k)
    train_one = train_one or partial(train, score="validation", device=device, resume=resume, command=command)
    for number, place in enumerate(places):
        train_one(recipe, without(data, recipe, part == number), place)
    logits = _answers(places, data, part)
    logits = _calibrated(logits, data.truth, part, biases=not recipe.favours_rare_classes)
    found = _judged(data, logits, part, places)
    files.write(out / TABLE, _table(data, logits, part))
    if not (joined / bundle.CONFIG).exists():
        accuracies = [one.accuracy for one in found.folds]
        save_folds([bundle.load(place) for place in places], data, accuracies, joined, command=command)
    files.write(out / "folds.json", json.dumps(found.to_dict(), indent=2) + "\n")
    return found


def check_places(recipe: Recipe, out: Path, k: int, *, device: str, resume: bool) -> list[Path]:
    """Return the folders of the `k` models, after a check that each can be trained there.

    Raises:
        ConfigError: fewer than two folds, as `mien.train`, or an ensemble whose members are gone: it would stay there
            beside other models.
    """
    places = [out / f"{FOLD}{number + 1}" for number in range(check_folds(k))]
    for place in places:
        check(recipe, place, device=device, resume=resume)
    joined = out / ENSEMBLE
    if (joined / bundle.CONFIG).exists() and not all((one / bundle.CONFIG).exists() for one in places):
        raise ConfigError(f"{joined} joins models of an earlier run: delete it, or choose another `out`")
    return places


def check_folds(k: int) -> int:
    """Return the number of folds.

    Raises:
        ConfigError: fewer than two.
    """
    if k < 2:
        raise ConfigError(f"`folds` must be at least 2, got {k}: each fold is held out once")
    return k


def fold_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe as the folds use it: the held-out fold watches every epoch and chooses nothing.

    Of epochs that a fold's images chose, the answers to them would be too good.

    Raises:
        ConfigError: its learning rate follows the validation loss.
    """
    if recipe.optim.schedule == "plateau":
        raise ConfigError(
            "optim.schedule=plateau lowers the rate by the loss on the images that a fold holds out: with `folds`, "
            "set it to one_cycle, cosine, restarts or constant"
        )
    choosing_nothing = {"split": HOLDOUT, "keep": "last", "patience_epochs": 0}
    return recipe.model_copy(update={"validation": recipe.validation.model_copy(update=choosing_nothing)})


def divided(recipe: Recipe, data: FaceDataset, k: int) -> tuple[FaceDataset, Int[np.ndarray, " n"]]:
    """Return the training images alone, and the fold of each, 0 to k - 1.

    Raises:
        DataError: no such split, an image without a label, or a class in fewer groups of images than folds.
    """
    data = data.select(recipe.train_split)
    data.check_labelled(np.arange(len(data)))
    groups = data.groups(np.arange(len(data)))
    part = folds(data.truth, groups, k, recipe.validation.holdout_seed)
    for label in np.unique(data.truth):
        if len(np.unique(part[data.truth == label])) < k:
            n = len(np.unique(groups[data.truth == label]))
            raise DataError(
                f"the images of {data.labels[label]!r} in {data.source} form {number_of(n, 'group')}, of which not "
                f"each of {k} folds gets one: fewer `folds`, or other `labels`"
            )
    return data, part


def without(data: FaceDataset, recipe: Recipe, held: Any) -> FaceDataset:
    """Return the data with the rows where `held` is true as the split ``holdout``."""
    return replace(data, split=np.where(held, HOLDOUT, recipe.train_split))


def _answers(
    places: list[Path], data: FaceDataset, part: Int[np.ndarray, " n"]
) -> Float32[np.ndarray, "n k"]:
    """Return the logits of every image by the model that was not trained on it, before that model's calibration.

    Calibrated logits would be too good, because each model was calibrated on the images that it judges here.
    """
    logits = np.empty((len(data), len(data.labels)), np.float32)
    for number, place in enumerate(places):
        made, rows = bundle.load(place), np.flatnonzero(part == number)
        graph = open_graph(made.id, made.preprocess, without_temperature(made.read(bundle.GRAPH)))
        logits[rows] = graph.logits(data.images[rows])
    return logits


def _calibrated(
    logits: Float32[np.ndarray, "n k"],
    truth: Int[np.ndarray, " n"],
    part: Int[np.ndarray, " n"],
    *,
    biases: bool,
) -> Float[np.ndarray, "n k"]:
    """Return logits whose calibration was fitted to the other folds, as `training.finish` calibrates."""
    found = np.empty(logits.shape, np.float64)
    for number in np.unique(part):
        held = part == number
        temperature, bias = fit_calibration(logits[~held], truth[~held], biases=biases)
        found[held] = logits[held] / temperature + bias
    return found


def _judged(
    data: FaceDataset, logits: Float[np.ndarray, "n k"], part: Int[np.ndarray, " n"], places: list[Path]
) -> CrossValidation:
    truth, k = data.truth, len(data.labels)
    answers, made = logits.argmax(axis=1), []
    for number, place in enumerate(places):
        rows = part == number
        figures = class_figures(confusion(truth[rows], answers[rows], k))
        accuracy = float((truth[rows] == answers[rows]).mean())
        made.append(Fold(place.name, int(rows.sum()), accuracy, float(figures.macro_f1)))
    hits = answers == truth
    return CrossValidation(
        data=data.source,
        split=str(data.split[0]),
        labels=data.labels,
        folds=tuple(made),
        accuracy=wilson(hits),
        macro_f1=float(class_figures(confusion(truth, answers, k)).macro_f1),
        log_loss=log_loss(logits, truth),
        calibration_error=calibration_error(softmax(logits, axis=1).max(axis=1), hits),
    )


def _table(data: FaceDataset, logits: Float[np.ndarray, "n k"], part: Int[np.ndarray, " n"]) -> str:
    """Return a CSV with a line for each training image: the columns of a report's ``predictions.csv``, and fold."""
    labels, probs = data.labels, softmax(logits, axis=1)
    rows = (
        (name, labels[true], labels[int(row.argmax())], number + 1, *row.tolist())
        for name, true, number, row in zip(data.ids, data.truth.tolist(), part.tolist(), probs, strict=True)
    )
    return table(("id", "truth", "prediction", FOLD, *labels), rows)
