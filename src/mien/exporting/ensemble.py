"""Join several bundles into one: an ensemble is one graph, which is used like any other model.

The graphs of the members share one input; each gets it with its own scale, mean and std. So no code for ensembles is
needed in use: whatever takes a bundle takes an ensemble.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from mien import bundle, files
from mien.card import Calibration, Training, data_facts, versions
from mien.classifiers import probabilities
from mien.classifiers.onnx_runtime import OnnxClassifier, open_graph
from mien.data.duplicates import to_bytes
from mien.errors import BundleError, ConfigError, did_you_mean, needs
from mien.evaluation.mixture import RULES, TIE_BREAK, MixtureReport, combine, judge_mixture, weights_of
from mien.evaluation.protocol import (
    MOST_SEEN,
    READ_BY_RUN,
    READ_ONCE,
    check_unseen,
    keys_learnt,
    learnt_fraction,
    protocols,
    scores,
)
from mien.exporting.metadata import describe
from mien.exporting.temperature import present_prior
from mien.results import ModelId

with needs("export"):
    import onnx
    from onnx import helper
    from onnx.helper import make_node

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from jaxtyping import Num

    from mien.bundle import Bundle
    from mien.data.dataset import FaceDataset

MAX_DIFFERENCE = 1e-4
"""Largest difference of any probability between the joined graph and its members, combined in NumPy."""
CHECKED = 512
"""Number of images on which the joined graph of folds is compared with its members."""
CHOSEN_IN_PART = "members or their weights were chosen on this split"


def check_members(members: Sequence[Bundle], rule: str) -> None:
    """Refuse what cannot be joined.

    Raises:
        ConfigError: no such rule, fewer than two members, or members with other labels or other input.
    """
    if rule not in RULES:
        raise ConfigError(f"unknown rule {rule!r}: expected {', '.join(RULES)}{did_you_mean(rule, RULES)}")
    if len(members) < 2:
        raise ConfigError("an ensemble needs at least two bundles")
    first = members[0]
    for other in members[1:]:
        if other.id.sha256 == first.id.sha256:
            raise ConfigError(f"{other.id.name} is named twice: a member counts once")
        if other.id.labels != first.id.labels:
            raise ConfigError(
                f"{other.id.name} answers {', '.join(other.id.labels)}; {first.id.name} answers "
                f"{', '.join(first.id.labels)}: members of an ensemble must agree"
            )
        if difference := first.preprocess.differs_in_crops(other.preprocess):
            raise ConfigError(
                f"{other.id.name} takes other pictures than {first.id.name}: {difference}: members of an ensemble "
                f"must see the same crops (only scale, mean and std may differ)"
            )


def save_ensemble(
    members: Sequence[Bundle],
    data: FaceDataset,
    split: str,
    out: Path,
    *,
    rule: str = "mean",
    command: str = "",
) -> MixtureReport:
    """Evaluate the members together on `split`, join them by `rule` and write the bundle into `out`.

    A member of weight zero is named in the card and left out of the graph.

    Raises:
        ConfigError: `check_members`, or `out` holds a model.
        DataError: no such split, pictures without a label, too few of a class, or a member was trained on them.
        BundleError: the joined graph differs from its members.
        OutputError: `out` cannot be written.
    """
    check_members(members, rule)
    if (out / bundle.CONFIG).exists():
        raise ConfigError(f"{out} already holds a finished model: choose another `out`")
    data = data.relabel(members[0].id.labels)
    rows = data.select(split)
    rows.check_labelled(np.arange(len(rows)))
    for member in members:
        check_unseen(member, rows, split)
    singles = [open_graph(one.id, one.preprocess, one.read(bundle.GRAPH)) for one in members]
    probs = np.stack([probabilities(single.logits(rows.images)) for single in singles])
    report = judge_mixture(probs, rows.truth)
    weights = weights_of(rule, np.array(report.weights))
    used = [one for one, weight in zip(members, weights, strict=True) if weight]
    graph = join(used, rule, weights[weights > 0])
    identity = ModelId(out.resolve().name, files.sha256(graph), data.labels)
    joined = open_graph(identity, used[0].preprocess, graph)
    trained = {name for one in members for name in one.card.trained_on}
    chosen = {split, *(name for one in members for name in one.card.chosen_on)}
    difference = _check(joined, combine(probs, rule, weights), rows)
    before = _chosen_before(members)
    made = bundle.Card(
        name=identity.name,
        architecture=bundle.ENSEMBLE,
        labels=data.labels,
        preprocess=used[0].preprocess,
        parameters=sum(one.card.parameters for one in used),
        recipe={"rule": rule, "members": _facts(members, weights, report.members), "options_chosen_on": before},
        command=command,
        data=data_facts(data, data.fingerprint()),
        training=Training(
            split=split, trained_on=tuple(sorted(trained)), chosen_on=tuple(sorted(chosen)),
            onnx_max_probability_difference=difference, is_worse=report.is_worse(rule), **asdict(report),
        ),
        versions=versions(),
        scores=scores(joined, data, _protocols(members, data, trained, chosen, before)),
    )  # fmt: skip
    bundle.save(out, made, {bundle.GRAPH: graph, **_learnt(members)})
    return report


def save_folds(
    members: Sequence[Bundle], data: FaceDataset, accuracies: Sequence[float], out: Path, *, command: str = ""
) -> None:
    """Join the models of cross-validation, each trained without another fold of `data`, by their mean probabilities.

    Each image was learnt by all members but one, so no image can be used to evaluate or calibrate them together.

    Args:
        members: the models.
        data: the images that they were trained on.
        accuracies: accuracy of each member on the fold that it was not trained on.
        out: folder of the bundle.
        command: the command that makes it again; the card states it.

    Raises:
        ConfigError, BundleError, OutputError: as `save_ensemble`.
    """
    check_members(members, "mean")
    weights = weights_of("mean", np.ones(len(members)))
    graph = join(members, "mean", weights)
    identity, preprocess = (
        ModelId(out.resolve().name, files.sha256(graph), data.labels),
        members[0].preprocess,
    )
    rows = data.take(np.linspace(0, len(data) - 1, min(len(data), CHECKED)).astype(int))
    singles = [open_graph(one.id, one.preprocess, one.read(bundle.GRAPH)) for one in members]
    probs = np.stack([probabilities(single.logits(rows.images)) for single in singles])
    difference = _check(open_graph(identity, preprocess, graph), combine(probs, "mean", weights), rows)
    made = bundle.Card(
        name=identity.name,
        architecture=bundle.ENSEMBLE,
        labels=data.labels,
        preprocess=preprocess,
        parameters=sum(one.card.parameters for one in members),
        recipe={"rule": "mean", "members": _facts(members, weights, accuracies)},
        command=command,
        data=data_facts(data, data.fingerprint()),
        training=Training(
            trained_on=tuple(data.splits), chosen_on=(), folds=len(members),
            onnx_max_probability_difference=difference,
        ),
        versions=versions(),
        scores=(),
        calibration=Calibration(unfitted="every training image was learnt by all members but one"),
    )  # fmt: skip
    bundle.save(out, made, {bundle.GRAPH: graph, **_learnt(members)})


def join(members: Sequence[Bundle], rule: str, weights: Num[np.ndarray, " m"]) -> bytes:
    """Return one graph, ``image`` [batch, c, s, s] -> ``logits`` [batch, k], the logarithm of the probabilities.

    Raises:
        BundleError: members exported for different versions of ONNX.
    """
    first, spec = onnx.load_from_string(members[0].read(bundle.GRAPH)), members[0].preprocess
    nodes, constants, stacked = [], [], []
    for number, member in enumerate(members):
        prefix = f"joined{number}_"  # a prefix that no member has: a member may be an ensemble, too
        model = onnx.load_from_string(member.read(bundle.GRAPH))
        model = onnx.compose.add_prefix(model, f"member{number}/")
        if list(model.opset_import) != list(first.opset_import):
            raise BundleError(
                f"{member.id.name} was exported for another version of ONNX than {members[0].id.name}: "
                f"export both with this version"
            )
        for name, values in zip(("gain", "offset"), spec.range_change(member.preprocess), strict=True):
            constants.append(_constant(f"{prefix}{name}", np.array(values, np.float32)[:, None, None]))
        constants += model.graph.initializer
        stacked.append(f"{prefix}probs")
        nodes += [
            make_node("Mul", ["image", f"{prefix}gain"], [f"{prefix}scaled"]),
            make_node("Add", [f"{prefix}scaled", f"{prefix}offset"], [model.graph.input[0].name]),
            *model.graph.node,
            make_node("Softmax", [model.graph.output[0].name], [f"{prefix}softmax"], axis=1),
            make_node("Unsqueeze", [f"{prefix}softmax", "first_axis"], [f"{prefix}probs"]),
        ]
    last, needed = _combination(rule, weights, len(members[0].id.labels))
    nodes += [make_node("Concat", stacked, ["probs"], axis=0), *last]
    graph = helper.make_graph(nodes, "ensemble", first.graph.input, first.graph.output, [*constants, *needed])
    model = helper.make_model(graph, opset_imports=first.opset_import, ir_version=first.ir_version)
    describe(model, members[0].id.labels, spec)
    return bytes(model.SerializeToString())


def _combination(
    rule: str, weights: Num[np.ndarray, " m"], classes: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return nodes from ``probs`` [m, batch, k] to ``logits``, and their constants: the logarithm of `combine`."""
    constants = [
        _constant("first_axis", np.array([0])),
        _constant("weights", weights[:, None, None].astype(np.float32)),
        _constant("least", np.log(np.finfo(np.float32).tiny)),
    ]
    nodes = [
        make_node("Mul", ["probs", "weights"], ["weighted"]),
        make_node("ReduceSum", ["weighted", "first_axis"], ["mean"], keepdims=0),
    ]
    if rule == "vote":
        constants += [
            _constant("classes", np.array(classes)),
            _constant("off_on", np.array([0, 1], np.float32)),
            _constant("vote_share", np.float32(1 - TIE_BREAK)),
            _constant("mean_share", np.float32(TIE_BREAK)),
        ]
        nodes += [
            make_node("ArgMax", ["probs"], ["answers"], axis=2, keepdims=0),
            make_node("OneHot", ["answers", "classes", "off_on"], ["votes"], axis=-1),
            make_node("ReduceMean", ["votes", "first_axis"], ["voted"], keepdims=0),
            make_node("Mul", ["voted", "vote_share"], ["most"]),
            make_node("Mul", ["mean", "mean_share"], ["rest"]),
            make_node("Add", ["most", "rest"], ["mixed"]),
        ]
    nodes += [
        make_node("Log", ["mixed" if rule == "vote" else "mean"], ["logarithm"]),
        make_node("Max", ["logarithm", "least"], ["logits"]),  # in FP16, too, where the least mean is zero
    ]
    return nodes, constants


def _constant(name: str, value: Any) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(value), name)


def _check(joined: OnnxClassifier, expected: Num[np.ndarray, "n k"], rows: FaceDataset) -> float:
    difference = float(np.abs(probabilities(joined.logits(rows.images)) - expected).max())
    if not difference <= MAX_DIFFERENCE:
        raise BundleError(
            f"model {joined.id.name}: the joined graph differs from its members by {difference:.2g} in a "
            f"probability, more than {MAX_DIFFERENCE:g}: it is not kept"
        )
    return difference


def _facts(
    members: Sequence[Bundle], weights: Num[np.ndarray, " m"], accuracies: Sequence[float]
) -> list[dict[str, Any]]:
    return [
        {"name": one.id.name, "sha256": one.id.sha256, "architecture": one.card.architecture,
         "weight": float(weight), "accuracy": accuracy, "prior": _prior(one), "command": one.card.command}
        for one, weight, accuracy in zip(members, weights, accuracies, strict=True)
    ]  # fmt: skip


def _chosen_before(members: Sequence[Bundle]) -> str:
    """Return what options of the members' recipes were chosen on before; it holds of the ensemble, too."""
    said = [one.card.recipe.get("options_chosen_on", "") for one in members]
    return "; ".join(dict.fromkeys(filter(None, said)))


def _protocols(
    members: Sequence[Bundle], data: FaceDataset, trained: set[str], chosen: set[str], before: str
) -> dict[str, str]:
    """Return the protocol of each split that no member has learnt."""
    known = protocols(data, trained, dict.fromkeys(chosen, CHOSEN_IN_PART))
    return {
        name: READ_BY_RUN if before and said == READ_ONCE else said
        for name, said in known.items()
        if all(learnt_fraction(one, data.select(name)) <= MOST_SEEN for one in members)
    }


def _prior(member: Bundle) -> dict[str, float]:
    """Return how frequent a member takes each label to be; empty where its card does not say."""
    try:
        return present_prior(member)
    except ConfigError:
        return {}


def _learnt(members: Sequence[Bundle]) -> dict[str, bytes]:
    """Return the keys of the images that members have learnt, as a bundle keeps them; empty if some are unknown."""
    seen = [keys for member in members if (keys := keys_learnt(member)) is not None]
    return {bundle.TRAINED_ON: to_bytes(np.concatenate(seen))} if len(seen) == len(members) else {}
