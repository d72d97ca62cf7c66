"""The end of a run: the chosen weights -> a proved graph, honest scores, a card, a bundle."""

from __future__ import annotations

import contextlib
import platform
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors

from mien import bundle, files
from mien.card import Calibration, Training, data_facts, versions
from mien.classifiers.onnx_runtime import open_graph
from mien.classifiers.torch_module import Calibrated
from mien.config import facts_of
from mien.data.duplicates import picture_keys, to_bytes
from mien.errors import BundleError, DataError
from mien.evaluation.protocol import (
    CHOSEN,
    FITTED,
    FITTED_TEMPERATURE,
    READ_BY_RUN,
    READ_ONCE,
    keys_learnt,
    protocols,
    scores,
)
from mien.exporting.onnx import check_parity, export_onnx
from mien.exporting.temperature import calibrated, fitted_biases
from mien.networks.plain import deploy
from mien.results import ModelId
from mien.training.history import write_plot
from mien.training.transfer import origin, parents

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import nn

    from mien.bundle import Bundle
    from mien.config import Recipe
    from mien.training.fit import Trained

PARITY_IMAGES = 512
WATCHED = "judged after every epoch; nothing was chosen on it, the last epoch was kept"
CHOSEN_BEFORE = "a model that this one learnt from was chosen on this split"
TEST = "test"
"""The split to which nothing is ever fitted, even where a recipe judges every epoch on it."""


def finish(
    trained: Trained, out: str | Path, *, fingerprint: str = "", score: str = "all", command: str = ""
) -> Path:
    """Draw the history, export, calibrate, prove, judge and write a bundle; returns `out`.

    Scores come from the ONNX graph, which is what will be used. Temperature and class biases are fitted to the
    images that judged every epoch, unless these are the test images or too few; the card says which.

    Args:
        trained: what `fit` returned.
        out: folder of the bundle.
        fingerprint: of the whole dataset; empty: that of the data as `fit` used it.
        score: ``all`` judges on every labelled split, ``validation`` on the validation split alone.
        command: what rebuilds the bundle; the card states it.

    Raises:
        BundleError: the exported graph differs from the network.
        OutputError: `out` can't be written.
    """
    out, network, data, run = Path(out), trained.network, trained.data, trained
    recipe, preprocess, before = run.recipe, run.recipe.input, parents(run.recipe)
    fingerprint = fingerprint or data.fingerprint()
    here = [one.card for one in before if one.card.data.name == Path(data.source).name]
    learnt_here = {recipe.train_split, *(name for past in here for name in past.trained_on)}
    chosen = {name: CHOSEN_BEFORE for past in here for name in past.chosen_on}
    chosen[run.validation_split] = CHOSEN if chooses(recipe) else chosen.get(run.validation_split, WATCHED)
    title = f"{recipe.network} on {Path(data.source).name}"
    write_plot(out / "run" / "history.png", run.history, run.kept, title)
    deployed = deploy(network)
    graph, calibration = _calibrated(export_onnx(deployed, preprocess, data.labels), run, fingerprint)
    identity = ModelId(out.resolve().name, files.sha256(graph), data.labels)
    proved = Calibrated.of(deployed, calibration.temperature, calibration.bias)
    difference = _parity(proved, graph, identity, run)
    judged = protocols(data, learnt_here, chosen)
    judged = {run.validation_split: judged[run.validation_split]} if score == "validation" else judged
    judged = {
        name: _remarked(out, name, one, recipe, fingerprint, calibration) for name, one in judged.items()
    }
    made = bundle.Card(
        name=identity.name,
        architecture=recipe.network,
        labels=data.labels,
        preprocess=preprocess,
        parameters=sum(p.numel() for p in deployed.parameters()),
        recipe=facts_of(recipe),
        command=command,
        data=data_facts(data, fingerprint),
        training=Training(
            **_training_facts(run, difference),
            **({"trained_on": sorted(learnt_here), "chosen_on": sorted(chosen)} if here else {}),
        ),
        versions=versions(),
        scores=scores(open_graph(identity, preprocess, graph), data, judged),
        calibration=calibration,
    )
    weights = to_safetensors({name: value.contiguous() for name, value in network.state_dict().items()})
    learnt = to_bytes(_learnt_keys(trained, before))
    bundle.save(out, made, {bundle.WEIGHTS: weights, bundle.GRAPH: graph, bundle.TRAINED_ON: learnt})
    return out


def _learnt_keys(trained: Trained, before: list[Bundle]) -> Int[np.ndarray, " n"]:
    """Return the keys of all images that the model has learnt, those of the models before it among them."""
    data = trained.data
    # One by one: all images together may be larger than memory.
    own = picture_keys(data.images[row] for row in data.rows(trained.recipe.train_split))
    return np.concatenate([own, *(keys for one in before if (keys := keys_learnt(one)) is not None)])


def _calibrated(graph: bytes, run: Trained, fingerprint: str) -> tuple[bytes, Calibration]:
    """Fit a temperature and biases of the classes to the images that judged every epoch, or say why not.

    A recipe that favours rare classes gets a temperature alone: biases would take back what it does.
    """
    split, data = run.validation_split, run.data
    if split == TEST:
        return graph, Calibration(
            unfitted=f"every epoch was judged on {split}, to which nothing may be fitted"
        )
    rows = data.select(split)
    if absent := [label for number, label in enumerate(data.labels) if not (rows.truth == number).any()]:
        return graph, Calibration(unfitted=f"no image of {split} shows {', '.join(absent)}")
    plain = ModelId("plain", files.sha256(graph), data.labels)
    try:
        logits = open_graph(plain, run.recipe.input, graph).logits(rows.images)
        made, found = calibrated(graph, logits, rows.truth, biases=not run.recipe.favours_rare_classes)
    except DataError as error:
        return graph, Calibration(unfitted=f"the images of {split}: {error}")
    where = {"split": split, "data": Path(data.source).name, "fingerprint": fingerprint}
    return made, Calibration(**where, **found.to_dict(), **fitted_biases(found, rows))


def chooses(recipe: Recipe) -> bool:
    """Say whether the validation images choose anything: the kept epoch, the last one, or a rate."""
    rule = recipe.validation
    return rule.keep == "best" or rule.patience_epochs > 0 or recipe.optim.schedule == "plateau"


def _parity(network: nn.Module, graph: bytes, identity: ModelId, run: Trained) -> float:
    """Return how far the graph that ships differs from torch, on images of every class."""
    rows = run.data.rows(run.validation_split)
    some = rows[:: max(1, len(rows) // PARITY_IMAGES)]  # sources sort by class
    return check_parity(network, graph, identity, run.recipe.input, run.data.images[some])


def _remarked(
    out: Path, split: str, protocol: str, recipe: Recipe, fingerprint: str, calibration: Calibration
) -> str:
    """Return a split's protocol with what is to be added to it."""
    if split == calibration.split:
        return protocol + (FITTED if calibration.own_bias else FITTED_TEMPERATURE)
    if protocol != READ_ONCE:
        return protocol
    return (READ_BY_RUN if recipe.options_chosen_on else protocol) + _read_before(out, split, fingerprint)


def _read_before(out: Path, split: str, fingerprint: str) -> str:
    """Return how many other models beside `out` were scored on this split: the best of many is chosen on it."""
    number = 0
    for path in out.resolve().parent.glob(f"*/{bundle.CONFIG}"):
        with contextlib.suppress(BundleError):
            card = bundle.load(path.parent).card if path.parent != out.resolve() else None
            if card and card.data.fingerprint == fingerprint:
                number += any(score.split == split for score in card.scores)
    return (
        f"; {number} other model{'s' * (number != 1)} in this folder had been scored on it" if number else ""
    )


def _training_facts(run: Trained, difference: float) -> dict[str, Any]:
    start, teachers = run.recipe.transfer.weights, run.recipe.distillation.teachers
    votes_share = run.recipe.distillation.votes_share
    kept, last = run.kept, run.history[-1]
    return {
        **({"votes_share": votes_share} if votes_share else {}),
        **({"started_from": origin(start)} if start else {}),
        **({"teachers": [origin(name) for name in teachers]} if teachers else {}),
        "epochs": len(run.history),
        "validation_split": run.validation_split,
        "kept_epoch": kept.epoch,
        "kept_train_accuracy": kept.train_accuracy,
        "kept_val_accuracy": kept.val_accuracy,
        "kept_val_macro_f1": kept.val_macro_f1,
        "last_val_accuracy": last.val_accuracy,
        "median_epoch_seconds": round(statistics.median(row.seconds for row in run.history), 1),
        "device": str(run.place.device),
        "precision": run.place.precision,
        "processes": run.place.world_size,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "onnx_max_probability_difference": difference,
    }
