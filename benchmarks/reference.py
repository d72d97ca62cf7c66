"""The five reference systems: what was published, and what our runs of their recipes reach.

A finished run is recorded in a small file of facts taken from its bundle; the page is made of those files. Two
ways of choosing the epoch are told apart: the authors' (on the images that are then reported) and the clean one
(on a stratified tenth of the training images; the public-test images are read once). A row without a run says so.

    mien train mynet_v2 --data fer2013.zip --out runs/mynet_v2
    mien train mynet_v2 --data fer2013.zip --out runs/mynet_v2-clean --set validation.split=holdout
    python benchmarks/reference.py record mynet_v2 runs/mynet_v2 runs/mynet_v2-clean
    python benchmarks/reference.py page
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mien.bundle import Card

DOCS = Path(__file__).parent.parent / "docs"
FACTS = DOCS / "runs" / "reference"
PAGE = DOCS / "results.md"
BEGIN, END = "<!-- printed by benchmarks/reference.py: begin -->", "<!-- end -->"
NOT_RUN = "not run yet"
NEEDS_HUB = "not measurable without weights from a hub"
FITTED = "weights fitted to public-test"
KNOWS_HOLDOUT = "not clean: its start weights were trained on the hold-out"
ENSEMBLE = "ensemble"


class Row(NamedTuple):
    """One published result."""

    system: str
    recipe: str
    published: str
    figure: str = "accuracy"
    """Which of our figures stands beside it."""
    why_not: str = NOT_RUN
    why_not_clean: str = NOT_RUN
    accuracy: float | None = None
    """The published accuracy as a fraction, for the chart; of which images, `published` says."""


ROWS = (
    Row("A", "inception", "69.36 % of 7,178", accuracy=0.6936),
    Row("A", "inception_simplified", "69.59 % of 7,178", accuracy=0.6959),
    Row("A", "mynet_v1", "67.55 % of 7,178; its weights 66.0 % on public-test", accuracy=0.6755),
    Row("A", "mynet_v2", "68.57 % of 7,178; its weights 67.9 % on public-test", accuracy=0.6857),
    Row("B", "mish_cnn", "validation 63.86 %", accuracy=0.6386),
    Row("B", "mish_cnn", "macro-F1 .61 validation, .59 final test", "macro_f1"),
    Row("C", "lenet", "79.72 %, 3 classes of other photos", accuracy=0.7972),
    Row("C", "resnet34", "61.37 %, from scratch", accuracy=0.6137),
    Row("C", "efficientnet_b0_frozen", "83.54 %, pre-trained, frozen backbone", accuracy=0.8354),
    Row("C", "efficientnet_b0", "76.03 %, pre-trained, fine-tuned", accuracy=0.7603),
    Row("C", "mobilenetv2_100", "69.14 %, pre-trained", accuracy=0.6914),
    Row("C", "vit", "65.89 %, from scratch", accuracy=0.6589),
    Row("C", "vit_base", "89.29 %, pre-trained, fine-tuned", why_not=NEEDS_HUB, accuracy=0.8929),
    Row("C", ENSEMBLE, "62.16 %, five of these", why_not_clean=FITTED, accuracy=0.6216),
    Row("D", "pooled_cnn", "full credit from 76.70 %, 3 classes", accuracy=0.767),
    Row("D", "nano_three_classes", "ours, for the same task", why_not_clean=KNOWS_HOLDOUT),
    Row("E", "blog_cnn_1", "training 46 %, validation 39 %", accuracy=0.39),
    Row("E", "blog_cnn_2", "training 59 %, validation 51 %", accuracy=0.51),
    Row("E", "blog_cnn_3", "training 61 %, validation 55 %", accuracy=0.55),
    Row("E", "blog_cnn_4", "training 85 %, validation 51 %", accuracy=0.51),
)


def record(recipe: str, run: Path) -> Path:
    """Write the facts of a finished run; returns the file."""
    from mien import bundle

    card = bundle.load(run).card
    trained = {"way": "authors", "seed": 0} if card.architecture == ENSEMBLE else training(card, run)
    scores = {score.tta: score for score in card.scores if score.split == "test"}
    facts = {
        "recipe": recipe,
        "network": card.architecture,
        "parameters": parameters(card),
        "labels": list(card.labels),
        **trained,
        "input": f"{card.preprocess.size_px} px, {'grey' if card.preprocess.channels == 1 else 'colour'}",
        "fingerprint": card.data.fingerprint,
        "n": scores["none"].n,
        **{
            name: getattr(scores["none"], name)
            for name in ("accuracy", "macro_f1", "balanced_accuracy", "top_k_accuracy")
        },
        **{f"{name}_flip": getattr(scores["flip"], name) for name in ("accuracy", "macro_f1")},
        "command": card.command,
        "versions": card.versions,
    }
    FACTS.mkdir(parents=True, exist_ok=True)
    path = FACTS / f"{recipe}-{facts['way']}-{facts['seed']}.json"
    path.write_text(json.dumps(facts, indent=2) + "\n")
    return path


def parameters(card: Card) -> int:
    """Return the count as trained, which is the published one: deployment folds some of a network's away."""
    from mien.networks.catalog import build

    if card.architecture == ENSEMBLE:
        return card.parameters
    options = card.recipe.get("network_options")
    network = build(card.architecture, len(card.labels), card.preprocess, options)
    return sum(weights.numel() for weights in network.parameters())


def training(card: Card, run: Path) -> dict:
    """Return how a run went; an ensemble has none of its own."""
    with (run / "run" / "history.csv").open() as file:
        kept = next(row for row in csv.DictReader(file) if int(row["epoch"]) == card.training.kept_epoch)
    return {
        "way": "clean" if card.training.validation_split != "test" else "authors",
        "seed": card.recipe["seed"],
        "images": sum(card.data.counts[card.recipe["train_split"]].values()),
        "epochs": card.training.epochs,
        "kept_epoch": card.training.kept_epoch,
        "minutes": round(card.training.epochs * card.training.median_epoch_seconds / 60, 1),
        "hardware": f"{card.training.device}, {counted(card.training.threads, 'thread')}"
        f"{', bf16' if 'bf16' in card.training.precision else ''}",
        "train_accuracy": float(kept["train_accuracy"]),
    }


def counted(n: int, what: str) -> str:
    """Return ``1 thread``, ``2 threads``."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def runs_of(recipe: str, way: str) -> list[dict]:
    """Return the recorded runs of a recipe, by seed."""
    runs = [json.loads(path.read_text()) for path in FACTS.glob(f"{recipe}-{way}-*.json")]
    return sorted(runs, key=lambda run: run["seed"])


def table() -> str:
    """Return the Markdown table of every published row."""
    lines = [
        "| system | recipe | parameters | input, classes | published | ours, the authors' way | with flip | "
        "ours, clean: mean ± sd (n) | with flip | epochs | minutes | hardware |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        theirs, clean = runs_of(row.recipe, "authors"), runs_of(row.recipe, "clean")
        ran = [*theirs, *clean]
        if not ran:
            cells = ["", "", row.published, row.why_not, "", "", "", "", "", ""]
        else:
            first = ran[0]
            cells = [
                f"{first['parameters']:,}", f"{first['input']}, {len(first['labels'])}", row.published,
                *shown(theirs, row.figure, row.why_not), *shown(clean, row.figure, row.why_not_clean),
                *([f"{first['kept_epoch']} of {first['epochs']}", f"{first['minutes']:.0f}", first["hardware"]]
                  if "epochs" in first else ["", "", ""]),
            ]  # fmt: skip
        lines.append(f"| {row.system} | `{row.recipe}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(runs: list[dict], figure: str, why_not: str) -> tuple[str, str]:
    """Return a figure and the one with flip averaging, with spread and number where there are several runs."""
    if not runs:
        return why_not, ""
    one, two = (spread([run[name] for run in runs]) for name in (figure, f"{figure}_flip"))
    return one, two


def spread(values: list[float]) -> str:
    """Return a percentage, with standard deviation and number where there are several."""
    mean = f"{statistics.mean(values):.1%}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f} ({len(values)})"


def commands() -> str:
    """Return what was typed, a line a run."""
    known = [run for row in dict.fromkeys(row.recipe for row in ROWS) for way in ("authors", "clean")
             for run in runs_of(row, way)]  # fmt: skip
    return "\n".join(["```", *(run["command"] for run in known), "```"])


def chart(path: Path, classes: int) -> None:
    """Draw what was published beside what our runs of the same recipe reach, for tasks of so many classes."""
    from matplotlib.figure import Figure

    from mien.evaluation.figures import styled
    from mien.palette import SERIES_HEX

    rows = [row for row in ROWS if row.figure == "accuracy" and known(row) == classes]
    series = (
        ("published, on the authors' images", "D", "white", [row.accuracy for row in rows]),
        ("ours, epoch chosen on the reported images", "o", SERIES_HEX[5],
         [middle(runs_of(row.recipe, "authors")) for row in rows]),
        ("ours, clean", "o", SERIES_HEX[0], [middle(runs_of(row.recipe, "clean")) for row in rows]),
    )  # fmt: skip
    with styled():
        figure = Figure(figsize=(7.2, 1.5 + 0.36 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for place in range(len(rows)):
            there = [100 * values[place] for *_, values in series if values[place] is not None]
            axes.plot([min(there), max(there)], [place, place], color="0.75", linewidth=1, zorder=1)
            told = ", ".join(
                "-" if values[place] is None else f"{100 * values[place]:.1f}" for *_, values in series
            )
            axes.text(101, place, told, va="center", fontsize=8)
        for label, marker, colour, values in series:
            kept = [(100 * value, place) for place, value in enumerate(values) if value is not None]
            axes.scatter(*zip(*kept, strict=True), s=42, marker=marker, color=colour, edgecolor="black",
                         linewidth=0.8, label=label, zorder=2)  # fmt: skip
        axes.set_yticks(range(len(rows)), [f"{row.system}  {row.recipe}" for row in rows])
        axes.set(xlabel="accuracy, %", xlim=(35, 100), ylim=(len(rows) - 0.5, -0.9))
        axes.text(101, -0.75, "published, chosen, clean", va="center", fontsize=8, color="0.35")
        figure.legend(loc="outside lower left", ncols=1, fontsize=8)
        figure.suptitle(f"{classes} classes", x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        figure.savefig(path, dpi=120)


def known(row: Row) -> int | None:
    """Return the number of classes of a recipe's task; None where nothing of it was run."""
    runs = [*runs_of(row.recipe, "authors"), *runs_of(row.recipe, "clean")]
    return len(runs[0]["labels"]) if runs else None


def middle(runs: list[dict]) -> float | None:
    """Return the mean accuracy; None without runs."""
    return statistics.mean(run["accuracy"] for run in runs) if runs else None


def page() -> None:
    """Put table and commands into the page, and draw the charts."""
    for classes in (7, 3):
        chart(FACTS / f"comparison_{classes}.png", classes)
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n\n{commands()}\n{END}{rest.split(END)[1]}")


def main() -> None:
    """Record runs, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record")
    recording.add_argument("recipe", choices=dict.fromkeys(row.recipe for row in ROWS))
    recording.add_argument("runs", nargs="+", type=Path)
    verbs.add_parser("page")
    options = parser.parse_args()
    if options.verb == "page":
        page()
    else:
        for run in options.runs:
            print(record(options.recipe, run))


if __name__ == "__main__":
    main()
