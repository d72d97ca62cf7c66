"""Calibration of a bundle, stored as the last steps of every graph, so that any runtime gives calibrated logits.

The steps are ``logits / temperature + bias``. A class prior is part of the bias.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import bundle, card, files
from mien.classifiers import probabilities
from mien.classifiers.onnx_runtime import open_graph
from mien.data.balance import class_counts, learnt_prior
from mien.errors import BundleError, ConfigError, DataError, OutputError, needs
from mien.evaluation.calibration import Calibration, calibrate, estimate_prior
from mien.evaluation.evaluate import answers
from mien.evaluation.protocol import BEFORE, calibrated_protocol, check_unseen, scores

with needs("export"):
    import onnx
    from onnx import numpy_helper
    from onnx.helper import make_node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Float32, Int, Num, UInt8

    from mien.bundle import Bundle
    from mien.data.dataset import FaceDataset

_FACTOR, _RAW = "inverse_temperature", "logits_before_temperature"
_BIAS, _SCALED = "class_bias", "logits_before_bias"
LEAST_PRIOR = 1e-3
"""Least fraction of a class in a prior: one in a thousand."""
_MAX_DIFFERENCE = 1e-5
_EVERY = 7
"""Every graph classifies one of this many images before and after, as a check."""


def calibrated(
    graph: bytes, logits: Float32[np.ndarray, "n k"], truth: Int[np.ndarray, " n"], *, biases: bool = True
) -> tuple[bytes, Calibration]:
    """Return a graph that gives calibrated logits, and what was fitted.

    Args:
        graph: a graph without calibration.
        logits: its logits for images that it has not learnt and that may be used to choose: never those of a test
            split.
        truth: the number of each image's label.
        biases: fit a bias of each class, too. Without, a label can change only where the probabilities of
            several views are averaged.

    Raises:
        DataError: too few images.
        BundleError: a graph that cannot take it.
    """
    found = calibrate(logits, truth, biases=biases)
    return with_temperature(graph, found.temperature, found.bias), found


def save_calibrated(
    loaded: Bundle, data: FaceDataset, split: str, out: Path, *, biases: bool = True
) -> Calibration:
    """Fit temperature and biases on `split` and write the bundle with them into `out`, which may be its own folder.

    An earlier calibration and prior of the bundle are replaced. Its scores on `split` are measured again; scores on
    other images are marked as measured before the calibration.

    Args:
        loaded: the bundle.
        data: a dataset with the split.
        split: images that the model has not learnt.
        out: folder to write.
        biases: fit a bias of each class, too. Without, a label can change only where the probabilities of
            several views are averaged.

    Raises:
        DataError: no such split, too few images, or images that the model was trained on.
        ConfigError: `out` holds another model.
        BundleError: a graph that cannot take it.
        OutputError: `out` cannot be written, or another command changes it.
    """
    check_place(loaded, out)
    classifier = open_graph(loaded.id, loaded.preprocess, loaded.read(bundle.GRAPH))
    rows, logits = answers(classifier, data, split)
    check_unseen(loaded, rows, split)
    lacking = [label for number, label in enumerate(rows.labels) if not (rows.truth == number).any()]
    if biases and lacking:
        raise DataError(
            f"{split} of {data.source} has no images of {', '.join(lacking)}, so no bias can be fitted: "
            "fit the temperature alone (biases=False, or --no-biases)"
        )
    found = calibrate(_raw(loaded, logits), rows.truth, biases=biases)
    where = {"split": split, "data": Path(data.source).name, "fingerprint": data.fingerprint()}
    facts = card.Calibration(**where, **found.to_dict(), **fitted_biases(found, rows))
    _save(loaded, facts, rows.images[::_EVERY], out, rows)
    return found


def fitted_biases(found: Calibration, rows: FaceDataset) -> dict[str, Any]:
    """Return what a card says of the biases that were fitted to these images."""
    shares = _fractions(class_counts(rows.truth, len(rows.labels)).tolist())
    own_prior = dict(zip(rows.labels, shares.tolist(), strict=True)) if found.bias else {}
    return {"own_bias": found.bias, "own_prior": own_prior}


def save_prior(loaded: Bundle, prior: dict[str, float], source: str, out: Path) -> dict[str, float]:
    """Write the bundle with another class prior into `out`, which may be its own folder; returns the prior.

    To the logit of each class, the logarithm of (its new fraction / its fraction in `own_prior`) is added.
    Temperature and fitted biases stay. Scores are marked as measured before.

    Args:
        loaded: the bundle.
        prior: how frequent each label is where the model will be used; scaled to sum to one. Empty: an earlier prior
            is taken back.
        source: where `prior` comes from, for the card.
        out: folder to write.

    Raises:
        ConfigError: other labels than the model's, or a bundle that does not state its training data.
        BundleError, OutputError: as `save_calibrated`.
    """
    check_place(loaded, out)
    labels, old = loaded.id.labels, loaded.card.calibration
    if prior and (
        set(prior) != set(labels) or min(prior.values()) < 0 or not 0 < sum(prior.values()) < np.inf
    ):
        raise ConfigError(
            f"the prior needs a number from 0 for each of {', '.join(labels)}; got "
            f"{', '.join(f'{name}={value:g}' for name, value in prior.items())}"
        )
    before, bias = own_prior(loaded), old.own_bias
    found = (
        dict(zip(labels, _fractions([prior[label] for label in labels]).tolist(), strict=True))
        if prior
        else {}
    )
    if found:
        shift = np.log([found[label] / before[label] for label in labels])
        bias = tuple((np.array(bias or [0.0] * len(labels)) + shift - shift.mean()).tolist())
    facts = old.model_copy(update={"bias": bias, "prior": found, "prior_from": source if found else ""})
    side, channels = loaded.preprocess.size_px, loaded.preprocess.channels
    crops = np.random.default_rng(0).integers(0, 256, (8, side, side, channels)).astype(np.uint8)
    _save(loaded, facts, crops, out)
    return found or before


def present_prior(loaded: Bundle) -> dict[str, float]:
    """Return how frequent a model takes each label to be: by a prior that was set, else by itself.

    Raises:
        ConfigError: its card does not state how many images of each label it was trained on.
    """
    return dict(loaded.card.calibration.prior or own_prior(loaded))


def own_prior(loaded: Bundle) -> dict[str, float]:
    """Return how frequent a model takes each label to be, without a prior that was set later.

    Where biases were fitted, it is as frequent as among the images of the fit. Elsewhere the recipe decides
    (`learnt_prior`); of an ensemble, the mean of its members counts. Teachers do not count: their
    answers are moved to the frequencies of the student's images (`training.distill.Teachers`).

    Raises:
        ConfigError: its card does not state how many images of each label it was trained on.
    """
    known, labels = loaded.card, loaded.id.labels
    if known.calibration.own_prior:
        return dict(known.calibration.own_prior)
    if known.calibration.own_bias:
        return training_prior(loaded)
    members = [(one["prior"], one["weight"]) for one in known.recipe.get("members", ()) if one.get("prior")]
    if members:
        learnt = sum(weight * np.array([prior[label] for label in labels]) for prior, weight in members)
    else:
        learnt = learnt_prior(_trained_on(loaded), known.recipe)
    return dict(zip(labels, _fractions(learnt.tolist()).tolist(), strict=True))


def training_prior(loaded: Bundle) -> dict[str, float]:
    """Return the fraction of each label among the images that a model was trained on.

    Raises:
        ConfigError: its card does not state it.
    """
    return dict(zip(loaded.id.labels, _fractions(_trained_on(loaded).tolist()).tolist(), strict=True))


def _trained_on(loaded: Bundle) -> Int[np.ndarray, " k"]:
    counts = loaded.card.data.counts
    known = [counts[split] for split in loaded.card.trained_on if split in counts]
    if not known:
        raise ConfigError(
            f"the card of {loaded.card.name} does not say how many images of each label it was trained on: a prior "
            f"needs that; train or join the model anew"
        )
    return np.array([sum(one.get(label, 0) for one in known) for label in loaded.id.labels])


def read_prior(loaded: Bundle, prior: str) -> dict[str, float]:
    """Return the prior that a word or a file names: ``uniform``, ``train``, or JSON such as ``{"sad": 1}``.

    ``none`` is the empty prior: `save_prior` takes an earlier one back.

    Raises:
        ConfigError: no such file, or no table of labels and numbers.
    """
    if prior == "uniform":
        return dict.fromkeys(loaded.id.labels, 1.0)
    if prior == "train":
        return training_prior(loaded)
    if prior == "none":
        return {}
    try:
        table = json.loads(files.regular(Path(prior)).read_text(encoding="utf-8"))
        return {str(label): float(number) for label, number in table.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"`prior` {prior}: expected uniform, train, none, or a JSON file with a number for each label, such as "
            f"{json.dumps(dict.fromkeys(loaded.id.labels, 1))} ({error})"
        ) from error


def adapted_prior(loaded: Bundle, probs: Num[np.ndarray, "n k"]) -> dict[str, float]:
    """Return the class prior of unlabelled faces from the model's own probabilities for them (`estimate_prior`).

    Raises:
        ConfigError: the bundle does not state its training data.
        DataError: fewer faces than labels.
    """
    labels = loaded.id.labels
    if len(probs) < len(labels):
        raise DataError(f"{len(probs)} faces are too few to estimate how frequent {len(labels)} labels are")
    before = present_prior(loaded)
    found = estimate_prior(probs.astype(np.float64), np.array([before[label] for label in labels]))
    return dict(zip(labels, _fractions(found.tolist()).tolist(), strict=True))


def _fractions(numbers: Sequence[float]) -> Float[np.ndarray, " k"]:
    scaled = np.array(numbers, np.float64) / sum(numbers)
    bounded = np.maximum(scaled, LEAST_PRIOR)
    return bounded / bounded.sum()


def _raw(loaded: Bundle, logits: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
    """Return the logits that the network gave before the bundle's calibration."""
    return (logits - np.array(loaded.card.bias or 0, np.float32)) * np.float32(loaded.card.temperature)


def _save(
    loaded: Bundle,
    facts: card.Calibration,
    crops: UInt8[np.ndarray, "n s s c"],
    out: Path,
    fitted: FaceDataset | None = None,
) -> None:
    graphs = {
        name: with_temperature(loaded.read(name), facts.temperature, facts.bias)
        for name in bundle.GRAPHS.values()
        if name in loaded.sha256
    }
    for name, graph in graphs.items():
        _check(loaded, name, graph, crops, facts)

    def judged(old: tuple[card.Score, ...], name: str) -> tuple[card.Score, ...]:
        return _rescored(loaded, old, graphs[name], facts, fitted)

    exports = {
        backend: export.model_copy(
            update={
                "scores": judged(export.scores, bundle.GRAPHS[backend]),
                "before_calibration": export.before_calibration or facts != loaded.card.calibration,
            }
        )
        for backend, export in loaded.card.exports.items()
    }
    renewed = {"calibration": facts, "exports": exports, "scores": judged(loaded.card.scores, bundle.GRAPH)}
    bundle.save(out, loaded.card.model_copy(update=renewed), graphs, base=loaded)


def _rescored(
    loaded: Bundle,
    old: tuple[card.Score, ...],
    graph: bytes,
    facts: card.Calibration,
    fitted: FaceDataset | None,
) -> tuple[card.Score, ...]:
    """Return the scores, measured again on the images of a fit; other scores are marked if they may have changed.

    A temperature alone changes no label of a single view, but it can change the label of the mean of two views.
    """
    same_labels = not any(facts.bias) and not any(loaded.card.bias)
    is_here = loaded.card.data.name == facts.data
    made: list[card.Score] = []
    new: dict[str, card.Score] = {}
    for score in old:
        if fitted and is_here and (score.split, score.n) == (facts.split, len(fitted)):
            protocol = calibrated_protocol(score.protocol, facts, facts.data, score.split)
            classifier = open_graph(loaded.id, loaded.preprocess, graph)
            new = new or {one.tta: one for one in scores(classifier, fitted, {score.split: protocol})}
            made.append(new.get(score.tta, score))
        elif score.tta == "none" and same_labels:
            made.append(score)
        else:
            said = score.protocol.removesuffix(BEFORE) + BEFORE
            made.append(score.model_copy(update={"protocol": said}))
    return tuple(made)


def _check(
    loaded: Bundle, name: str, graph: bytes, crops: UInt8[np.ndarray, "n s s c"], facts: card.Calibration
) -> None:
    """Compare the answers of a graph with those before the calibration.

    Raises:
        BundleError: they differ by more than the calibration.
    """
    before, after = (
        open_graph(loaded.id, loaded.preprocess, one).logits(crops) for one in (loaded.read(name), graph)
    )
    wanted = _raw(loaded, before) / np.float32(facts.temperature) + np.array(facts.bias or 0, np.float32)
    if not np.abs(probabilities(after) - probabilities(wanted)).max() <= _MAX_DIFFERENCE:
        raise BundleError(
            f"model {loaded.card.name}: calibrated, its {name} gives other probabilities than expected: make it anew"
        )


def check_place(loaded: Bundle, out: Path) -> None:
    """Refuse to write over another model.

    Raises:
        ConfigError: `out` holds one.
        OutputError: `out` is the folder of this model, and another command has changed it.
    """
    if (out / bundle.CONFIG).exists() and bundle.load(out).id.sha256 != loaded.id.sha256:
        if out.resolve() == loaded.folder.resolve():
            raise OutputError(
                f"another command has changed {out} since this one read it: nothing was changed; repeat this one"
            )
        raise ConfigError(f"{out} already holds another model: choose another `out`")


def with_temperature(graph: bytes, temperature: float, bias: Sequence[float] = ()) -> bytes:
    """Return a graph with this temperature and bias in place of those that it had.

    Raises:
        BundleError: nothing in it gives ``logits``.
    """
    model = onnx.load_from_string(without_temperature(graph))
    if not _rename(model, "logits", _RAW):
        raise BundleError("a graph without an output named logits cannot be calibrated: export it anew")
    steps = [("Mul", _FACTOR, np.array(1 / temperature, np.float32))]
    if any(bias):
        steps.append(("Add", _BIAS, np.array(bias, np.float32)))
    outputs = ["logits"] if len(steps) == 1 else [_SCALED, "logits"]
    for (kind, name, value), before, after in zip(steps, [_RAW, _SCALED], outputs, strict=False):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
        model.graph.node.append(make_node(kind, [before, name], [after]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def without_temperature(graph: bytes) -> bytes:
    """Return a graph as it was before `with_temperature`.

    Conversions start from such a graph, because they would rename, round or merge these steps.
    """
    model = onnx.load_from_string(graph)
    steps = [node for node in model.graph.node if {_FACTOR, _BIAS} & set(node.input)]
    if not steps:
        return graph
    for step in steps:
        model.graph.node.remove(step)
    for constant in [one for one in model.graph.initializer if one.name in (_FACTOR, _BIAS)]:
        model.graph.initializer.remove(constant)
    _rename(model, _RAW, "logits")
    return bytes(model.SerializeToString())


def _rename(model: onnx.ModelProto, old: str, new: str) -> int:
    """Rename a tensor wherever nodes name it; return how often they did."""
    renamed = 0
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place], renamed = new, renamed + 1
    return renamed
