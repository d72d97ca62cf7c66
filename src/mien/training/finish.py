"""The end of a run: the chosen weights -> a proved graph, honest scores, a card, a bundle."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors

from mien import bundle, files
from mien.card import Training, data_facts, versions
from mien.classifiers.onnx_runtime import open_graph
from mien.config import facts_of
from mien.data.duplicates import picture_keys, to_bytes
from mien.evaluation.protocol import CHOSEN, keys_learnt, protocols, scores
from mien.export.onnx import check_parity, export_onnx
from mien.networks.plain import deploy
from mien.results import ModelId
from mien.training.history import best_epoch, write_plot
from mien.training.transfer import origin, parents

if TYPE_CHECKING:
    from torch import nn

    from mien.config import Recipe
    from mien.data.dataset import FaceDataset
    from mien.history import EpochRow

PARITY_IMAGES = 512
CHOSEN_BEFORE = "a model that this one learnt from was chosen on this split"


@dataclass(frozen=True)
class Provenance:
    """How the weights came to be."""

    recipe: Recipe
    history: list[EpochRow]
    validation_split: str
    """Which images chose the epoch."""
    command: str
    device: str
    precision: str
    processes: int
    fingerprint: str
    """Of the whole dataset, before any holdout."""


def save_bundle(out: Path, network: nn.Module, data: FaceDataset, run: Provenance) -> None:
    """Draw the history, export, prove, judge and write. Scores come from the ONNX graph, which is what will be used.

    Raises:
        BundleError: the exported graph differs from the network.
        OutputError: `out` can't be written.
    """
    recipe, preprocess, before = run.recipe, run.recipe.input, parents(run.recipe)
    here = [one.card for one in before if one.card.data.name == Path(data.source).name]
    trained = {recipe.train_split, *(name for past in here for name in past.trained_on)}
    chosen = {name: CHOSEN_BEFORE for past in here for name in past.chosen_on}
    chosen[run.validation_split] = CHOSEN
    kept = best_epoch(run.history, recipe.validation.monitor)
    title = f"{recipe.network} on {Path(data.source).name}"
    write_plot(out / "run" / "history.png", run.history, kept, title)
    deployed = deploy(network)
    graph = export_onnx(deployed, preprocess, data.labels)
    identity = ModelId(out.resolve().name, files.sha256(graph), data.labels)
    rows = data.rows(run.validation_split)
    some = rows[:: max(1, len(rows) // PARITY_IMAGES)]  # sources sort by class: take some of each
    difference = check_parity(deployed, graph, identity, preprocess, data.images[some])
    made = bundle.Card(
        name=identity.name,
        architecture=recipe.network,
        labels=data.labels,
        preprocess=preprocess,
        parameters=sum(p.numel() for p in deployed.parameters()),
        recipe=facts_of(recipe),
        command=run.command,
        data=data_facts(data, run.fingerprint),
        training=Training(
            **_training_facts(run, difference),
            **({"trained_on": sorted(trained), "chosen_on": sorted(chosen)} if here else {}),
        ),
        versions=versions(),
        scores=scores(open_graph(identity, preprocess, graph), data, protocols(data, trained, chosen)),
    )
    weights = to_safetensors({name: value.contiguous() for name, value in network.state_dict().items()})
    own = picture_keys(data.images[row] for row in data.rows(recipe.train_split))  # may be larger than memory
    learnt = [own, *(keys for one in before if (keys := keys_learnt(one)) is not None)]
    contents = {
        bundle.WEIGHTS: weights,
        bundle.GRAPH: graph,
        bundle.TRAINED_ON: to_bytes(np.concatenate(learnt)),
    }
    bundle.save(out, made, contents)


def _training_facts(run: Provenance, difference: float) -> dict[str, Any]:
    start, teachers = run.recipe.transfer.weights, run.recipe.distillation.teachers
    votes_share = run.recipe.distillation.votes_share
    best, last = best_epoch(run.history, run.recipe.validation.monitor), run.history[-1]
    return {
        **({"votes_share": votes_share} if votes_share else {}),
        **({"started_from": origin(start)} if start else {}),
        **({"teachers": [origin(name) for name in teachers]} if teachers else {}),
        "epochs": len(run.history),
        "validation_split": run.validation_split,
        "kept_epoch": best.epoch,
        "kept_train_accuracy": best.train_accuracy,
        "kept_val_accuracy": best.val_accuracy,
        "kept_val_macro_f1": best.val_macro_f1,
        "last_val_accuracy": last.val_accuracy,
        "median_epoch_seconds": round(statistics.median(row.seconds for row in run.history), 1),
        "device": run.device,
        "precision": run.precision,
        "processes": run.processes,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "onnx_max_probability_difference": difference,
    }
