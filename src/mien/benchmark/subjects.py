"""The models of a benchmark: their runtimes, sizes and accuracies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mien import bundle
from mien.classifiers import is_graph, load_classifier
from mien.evaluation.protocol import BEFORE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.data.dataset import FaceDataset
    from mien.preprocess import Preprocess

RUNTIMES = ("torch", "torch compiled", *bundle.GRAPHS)


@dataclass(frozen=True)
class Subject:
    """A model that takes part: a bundle, or one ONNX file with its spec."""

    name: str
    model: str
    spec: str = ""
    sizes: tuple[tuple[str, int], ...] = ()
    """Bytes on disk by runtime."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Runtimes that it does not have, and why."""
    accuracies: tuple[tuple[str, float], ...] = ()
    """Accuracy by runtime, from its card or measured now."""
    accuracy_on: str = ""
    """The images of these accuracies, and where they are from."""


def subject(model: str, spec: Path | None = None) -> Subject:
    """Return a model as a subject; it is opened once, so that errors show before anything is timed.

    Raises:
        BundleError: the model is missing, damaged or of another format, or is a graph without a spec.
        ConfigError: a wrong spec.
    """
    if is_graph(model):
        name = load_classifier(model, spec=spec).id.name
        absent = tuple((runtime, "one graph only") for runtime in RUNTIMES if runtime != "onnx")
        size = (("onnx", Path(model).stat().st_size),)
        return Subject(name, model, str(spec or ""), size, absent)
    loaded = bundle.load(model)
    load_classifier(model)
    sizes, absent_from = {}, {}
    for runtime in RUNTIMES:
        torch = runtime.startswith("torch")
        if torch and loaded.card.architecture == bundle.ENSEMBLE:
            absent_from[runtime] = "an ensemble runs in ONNX Runtime only"
        elif torch and find_spec("torch") is None:
            absent_from[runtime] = "torch is not installed; it comes with the extra train"
        elif (file := "model.safetensors" if torch else bundle.GRAPHS[runtime]) in loaded.sha256:
            sizes[runtime] = len(loaded.read(file))
        else:
            way_out = "" if torch else f": `mien export --to {runtime}` makes it"
            absent_from[runtime] = f"the bundle has no {file}{way_out}"
    accuracies, where = _from_card(loaded.card)
    return Subject(
        loaded.id.name, model, "", tuple(sizes.items()), tuple(absent_from.items()), tuple(accuracies.items()), where
    )  # fmt: skip


def _from_card(card: bundle.Card) -> tuple[dict[str, float], str]:
    """Return the accuracies by runtime that the card states, and the images on which they were measured."""
    now = [score for score in card.scores if not score.protocol.endswith(BEFORE)]
    plain = next((score for score in now if score.tta == "none"), None)
    if plain is None:
        return {}, ""
    found = dict.fromkeys(("torch", "torch compiled", "onnx"), plain.accuracy)
    for runtime, made in card.exports.items():
        if made.compared_on.data != card.data.name:  # a split of that name, of other pictures
            continue
        for score in made.scores:
            if (score.split, score.tta) == (plain.split, "none") and not score.protocol.endswith(BEFORE):
                found[runtime] = score.accuracy
    return found, f"{plain.split} of {card.data.name}, from the card of {card.name}"


def judged(
    subjects: Sequence[Subject], data: Callable[[Preprocess], FaceDataset], split: str
) -> list[Subject]:
    """Return the subjects with accuracies measured on one split, which `data` reads for the preprocessing of each.

    Raises:
        DataError: no such split, or labels a model does not know.
    """
    from mien.evaluation.evaluate import answers

    made = []
    for one in subjects:
        found, source = {}, ""
        for runtime, _ in one.sizes:
            if runtime.startswith("torch"):
                continue
            classifier = load_classifier(one.model, backend=runtime, spec=one.spec or None)
            rows, logits = answers(classifier, data(classifier.preprocess), split)
            found[runtime] = float((logits.argmax(axis=1) == rows.truth).mean())
            source = rows.source
        found |= dict.fromkeys(("torch", "torch compiled"), found["onnx"])
        made.append(replace(one, accuracies=tuple(found.items()), accuracy_on=f"{split} of {source}"))
    return made
