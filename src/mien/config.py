"""Recipes: typed, frozen and checked before anything runs.

A recipe file states only what differs from the defaults here. It knows option names and ranges; it does
not know torch, datasets or networks (their names are checked against the catalog where they are used).
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mien.errors import ConfigError, did_you_mean
from mien.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.resources.abc import Traversable


_Option = bool | int | float | str


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Augment(_Section):
    """Random changes to a training picture, drawn anew each time it is seen."""

    flip_probability: float = Field(0.5, ge=0, le=1)
    rotation_deg: float = Field(0.0, ge=0, le=180)
    """Turned by up to this, either way."""
    shift_fraction: float = Field(0.0, ge=0, lt=1)
    """Moved by up to this part of the side, along each axis."""
    scale_fraction: float = Field(0.0, ge=0, lt=1)
    """Enlarged or shrunk by up to this part, even in the logarithm."""
    vertical_flip_probability: float = Field(0.0, ge=0, le=1)
    """Faces stand upright: off, unless a picture may come in any position."""
    crop_fraction: float = Field(0.0, ge=0, lt=1)
    """Cut to a random rectangle missing up to this part of each side, then stretched back."""
    blur_sigma_px: float = Field(0.0, ge=0, le=8)
    """Greatest width of a Gaussian blur, drawn from nothing to this."""
    sharpness_fraction: float = Field(0.0, ge=0, le=4)
    """Up to this part of the difference from the mean of 3x3 pixels is added (sharper) or taken away (softer)."""
    move_probability: float = Field(1.0, ge=0, le=1)
    """Chance that a picture is turned, moved, scaled or cropped at all. Sampling it anew blurs it; the others stay
    as sharp as the pictures a model is used on."""
    interpolation: Literal["linear", "nearest", "cubic"] = "linear"
    """How a moved picture is sampled. `nearest`, the default of torchvision's transforms, does not blur."""
    outside: Literal["grey", "black", "border", "reflection"] = "grey"
    """What is seen where a moved picture does not reach. Mid-grey is also what the zero padding of a
    convolution shows a network whose input has the mean 0.5."""
    brightness_fraction: float = Field(0.0, ge=0, le=1)
    """Shifted by up to this fraction of the full range."""
    contrast_fraction: float = Field(0.0, ge=0, le=1)
    clip_light: bool = True
    """Whether pixels that brightness and contrast take beyond black and white are clipped. An input of a network has
    no such limits, and clipping loses what the bright and dark parts of a face show."""
    gamma_fraction: float = Field(0.0, ge=0, le=4)
    """Pixels, from 0 to 1, are raised to a power of at most 1 plus this, at least 1 / (1 plus this)."""
    light_slope_fraction: float = Field(0.0, ge=0, le=1)
    """Light from one side: one edge is brighter by up to this fraction of the full range, the other edge darker."""
    downscale_fraction: float = Field(0.0, ge=0, lt=1)
    """Shrunk by up to this fraction of the side and enlarged again, as a face that was small in its photo."""
    jpeg_probability: float = Field(0.0, ge=0, le=1)
    """Chance of the damage that saving as JPEG does to grey images: blocks of 8x8 pixels lose detail."""
    jpeg_least_quality: int = Field(30, ge=1, le=95)
    """The quality is drawn between this and 95, as JPEG libraries count it."""
    noise_fraction: float = Field(0.0, ge=0, le=1)
    """Greatest standard deviation of Gaussian noise, as a fraction of the full range."""
    degrade_probability: float = Field(1.0, ge=0, le=1)
    """Chance that a picture gets any of these five changes: gamma, slope, downscale, JPEG and noise. The others stay
    as good as they are, so that the network also learns from clear pictures."""
    erase_probability: float = Field(0.0, ge=0, le=1)
    """Chance that a rectangle is painted over with one random grey (Zhong et al. 2017, arXiv:1708.04896)."""
    erase_side_fraction: tuple[float, float] = (0.15, 0.45)
    """Least and greatest side of that rectangle."""
    mixup_probability: float = Field(0.0, ge=0, le=1)
    """Chance that a picture is blended with another one, targets too (Zhang et al. 2018, arXiv:1710.09412)."""
    mixup_alpha: float = Field(0.2, gt=0)
    """Both parameters of the Beta distribution that the share of the picture is drawn from."""
    cutmix_probability: float = Field(0.0, ge=0, le=1)
    """Chance that a rectangle of another picture is pasted in (Yun et al. 2019, arXiv:1905.04899)."""
    cutmix_alpha: float = Field(1.0, gt=0)
    """Both parameters of the Beta distribution that the part left over is drawn from."""
    copies_per_image: int = Field(1, ge=1)
    """Rows of a batch that show the same image, each changed in its own way (Hoffer et al. 2020,
    arXiv:1901.09335). A batch then holds fewer images and an epoch more steps."""
    ramp_start_fraction: float = Field(1.0, ge=0, le=1)
    """Strength of everything but the flips at the first step, as a fraction of the full strength."""
    ramp_end_fraction: float = Field(0.5, gt=0, le=1)
    """Fraction of the run after which the changes have their full strength; until then it rises linearly."""

    @model_validator(mode="after")
    def _in_order(self) -> Augment:
        low, high = self.erase_side_fraction
        if not 0 <= low <= high <= 1:
            raise ValueError("erase_side_fraction needs 0 <= least <= greatest <= 1")
        if self.mixup_probability + self.cutmix_probability > 1:
            raise ValueError(
                "mixup_probability and cutmix_probability exclude each other: their sum may be 1"
            )
        return self

    def at(self, progress: float) -> Augment:
        """Return what applies at a point of the run, `progress` in [0, 1)."""
        risen = min(1.0, progress / self.ramp_end_fraction)
        strength = self.ramp_start_fraction + (1 - self.ramp_start_fraction) * risen
        if strength == 1:
            return self
        return self.model_copy(update={name: strength * getattr(self, name) for name in _RAMPED})


_RAMPED = (
    *("rotation_deg", "shift_fraction", "scale_fraction", "crop_fraction", "brightness_fraction"),
    *("contrast_fraction", "blur_sigma_px", "sharpness_fraction", "erase_probability"),
    *("mixup_probability", "cutmix_probability", "gamma_fraction", "light_slope_fraction"),
    *("downscale_fraction", "jpeg_probability", "noise_fraction"),
)

_SYSTEM_B_COPIES = Augment(
    rotation_deg=15,
    shift_fraction=0.1,
    scale_fraction=0.1,
    crop_fraction=0.2,
    brightness_fraction=0.2,
    contrast_fraction=0.2,
    blur_sigma_px=1.0,
    sharpness_fraction=1.0,
)
"""The kinds of change reference system B made, and its crop of .8 to 1, read as a part of each side; the other
amounts are ours."""


class Balance(_Section):
    """What is done about rare classes before the loss; docs/imbalance.md compares them."""

    sampler: Literal["shuffled", "weighted"] = "shuffled"
    """``weighted`` draws images with replacement so that every class is seen equally often."""
    enlarge_to_ratio: float = Field(0.0, ge=0, le=1)
    """Randomly changed copies join the images of each class until it has this part of the largest; 0: none."""
    copies: Augment = _SYSTEM_B_COPIES
    """How a copy differs from its original. Copies are made once, before training, each of one picture."""

    @field_validator("copies", mode="before")
    @classmethod
    def _with_defaults(cls, copies: object) -> object:
        return {**_SYSTEM_B_COPIES.model_dump(), **copies} if isinstance(copies, dict) else copies

    @field_validator("copies")
    @classmethod
    def _of_one_picture(cls, copies: Augment) -> Augment:
        for name in ("mixup_probability", "cutmix_probability", "copies_per_image", "ramp_start_fraction"):
            if getattr(copies, name) != getattr(_SYSTEM_B_COPIES, name):
                raise ValueError(f"{name} is for batches: copies are made once, each of one picture")
        return copies


class Optim(_Section):
    """Optimiser and learning-rate schedule."""

    name: Literal["sgd", "adam", "adamw", "muon"] = "sgd"
    """``muon`` makes orthogonal steps (Jordan 2024): a peak_lr of 0.02 to 0.05 with a weight_decay of 0.05
    suits it. Biases, normalisation, embeddings and the last layer move by sgd then, without decay."""
    peak_lr: float = Field(0.1, gt=0)
    sgd_lr_factor: float = Field(5.0, gt=0)
    """For muon: what moves by sgd has the rate of the filters times this."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Nesterov's, for sgd and muon; the first beta for adam and adamw."""
    momentum_low: float = Field(0.0, ge=0, lt=1)
    """Momentum at the peak of one_cycle: it falls to this while the rate rises, and rises again while the rate falls
    (Smith 2018, arXiv:1803.09820). 0: momentum does not change."""
    weight_decay: float = Field(5e-4, ge=0)
    """On filters and matrices only, never on biases or normalisation. Part of the gradient (L2) for sgd and
    adam, taken off the weights directly for muon and for adamw (Loshchilov & Hutter 2019, arXiv:1711.05101)."""
    schedule: Literal["one_cycle", "cosine", "restarts", "plateau", "constant"] = "one_cycle"
    warmup_fraction: float = Field(0.15, ge=0, lt=1)
    """Fraction of the run in which the rate rises to its peak, for one_cycle and cosine."""
    initial_lr_fraction: float = Field(0.04, ge=0, le=1)
    """Rate of the first step as a fraction of the peak, for one_cycle and cosine."""
    final_lr: float = Field(0.0, ge=0)
    """Where one_cycle, cosine and restarts end, and what plateau never goes below."""
    period_epochs: float = Field(10.0, gt=0)
    """From one restart to the next (Loshchilov & Hutter 2017, arXiv:1608.03983)."""
    plateau_patience_epochs: int = Field(5, ge=0)
    """Epochs without a lower validation loss before plateau lowers the rate, at the next such epoch."""
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    """Factor by which plateau lowers the rate."""

    @model_validator(mode="after")
    def _cycle_of_momentum(self) -> Optim:
        if self.momentum_low and self.schedule != "one_cycle":
            raise ValueError(
                f"momentum_low is for the schedule one_cycle, not for {self.schedule}: set optim.momentum_low=0"
            )
        if self.momentum_low > self.momentum:
            raise ValueError(f"momentum_low {self.momentum_low} must not exceed momentum {self.momentum}")
        return self


class Loss(_Section):
    """Cross-entropy with hard or soft targets, and its variants for rare classes."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    focal_gamma: float = Field(0.0, ge=0)
    """Weight of hard images: a class with probability p counts (1 - p)^gamma (Lin et al. 2017,
    arXiv:1708.02002); 0 is cross-entropy."""
    class_weights: Literal["none", "inverse_frequency", "effective_number"] = "none"
    """Of the training images as they are before any enlargement; their mean over those images is one."""
    effective_beta: float = Field(0.999, ge=0, lt=1)
    """A class of n images counts as (1 - beta^n) / (1 - beta) (Cui et al. 2019, arXiv:1901.05555)."""
    logit_adjustment_tau: float = Field(0.0, ge=0)
    """While training, tau times the logarithm of a class's share of what is shown is added to its logit (Menon et al.
    2021, arXiv:2007.07314); 1 aims at the mean recall of the classes."""
    drawn_targets: bool = False
    """Draw one label from an image's votes each time it is seen (Barsoum et al. 2016, arXiv:1608.01041)."""


class Distillation(_Section):
    """Learning from the answers of trained models (Hinton et al. 2015, arXiv:1503.02531).

    They see the very pictures that the network sees, augmented and mixed (Beyer et al. 2022, arXiv:2106.05237).
    """

    teachers: tuple[str, ...] = ()
    """Bundles; the mean of their probabilities teaches."""
    share: float = Field(0.7, ge=0, le=1)
    """Of the target; the rest is the label's."""
    votes_share: float = Field(0.0, ge=0, le=1)
    """Of what the teachers leave: the label as annotators' votes (``--votes FILE --vote-rule beside``) predict it."""


class Ema(_Section):
    """Exponential moving average of the weights, which is then what is judged and shipped."""

    decay: float = Field(0.0, ge=0, lt=1)
    """Per step; 0 switches it off."""


class Validation(_Section):
    """Which images judge every epoch, and which epoch is kept."""

    split: str = "auto"
    """A split of the dataset, or ``holdout``: a stratified fraction of the training images. ``auto`` is ``val``
    where the dataset has it, else ``holdout``; it is never ``test``."""
    keep: Literal["last", "best"] = "last"
    """Which epoch's weights become the model. The best of many epochs reads better on the images that chose
    it than on others."""
    every_epochs: int = Field(1, ge=1)
    """The network is judged after every so many epochs, and after the last one."""
    monitor: Literal["accuracy", "macro_f1", "loss"] = "accuracy"
    """What makes an epoch the best one. ``macro_f1`` counts every class alike, however rare."""
    patience_epochs: int = Field(0, ge=0)
    """Stop early after so many epochs without a better one; 0: never. With ``keep = "best"`` the best one is kept.
    Only an epoch in which the network is judged (`every_epochs`) can end the run."""
    batch_size: int = Field(512, ge=1)
    """Images judged at once. No figure depends on it; memory does."""
    holdout_fraction: float = Field(0.1, gt=0, lt=1)
    holdout_seed: int = Field(0, ge=0)


class Transfer(_Section):
    """Starting from weights that were trained on something else."""

    weights: str = ""
    """A file (``.safetensors``, ``.pth``), a bundle, or ``hub``: what timm offers on the hub under the
    backbone's name. A head for other classes begins afresh; filters for other colours are summed or spread.
    Empty: random weights."""
    frozen_epochs: int = Field(0, ge=0)
    """First epochs in which only the head, the last linear layer, is trained."""
    backbone_lr_factor: float = Field(1.0, gt=0, le=1)
    """The backbone learns at this part of the head's rate."""


class Resizing(_Section):
    """Smaller pictures in the first part of a run. A step with them takes less time than with whole ones.

    Also called progressive resizing. Validation images, and all later training images, keep their full size.
    """

    early_size_px: int = Field(0, ge=0)
    """Training pictures are shrunk to this side until `until_fraction`; 0: never."""
    until_fraction: float = Field(0.6, gt=0, lt=1)
    """Fraction of the run after which pictures have their full size."""


class Recipe(_Section):
    """Everything that determines a training run, beside the data."""

    network: str
    network_options: dict[str, _Option | list[_Option | list[_Option]]] = Field(default_factory=dict)
    """Arguments of the network's builder, such as dropout, activation or widths."""
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(128, ge=2)
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """``auto``: bf16 where the device computes in it (most GPUs, CPUs with AVX512-BF16), elsewhere 32 bits. A CPU
    without it only imitates bf16, and trained 12 times slower that way (docs/LOG.md)."""
    train_split: str = "train"
    compile: bool = False
    """Compile the network (needs a C++ compiler on a CPU; gains or loses by network: measure)."""
    cuda_graphs: bool = False
    """On CUDA, record the network's forward and backward pass once and replay it. It saves the time that starting
    hundreds of small kernels takes. Without effect elsewhere, for several processes and with frozen_epochs."""
    input: Preprocess = Preprocess()
    augment: Augment = Augment()
    resizing: Resizing = Resizing()
    balance: Balance = Balance()
    optim: Optim = Optim()
    loss: Loss = Loss()
    distillation: Distillation = Distillation()
    ema: Ema = Ema()
    transfer: Transfer = Transfer()
    validation: Validation = Validation()
    options_chosen_on: str = ""
    """Which options were chosen with the figures of which images in sight; for the card. It changes no run."""

    @property
    def favours_rare_classes(self) -> bool:
        """Whether rare classes are answered more often than they occur among the training images."""
        return (
            self.balance.sampler == "weighted"
            or self.balance.enlarge_to_ratio > 0
            or self.loss.class_weights != "none"
            or self.loss.logit_adjustment_tau > 0
        )

    def size_at(self, progress: float) -> int:
        """Return the side of training pictures, in pixels, at a point of the run, `progress` in [0, 1)."""
        early = self.resizing.early_size_px and progress < self.resizing.until_fraction
        return self.resizing.early_size_px if early else self.input.size_px

    def work_until(self, progress: float) -> float:
        """Return how much of the run's work is done at `progress` in [0, 1]: 1 is a run with full-size pictures.

        A step with smaller pictures counts less, by its pixels.
        """
        small = min(progress, self.resizing.until_fraction) if self.resizing.early_size_px else 0.0
        return small * (self.resizing.early_size_px / self.input.size_px) ** 2 + progress - small

    @model_validator(mode="after")
    def _sizes_agree(self) -> Recipe:
        early = self.resizing.early_size_px
        if early and early >= self.input.size_px:
            raise ValueError(
                f"resizing.early_size_px {early} must be less than input.size_px {self.input.size_px}"
            )
        if early and self.cuda_graphs:
            raise ValueError("cuda_graphs replays pictures of one size: it excludes resizing.early_size_px")
        return self

    @model_validator(mode="after")
    def _splits_differ(self) -> Recipe:
        if self.validation.split == self.train_split:
            raise ValueError(f"validation.split must differ from train_split ({self.train_split!r})")
        if self.batch_size % self.augment.copies_per_image:
            raise ValueError(
                f"batch_size {self.batch_size} does not divide into "
                f"{self.augment.copies_per_image} copies of each image"
            )
        return self


OTHER_NAMES = {
    "lr": "optim.peak_lr",
    "learning_rate": "optim.peak_lr",
    "optimizer": "optim.name",
    "scheduler": "optim.schedule",
    "wd": "optim.weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "model": "network",
    "patience": "validation.patience_epochs",
    "dropout": "network_options.dropout",
    "teacher": "distillation.teachers",
    "weights": "transfer.weights",
    "pretrained": "transfer.weights",
    "size": "input.size_px",
    "smoothing": "loss.label_smoothing",
}
"""What other programs call an option, and its name here."""


def facts_of(recipe: Recipe) -> dict[str, Any]:
    """Return every option as a model card states it: weights by their name, without the folders of this machine."""
    facts = recipe.model_dump(mode="json")
    facts["transfer"]["weights"] = Path(recipe.transfer.weights).name
    facts["distillation"]["teachers"] = [Path(name).name for name in recipe.distillation.teachers]
    return facts


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes, as ``mien/nano`` is one."""
    return [f"{folder}/{file.name.removesuffix('.toml')}" for folder, file in _shipped()]


def read_recipe(name: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe or a TOML file and apply ``key.path=value`` settings, a list.

    ``mien.read_recipe("nano", ["optim.peak_lr=0.05"]).optim``

    Raises:
        ConfigError: no such recipe, bad TOML, an unknown key, a value out of range, or a text as `settings`.
    """
    if isinstance(settings, str):
        raise ConfigError(f"settings are a list such as ['epochs=3'], got the text {settings!r}")
    text = recipe_text(str(name))
    try:
        options = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # no TOML, too many digits, too deeply nested
        raise ConfigError(f"recipe {name} is not valid TOML: {error}") from error
    for setting in settings:
        _apply(options, setting)
    return checked_recipe(options)


def checked_recipe(options: dict[str, Any]) -> Recipe:
    """Check nested options against the recipe model; the first fault is the message."""
    try:
        return Recipe.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(_explain(first["type"], first["loc"], first["msg"], first["input"])) from error


def recipe_text(name: str) -> str:
    """Return the TOML of a shipped recipe (``nano`` is enough where one name ends so) or of a file."""
    matches = [file for folder, file in _shipped() if name in (f"{folder}/{file.name[:-5]}", file.name[:-5])]
    if len(matches) == 1:
        return matches[0].read_text(encoding="utf-8")
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"recipe {name} cannot be read as UTF-8 text: {error}") from error
    hint = did_you_mean(name, [n for full in recipe_names() for n in (full, full.split("/")[1])])
    raise ConfigError(f"no recipe {name!r}{hint}: expected a TOML file or a name from `mien recipes`")


def _shipped() -> Iterator[tuple[str, Traversable]]:
    for folder in sorted(resources.files("mien").joinpath("recipes").iterdir(), key=lambda f: f.name):
        for file in sorted(folder.iterdir(), key=lambda f: f.name) if folder.is_dir() else ():
            if file.name.endswith(".toml"):
                yield folder.name, file


def _apply(options: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set expects key=value, such as optim.peak_lr=0.05; got {setting!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string: --set optim.name=adamw
    except (ValueError, RecursionError) as error:  # too many digits, too deeply nested
        raise ConfigError(f"--set {path}: the value cannot be read: {error}") from error
    *sections, key = path.strip().split(".")
    for section in sections:
        options = options.setdefault(section, {})
        if not isinstance(options, dict):
            raise ConfigError(f"--set {setting}: {section} is a value, not a section")
    options[key] = value


def _explain(kind: str, location: tuple[int | str, ...], message: str, value: object) -> str:
    path = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        return f"unknown option {path}{_nearest(path)}"
    if kind == "missing":
        return f"option {path} is missing: a recipe must state it"
    where = f"option {path}: " if path else ""
    return f"{where}{message.removeprefix('Value error, ')}" + (
        "" if isinstance(value, dict) else f"; got {value!r}"
    )


def _nearest(path: str) -> str:
    """Return a hint: what other programs call so, an option of that name in a section, or a similar one."""
    name, known = path.rpartition(".")[2], option_paths()
    meant = [one for one in known if one.rpartition(".")[2] == name]
    if name in OTHER_NAMES or len(meant) == 1:
        return f"; did you mean {OTHER_NAMES.get(name) or meant[0]}?"
    return did_you_mean(path, known)


def option_paths(model: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Return every option a recipe knows, as dotted paths."""
    paths = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            paths += option_paths(inner, f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths
