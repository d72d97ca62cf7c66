"""What helps rare classes: every method of this package on one dataset, same network, seeds and budget.

Trains by the recipe `speedrun`, once a method and seed on nine tenths of the training images; the last epoch is kept,
and the test images are read once. Every run shows the network about as many images: where copies join the set there
are fewer epochs. The methods of `AFTERWARDS` change the finished runs of another method, and cost no training. Other
photographs are 462 of five classes; answers among these, with flip. Finished runs are kept and interrupted ones go
on, so the command can be repeated, and several processes can share the work (``--share 0/2``, ``--share 1/2``).

    python benchmarks/imbalance.py run --data fer2013.zip --out imbalance-runs
    python benchmarks/imbalance.py page --data fer2013.zip --other-world other_world.zip --out imbalance-runs
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
from pathlib import Path

import numpy as np

from campaign import other_world
from machine import describe

METHODS = {
    "nothing": [],
    "weighted sampler": ["balance.sampler=weighted"],
    "class weights (inverse frequency)": ["loss.class_weights=inverse_frequency"],
    "class weights (effective number)": ["loss.class_weights=effective_number"],
    "focal loss (gamma 2)": ["loss.focal_gamma=2.0"],
    "logit adjustment (tau 0.5)": ["loss.logit_adjustment_tau=0.5"],
    "logit adjustment (tau 1)": ["loss.logit_adjustment_tau=1.0"],
    "enlargement to half": ["balance.enlarge_to_ratio=0.5"],
    "enlargement to all": ["balance.enlarge_to_ratio=1.0"],
}
AFTERWARDS = {"prior (uniform)": ("nothing", "uniform")}
"""A method that changes a finished run, the method of that run, and the prior that it is given."""
FIGURES = (
    "accuracy", "macro_f1", "balanced_accuracy", "disgust_recall", "disgust_precision", "other_world",
    "other_world_balanced",
)  # fmt: skip
TABLE = Path(__file__).parent.parent / "docs" / "runs" / "imbalance.csv"
PAGE = Path(__file__).parent.parent / "docs" / "imbalance.md"
BEGIN, END = "<!-- printed by benchmarks/imbalance.py: begin -->", "<!-- end -->"


def folder(out: Path, method: str, seed: int) -> Path:
    """Return where a run's bundle lies."""
    return out / f"{''.join(c if c.isalnum() else '-' for c in method)}-{seed}"


def run(options: argparse.Namespace) -> None:
    """Train this process's share of the runs."""
    import torch

    from mien.config import read_recipe
    from mien.data.balance import rows_to_copy
    from mien.data.read import read_dataset
    from mien.training.loop import train

    if options.threads:
        torch.set_num_threads(options.threads)
    data = read_dataset(options.data)
    share, shares = map(int, options.share.split("/"))
    jobs = [(method, seed) for seed in range(options.seeds) for method in METHODS]
    for method, seed in jobs[share::shares]:
        recipe = read_recipe("speedrun", [*METHODS[method], f"seed={seed}", "validation.split=holdout"])
        kept = data.hold_out(recipe.validation.holdout_fraction, recipe.validation.holdout_seed)
        truth, ratio = kept.truth[kept.rows("train")], recipe.balance.enlarge_to_ratio
        copies = len(rows_to_copy(truth, len(data.labels), ratio, np.random.default_rng()))
        epochs = round((options.epochs or recipe.epochs) * len(truth) / (len(truth) + copies))
        recipe = recipe.model_copy(update={"epochs": epochs})
        train(
            recipe, data, folder(options.out, method, seed), device="cpu", resume=True,
            on_epoch=lambda row, name=f"{method} {seed}": print(name, row, flush=True),
        )  # fmt: skip


def changed_afterwards(method: str, options: argparse.Namespace) -> None:
    """Make the runs of a method of `AFTERWARDS`, anew each time."""
    from mien import bundle
    from mien.exporting.temperature import read_prior, save_prior

    of, prior = AFTERWARDS[method]
    for seed in range(options.seeds):
        made = folder(options.out, method, seed)
        shutil.rmtree(made, ignore_errors=True)
        base = bundle.load(folder(options.out, of, seed))
        save_prior(base, read_prior(base, prior), prior, made)


def row(method: str, seed: int, options: argparse.Namespace) -> dict[str, str | int]:
    """Return the figures of a finished run."""
    from mien import bundle, evaluate

    run = folder(options.out, method, seed)
    report, elsewhere = evaluate(run, options.data, "test"), other_world(run, options.other_world)
    rare = report.per_class["disgust"]
    values = [
        *(getattr(report, name) for name in FIGURES[:3]), rare.recall, rare.precision,
        elsewhere["accuracy"], elsewhere["balanced_accuracy"],
    ]  # fmt: skip
    figures = {name: f"{value:.4f}" for name, value in zip(FIGURES, values, strict=True)}
    return {"method": method, "seed": seed, "epochs": bundle.load(run).card.recipe["epochs"], **figures}


def page(options: argparse.Namespace) -> None:
    """Collect the finished runs into a CSV file and put the table into the page."""
    for method in AFTERWARDS:
        changed_afterwards(method, options)
    rows = [row(method, seed, options) for method in (*METHODS, *AFTERWARDS) for seed in range(options.seeds)]
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    facts = f"{options.seeds} seeds a row, mean ± standard deviation, {describe('torch')}."
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n\n{facts}\n{END}{rest.split(END)[1]}")


def table(rows: list[dict]) -> str:
    """Return a Markdown table, a line a method."""
    names = ("method", "epochs", "accuracy", "macro-F1", "balanced accuracy", "`disgust`: recall", "precision",
             "other photographs: accuracy", "balanced")  # fmt: skip
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for method in (*METHODS, *AFTERWARDS):
        mine = [row for row in rows if row["method"] == method]
        cells = [method, mine[0]["epochs"]]
        for name in FIGURES:
            values = [100 * float(row[name]) for row in mine]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Train, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("--data", required=True, help="fer2013.zip")
    parser.add_argument("--other-world", help="photographs from which nothing was learnt; for the page")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, help="those of the recipe by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", default="0/1", help="which part of the runs, as 0/2")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.what == "page" and not options.other_world:
        parser.error("the page needs --other-world")
    {"run": run, "page": page}[options.what](options)


if __name__ == "__main__":
    main()
