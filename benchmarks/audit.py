"""How well an audit finds wrong labels: 5 % of the labels of a dataset are changed at random, then looked for.

    python benchmarks/audit.py fer2013.zip [--model MODEL ...] [--votes TABLE] [--yunet WEIGHTS]

Prints, for the quick model and for each MODEL, how many of the most doubtful 5 % have a changed label (chance: 5 %).
Labels that were wrong before count as misses, so that the true figure is higher. With YuNet: how many of the images
that annotators call no face the audit lists, and how many it lists in all.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

import mien
from mien.labels import FERPLUS_VOTE_ORDER

PART = 0.05


def changed(data, seed):
    """Return the dataset with a part of its labels changed to another one, and which."""
    rng, k = np.random.default_rng(seed), len(data.labels)
    rows = rng.permutation(len(data))[: round(PART * len(data))]
    truth = data.truth.copy()
    truth[rows] = (truth[rows] + rng.integers(1, k, len(rows))) % k
    mask = np.zeros(len(data), bool)
    mask[rows] = True
    return replace(data, targets=np.eye(k, dtype=np.float32)[truth]), mask


def rankings(doubts):
    """Return the rankings of the paper: judged rows, the most doubtful first."""
    rows = np.flatnonzero(doubts.judged)
    own = doubts.given_prob[rows]
    others = doubts.probs.copy()
    others[np.arange(len(others)), doubts.given] = 0
    margin = own - others[rows].max(axis=1)
    return {
        "probability of the label": doubts.order(),
        "the same, suspects first": rows[np.lexsort((own, ~doubts.suspect[rows]))],
        "margin to the best other": rows[np.argsort(margin, kind="stable")],
    }


def precision(data, mask, model):
    """Print one line for each ranking."""
    start = time.perf_counter()
    found = mien.audit(data, model=model)
    seconds = time.perf_counter() - start
    print(
        f"{model or 'quick model'}: agrees with {found.doubts.accuracy:.1%} of the labels, audit in {seconds:.0f} s"
    )
    for name, order in rankings(found.doubts).items():
        top = order[: round(PART * len(order))]
        print(f"  {name:26} {mask[top].mean():.1%} of the top {PART:.0%} were changed")
    listed = found.doubts.listed()
    print(f"  listed: {len(listed):,}, of which {mask[listed].mean():.1%} were changed")
    for note in found.notes:
        print(f"  {note}")


def without_face(source, votes, weights):
    """Print how a detector's list compares with what the annotators call no face."""
    detector = mien.open_detector("yunet", weights)
    start = time.perf_counter()
    found = mien.audit(source, reading=mien.ReadOptions(votes=votes), probs=None, detector=detector)
    listed = {one.image for one in found.findings if one.kind == "no face"}
    data = found.data
    none = data.votes[:, FERPLUS_VOTE_ORDER.index("not_a_face")] > data.votes.sum(axis=1) / 2
    is_listed = np.array([name in listed for name in data.ids])
    print(
        f"no face: {is_listed.sum():,} listed of {len(data):,}; of {none.sum():,} that annotators call no face "
        f"{(is_listed & none).sum():,} are listed, {found.found.get('blank', 0):,} are blank; "
        f"{time.perf_counter() - start:.0f} s"
    )


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--votes")
    parser.add_argument("--yunet")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.perf_counter()
    found = mien.audit(given.data, reading=mien.ReadOptions(votes=given.votes))
    seconds = time.perf_counter() - start
    print(f"{found!r}\n{found.groups}\n{found.told}\n{found.votes_on_doubts()}\n{seconds:.0f} s in all")
    data, mask = changed(found.data, given.seed)
    for model in (None, *given.model):
        precision(data, mask, model)
    if given.yunet:
        without_face(given.data, given.votes, given.yunet)


if __name__ == "__main__":
    main()
