"""Quickly measure the latency of several models, in turn, so that other work on the machine slows all alike."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from jaxtyping import UInt8

    from mien.classifiers import Classifier

ROUNDS = 5
_ROUND_SECONDS, _CALLS = 0.1, 50
_WARM_UP = 3


def latencies_ms(
    classifiers: Sequence[Classifier],
    crops: Sequence[UInt8[np.ndarray, "_ _ _ _"]],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Return each model's milliseconds for one face at a time, the median of `ROUNDS` rounds.

    `crops` holds some fitted crops for each model, one or more. A round takes every model in turn, for about
    a tenth of a second each.
    """
    calls = []
    for classifier, some in zip(classifiers, crops, strict=True):
        _seconds(classifier, some, _WARM_UP, clock)
        once = _seconds(classifier, some, 1, clock)
        calls.append(max(1, min(_CALLS, int(_ROUND_SECONDS / once) if once > 0 else _CALLS)))
    rounds = [
        [
            _seconds(classifier, some, times, clock) / times
            for classifier, some, times in zip(classifiers, crops, calls, strict=True)
        ]
        for _ in range(ROUNDS)
    ]
    return [1000 * statistics.median(seen) for seen in zip(*rounds, strict=True)]


def _seconds(
    classifier: Classifier, crops: UInt8[np.ndarray, "n s s c"], calls: int, clock: Callable[[], float]
) -> float:
    started = clock()
    for call in range(calls):
        classifier.logits(crops[call % len(crops)][None])
    return clock() - started
