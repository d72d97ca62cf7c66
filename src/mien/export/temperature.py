"""A temperature into a bundle: the last step of every graph, so that any runtime gives calibrated logits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien import bundle, card, files
from mien.classifiers import probabilities
from mien.classifiers.onnx_runtime import open_graph
from mien.errors import BundleError, ConfigError, OutputError, needs
from mien.evaluation.calibration import Calibration, calibrate
from mien.evaluation.evaluate import answers
from mien.evaluation.protocol import check_unseen

with needs("export"):
    import onnx
    from onnx import numpy_helper
    from onnx.helper import make_node

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from mien.bundle import Bundle
    from mien.data.dataset import FaceDataset

_FACTOR, _RAW = "inverse_temperature", "logits_before_temperature"
_MAX_DIFFERENCE = 1e-5
_EVERY = 7
"""Of so many pictures one is answered by every graph, before and after."""


def save_calibrated(loaded: Bundle, data: FaceDataset, split: str, out: Path) -> Calibration:
    """Fit a temperature on `split` and write the bundle with it into `out`, which may be where it came from.

    A bundle that has a temperature gets a new one in its place.

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
    raw = logits * np.float32(loaded.card.temperature)
    found = calibrate(raw, rows.truth)
    graphs = {
        name: with_temperature(loaded.read(name), found.temperature)
        for name in bundle.GRAPHS.values()
        if name in loaded.sha256
    }
    for name, graph in graphs.items():
        _check(loaded, name, graph, rows.images[::_EVERY], found.temperature)
    where = {"split": split, "data": Path(data.source).name, "fingerprint": data.fingerprint()}
    facts = card.Calibration(**where, **found.to_dict())
    renewed = {"onnx_sha256": files.sha256(graphs[bundle.GRAPH])}
    exports = {name: export.model_copy(update=renewed) for name, export in loaded.card.exports.items()}
    made = loaded.card.model_copy(update={"calibration": facts, "exports": exports})
    bundle.save(out, made, graphs, base=loaded)
    return found


def _check(
    loaded: Bundle, name: str, graph: bytes, crops: UInt8[np.ndarray, "n s s c"], temperature: float
) -> None:
    """Hold a graph's answers against those of before.

    Raises:
        BundleError: they differ by more than the temperature.
    """
    before, after = (
        open_graph(loaded.id, loaded.preprocess, one).logits(crops) for one in (loaded.read(name), graph)
    )
    wanted = probabilities(before * np.float32(loaded.card.temperature / temperature))
    if not np.abs(probabilities(after) - wanted).max() <= _MAX_DIFFERENCE:
        raise BundleError(
            f"model {loaded.card.name}: with a temperature its {name} gives other probabilities: make it anew"
        )


def check_place(loaded: Bundle, out: Path) -> None:
    """Refuse to write over another model.

    Raises:
        ConfigError: `out` holds one.
        OutputError: `out` is the place of this one, and another command has changed it.
    """
    if (out / bundle.CONFIG).exists() and bundle.load(out).id.sha256 != loaded.id.sha256:
        if out.resolve() == loaded.folder.resolve():
            raise OutputError(
                f"another command has changed {out} since this one read it: nothing was changed; repeat this one"
            )
        raise ConfigError(f"{out} already holds another model: choose another --out")


def with_temperature(graph: bytes, temperature: float) -> bytes:
    """Return a graph whose logits are divided by a temperature, instead of by the one it had.

    Raises:
        BundleError: nothing in it gives ``logits``.
    """
    model = onnx.load_from_string(without_temperature(graph))
    if not _rename(model, "logits", _RAW):
        raise BundleError("a graph without an output named logits cannot be calibrated: export it anew")
    model.graph.initializer.append(numpy_helper.from_array(np.array(1 / temperature, np.float32), _FACTOR))
    model.graph.node.append(make_node("Mul", [_RAW, _FACTOR], ["logits"]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def without_temperature(graph: bytes) -> bytes:
    """Return a graph as it was before `with_temperature`.

    What converts graphs gets such ones: it would rename, round or merge the step that the next one has to find.
    """
    model = onnx.load_from_string(graph)
    steps = [node for node in model.graph.node if _FACTOR in node.input]
    if not steps:
        return graph
    model.graph.node.remove(steps[0])
    model.graph.initializer.remove(next(one for one in model.graph.initializer if one.name == _FACTOR))
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
