"""The mean occlusion map of each class: on which places of a face the predictions depend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mien.evaluation import figures
from mien.evaluation.sections import Section
from mien.saliency.occlusion import PLACES, Occlusion, occlusion

if TYPE_CHECKING:
    from jaxtyping import Int, Num

    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset

EACH = 20
"""Most images of a class that are explained, chosen evenly from its correct predictions in source order."""


def mean_maps(classifier: Classifier, rows: FaceDataset, probs: Num[np.ndarray, "n k"]) -> Section:
    """Average the occlusion maps of correctly predicted images, class by class; `rows` are in the model's labels."""
    table: list[tuple[Any, ...]] = []
    pictures, facts = [], dict[str, Any](places=PLACES, each=EACH, falls={})
    for number, label in enumerate(rows.labels):
        chosen = _spread(np.flatnonzero((probs.argmax(axis=1) == number) & (rows.truth == number)))
        if not len(chosen):
            table.append((label, 0, None, None, "–"))
            continue
        crops = rows.images[chosen]
        found = list(occlusion(classifier, crops))
        mean = Occlusion(
            np.mean([one.probs for one in found], axis=0), np.mean([one.falls for one in found], axis=0)
        )
        most, prob = mean.deepest(number), float(mean.probs[number])
        table.append((label, len(chosen), prob, prob - most.fall, most.where))
        facts["falls"][label] = np.round(mean.falls[:, :, number], 6).tolist()
        face = np.rint(crops.astype(np.float64).mean(axis=0)).astype(np.uint8)
        pictures.append((label, face, mean.map(number, len(face)), most))
    text = (
        f"Up to {EACH} correctly predicted images of each class, each place hidden in turn (Zeiler & Fergus 2014). "
        f"Orange: hiding it lowers the probability of the class; blue: hiding it raises it. One colour scale for all."
    )
    header = ("class", "images", "mean probability", "with the place hidden", "place that lowers it most")
    drawings = (figures.mean_maps(pictures),) if pictures else ()
    return Section("why", "What the answers depend on", text, header, table, facts, drawings)


def _spread(rows: Int[np.ndarray, " m"]) -> Int[np.ndarray, " e"]:
    if len(rows) <= EACH:
        return rows
    return rows[np.linspace(0, len(rows) - 1, EACH).round().astype(int)]
