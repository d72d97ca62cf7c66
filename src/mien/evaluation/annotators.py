"""Compare a model with the votes of annotators on the same images: how often they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import DataError
from mien.evaluation import figures
from mien.evaluation.sections import Section
from mien.labels import FERPLUS_VOTE_ORDER
from mien.statistics import wilson

if TYPE_CHECKING:
    from jaxtyping import Num

    from mien.data.dataset import FaceDataset

BANDS = {
    "up to 40 %": 0.4,
    "up to 50 %": 0.5,
    "up to 60 %": 0.6,
    "up to 70 %": 0.7,
    "up to 80 %": 0.8,
    "up to 90 %": 0.9,
    "nearly all": 0.9999,
    "all": 1.0,
}
"""Fraction of annotators who name the most voted emotion: above the band before, up to this number."""


def annotators(probs: Num[np.ndarray, "n k"], rows: FaceDataset) -> Section:
    """Compare a model with annotators' votes.

    Votes for other answers than the model's labels (unknown, no face) are left out; single votes count. Images with
    fewer than two remaining votes are left out.

    Raises:
        DataError: no image has two votes for the model's labels.
    """
    assert rows.votes is not None
    votes = _in_labels(rows.votes, rows.labels)
    kept = votes.sum(axis=1) >= 2
    if not kept.any():
        raise DataError(f"no picture of {rows.source} has two votes for {', '.join(rows.labels)}")
    votes, probs, truth = votes[kept], probs[kept], rows.truth[kept]
    count = votes.sum(axis=1)
    shares, answer = votes / count[:, None], probs.argmax(axis=1)
    row = np.arange(len(votes))
    most = shares.max(axis=1)
    leads = shares[row, answer] == most
    named = votes[row, answer] > 0
    facts = {
        "images": int(kept.sum()),
        "mean_share_of_annotators_who_give_the_models_answer": float(shares[row, answer].mean()),
        "mean_share_who_give_the_labels_answer": float(shares[row, truth].mean()),
        "mean_share_of_annotator_pairs_who_agree": float(_pairs_agree(votes).mean()),
        "model_sides_with_a_minority": wilson(named & ~leads)._asdict(),
        "model_answers_what_nobody_voted_for": wilson(~named)._asdict(),
        "label_is_a_minority_vote": wilson(shares[row, truth] < most)._asdict(),
        "mean_total_variation_distance": float(np.abs(shares - probs).sum(axis=1).mean() / 2),
        "mean_jensen_shannon_distance": float(_jensen_shannon(shares, probs).mean()),
    }
    table: list[tuple[Any, ...]] = []
    for (name, high), low in zip(BANDS.items(), (0.0, *BANDS.values()), strict=False):
        band = (most > low) & (most <= high)
        if band.any():
            agreed = wilson(leads[band])
            table.append((name, int(band.sum()), wilson(answer[band] == truth[band]), agreed))
    drawing = figures.bars_with_intervals(
        "annotators",
        "Accuracy by how many annotators agree",
        [(name, n, accuracy) for name, n, accuracy, _ in table],
        axis="annotators who name the most voted emotion",
    )
    header = ("annotators agreeing", "images", "accuracy by the label", "answers what most voted")
    return Section("annotators", "Beside the annotators", _text(facts), header, table, facts, (drawing,))


def _text(facts: dict[str, Any]) -> str:
    minority, nobody, label = (
        facts[name]["value"]
        for name in (
            "model_sides_with_a_minority",
            "model_answers_what_nobody_voted_for",
            "label_is_a_minority_vote",
        )
    )
    theirs, of_label, pairs = (
        facts[f"mean_share_{name}"]
        for name in (
            "of_annotators_who_give_the_models_answer",
            "who_give_the_labels_answer",
            "of_annotator_pairs_who_agree",
        )
    )
    return (
        f"{facts['images']:,} images with at least two votes. On average {theirs:.0%} of an image's annotators give "
        f"the model's answer, {of_label:.0%} the answer of the dataset's label, and two annotators agree with each "
        f"other {pairs:.0%} of the time. The model sides with a minority on {minority:.0%} of the images and answers "
        f"what nobody voted for on {nobody:.0%}; the label itself is a minority's or nobody's on {label:.0%}. The "
        f"model's probabilities lie {facts['mean_total_variation_distance']:.2f} from the votes' shares (total "
        f"variation, 0 to 1)."
    )


def _in_labels(votes: Num[np.ndarray, "n 10"], labels: tuple[str, ...]) -> Num[np.ndarray, "n k"]:
    columns = [FERPLUS_VOTE_ORDER.index(label) if label in FERPLUS_VOTE_ORDER else -1 for label in labels]
    padded = np.concatenate([votes, np.zeros((len(votes), 1), votes.dtype)], axis=1)
    return padded[:, columns].astype(np.float64)


def _pairs_agree(votes: Num[np.ndarray, "n k"]) -> Num[np.ndarray, " n"]:
    """Return the chance that two different annotators of an image agree."""
    n = votes.sum(axis=1)
    return (votes * (votes - 1)).sum(axis=1) / (n * (n - 1))


def _jensen_shannon(p: Num[np.ndarray, "n k"], q: Num[np.ndarray, "n k"]) -> Num[np.ndarray, " n"]:
    """Return the Jensen-Shannon distance, the root of the divergence to base 2: 0 to 1."""
    middle = (p + q) / 2

    def divergence(a: Num[np.ndarray, "n k"]) -> Num[np.ndarray, " n"]:
        return np.where(a > 0, a * np.log2(np.where(a > 0, a / np.maximum(middle, 1e-300), 1.0)), 0.0).sum(
            axis=1
        )

    return np.sqrt(np.maximum((divergence(p) + divergence(q)) / 2, 0))
