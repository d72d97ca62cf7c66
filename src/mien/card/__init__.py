"""The model card: what a bundle says about itself, as checked facts; `mien.card.page` writes it for people.

Facts that nobody wrote down are None or empty, and the page says "unknown". Facts that a later version adds are
kept as they are.
"""

from __future__ import annotations

from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from mien import __version__
from mien.escapes import encodable
from mien.preprocess import Preprocess
from mien.results import ClassScores

if TYPE_CHECKING:
    from mien.data.dataset import FaceDataset

_VERSIONED = ("torch", "onnx", "onnxruntime", "numpy", "opencv-python-headless")
BEFORE = "; measured before the calibration"
"""What is added to the protocol of a score of an earlier calibration."""
ENSEMBLE = "ensemble"
"""The architecture of a bundle that joins others; it has a graph and no weights of torch's."""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    @field_validator("*", mode="before")
    @classmethod
    def _can_be_written(cls, value: Any) -> Any:
        return encodable(value) if isinstance(value, str) else value  # it may name a file or folder


class Score(_Facts):
    """An evaluation on one split."""

    split: str
    tta: str = "none"
    """Test-time augmentation."""
    protocol: str = ""
    """What was chosen on these images."""
    n: int = 0
    accuracy: float
    macro_f1: float | None = None
    balanced_accuracy: float | None = None
    top_k_accuracy: dict[str, float] = {}
    per_class: dict[str, ClassScores] = {}
    confusion: tuple[tuple[int, ...], ...] = ()


class Origin(_Facts):
    """Weights that a run began with or learnt from."""

    name: str
    sha256: str = ""


class Training(_Facts):
    """How the weights came to be, or, from `split` on, how an ensemble was put together."""

    started_from: Origin | None = None
    teachers: tuple[Origin, ...] = ()
    votes_share: float = 0.0
    """Fraction of each target that annotators' votes made."""
    epochs: int | None = None
    validation_split: str | None = None
    """Whose images chose the epoch."""
    kept_epoch: int | None = None
    kept_train_accuracy: float | None = None
    kept_val_accuracy: float | None = None
    kept_val_macro_f1: float | None = None
    last_val_accuracy: float | None = None
    median_epoch_seconds: float | None = None
    device: str = ""
    precision: str = ""
    processes: int | None = None
    threads: int | None = None
    machine: str = ""
    onnx_max_probability_difference: float | None = None
    trained_on: tuple[str, ...] | None = None
    """Splits whose images any model in its descent has learnt; None where `train_split` of the recipe is all."""
    chosen_on: tuple[str, ...] | None = None
    split: str | None = None
    """Whose images chose the weights of an ensemble."""
    folds: int | None = None
    """Of an ensemble whose members were each trained without another part of the training images."""
    is_worse: bool = False
    """Whether its best member alone does better there."""
    mean: float | None = None
    vote: float | None = None
    weighted: float | None = None
    """Accuracy there by each rule."""
    gain: float | None = None
    gain_standard_error: float | None = None


class Data(_Facts):
    """The dataset that it was trained and evaluated on."""

    name: str = ""
    fingerprint: str = ""
    counts: dict[str, dict[str, int]] = {}
    """Images of each label in each labelled split."""
    skipped: tuple[str, ...] = ()
    """Corrupt images that were left out."""


class Comparison(_Facts):
    """The answers of a graph beside those of `model.onnx`."""

    n: int = 0
    equal_labels: float | None = None
    change: float | None = None
    """Accuracy minus that of `model.onnx`; None where the images have no labels."""


class ComparedOn(_Facts):
    """The images of a `Comparison`."""

    data: str = ""
    split: str = ""
    chose: bool = False
    """Whether they also chose between candidates."""
    unlearnt: bool | None = None
    """Whether the model has learnt none of them; None: not written down."""


class Export(_Facts):
    """How a further graph was made, and how it compares with `model.onnx`."""

    method: str = ""
    compared_on: ComparedOn = ComparedOn()
    held_out: Comparison = Comparison()
    size_bytes: int | None = None
    onnx_size_bytes: int | None = None
    onnx_sha256: str = ""
    """Of the `model.onnx` that it was compared with; a later calibration gives both another hash."""
    before_calibration: bool = False
    """Whether both were calibrated after the comparison."""
    scores: tuple[Score, ...] = ()
    command: str = ""
    candidates: tuple[dict[str, Any], ...] = ()


class Calibration(_Facts):
    """The last steps of the graphs: what was fitted, to which split, and what it did there."""

    temperature: float = Field(1.0, gt=0)
    bias: tuple[float, ...] = ()
    """Added to each class's logit after the division; empty: none."""
    own_bias: tuple[float, ...] = ()
    """The fitted part of `bias`; the rest comes from `prior`."""
    own_prior: dict[str, float] = {}
    """How frequent each label is among the images that `own_bias` was fitted to; empty: no biases were fitted."""
    prior: dict[str, float] = {}
    """How frequent each label is taken to be; empty: as the network has learnt it."""
    prior_from: str = ""
    split: str | None = None
    """None where no temperature was fitted."""
    unfitted: str = ""
    """Why not, where training says it."""
    data: str = ""
    n: int = 0
    log_loss: float | None = None
    log_loss_calibrated: float | None = None
    ece: float | None = None
    ece_calibrated: float | None = None
    ece_calibrated_95: tuple[float, float] | None = None
    """Its interval; None: not written down."""
    accuracy: float | None = None
    accuracy_calibrated: float | None = None


class Card(_Facts):
    """Everything a bundle says about itself, beside the hashes of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    architecture: str
    """A name in the catalog of networks, or `ENSEMBLE`."""
    labels: tuple[str, ...] = Field(min_length=2)
    preprocess: Preprocess
    parameters: int = Field(ge=0)
    """As deployed."""
    recipe: dict[str, Any]
    """Every option of the run as its version knew them; of an ensemble its rule and members."""
    command: str
    """Rebuilds the bundle, given the data."""
    data: Data
    training: Training
    versions: dict[str, str]
    scores: tuple[Score, ...]
    exports: dict[str, Export] = {}
    """Further graphs, by the name of the backend that runs them."""
    calibration: Calibration = Calibration()

    @field_validator("recipe")
    @classmethod
    def _options_are_a_table(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(options := recipe.get("network_options", {}), dict):
            raise ValueError(f"network_options: expected a table of options, got {options!r}")
        return recipe

    @property
    def temperature(self) -> float:
        """What the graphs divide the network's logits by, as their last step."""
        return self.calibration.temperature

    @property
    def bias(self) -> tuple[float, ...]:
        """What the graphs add to each class's logit after that; empty: nothing."""
        return self.calibration.bias

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Splits whose images the model, or a member of it, has learnt."""
        own = self.recipe.get("train_split")
        return self.training.trained_on or ((str(own),) if own else ())

    @property
    def chosen_on(self) -> tuple[str, ...]:
        """Splits on which its epoch, its members' or their weights were chosen, or its temperature fitted."""
        own, calibration = self.training.validation_split, self.calibration
        fitted = calibration.split if calibration.data in (None, "", self.data.name) else None
        chosen = self.training.chosen_on if self.training.chosen_on is not None else (own,)
        return tuple(dict.fromkeys(split for split in (*chosen, fitted) if split))


def data_facts(data: FaceDataset, fingerprint: str) -> Data:
    """Return name and fingerprint of a dataset, how many images of each label it has, and what was left out."""
    counts = {}
    for split in data.labelled_splits:
        found = Counter(data.truth[data.rows(split)].tolist())
        counts[split] = {data.labels[number]: n for number, n in sorted(found.items())}
    name, skipped = Path(data.source).name, tuple(data.skipped)
    return Data(name=name, fingerprint=fingerprint, counts=counts, skipped=skipped)


def versions() -> dict[str, str]:
    """Return the versions of the packages that make a bundle."""
    return {"mien": __version__, **{name: _version(name) for name in _VERSIONED}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # installed under another name, such as a distribution's own OpenCV
        return "unknown"
