"""A whole run: train, export, round, calibrate, write the detector's folder."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mien import files
from mien.detectors import bundle
from mien.errors import ConfigError
from mien.faces import finish
from mien.faces.fit import Plan, Sources, fit
from mien.faces.material import read_material

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mien.faces.network import Detector

RUN = "run"
"""Folder beside the graphs for the checkpoint and the history of the run."""
OWN = {
    "heads": "d1113ca09fbd72eb7783e946c3bae1fde2d740b520655c15d9236106f83fff3e",
    "faces": "9dd90e73c3816a8967d9d24b7413904d4b8d974a3c4afd10d6ef3b127a312bc1",
    "backgrounds": "6b0c608365353e6de640717837376096a4415df47fb69262b3f40c4fbfdbf6fc",
}
"""Fingerprints of the archives that `mien_faces` was trained on, and that `MATERIAL` and `NOTES` are about."""
MATERIAL = (
    "Heads: Face Research Lab London Set (L. DeBruine and B. Jones 2017, figshare 5047666, CC BY 4.0) and Young "
    "Adult White Faces (L. DeBruine and B. Jones 2017, figshare 4220517, CC BY 4.0); cut out, turned, changed in "
    "light and shade, partly with another's expression",
    "Faces: training images of FER2013 (I. Goodfellow et al. 2013)",
    "Backgrounds: photographs in which no face was found",
)
NOTES = (
    "It finds faces. It does not tell who somebody is, and must not be used to watch people.",
    "It sees grey images only. Of the 142 heads, 40 are all White and 102 are of several origins; the archive does "
    "not say each person's skin tone, so recall by skin tone was not measured on people. Shades of skin were varied "
    "by mixing the colours of each head at random, which does not replace that measurement.",
)
UNKNOWN = (
    NOTES[0],
    "It sees grey images only. How well it finds faces of different people was not measured: do so with photographs "
    "of those whom it is to find.",
)
"""What is to be known of a detector that was trained on other archives."""


def train_detector(
    sources: Sources, out: Path, plan: Plan, *, resume: bool, tell: Callable[[str], None]
) -> Path:
    """Train a detector and write its folder; return it.

    Raises:
        ConfigError: fewer steps than one.
        DataError: an archive cannot be used.
        TrainingError: `out` holds another run, or one that is not to be resumed.
        BundleError: the exported graph cannot be used, or differs from the network.
        OutputError: `out` cannot be written, or another command writes into it.
    """
    if plan.steps < 1:
        raise ConfigError(f"`steps` must be at least 1, got {plan.steps}")
    with files.locked(out):
        network = fit(sources, out / RUN, plan, resume=resume, tell=tell)
        tell("choosing the INT8 graph and the threshold on held-out material")
        return write(network, sources, out, plan)


def write(network: Detector, sources: Sources, out: Path, plan: Plan) -> Path:
    """Export, round and calibrate a trained network, and write its folder; return it.

    Raises:
        DataError: an archive cannot be used.
        BundleError: the exported graph cannot be used, or differs from the network.
        OutputError: `out` cannot be written.
    """
    material = read_material(sources.heads, sources.faces, sources.backgrounds, held_out=True)
    scenes = finish.held_out_scenes(material, finish.N_SCENES)
    ranges, choosing = scenes[: finish.N_ROUNDED], scenes[finish.N_ROUNDED : 2 * finish.N_ROUNDED]
    graph = finish.export(network)
    parity = finish.check_parity(network, graph, choosing)
    int8, moved = finish.quantise(graph, ranges, choosing)
    is_own = sources.fingerprints() == OWN
    names = {name: path.name for name, path in vars(sources).items()}
    score = finish.calibrate(int8, scenes[2 * finish.N_ROUNDED :], material.backgrounds_u8)
    facts = bundle.Facts(
        name=out.name,
        parameters=sum(one.numel() for one in network.parameters()),
        threshold=score.threshold,
        gain=score.scale.gain,
        bias=score.scale.bias,
        training={
            "steps": plan.steps,
            "scenes a step": plan.batch,
            "learning rate": plan.peak_lr,
            "seed": plan.seed,
        },
        material=MATERIAL if is_own else tuple(f"{name.title()}: {file}" for name, file in names.items()),
        checked=score.checked
        | {
            "largest difference of ONNX Runtime from torch": parity,
            "mean difference of INT8 from float, on the scenes that chose it": moved,
        },
        notes=NOTES if is_own else UNKNOWN,
        command=_command(names, plan),
    )
    bundle.save(out, facts, {"onnx": graph, "int8": int8})
    return out


def _command(names: dict[str, str], plan: Plan) -> str:
    """Return the command that makes the detector again, given the archives."""
    words = ["mien", "detector"]
    for name, file in names.items():
        words += [f"--{name}", file]
    for name in ("steps", "seed"):
        if getattr(plan, name) != getattr(Plan, name):
            words += [f"--{name}", str(getattr(plan, name))]
    return shlex.join(words)
