r"""Write docs/models.md: the built-in models on FER2013, votes of FER+, worse pictures and other photographs.

    python benchmarks/models.py --data fer2013.zip --votes ferplus_votes.csv --other-world other_world.zip \
        --out docs/models.md

Accuracy and balanced accuracy are those of the 3,589 test images of FER2013 in this archive, the public-test
images. A model's card says whether anything was chosen on them. *FER+* compares the answers with the emotion that
most of ten annotators named; images for which the model lacks this emotion are left out. *Worse pictures* is the
mean accuracy over the corruptions of `mien evaluate --corruptions`, strengths 1 to 5. *Other photographs* are 462
images of five classes; no model was trained on them, but options of the training were chosen by results on them.
The model may answer only with these five, with flip. ECE is the calibration error in percent. Intervals are 95
%. `mien_nano` has the weights of one seed; judged on the hold-out, a tenth of the training images, with flip, three
seeds of the recipe have 66.3 ± 0.7 % ([LOG.md](LOG.md)). `mien_trio`, the
default, joins these three into one graph: their mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from campaign import other_world
from machine import describe, give, opening
from mien import bundle, load_classifier, read_dataset
from mien.classifiers import probabilities
from mien.classifiers.combine import with_tta
from mien.evaluation.evaluate import answers
from mien.evaluation.robustness import robustness
from mien.options import ReadOptions
from mien.statistics import balanced_accuracy, calibration_error, confusion, resampled_confusion, wilson

if TYPE_CHECKING:
    from mien.statistics import Estimate

MODELS = tuple((name, backend) for name in ("mien_nano", "mien_trio") for backend in ("onnx", "int8"))
COLUMNS = (
    "model", "parameters", "KB", "accuracy", "with flip", "balanced", "ECE", "FER+", "worse pictures",
    "other photographs: accuracy", "balanced",
)  # fmt: skip


def percent(value: Estimate) -> str:
    """Return the value and its interval."""
    return f"{value.value:.1%} ({value.low:.1%}-{value.high:.1%})"


def row(name: str, backend: str, options: argparse.Namespace) -> list[str]:
    """Measure one graph of one model."""
    card = bundle.load(name).card
    classifier = load_classifier(name, backend=backend, threads=1)
    data = read_dataset(options.data, classifier.preprocess, split="test")
    rows, logits = answers(classifier, data, "test")
    hits = logits.argmax(1) == rows.truth
    flipped = with_tta(classifier, "flip").logits(rows.images).argmax(1) == rows.truth
    counts = confusion(rows.truth, logits.argmax(1), len(rows.labels))
    voted = ReadOptions(votes=str(options.votes), vote_rule="majority", labels=",".join(classifier.id.labels))
    named, named_logits = answers(
        classifier, read_dataset(options.data, classifier.preprocess, split="test", options=voted), "test"
    )
    worse = robustness(classifier, rows, float(hits.mean())).facts["mean_corrupted_accuracy"]
    elsewhere = other_world(Path(name), options.other_world, backend)
    assert elsewhere
    return [
        f"`{name}`{' INT8' if backend == 'int8' else ''}",
        f"{card.parameters:,}",
        f"{len(bundle.load(name).graph(backend)) / 1000:,.0f}",
        percent(wilson(hits)),
        f"{flipped.mean():.1%}",
        percent(balanced_accuracy(resampled_confusion(counts))),
        percent(calibration_error(probabilities(logits).max(1), hits)),
        f"{(named_logits.argmax(1) == named.truth).mean():.1%} of {len(named):,}",
        f"{worse:.1%}",
        f"{elsewhere['accuracy']:.1%}",
        f"{elsewhere['balanced_accuracy']:.1%}",
    ]


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("data", "votes", "other-world"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = [COLUMNS, ["---"] * len(COLUMNS), *(row(*model, options) for model in MODELS)]
    page = [
        "# Built-in models\n", opening(__doc__) + "\n", describe("mien", "onnxruntime") + "\n",
        "\n".join(f"| {' | '.join(cells)} |" for cells in table) + "\n",
        "Time for one face: [speed](performance.md). Cards: "
        + ", ".join(f"[{name}](../src/mien/models/{name}/README.md)" for name in dict(MODELS)) + ".\n",
    ]  # fmt: skip
    give("\n".join(page), options.out)


if __name__ == "__main__":
    main()
