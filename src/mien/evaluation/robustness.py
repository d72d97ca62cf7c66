"""Accuracy on corrupted images, for each kind of corruption and each strength."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mien.evaluation import figures
from mien.evaluation.sections import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import UInt8

    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset

    Picture = UInt8[np.ndarray, "s s c"]

STRENGTHS = (1, 2, 3, 4, 5)


def robustness(classifier: Classifier, rows: FaceDataset, accuracy: float) -> Section:
    """Evaluate the classifier on every corruption at every strength; `accuracy` is that on uncorrupted images."""
    table: list[tuple[Any, ...]] = []
    lines = {}
    for kind in CORRUPTIONS:
        answers = (
            classifier.logits(corrupt(rows.images, kind, strength)).argmax(1) for strength in STRENGTHS
        )
        lines[kind] = [float((answer == rows.truth).mean()) for answer in answers]
        table.append((kind, accuracy, *lines[kind], float(np.mean(lines[kind]))))
    mean = float(np.mean([row[-1] for row in table]))
    worst = min(table, key=lambda row: row[-1])
    clean = (
        f"{mean / accuracy:.0%} of that on the pictures as they are"
        if accuracy
        else "none of the pictures as they are is predicted correctly"
    )
    text = (
        f"Mean accuracy over all corruptions {mean:.1%}, {clean}. "
        f"Costliest: {worst[0]}, {worst[-1]:.1%}. Strengths are ours, made for this report: figures compare models, "
        f"they are not those of a published benchmark."
    )
    header = ("corruption", "none", *(f"at {strength}" for strength in STRENGTHS), "mean of 1 to 5")
    facts = {"accuracy": accuracy, "mean_corrupted_accuracy": mean}
    drawing = figures.strength_curves(lines, accuracy, STRENGTHS)
    return Section("robustness", "Robustness", text, header, table, facts, (drawing,))


def corrupt(images: UInt8[np.ndarray, "n s s c"], kind: str, strength: int) -> UInt8[np.ndarray, "n s s c"]:
    """Return corrupted images; the same image, kind and strength give the same result in any batch."""
    change, amounts = CORRUPTIONS[kind]
    amount = amounts[strength - 1]
    out = np.empty_like(images)
    for row, image in enumerate(images):
        rng = np.random.default_rng([strength, int(image.astype(np.uint32).sum())])
        out[row] = change(image, amount, rng).reshape(image.shape)
    return out


def _blur(image: Picture, sigma: float, _: np.random.Generator) -> Picture:
    return cv2.GaussianBlur(image, (0, 0), sigma * len(image), borderType=cv2.BORDER_REPLICATE)


def _noise(image: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    return _bytes(image + rng.normal(0, 255 * sigma, image.shape))


def _low_light(image: Picture, gain: float, rng: np.random.Generator) -> Picture:
    """Darken, with the noise of counting few photons (a full pixel holds 1,000) and of reading them."""
    photons = rng.poisson(image / 255 * gain * 1000)
    return _bytes(photons / 1000 * 255 + rng.normal(0, 2, image.shape))


def _jpeg(image: Picture, quality: float, _: np.random.Generator) -> Picture:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return decoded


def _covered(top: float, bottom: float) -> Callable[[Picture, float, np.random.Generator], Picture]:
    """Return a function that paints a dark bar over a band of the face; its strength is a fraction of the width."""

    def cover(image: Picture, part: float, rng: np.random.Generator) -> Picture:
        side, out = len(image), image.copy()
        width = round(part * side)
        left = int(rng.integers(0, side - width + 1))
        out[round(top * side) : round(bottom * side), left : left + width] = 32
        return out

    return cover


def _small(image: Picture, part: float, _: np.random.Generator) -> Picture:
    side = len(image)
    small = cv2.resize(image, (max(2, round(part * side)),) * 2, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)


def _turned(image: Picture, degrees: float, rng: np.random.Generator) -> Picture:
    centre = ((len(image) - 1) / 2,) * 2
    turn = cv2.getRotationMatrix2D(centre, degrees * rng.choice((-1, 1)), 1)
    return cv2.warpAffine(image, turn, image.shape[:2], borderMode=cv2.BORDER_REPLICATE)


def _bytes(values: Any) -> Picture:
    return np.rint(values).clip(0, 255).astype(np.uint8)


CORRUPTIONS = {
    "blur": (_blur, (0.01, 0.02, 0.03, 0.045, 0.06)),  # sigma in sides of the picture
    "noise": (_noise, (0.03, 0.06, 0.1, 0.15, 0.2)),  # sigma as a fraction of white
    "low light": (_low_light, (0.5, 0.3, 0.15, 0.08, 0.04)),  # light that is left
    "JPEG": (_jpeg, (40, 25, 15, 10, 5)),  # quality
    "eyes covered": (_covered(0.22, 0.46), (0.2, 0.4, 0.6, 0.8, 1.0)),  # fraction of the width
    "mouth covered": (_covered(0.64, 0.92), (0.2, 0.4, 0.6, 0.8, 1.0)),
    "small face": (_small, (0.67, 0.5, 0.375, 0.25, 0.19)),  # size it had, in sides of the crop
    "rotation": (_turned, (10, 20, 30, 45, 60)),  # degrees, either way
}
"""For each corruption, its function and its parameter at the strengths 1 to 5."""
