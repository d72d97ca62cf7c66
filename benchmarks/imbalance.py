"""What helps rare classes: every method of this package on one dataset, same network, seeds and budget.

Trains by the recipe `speedrun`, once a method and seed on nine tenths of the training images; the last epoch is kept,
and the test images are read once. Every run shows the network about as many images: where copies join the set there
are fewer epochs. The methods of `AFTERWARDS` change the finished runs of another method, and cost no training. Other
photographs are 462 of five classes; answers among these, with flip. A finished run adds a line to the table, and what
is in the table is not trained again. An interrupted run goes on, so the command can be repeated, on another machine
too. Several processes can share the work (``--share 0/2``, ``--share 1/2``).

    python benchmarks/imbalance.py run --data fer2013.zip --other-world other_world.zip --out imbalance-runs
    python benchmarks/imbalance.py page
"""

from __future__ import annotations

import argparse
import contextlib
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
COLUMNS = ("method", "seed", "epochs", *FIGURES, "hardware")
TABLE = Path(__file__).parent.parent / "docs" / "runs" / "imbalance.csv"
PAGE = Path(__file__).parent.parent / "docs" / "imbalance.md"
BEGIN, END = "<!-- printed by benchmarks/imbalance.py: begin -->", "<!-- end -->"


def folder(out: Path, method: str, seed: int) -> Path:
    """Return where a run's bundle lies."""
    return out / f"{''.join(c if c.isalnum() else '-' for c in method)}-{seed}"


def run(options: argparse.Namespace) -> None:
    """Train this process's share of the runs that the table lacks."""
    import torch

    from mien.config import read_recipe
    from mien.data.balance import rows_to_copy
    from mien.data.read import read_dataset
    from mien.training.loop import train

    if options.threads:
        torch.set_num_threads(options.threads)
    with contextlib.suppress(FileExistsError), options.table.open("x") as file:
        file.write(",".join(COLUMNS) + "\n")
    data = read_dataset(options.data)
    share, shares = map(int, options.share.split("/"))
    jobs = [(method, seed) for seed in range(options.seeds) for method in METHODS]
    done = {(row["method"], int(row["seed"])) for row in lines(options.table)}
    for method, seed in jobs[share::shares]:
        if (method, seed) in done:
            continue
        recipe = read_recipe("speedrun", [*METHODS[method], f"seed={seed}", "validation.split=holdout"])
        kept = data.hold_out(recipe.validation.holdout_fraction, recipe.validation.holdout_seed)
        truth, ratio = kept.truth[kept.rows("train")], recipe.balance.enlarge_to_ratio
        copies = len(rows_to_copy(truth, len(data.labels), ratio, np.random.default_rng()))
        epochs = round((options.epochs or recipe.epochs) * len(truth) / (len(truth) + copies))
        recipe = recipe.model_copy(update={"epochs": epochs})
        made = folder(options.out, method, seed)
        train(
            recipe, data, made, device="cpu", resume=True,
            on_epoch=lambda row, name=f"{method} {seed}": print(name, row, flush=True),
        )  # fmt: skip
        add_line(method, seed, made, options)
        for afterwards, (of, prior) in AFTERWARDS.items():
            if of == method:
                add_line(
                    afterwards, seed, changed(made, prior, folder(options.out, afterwards, seed)), options
                )


def changed(made: Path, prior: str, target: Path) -> Path:
    """Write a finished run with another prior to `target`, and return it."""
    from mien import bundle
    from mien.exporting.temperature import read_prior, save_prior

    shutil.rmtree(target, ignore_errors=True)
    base = bundle.load(made)
    save_prior(base, read_prior(base, prior), prior, target)
    return target


def add_line(method: str, seed: int, made: Path, options: argparse.Namespace) -> None:
    """Judge a finished run and append its figures to the table."""
    from mien import bundle, evaluate

    report, elsewhere = evaluate(made, options.data, "test"), other_world(made, options.other_world)
    rare, card = report.per_class["disgust"], bundle.load(made).card
    values = [
        *(getattr(report, name) for name in FIGURES[:3]), rare.recall, rare.precision,
        elsewhere["accuracy"], elsewhere["balanced_accuracy"],
    ]  # fmt: skip
    figures = {name: f"{value:.4f}" for name, value in zip(FIGURES, values, strict=True)}
    hardware = f"{describe('torch')}, {card.training.precision}"
    row = {"method": method, "seed": seed, "epochs": card.recipe["epochs"], **figures, "hardware": hardware}
    with options.table.open("a", newline="") as file:
        csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
    print(row, flush=True)


def lines(table: Path) -> list[dict[str, str]]:
    """Return the finished runs of the table."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def page(options: argparse.Namespace) -> None:
    """Put the table of the finished runs into the page."""
    rows = lines(options.table)
    hardware = "; ".join(sorted({row["hardware"] for row in rows}))
    facts = f"In %: mean ± standard deviation of n seeds. {hardware}."
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{markdown(rows)}\n\n{facts}\n{END}{rest.split(END)[1]}")


def markdown(rows: list[dict[str, str]]) -> str:
    """Return a Markdown table, a line a method."""
    names = ("method", "n", "epochs", "accuracy", "macro-F1", "balanced accuracy", "`disgust`: recall", "precision",
             "other photographs: accuracy", "balanced")  # fmt: skip
    text = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for method in (*METHODS, *AFTERWARDS):
        mine = [row for row in rows if row["method"] == method]
        if not mine:
            continue
        cells = [method, len(mine), mine[0]["epochs"]]
        for name in FIGURES:
            values = [100 * float(row[name]) for row in mine]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        text.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(text)


def main() -> None:
    """Train, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("--data", help="fer2013.zip")
    parser.add_argument("--other-world", type=Path, help="photographs from which nothing was learnt")
    parser.add_argument("--out", type=Path, default=Path("imbalance-runs"))
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--epochs", type=int, help="those of the recipe by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", default="0/1", help="which part of the runs, as 0/2")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.what == "run" and not (options.data and options.other_world):
        parser.error("run needs --data and --other-world")
    {"run": run, "page": page}[options.what](options)


if __name__ == "__main__":
    main()
