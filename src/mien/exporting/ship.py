"""Write a bundle in another form: one graph, a bundle with a further graph, or a folder for a hub.

A new graph is compared with `model.onnx` before it is written, on images that were not used to choose it and that the
model has not learnt (if there are enough). If it is worse than its `Bound`, it is not written.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien import bundle, card, files
from mien.card.page import render
from mien.classifiers import load_classifier, probabilities
from mien.classifiers.onnx_runtime import open_graph
from mien.classifiers.spec import of_ours
from mien.data.duplicates import are_duplicates
from mien.data.synthetic import draw_dataset
from mien.errors import BundleError, ConfigError, DataError, OutputError, did_you_mean, needs
from mien.evaluation.protocol import (
    MOST_SEEN,
    READ_ONCE,
    calibrated_protocol,
    keys_learnt,
    learnt_fraction,
    scores,
)
from mien.exporting.agreement import BOUNDS, EXACT, Agreement, Bound, compare
from mien.exporting.temperature import with_temperature, without_temperature

if TYPE_CHECKING:
    from typing import Any

    from jaxtyping import Int, UInt8

    from mien.bundle import Bundle
    from mien.data.dataset import FaceDataset

TARGETS = ("onnx", "int8", "fp16", "hub")
CALIBRATION = 512
"""Number of images that ranges are calibrated on; half of the split if it is small."""
CHOOSING = 2048
"""Most images, others than these, on which candidates are ranked."""
JUDGING = 4096
"""Most images, others again, on which the chosen candidate is compared with its limits: images of any split that the
model has not learnt; if there are too few, images left of the same split; else those that it was chosen on.
A drop of 0.3 points is 12 of 4,096 images, twice its standard error for a graph that changes 1 % of the labels."""
FEW = 1000
"""Of fewer images, one or two decide whether a graph keeps its limits."""
LEAST = 200
"""Least number of images of a split for calibrating, choosing and judging."""
_DRAWN = 350


@dataclass(frozen=True)
class Sample:
    """The images that a conversion is made with and judged on."""

    source: str
    split: str
    calibration: UInt8[np.ndarray, "m s s c"]
    choosing: UInt8[np.ndarray, "l s s c"]
    held_out: UInt8[np.ndarray, "n s s c"]
    truth: Int[np.ndarray, " n"] | None
    """Labels of the held-out images; None if they have none."""
    chose: bool = False
    """Whether the held-out images are those that candidates are ranked on."""
    judged: str = ""
    """The split or splits of the held-out images."""
    unlearnt: bool | None = None
    """Whether the model has learnt none of the held-out images; None if this is not known."""


def check_target(target: str, out: Path, *, has_data: bool) -> None:
    """Check the target and `out` before anything is read.

    Raises:
        ConfigError: no such target, no pictures to calibrate with, or `out` holds something.
    """
    if target not in TARGETS:
        raise ConfigError(
            f"unknown `to` {target!r}: expected {', '.join(TARGETS)}{did_you_mean(target, TARGETS)}"
        )
    if target == "int8" and not has_data:
        raise ConfigError(
            "int8 needs images to calibrate with: give `data` (it takes the training split, or the one of `split`)"
        )
    if (out / bundle.CONFIG).exists() or (out / bundle.GRAPH).exists():
        raise ConfigError(f"{out} already holds a model: choose another `out`")


def training_split(source: Bundle) -> str:
    """Return the split that a model was trained on, which calibrates by default."""
    own = source.card.recipe.get("train_split") or next(iter(source.card.trained_on), "train")
    return str(own)


def sample(source: Bundle, data: FaceDataset, split: str) -> Sample:
    """Divide a split into images for calibrating, for choosing and for judging; always in the same way.

    Raises:
        DataError: no such split, labels the model does not know, or too few pictures.
    """
    rows = data.select(split).relabel(source.id.labels)
    if len(rows) < LEAST:
        raise DataError(
            f"the split {split!r} of {data.source} has {len(rows)} pictures: calibrating and judging needs {LEAST}"
        )
    order = np.random.default_rng(0).permutation(len(rows))
    first = min(CALIBRATION, len(rows) // 2)
    parts = np.split(order[: first + CHOOSING + JUDGING], [first, first + CHOOSING])
    calibrating, choosing, judging = parts  # as drawn: the first of them are of every class, too
    if seen := len(judging) < min(LEAST, len(choosing)):
        judging = choosing
    held, images = rows.take(judging), rows.images
    unlearnt, names = _all_unlearnt(source, held), split
    pool = _unlearnt(source, data, data.rows(split)[np.concatenate([calibrating, choosing])])
    if len(pool) >= LEAST:
        held, seen, unlearnt = data.take(pool).relabel(source.id.labels), False, True
        names = ", ".join(sorted(held.splits))
    truth = held.truth if held.targets.any(axis=1).all() else None
    return Sample(
        data.source, split, images[calibrating], images[choosing], held.images, truth, seen, names, unlearnt
    )


def _all_unlearnt(source: Bundle, rows: FaceDataset) -> bool | None:
    """Return whether the model has learnt none of the images; None if its bundle keeps no keys."""
    keys = keys_learnt(source)
    return None if keys is None else not are_duplicates(rows.images, keys).any()


def _unlearnt(source: Bundle, data: FaceDataset, used: Int[np.ndarray, " m"]) -> Int[np.ndarray, " n"]:
    """Return up to `JUDGING` rows of all splits with labels that are not `used` and that the model has not learnt."""
    draw, keys, found = np.random.default_rng(0), keys_learnt(source), [used[:0]]
    if keys is None:
        return used[:0]
    for name in data.labelled_splits:
        free = draw.permutation(np.setdiff1d(data.rows(name), used))[:JUDGING]
        found.append(free[~are_duplicates(data.images[free], keys)])
    drawn: Int[np.ndarray, " n"] = draw.permutation(np.concatenate(found))[:JUDGING]
    return drawn


def drawn_sample(source: Bundle) -> Sample:
    """Return drawn faces for the comparison, used if no images are given."""
    drawn = draw_dataset(source.preprocess, {"check": _DRAWN})
    return Sample(
        drawn.source, "check", drawn.images[:0], drawn.images[:0], drawn.images, None, judged="check"
    )


def ship(
    source: Bundle,
    target: str,
    out: Path,
    *,
    data: FaceDataset | None = None,
    split: str | None = None,
    command: str = "",
) -> Agreement | None:
    """Write what `target` names into `out` and return how it agrees with `model.onnx` (None for ``hub``).

    Raises:
        ConfigError: `check_target`.
        DataError: `sample`.
        BundleError: it can't be made, or is worse than its limits; nothing is written.
        OutputError: `out` can't be written.
    """
    check_target(target, out, has_data=data is not None)
    if target == "hub":
        bundle.save(out, source.card, {}, base=source)
        return None
    pictures = sample(source, data, split or training_split(source)) if data else drawn_sample(source)
    if target == "onnx":
        return _ship_graph(source, out, pictures)
    graph, made = _convert(source, target, pictures)
    agreement = _check(source, target, graph, pictures, BOUNDS[target])
    facts = {
        **made,
        "compared_on": {
            "data": pictures.source.rpartition("/")[2],
            "split": pictures.judged,
            "chose": pictures.chose,
            "unlearnt": pictures.unlearnt,
        },
        "calibration_split": pictures.split,
        "held_out": agreement.to_dict(),
        "promised": asdict(BOUNDS[target]),
        "size_bytes": len(graph),
        "onnx_size_bytes": len(source.graph("onnx")),
        "onnx_sha256": source.id.sha256,
        "scores": _scores(source, graph, data, pictures.split),
        "versions": card.versions(),
        "command": command,
    }
    exports = {**source.card.exports, target: card.Export.model_validate(facts)}
    renewed = source.card.model_copy(update={"exports": exports})
    bundle.save(out, renewed, {bundle.GRAPHS[target]: graph}, base=source)
    return agreement


def _convert(source: Bundle, target: str, pictures: Sample) -> tuple[bytes, dict[str, Any]]:
    """Return the graph, with the calibration of its source, and how it was made."""
    graph = without_temperature(source.graph("onnx"))
    if target == "fp16":
        from mien.exporting.half import halve

        made = halve(graph, source.id.labels, source.preprocess)
        return _recalibrated(made, source), {"method": "fp16, input and output fp32"}
    from mien.exporting.quantise import quantise, weight_bits

    made, ranked = quantise(
        graph, source.id.labels, source.preprocess, pictures.calibration, pictures.choosing
    )
    best = ranked[0]
    method = f"static, QDQ, U8S8, per channel, {best.method}, {best.weight_bits}-bit weights, layers: {best.layers}"
    facts = {"method": method, "calibration_n": len(pictures.calibration), "weight_bits_tried": weight_bits()}
    return _recalibrated(made, source), {**facts, "candidates": [asdict(one) for one in ranked]}


def _recalibrated(graph: bytes, source: Bundle) -> bytes:
    temperature, bias = source.card.temperature, source.card.bias
    return graph if temperature == 1 and not any(bias) else with_temperature(graph, temperature, bias)


def _check(source: Bundle, name: str, graph: bytes, pictures: Sample, bound: Bound) -> Agreement:
    """Compare with `model.onnx` on the held-out pictures.

    Raises:
        BundleError: it differs by more than the limits.
    """
    reference, ours = (
        probabilities(open_graph(source.id, source.preprocess, one).logits(pictures.held_out))
        for one in (source.graph("onnx"), graph)
    )
    agreement = compare(reference, ours, pictures.truth, source.id.labels)
    if breaches := agreement.breaches(bound):
        few = "; of so few pictures one or two decide: use a larger dataset" if agreement.n < FEW else ""
        raise BundleError(
            f"model {source.card.name}: the {name} graph is too different from model.onnx on {agreement.n:,} "
            f"pictures of {pictures.judged} ({'; '.join(breaches)}): it is not kept{few}"
        )
    return agreement


def _scores(source: Bundle, graph: bytes, data: FaceDataset | None, split: str) -> tuple[card.Score, ...]:
    """Judge the new graph on every labelled split of the data that is neither learnt nor calibrates it here.

    It has the calibration of the bundle. What was chosen on a split is known of the bundle's own dataset.
    """
    if data is None:
        return ()
    known, here = source.card, Path(data.source).name
    own = {score.split: score.protocol for score in known.scores} if known.data.name == here else {}
    judged = {
        name: calibrated_protocol(own.get(name, READ_ONCE), known.calibration, here, name)
        for name in data.labelled_splits
        if name not in (split, training_split(source), *known.trained_on)
        and learnt_fraction(source, data.select(name)) <= MOST_SEEN
    }
    return scores(open_graph(source.id, source.preprocess, graph), data, judged)


def _ship_graph(source: Bundle, out: Path, pictures: Sample) -> Agreement:
    """Write one graph with a spec beside it, read it back and compare its answers with those of the bundle."""
    spec = of_ours(source.id.name, source.id.labels, source.preprocess)
    text = json.dumps(spec.model_dump(mode="json"), indent=2) + "\n"
    with (
        files.locked(out),
        files.together(out, bundle.GRAPH) as stage,
    ):  # where the graph is, all is (`check_target`)
        files.write(stage / "model.spec.json", text)
        files.write(stage / bundle.PAGE, render(source.card))
        files.write(stage / bundle.GRAPH, source.graph("onnx"))
        agreement = _check(source, "onnx", (stage / bundle.GRAPH).read_bytes(), pictures, EXACT)
    load_classifier(out / bundle.GRAPH)
    return agreement


def push(folder: Path, repository: str) -> str:
    """Upload a folder to the Hugging Face hub under the user's own login and return its address.

    Raises:
        OutputError: the hub does not take it.
    """
    with needs("hub"):
        from huggingface_hub import HfApi
    try:
        api = HfApi()
        address = str(api.create_repo(repository, exist_ok=True))
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="mien export")
    except Exception as error:  # the client's errors and those of the transport below it
        raise OutputError(
            f"cannot push {folder} to {repository}: {error}; the folder is whole: `hf upload {repository} {folder}` "
            f"uploads it"
        ) from error
    return address
