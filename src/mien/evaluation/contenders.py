"""Who takes part in a comparison: bundles and run folders, with what is known of how they came to be."""

from __future__ import annotations

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

    import numpy as np
    from jaxtyping import Int

    from mien.bundle import Card
    from mien.classifiers import Classifier


@dataclass(frozen=True)
class Past:
    """How a model was made; None where nobody wrote it down."""

    data: str | None = None
    """Name of the dataset."""
    labels_option: str | None = None
    """The map of the data's classes that it was trained with."""
    trained_on: tuple[str, ...] = ()
    """Splits whose pictures it learnt..."""
    chosen_on: tuple[str, ...] = ()
    """...and on which anything of it was chosen."""
    train_accuracy: float | None = None
    """On the pictures as augmented, the mean over the kept epoch."""
    validation_split: str | None = None
    """Whose images chose the epoch, or an ensemble's weights."""
    validation_accuracy: float | None = None
    history: tuple[EpochRow, ...] = ()


@dataclass(frozen=True)
class Contender:
    """One model of a comparison."""

    name: str
    classifier: Classifier
    one_thread: Classifier
    """The same model held to one processor thread, for timing."""
    architecture: str
    parameters: int
    past: Past = Past()
    learnt: Int[np.ndarray, " m"] | None = None
    """Keys of the pictures it has learnt, sorted."""


def enter(models: Sequence[str]) -> tuple[Contender, ...]:
    """Load the models a user names; where names collide, their folders tell them apart.

    Raises:
        ConfigError: fewer than two, or one named twice.
        BundleError: missing, damaged, foreign, or a run that has not ended.
        DataError: a run's history is damaged.
    """
    if len(models) < 2:
        raise ConfigError(
            f"a comparison needs two models or more, got {len(models)}: name another; `mien evaluate` judges one"
        )
    folders = [bundle.find(model).resolve() for model in models]
    for folder, count in Counter(folders).items():
        if count > 1:
            same = [model for model, found in zip(models, folders, strict=True) if found == folder]
            raise ConfigError(f"{' and '.join(same)} are one model, named {count} times: name each once")
    bundles = [bundle.load(model) for model in models]
    names = distinct_names([one.card for one in bundles], folders)
    return tuple(
        Contender(
            name,
            load_classifier(model),
            load_classifier(model, threads=1),
            one.card.architecture,
            one.card.parameters,
            _past(one.card, folder / bundle.RUN / "history.csv"),
            keys_learnt(one),
        )
        for name, model, one, folder in zip(names, models, bundles, folders, strict=True)
    )


def distinct_names(cards: Sequence[Card], folders: Sequence[Path]) -> list[str]:
    """Return each model's own name; of equal ones each with as much of its folder as tells it apart."""
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
        DataError: says which ``--labels`` would make them fit, where there is one.
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
    """Say what makes data and models fit: the classes all know, or the map all were trained with."""
    common = [label for label in labels if all(label in one.classifier.id.labels for one in contenders)]
    if len(common) > 1:
        return f"add --labels {','.join(common)}, which all of them know"
    options = {one.past.labels_option for one in contenders}
    option = options.pop() if len(options) == 1 else None
    if option:
        return f"add --labels {option}, which all of them were trained with"
    return "no --labels fits them all; compare models of one label set"


def _past(card: Card, history: Path) -> Past:
    training = card.training
    rows = tuple(read_csv(history)) if history.is_file() else ()
    judged = str(card.recipe.get("rule")) if card.architecture == bundle.ENSEMBLE else "kept_val_accuracy"
    kept = next((row for row in rows if row.epoch == training.kept_epoch), None)
    chosen = next((score.split for score in card.scores if score.protocol == CHOSEN), None)
    return Past(
        data=card.data.name or None,
        labels_option=_option(card.command, "--labels"),
        trained_on=card.trained_on,
        chosen_on=card.chosen_on,
        train_accuracy=kept.train_accuracy if kept else training.kept_train_accuracy,
        validation_split=training.validation_split or training.split or chosen,
        validation_accuracy=kept.val_accuracy if kept else getattr(training, judged, None),
        history=rows,
    )


def _option(command: str, name: str) -> str | None:
    try:
        words = shlex.split(command)
    except ValueError:  # whoever trains from Python may write anything there
        return None
    return words[words.index(name) + 1] if name in words[:-1] else None
