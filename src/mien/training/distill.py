"""Teachers: trained models, and people's votes, whose answers become part of the targets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien import bundle
from mien.classifiers.torch_module import TorchClassifier
from mien.errors import ConfigError, DataError
from mien.exporting.temperature import present_prior
from mien.training.transfer import check_sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Float32, Int

    from mien.bundle import Bundle
    from mien.config import Recipe
    from mien.data.dataset import FaceDataset


def load_teachers(recipe: Recipe) -> list[Bundle]:
    """Load the recipe's teachers, which `transfer.check_sources` has held against its input.

    Raises:
        BundleError: one is missing, damaged, or has no weights of torch's.
        ConfigError: one takes other crops than the recipe's network.
    """
    check_sources(recipe)
    return [bundle.load(name) for name in recipe.distillation.teachers]


class Teachers(nn.Module):
    """Input as the student gets it -> mean probabilities of the teachers, f32 [b, k].

    A teacher that knows more labels than the data has answers as if there were no others. Its answers are moved from
    the class frequencies that it expects to those of the images that the student sees: else a teacher that favours
    rare classes and a recipe that does so would favour them twice. While the student gets smaller pictures
    (`Recipe.resizing`), they are enlarged for the teachers, who have learnt from whole ones.
    """

    def __init__(
        self,
        teachers: Sequence[Bundle],
        recipe: Recipe,
        labels: tuple[str, ...],
        drawn: Int[np.ndarray, " k"],
    ) -> None:
        """Prepare the teachers for a student; `drawn` is how often it sees an image of each class, up to a factor.

        Raises:
            ConfigError: a teacher lacks a label, or its card does not say how many images of each it learnt.
        """
        super().__init__()
        classifiers = [TorchClassifier.from_bundle(one) for one in teachers]
        self.networks, self.size_px = nn.ModuleList(one.network for one in classifiers), recipe.input.size_px
        for number, teacher in enumerate(classifiers):
            known = teacher.id.labels
            if not set(labels) <= set(known):
                raise ConfigError(
                    f"teacher {teacher.id.name} answers {', '.join(known)}; the data has {', '.join(labels)}"
                )
            self.register_buffer(f"columns{number}", torch.tensor([known.index(label) for label in labels]))
            prior = present_prior(teachers[number])
            expected = np.array([prior[label] for label in labels])
            self.register_buffer(f"shift{number}", _shift(expected, drawn))
            change = recipe.input.range_change(teacher.preprocess)
            for name, values in zip(("gain", "offset"), change, strict=True):
                self.register_buffer(f"{name}{number}", torch.tensor(values)[:, None, None])
        self.to(memory_format=torch.channels_last).requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Float32[Tensor, "b k"]:
        """Return the mean of their probabilities for these very pictures, augmented and mixed as they are."""
        answers = []
        if x.shape[-1] != self.size_px:
            x = functional.interpolate(x, self.size_px, mode="bilinear")
        for n, network in enumerate(self.networks):
            logits = network(x * self.get_buffer(f"gain{n}") + self.get_buffer(f"offset{n}")).float()
            of_data = logits[:, self.get_buffer(f"columns{n}")] + self.get_buffer(f"shift{n}")
            answers.append(of_data.softmax(1))
        return torch.stack(answers).mean(0)


def _shift(expected: Float[np.ndarray, " k"], drawn: Int[np.ndarray, " k"]) -> Float32[Tensor, " k"]:
    """Return what moves logits from the expected class frequencies to the drawn; 0 for a class that either lacks."""
    both = (expected > 0) & (drawn > 0)
    shift = np.zeros(len(drawn), np.float32)
    shift[both] = np.log(drawn[both] / drawn[both].sum()) - np.log(expected[both] / expected[both].sum())
    return torch.from_numpy(shift)


def taught_by_votes(data: FaceDataset, rows: Int[np.ndarray, " m"], share: float) -> FaceDataset:
    """Return the dataset with `share` of these rows' targets replaced by p(label | votes).

    The labels of a dataset and the votes of other people about the same pictures name the same emotions by different
    rules; a multinomial regression fitted to these very rows translates. It sees nothing of the pictures, so what it
    says cannot be learnt by heart from them. Rows without votes keep their targets.

    Raises:
        DataError: the dataset came without votes, or the rows with votes are of fewer than two classes.
    """
    if data.votes is None:
        raise DataError(
            f"distillation.votes_share needs votes, and {data.source} came without: "
            f"add --votes FILE --vote-rule beside"
        )
    votes = data.votes[rows].astype(np.float64)
    voted = votes.any(axis=1)
    truth = data.truth[rows[voted]]
    if len(answered := np.unique(truth)) < 2:
        classes = f"all of the class {data.labels[answered[0]]!r}" if len(answered) else "none"
        raise DataError(
            f"distillation.votes_share needs votes on images of at least two classes; of the {len(rows):,} training "
            f"images of {data.source}, those with votes are {classes}: check --votes, or set "
            f"distillation.votes_share=0"
        )
    from sklearn.linear_model import LogisticRegression  # takes as long to import as half of torch

    shares = votes[voted] / votes[voted].sum(axis=1, keepdims=True)
    seen = np.concatenate([shares, np.sqrt(shares)], axis=1)  # roots tell one vote from none
    translate = LogisticRegression(max_iter=2000).fit(seen, truth)
    targets = data.targets.copy()
    said = np.zeros((len(truth), len(data.labels)), np.float32)
    said[:, translate.classes_] = translate.predict_proba(seen)
    targets[rows[voted]] += np.float32(share) * (said - targets[rows[voted]])
    return replace(data, targets=targets)
