"""Several models evaluated on the same images: which is better, by how much, at what cost, and where they differ."""

from __future__ import annotations

import math
import string
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mien.classifiers import probabilities
from mien.classifiers.combine import with_tta
from mien.data.duplicates import are_duplicates
from mien.data.read import ALL, read_given
from mien.errors import ConfigError, DataError
from mien.evaluation.contenders import check_labels, enter
from mien.evaluation.evaluate import answers, report
from mien.evaluation.figures import GRID
from mien.evaluation.latency import latencies_ms
from mien.evaluation.paired import compare_pairs, pareto, resample
from mien.evaluation.protocol import MOST_SEEN
from mien.evaluation.recipes import Recipes, weigh_recipes
from mien.results import COMPARISON_SCHEMA
from mien.statistics import (
    INTERVAL,
    RESAMPLES,
    Estimate,
    class_intervals,
    macro_f1,
    resampled_confusion,
    wilson_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float32, Int, Num, UInt8

    from mien.data.dataset import FaceDataset
    from mien.evaluation.contenders import Contender, Past
    from mien.evaluation.paired import Pair
    from mien.options import ReadOptions
    from mien.preprocess import Preprocess
    from mien.results import EvalReport

PICTURES = GRID[0] * GRID[1]
NOISE = 1.05
"""Factor below which two quickly measured latencies count as equal."""
MANY_SEEN = 0.1
"""Largest fraction of learnt images at which a model gets no caveat; duplicates are usually fewer."""
_TIMED_CROPS = 16


class ClassFigures(NamedTuple):
    """The figures of a model for one class; None if the class does not occur."""

    f1: Estimate | None
    recall: Estimate | None


@dataclass(frozen=True)
class Judged:
    """One model of a comparison with its figures."""

    letter: str
    """Letter that replaces the model's name if that is too long."""
    name: str
    architecture: str
    parameters: int
    latency_ms: float
    """Milliseconds for one face at a time, on one thread of this machine, measured quickly."""
    accuracy: Estimate
    macro_f1: Estimate
    per_class: dict[str, ClassFigures]
    report: EvalReport
    past: Past
    caveats: tuple[str, ...]
    """Sentences about why its figures may be better or worse than they should be."""

    def to_dict(self) -> dict[str, Any]:
        """Return the model as a dictionary for JSON."""
        judged = self.report.to_dict()
        per_class = {
            label: {
                **judged["per_class"].get(label, {}),
                **{name: figure and figure._asdict() for name, figure in figures._asdict().items()},
            }
            for label, figures in self.per_class.items()
        }
        names = ("split_fingerprint", "top_k_accuracy", "balanced_accuracy", "confusion")
        return {
            **{name: getattr(self, name) for name in ("letter", "name", "architecture", "parameters")},
            "model": judged["model"],
            "latency_ms": self.latency_ms,
            "accuracy": self.accuracy._asdict(),
            "macro_f1": self.macro_f1._asdict(),
            **{name: judged[name] for name in names},
            "per_class": per_class,
            "past": _without_nan(asdict(self.past)),
            "caveats": list(self.caveats),
        }


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison of models on one split contains, before it is written."""

    data: str
    split: str
    tta: str
    seed: int
    labels: tuple[str, ...]
    """The labels of the data, then those that only models know."""
    models: tuple[Judged, ...]
    pairs: tuple[Pair, ...]
    fronts: dict[str, tuple[str, ...]]
    """For ``parameters`` and ``latency_ms``: the models on the Pareto front, cheapest first: no other model is better
    in cost and accuracy. Latencies count as equal up to a factor of `NOISE`."""
    ids: tuple[str, ...]
    truth: Int[np.ndarray, " n"]
    answers: Int[np.ndarray, "m n"]
    confidence: Float32[np.ndarray, "m n"]
    disputed: Int[np.ndarray, " d"]
    """Rows for which predictions differ: the true classes in turn, the most confident predictions of each first."""
    images: UInt8[np.ndarray, "p h w c"]
    """The images of the first of these rows."""
    skipped: tuple[str, ...]
    recipes: Recipes = Recipes()
    """If several models are runs of one recipe: mean, spread and tests of the recipes."""

    def __repr__(self) -> str:
        """Return a summary."""
        models = ", ".join(f"{model.name} {model.accuracy.value:.1%}" for model in self.models)
        return f"Comparison({self.split} of {self.data}, {len(self.truth):,} images: accuracy {models})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row per model for a table: figures with their 95 % intervals, size and speed."""
        plain = ("name", "architecture", "parameters", "latency_ms")
        figures = ("accuracy", "macro_f1")
        return [
            {
                **{name: getattr(model, name) for name in plain},
                **{f"{name}{end}": getattr(getattr(model, name), field) for name in figures
                   for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))},
            }
            for model in self.models
        ]  # fmt: skip

    @property
    def together(self) -> dict[str, int]:
        """Number of images that all, any or none of the models predict correctly, and on which predictions differ."""
        hits = self.answers == self.truth
        return {
            "all_right": int(hits.all(axis=0).sum()),
            "any_right": int(hits.any(axis=0).sum()),
            "none_right": int((~hits).all(axis=0).sum()),
            "disputed": len(self.disputed),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return every number as a dictionary for JSON, with the name of its schema."""
        return {
            "schema": COMPARISON_SCHEMA,
            "data": Path(self.data).name,  # not the folders of this machine
            **{name: getattr(self, name) for name in ("split", "tta", "seed")},
            "n": len(self.truth),
            "resamples": RESAMPLES,
            "interval": INTERVAL,
            "labels": list(self.labels),
            "models": [model.to_dict() for model in self.models],
            "pairs": [pair.to_dict() for pair in self.pairs],
            "together": self.together,
            "fronts": {cost: list(names) for cost, names in self.fronts.items()},
            "skipped": list(self.skipped),
            "recipes": self.recipes.to_dict(),
        }


def compare(
    models: Sequence[str | Path],
    data: FaceDataset | str | Path,
    split: str,
    *,
    tta: str = "none",
    seed: int = 0,
    reading: ReadOptions | None = None,
) -> Comparison:
    """Evaluate two or more models on the same rows of one split.

    ``mien.compare(["default", "run1"], "fer2013.zip", "test").pairs[0].meaning``

    Args:
        models: names of built-in models, model folders, or folders of finished runs.
        data: what `mien.read_dataset` can read, or a dataset; a dataset must have the size and colour that every
            model takes.
        split: the name of the split; where `data` is a path, ``all`` and ``holdout`` as `mien.data.read.read_split`
            takes them.
        tta: test-time augmentation, as `mien compare --tta` names it.
        seed: seed of the bootstrap, which gives the intervals.
        reading: how `data` is read, if it is a path.

    Raises:
        BundleError: a model is missing or damaged.
        DataError: no such data or split, an image without a label, or labels that no model knows.
        ConfigError: fewer than two models, one named twice, no such test-time augmentation, or `reading` for a
            dataset that was read before.
    """

    def read(preprocess: Preprocess) -> FaceDataset:
        return read_given(data, preprocess, split, reading)

    if isinstance(models, str | Path):
        raise ConfigError(f"a comparison needs a list of models, got {str(models)!r}")
    return judge(enter([str(model) for model in models]), read, split, tta=tta, seed=seed)


def judge(
    contenders: Sequence[Contender],
    read: Callable[[Preprocess], FaceDataset],
    split: str,
    *,
    tta: str = "none",
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    announce: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Evaluate every contender on the same rows of one split.

    `read` returns the dataset fitted to a preprocessing; it is called once for each preprocessing with other size or
    colour. `announce` is called with each model's name before its turn.

    Raises:
        DataError: no such split, an image without a label, labels that do not fit, or other rows when the data are
            read again.
        ConfigError: no such test-time augmentation.
    """
    looks: dict[str, list[int]] = {}
    for place, one in enumerate(contenders):
        with_tta(one.classifier, tta)
        looks.setdefault(_look(one.classifier.preprocess), []).append(place)
    answered: dict[int, _Answered] = {}
    first: FaceDataset | None = None
    for places in looks.values():
        data = read(contenders[places[0]].classifier.preprocess)
        rows = data.select(split)
        check_labels(rows.labels, contenders, rows.source)
        first = first or rows
        _check_same_rows(first, rows)
        for place in places:
            announce(contenders[place].name)
            answered[place] = _answer(contenders[place], rows, split, tta)
    assert first is not None
    return _weigh(
        contenders, [answered[place] for place in range(len(contenders))], first, split, tta, seed, clock
    )


class _Answered(NamedTuple):
    """The predictions of a model, and what is needed to time it."""

    report: EvalReport
    answers: Int[np.ndarray, " n"]
    """Predicted classes, as indices of the model's own labels."""
    confidence: Float32[np.ndarray, " n"]
    crops: UInt8[np.ndarray, "_ s s c"]
    """A few crops for timing."""
    seen: float | None
    """Fraction of the images that the model has learnt; None if this is not known."""


def _look(preprocess: Preprocess) -> str:
    """Return the preprocessing facts that change the pixels of a fitted crop: not scale, mean, std and crop rules."""
    return preprocess.model_dump_json(exclude={"scale", "mean", "std", "margin"})


def _check_same_rows(first: FaceDataset, again: FaceDataset) -> None:
    same = first.ids == again.ids and bool((first.truth == again.truth).all())
    if not same:
        raise DataError(
            f"{again.source} gave other rows when it was read again for another input size or colour: expected "
            f"the same {len(first):,} images for every model, got {len(again):,}; is it being changed?"
        )


def _answer(contender: Contender, rows: FaceDataset, split: str, tta: str) -> _Answered:
    known, logits = answers(contender.classifier, rows, split, tta=tta)
    judged = report(known.truth, logits, model=contender.classifier.id, data=known, split=split, tta=tta)
    crops, keys = np.array(known.images[:_TIMED_CROPS]), contender.learnt
    seen = None if keys is None else float(are_duplicates(known.images, keys).mean())
    return _Answered(judged, logits.argmax(axis=1), probabilities(logits).max(axis=1), crops, seen)


def _weigh(
    contenders: Sequence[Contender],
    answered: Sequence[_Answered],
    rows: FaceDataset,
    split: str,
    tta: str,
    seed: int,
    clock: Callable[[], float],
) -> Comparison:
    known = (label for one in contenders for label in one.classifier.id.labels)
    labels = tuple(dict.fromkeys((*rows.labels, *known)))
    chosen = np.stack(
        [
            np.array([labels.index(label) for label in one.classifier.id.labels])[own.answers]
            for one, own in zip(contenders, answered, strict=True)
        ]
    )
    confidence = np.stack([own.confidence for own in answered])
    resampled = resample(rows.truth, chosen, len(labels), seed=seed)
    timed = [with_tta(one.one_thread, tta) for one in contenders]
    times = latencies_ms(timed, [own.crops for own in answered], clock=clock)
    models = tuple(
        _judged(place, one, own, resampled[place, 0], labels, ms, _caveats(one, own.seen, rows, split), seed)
        for place, (one, own, ms) in enumerate(zip(contenders, answered, times, strict=True))
    )
    names, accuracies = [one.name for one in contenders], [model.accuracy.value for model in models]
    fronts = {
        "parameters": pareto([one.parameters for one in contenders], accuracies),
        "latency_ms": pareto(times, accuracies, slack=NOISE),
    }
    disputed = np.flatnonzero((chosen != chosen[0]).any(axis=0))
    disputed = _by_turns(disputed, rows.truth, confidence.mean(axis=0))
    return Comparison(
        data=rows.source,
        split=split,
        tta=tta,
        seed=seed,
        labels=labels,
        models=models,
        pairs=compare_pairs(names, rows.truth, chosen, resampled),
        fronts={cost: tuple(names[place] for place in front) for cost, front in fronts.items()},
        ids=rows.ids,
        truth=rows.truth,
        answers=chosen,
        confidence=confidence,
        disputed=disputed,
        images=np.array(rows.images[disputed[:PICTURES]]),
        skipped=rows.skipped,
        recipes=weigh_recipes(
            [one.group for one in contenders], names, chosen == rows.truth,
            [model.macro_f1.value for model in models], [one.group_caveat for one in contenders],
        ),
    )  # fmt: skip


def _by_turns(
    rows: Int[np.ndarray, " d"], truth: Int[np.ndarray, " n"], confidence: Num[np.ndarray, " n"]
) -> Int[np.ndarray, " d"]:
    """Order rows so that the classes take turns: the most confident of each, then the second of each..."""
    surest = rows[np.argsort(-confidence[rows], kind="stable")]
    turns: list[int] = []
    seen: Counter[int] = Counter()
    for label in truth[surest].tolist():
        turns.append(seen[label])
        seen[label] += 1
    return surest[np.argsort(np.array(turns, int), kind="stable")]


def _judged(
    place: int,
    contender: Contender,
    own: _Answered,
    counts: Num[np.ndarray, "k k"],
    labels: tuple[str, ...],
    latency_ms: float,
    caveats: tuple[str, ...],
    seed: int,
) -> Judged:
    accuracy, exact = wilson_of(int(np.trace(counts)), own.report.n), class_intervals(counts)
    per_class = {
        label: ClassFigures(f1, recall)
        for label, f1, recall in zip(labels, exact["f1"], exact["recall"], strict=True)
    }
    return Judged(
        letter(place), contender.name, contender.architecture, contender.parameters, latency_ms, accuracy,
        macro_f1(resampled_confusion(np.array(own.report.confusion), seed=seed)), per_class, own.report,
        contender.past, caveats,
    )  # fmt: skip


def _without_nan(fact: Any) -> Any:
    """Return facts with None for what is not a number, which JSON does not know: epochs that were not judged."""
    if isinstance(fact, dict):
        return {name: _without_nan(one) for name, one in fact.items()}
    if isinstance(fact, list | tuple):
        return [_without_nan(one) for one in fact]
    return None if isinstance(fact, float) and math.isnan(fact) else fact


def letter(place: int) -> str:
    """Return A, B, ... Z, A1, B1, ..."""
    turn, rest = divmod(place, len(string.ascii_uppercase))
    return string.ascii_uppercase[rest] + (str(turn) if turn else "")


def _caveats(contender: Contender, seen: float | None, rows: FaceDataset, split: str) -> tuple[str, ...]:
    past, found = contender.past, []
    name = Path(rows.source).name
    named_alike, every = past.data == name, split == ALL
    if seen is not None and seen > MANY_SEEN:
        what = "say nothing here" if seen > MOST_SEEN else "are optimistic"
        found.append(f"has learnt {seen:.0%} of these images: its figures {what}")
    elif seen is None and named_alike and every and past.trained_on:
        found.append(
            f"was trained on {', '.join(past.trained_on)} of a dataset of this name, a part of these images"
        )
    elif seen is None and named_alike and split in past.trained_on:
        found.append(f"was trained on {split} of a dataset of this name: its figures say nothing here")
    elif named_alike and split in past.chosen_on:
        found.append(f"was chosen on {split} of a dataset of this name: its figures are optimistic")
    elif past.calibrated_on == (name, split):
        found.append(f"was calibrated on {split} of a dataset of this name: its figures are optimistic")
    extra = [label for label in contender.classifier.id.labels if label not in rows.labels]
    if extra:
        found.append(f"also knows {', '.join(extra)}, which no image here shows: such an answer is a mistake")
    return tuple(found)
