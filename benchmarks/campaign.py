"""The runs that are still to be made, in order of value, and the loop that makes them.

`RUNS` is the list. `list` prints it with what each run costs and what is done. `run` makes the next undone runs
until its minutes are over; the run that is interrupted then goes on the next time. Every run is `mien train` in a
process of its own, with the code of one commit, so that edits of the working tree change no run that has begun.

    python benchmarks/campaign.py list --out campaign
    python benchmarks/campaign.py run --minutes 60 --data fer2013.zip --votes ferplus_votes.csv \
        --other-world other_world.zip --out campaign
    python benchmarks/campaign.py run --minutes 5 --tiny --only nano-70-labels --out try --results try/results

Runs of `OURS` are judged on a hold-out of the training images, keep the last epoch and do not read the test images.
Their figures go to docs/runs/campaign. Runs of the reference systems go to docs/runs/reference, where
`reference.py page` finds them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "docs" / "runs"
IMAGES = 25_838
"""Training images of FER2013 without the hold-out."""
STOP_SECONDS = 120
"""An interrupted run has this long to end."""


class Rate(NamedTuple):
    """Training images a second."""

    cpu: float
    """Two cores with AVX2, 32 bits."""
    bf16_cpu: float
    """Two cores with AVX512-BF16."""
    gpu: float
    """One H100 or H200."""


RATES = {
    "nano": Rate(430, 1_200, 40_000),  # measured; every GPU figure is assumed
    "small": Rate(115, 375, 30_000),  # nano's, by multiply-adds; bf16 measured
    "base": Rate(30, 110, 12_000),  # nano's, by multiply-adds
    "distilled": Rate(190, 580, 10_000),  # nano and the answers of one small, by multiply-adds
    "vit_256": Rate(60, 200, 6_000),  # assumed
    # 10 and 33 with one thread, times 1.3 and 1.5 for two; a faster generation of processors: 111 with two
    "inception_simplified": Rate(13, 50, 6_000),
    "inception": Rate(9, 36, 4_000),  # the one above, by the ratio that docs/LOG.md has
}


class Run(NamedTuple):
    """One line of the list; every seed of it is a run."""

    name: str
    recipe: str
    rate: str
    epochs: int
    settings: tuple[str, ...]
    reading: tuple[str, ...] = ()
    """Options for reading the data, such as ``--labels``."""
    seeds: tuple[int, ...] = (0, 1)
    why: str = ""


VOTES = ("--votes", "{votes}", "--vote-rule", "beside")
HALF_VOTES = "distillation.votes_share=0.5"
BOTH = (HALF_VOTES, "resizing.early_size_px=32")
"""Half label and half vote share as the target, most steps at 32 pixels: how the recipe `nano` is run."""
ADJUSTED = (HALF_VOTES, "loss.label_smoothing=0", "loss.logit_adjustment_tau=0.5")
"""With these, `speedrun` is `nano` in 26 epochs, with weaker moves and unchanged light."""
LIGHT = ("augment.gamma_fraction=0.5", "augment.light_slope_fraction=0.2", "augment.jpeg_probability=0.3",
         "augment.downscale_fraction=0.5", "augment.noise_fraction=0.03")  # fmt: skip
"""What the recipe `nano` changes in some images, and `speedrun` in none."""
CLEAN = ("validation.split=holdout", "validation.keep=last")
AUTHORS = ("validation.split=test", "validation.keep=best")
FOUR_C = ("--labels", "angry,happy,sad")


def short(name: str, why: str, *settings: str) -> Run:
    """Return a run of 26 epochs; it is compared with `short-votes-adjusted`."""
    return Run(f"short-{name}", "speedrun", "nano", 26, (*ADJUSTED, *settings), VOTES, (0,), why)


OURS = (
    Run("small", "nano", "small", 45, (*BOTH, "network=mien_small"), VOTES,
        why="twice as wide: to ship, and to teach nano"),
    Run("small-80", "nano", "small", 80, (*BOTH, "network=mien_small"), VOTES, why="45 epochs were too few"),
    Run("nano", "nano", "nano", 80, BOTH, VOTES, (1, 2), "further seeds of the recipe"),
    Run("nano-taught", "nano", "distilled", 100, (
        *BOTH, "distillation.share=0.7", 'distillation.teachers=["{runs}/small-0", "mien_nano"]'),
        VOTES, (1,), "taught by small and itself; seed 0 was run before teachers' answers were moved"),
    Run("nano-200", "nano", "nano", 200, BOTH, VOTES, why="does length still pay?"),
    Run("base", "nano", "base", 45, (*BOTH, "network=mien_base"), VOTES, why="four times as wide: a teacher"),
    short("half-light", "light and quality of half of the images", *LIGHT, "augment.degrade_probability=0.5"),
    short("sgd", "SGD instead of Muon", "optim.name=sgd", "optim.peak_lr=0.1", "optim.weight_decay=5e-4"),
    short("whole", "progressive resizing: does the cheaper step cost accuracy?", "resizing.early_size_px=0"),
    short("pool-last", "pooling before BatchNorm and ReLU: the same", "network_options.pool=last"),
    short("strong", "geometric strength", "augment.shift_fraction=0.15"),
    short("still", "momentum that does not cycle", "optim.momentum=0.9", "optim.momentum_low=0"),
    short("clipped", "clipped light", "augment.clip_light=true"),
    short("stride", "half the resolution from the first convolution on", "network=plain",
          "network_options.widths=[[32,32,32],[64,64],[128,128]]", "network_options.first_stride=2"),
    Run("short-labels", "speedrun", "nano", 26, (), VOTES, (0,), "the labels alone"),
    Run("short-votes", "speedrun", "nano", 26, ADJUSTED[:2], VOTES, (0,), "half the target from the votes"),
    Run("short-votes-light", "speedrun", "nano", 26, (*ADJUSTED[:2], *LIGHT), VOTES, (0,),
        "and light and quality of every image"),
    short("votes-adjusted", "votes, and half a logit adjustment"),
)  # fmt: skip
REFERENCE = (
    Run("vit-256", "vit", "vit_256", 10, (*AUTHORS, "input.size_px=256", "network_options.patch_px=32"),
        FOUR_C, (99,), why="system C at its own resolution"),
    Run("inception_simplified", "inception_simplified", "inception_simplified", 30, AUTHORS, seeds=(0,),
        why="system A"),
    Run("inception_simplified-clean", "inception_simplified", "inception_simplified", 30, CLEAN, seeds=(0,),
        why="system A, clean"),
    Run("inception", "inception", "inception", 30, AUTHORS, seeds=(0,), why="system A"),
    Run("inception-clean", "inception", "inception", 30, CLEAN, seeds=(0,), why="system A, clean"),
)  # fmt: skip
RUNS = (*OURS, *REFERENCE)
TINY = ("epochs=2", "batch_size=32", "distillation.votes_share=0", "distillation.teachers=[]")


def all_seeds() -> list[tuple[str, Run, int]]:
    """Return every run with its name and seed: all lines with their first seed, then all with the next one."""
    most = max(len(run.seeds) for run in RUNS)
    ours = [(f"{run.name}-{run.seeds[n]}", run, run.seeds[n])
            for n in range(most) for run in OURS if n < len(run.seeds)]  # fmt: skip
    return [*ours, *((run.name, run, run.seeds[0]) for run in REFERENCE)]


def hours(run: Run) -> Rate:
    """Return what one seed costs on each kind of machine, in hours."""
    return Rate(*(run.epochs * IMAGES / rate / 3600 for rate in RATES[run.rate]))


def words(run: Run, seed: int, folder: Path, options: argparse.Namespace) -> list[str]:
    """Return the `mien train` command of a run."""
    settings = [*run.settings, f"epochs={run.epochs}", f"seed={seed}", *(TINY if options.tiny else ())]
    reading = [] if options.tiny else [word.format(votes=options.votes) for word in run.reading]
    data = "synthetic" if options.tiny else str(options.data)
    score = ["--score", "validation"] if run in OURS else []
    return [
        "train", run.recipe, "--data", data, *reading, "--out", str(folder), "--resume", *score,
        *(word for setting in settings
          for word in ("--set", setting.replace("{runs}", str(options.out.resolve() / "runs")))),
    ]  # fmt: skip


def code_of(name: str, options: argparse.Namespace) -> Path:
    """Return the folder whose code makes a run: that of the commit at which the run began; a clone of it is kept.

    Where there is no git, or with `--here`, it is the working tree.
    """
    if options.here or not (REPOSITORY / ".git").exists() or not shutil.which("git"):
        return REPOSITORY
    noted = options.out / "runs" / f"{name}.commit"
    if not noted.exists():
        git = ["git", "-C", str(REPOSITORY), "rev-parse", options.commit]
        noted.write_text(subprocess.run(git, check=True, capture_output=True, text=True).stdout)
    commit = noted.read_text().strip()
    clone = options.out / "code" / commit[:12]
    if not clone.exists():
        half = clone.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        subprocess.run(["git", "clone", "-q", "--no-checkout", str(REPOSITORY), str(half)], check=True)
        subprocess.run(["git", "-C", str(half), "checkout", "-q", "--detach", commit], check=True)
        half.rename(clone)
    return clone


def make(name: str, run: Run, seed: int, deadline: float, options: argparse.Namespace) -> bool:
    """Start or resume a run; say whether it finished before the deadline."""
    folder = (options.out / "runs" / name).resolve()
    environment = {**os.environ, "PYTHONPATH": str((code_of(name, options) / "src").resolve())}
    if options.threads:
        environment["OMP_NUM_THREADS"] = str(options.threads)
    with (options.out / "runs" / f"{name}.log").open("a") as log:
        command = [sys.executable, "-m", "mien", *words(run, seed, folder, options)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            code = process.wait(max(1.0, deadline - time.time()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as why:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            if isinstance(why, KeyboardInterrupt):
                raise
            return False
    if code:
        last = Path(log.name).read_text().strip().splitlines()[-1:]
        print(f"{name} failed: {''.join(last)} ({log.name})", flush=True)
    return code == 0


def write_results(name: str, run: Run, options: argparse.Namespace) -> None:
    """Write a finished run's figures and history where the docs find them."""
    from mien import bundle

    folder = options.out / "runs" / name
    if run in REFERENCE and not options.tiny:
        import reference

        reference.FACTS = options.results / "reference"
        print(reference.record(run.recipe, folder), flush=True)
        return
    card = bundle.load(folder).card
    figures = ("n", "accuracy", "macro_f1", "balanced_accuracy")
    facts = {
        "name": name, "why": run.why, "recipe": run.recipe, "settings": run.settings, "seed": card.recipe["seed"],
        "parameters": card.parameters, "epochs": card.training.epochs, "kept_epoch": card.training.kept_epoch,
        "kept_train_accuracy": card.training.kept_train_accuracy,
        "median_epoch_seconds": card.training.median_epoch_seconds, "device": card.training.device,
        "precision": card.training.precision,
        "scores": {f"{score.split}, {score.tta}": {one: getattr(score, one) for one in figures}
                   for score in card.scores},
        "other_world": other_world(folder, options.other_world),
        "fingerprint": card.data.fingerprint, "command": card.command, "versions": card.versions,
    }  # fmt: skip
    target = options.results / "campaign"
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    shutil.copyfile(folder / "run" / "history.csv", target / f"{name}.csv")
    print(target / f"{name}.json", flush=True)


def other_world(folder: Path, source: Path | None, backend: str = "onnx") -> dict[str, float] | None:
    """Return accuracy and balanced accuracy, with flip averaging, on photographs that nothing was learnt from."""
    if source is None:
        return None
    import numpy as np

    from mien import load_classifier, read_dataset
    from mien.classifiers import probabilities
    from mien.classifiers.combine import with_tta

    classifier = load_classifier(str(folder), backend=backend)
    data = read_dataset(str(source), classifier.preprocess)
    named = [classifier.id.labels.index(label) for label in data.labels]
    answers = probabilities(with_tta(classifier, "flip").logits(data.images))[:, named].argmax(axis=1)
    hits = answers == data.truth
    recalls = [hits[data.truth == label].mean() for label in range(len(data.labels))]
    return {"n": len(data), "accuracy": float(hits.mean()), "balanced_accuracy": float(np.mean(recalls))}


def run_all(options: argparse.Namespace) -> None:
    """Make the next undone runs until the minutes are over."""
    deadline = time.time() + 60 * options.minutes
    (options.out / "runs").mkdir(parents=True, exist_ok=True)
    for name, run, seed in all_seeds():
        if not wanted(name, options):
            continue
        if (options.out / "runs" / name / "config.json").exists() and not recorded(name, run, options):
            write_results(name, run, options)  # it finished just when its time was over
        if is_done(name, options):
            continue
        if time.time() > deadline:
            break
        if "{votes}" in run.reading and not options.votes and not options.tiny:
            print(f"{name}: needs --votes, left out", flush=True)
            continue
        print(f"{time.strftime('%H:%M')} {name}: {run.why}", flush=True)
        if make(name, run, seed, deadline, options):
            write_results(name, run, options)


def is_done(name: str, options: argparse.Namespace) -> bool:
    """Say whether a run is finished: its bundle is here, or its figures came from another machine."""
    bundle_here = (options.out / "runs" / name / "config.json").exists()
    return bundle_here or (options.results / "campaign" / f"{name}.json").exists()


def recorded(name: str, run: Run, options: argparse.Namespace) -> bool:
    """Say whether a run's figures are where the docs find them. Those of reference runs are written again."""
    return run in OURS and (options.results / "campaign" / f"{name}.json").exists()


def wanted(name: str, options: argparse.Namespace) -> bool:
    """Say whether `--only` allows a run."""
    names = {known for known, _, _ in all_seeds()}
    return not options.only or any(
        name == one or (one not in names and name.startswith(one)) for one in options.only
    )


def print_list(options: argparse.Namespace) -> None:
    """Print the list as a Markdown table: cost on each kind of machine, and what is done."""
    print("| run | why | hours, CPU | CPU with bf16 | GPU | state |\n|---|---|---|---|---|---|")
    left = [0.0, 0.0, 0.0]
    for name, run, _ in all_seeds():
        if not wanted(name, options):
            continue
        cost, done = hours(run), is_done(name, options)
        history = options.out / "runs" / name / "run" / "history.csv"
        epochs = len(history.read_text().splitlines()) - 1 if history.exists() else 0
        left = [total + (0 if done else one) * (1 - epochs / run.epochs)
                for total, one in zip(left, cost, strict=True)]  # fmt: skip
        state = "done" if done else f"{epochs} of {run.epochs} epochs" if epochs else ""
        print(f"| {name} | {run.why} | {cost.cpu:.1f} | {cost.bf16_cpu:.1f} | {cost.gpu:.2f} | {state} |")
    print(f"| left | | {left[0]:.0f} | {left[1]:.0f} | {left[2]:.1f} | |")


def main() -> None:
    """Print the list, or make the next runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("list", "run"))
    parser.add_argument("--out", type=Path, default=Path("campaign"), help="folder for the runs and the code")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder for figures; docs/runs by default"
    )
    parser.add_argument("--data", type=Path, help="fer2013.zip")
    parser.add_argument("--votes", type=Path, help="ferplus_votes.csv")
    parser.add_argument("--other-world", type=Path, help="photographs to look at after each run")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--only", nargs="*", help="runs of these names, or whose names begin so")
    parser.add_argument("--threads", type=int, default=0, help="threads of a run; 0: all cores")
    parser.add_argument("--commit", default="HEAD", help="the commit whose code makes runs that begin now")
    parser.add_argument("--here", action="store_true", help="use the working tree as it is")
    parser.add_argument("--tiny", action="store_true", help="two epochs on drawn faces, to try the campaign")
    options = parser.parse_args()
    if options.what == "run" and not (options.data or options.tiny):
        parser.error("run needs --data fer2013.zip, or --tiny")
    {"list": print_list, "run": run_all}[options.what](options)


if __name__ == "__main__":
    main()
