"""The models of a comparison: bundles and run folders, with what is known about how they were made."""

from __future__ import annotations

import glob
import os
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mien import bundle
from mien.classifiers import load_classifier
from mien.errors import ConfigError, DataError
from mien.evaluation.protocol import CHOSEN, keys_learnt
from mien.history import EpochRow, read_csv

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    import numpy as np
    from jaxtyping import Int

    from mien.bundle import Card
    from mien.classifiers import Classifier


@dataclass(frozen=True)
class Past:
    """How a model was made; None for facts that are not recorded."""

    data: str | None = None
    """Name of the dataset."""
    labels_option: str | None = None
    """The option ``--labels`` that it was trained with."""
    trained_on: tuple[str, ...] = ()
    """Splits on which it was trained."""
    chosen_on: tuple[str, ...] = ()
    """Splits on which its epoch or anything else was chosen."""
    train_accuracy: float | None = None
    """Training accuracy of the kept epoch, on augmented images."""
    validation_split: str | None = None
    """Split on which the epoch, or an ensemble's weights, were chosen."""
    validation_accuracy: float | None = None
    history: tuple[EpochRow, ...] = ()
    seed: int | None = None
    """Seed of the training run."""
    calibrated_on: tuple[str | None, str | None] = (None, None)
    """Dataset and split to which its temperature and biases were fitted."""


@dataclass(frozen=True)
class Contender:
    """One model of a comparison."""

    name: str
    classifier: Classifier
    one_thread: Classifier
    """The same model on one processor thread, for timing."""
    architecture: str
    parameters: int
    past: Past = Past()
    learnt: Int[np.ndarray, " m"] | None = None
    """Keys of the images that it has learnt, sorted; None if it does not keep them."""
    group: str = ""
    """Name of the recipe of which it is one of several runs: the pattern, or the common part of their folders."""
    group_caveat: str = ""
    """Why the models of its group may not be runs of one recipe."""


def enter(models: Sequence[str]) -> tuple[Contender, ...]:
    """Load the models that a user names; models of one name are told apart by their folders.

    A name may be a pattern such as ``a/seed*``: all folders that it matches are runs of one recipe.

    Raises:
        ConfigError: fewer than two, one named twice, or a pattern that matches fewer than two.
        BundleError: a model that is missing, damaged or of another format, or a run that has not ended.
        DataError: a run's history is damaged.
    """
    found = [(folder, group) for model in models for folder, group in _expanded(model)]
    if len(found) < 2:
        raise ConfigError(
            f"a comparison needs two models or more, got {len(found)}: name another; `mien evaluate` judges one"
        )
    models, patterns = [model for model, _ in found], [pattern for _, pattern in found]
    folders = [bundle.find(model).resolve() for model in models]
    for folder, count in Counter(folders).items():
        if count > 1:
            same = [model for model, found in zip(models, folders, strict=True) if found == folder]
            raise ConfigError(f"{' and '.join(same)} are one model, named {count} times: name each once")
    bundles = [bundle.load(model) for model in models]
    cards = [one.card for one in bundles]
    names, groups = distinct_names(cards, folders), _groups(models, patterns, cards)
    caveats = {group: _differences([card for card, own in zip(cards, groups, strict=True) if own == group])
               for group in set(groups) if group}  # fmt: skip
    return tuple(
        Contender(
            name,
            load_classifier(model),
            load_classifier(model, threads=1),
            one.card.architecture,
            one.card.parameters,
            _past(one.card, folder / bundle.RUN / "history.csv"),
            keys_learnt(one),
            group,
            caveats.get(group, ""),
        )
        for name, model, one, folder, group in zip(names, models, bundles, folders, groups, strict=True)
    )


def _expanded(model: str) -> list[tuple[str, str]]:
    """Return the model and no pattern, or each folder that a pattern matches and the pattern.

    Raises:
        ConfigError: a pattern that matches fewer than two folders.
    """
    if not glob.has_magic(model) or os.path.isdir(model):  # noqa: PTH112 - never raises, whatever the name
        return [(model, "")]
    folders = sorted(path for path in glob.glob(model) if os.path.isdir(path))  # noqa: PTH112, PTH207
    if len(folders) < 2:
        count = "one folder" if folders else "no folder"
        raise ConfigError(
            f"{model!r} matches {count}: a pattern names two or more runs of one recipe, such as 'nano/seed*'"
        )
    return [(folder, model) for folder in folders]


def _groups(models: Sequence[str], patterns: Sequence[str], cards: Sequence[Card]) -> list[str]:
    """Return the recipe's name for each model with several runs: the pattern, else the common part of their paths.

    A shell expands a pattern without quotes. So models that were named one by one belong together, too, if only the
    seed of their options differs.
    """
    alike: dict[str, list[int]] = {}
    for place, (card, pattern) in enumerate(zip(cards, patterns, strict=True)):
        if not pattern and card.architecture != bundle.ENSEMBLE:
            alike.setdefault(repr((_options(card), card.data.fingerprint)), []).append(place)
    groups = list(patterns)
    for places in alike.values():
        seeds = {cards[place].recipe.get("seed") for place in places}
        if len(places) > 1 and len(seeds) == len(places):  # a calibrated copy has the seed of its original
            shared = os.path.commonprefix([models[place] for place in places])  # noqa: RUF071 - of characters
            name = (
                f"{shared}*" if shared and f"{shared}*" not in groups else f"{models[places[0]]} and others"
            )
            for place in places:
                groups[place] = name
    return groups


def _options(card: Card) -> dict[str, Any]:
    return {name: value for name, value in sorted(card.recipe.items()) if name != "seed"}


def _differences(cards: Sequence[Card]) -> str:
    """Return in which options, other than the seed, models of one recipe differ; an empty text if in none."""
    options = [_options(card) for card in cards]
    known = {name for own in options for name in own}
    differ = sorted(name for name in known if any(own.get(name) != options[0].get(name) for own in options))
    if len({card.data.fingerprint for card in cards}) > 1:
        differ.append("the dataset")
    if not differ and len({card.recipe.get("seed") for card in cards}) < len(cards):
        return "some of its runs have the same seed"
    return f"its runs differ in more than the seed: {', '.join(differ)}" if differ else ""


def distinct_names(cards: Sequence[Card], folders: Sequence[Path]) -> list[str]:
    """Return each model's name; equal names get as much of the folder as is needed to tell them apart."""
    names = [card.name for card in cards]
    shipped = {bundle.find(name).resolve() for name in bundle.built_in()} & set(folders)
    shown = []
    for name, folder in zip(names, folders, strict=True):
        rivals = [
            other for rival, other in zip(names, folders, strict=True) if rival == name and other != folder
        ]
        if not rivals:
            shown.append(name)
        elif folder in shipped:
            shown.append(f"{name} (built-in)")
        else:
            shown.append(f"{name} ({_distinct_end(folder, rivals)})")
    return shown


def check_labels(labels: tuple[str, ...], contenders: Sequence[Contender], source: str) -> None:
    """Refuse data with a label that a model does not know.

    Raises:
        DataError: says which `labels` would make them fit, if there is one.
    """
    for contender in contenders:
        missing = [label for label in labels if label not in contender.classifier.id.labels]
        if missing:
            known = ", ".join(contender.classifier.id.labels)
            raise DataError(
                f"label {missing[0]!r} of {source} is unknown to {contender.name}, which knows {known}: "
                f"{_fitting(labels, contenders)}"
            )


def _distinct_end(folder: Path, rivals: Sequence[Path]) -> str:
    for length in range(1, len(folder.parts)):
        end = folder.parts[-length:]
        if all(rival.parts[-length:] != end for rival in rivals):
            return "/".join(end)
    return str(folder)


def _fitting(labels: tuple[str, ...], contenders: Sequence[Contender]) -> str:
    """Return advice that makes data and models fit: classes that all know, or the option of their training."""
    common = [label for label in labels if all(label in one.classifier.id.labels for one in contenders)]
    if len(common) > 1:
        return f"add `labels={','.join(common)}`, which all of them know"
    options = {one.past.labels_option for one in contenders}
    option = options.pop() if len(options) == 1 else None
    if option:
        return f"add `labels={option}`, which all of them were trained with"
    return "no `labels` fits them all; compare models of one label set"


def _past(card: Card, history: Path) -> Past:
    training = card.training
    rows = tuple(read_csv(history)) if history.is_file() else ()
    judged = str(card.recipe.get("rule")) if card.architecture == bundle.ENSEMBLE else "kept_val_accuracy"
    kept = next((row for row in rows if row.epoch == training.kept_epoch), None)
    chosen = next((score.split for score in card.scores if score.protocol.startswith(CHOSEN)), None)
    return Past(
        data=card.data.name or None,
        labels_option=_option(card.command, "--labels"),
        trained_on=card.trained_on,
        chosen_on=card.chosen_on,
        calibrated_on=(card.calibration.data, card.calibration.split),
        train_accuracy=kept.train_accuracy if kept else training.kept_train_accuracy,
        validation_split=training.validation_split or training.split or chosen,
        validation_accuracy=kept.val_accuracy if kept else getattr(training, judged, None),
        history=rows,
        seed=card.recipe.get("seed"),
    )


def _option(command: str, name: str) -> str | None:
    try:
        words = shlex.split(command)
    except ValueError:  # a model trained from Python may have any text there
        return None
    return words[words.index(name) + 1] if name in words[:-1] else None
