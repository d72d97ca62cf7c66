"""One row of a benchmark in a fresh process: it opens a model, then answers requests for timings.

Requests and answers are lines of JSON on stdin and stdout. Because each row has its own process, its peak
memory and load time do not contain what other rows imported or freed.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.classifiers import Classifier

WARM_CALLS, WARM_SECONDS = 5, 0.2
MOST_CALLS = 20_000


def main() -> None:
    """Answer the first line with the result of opening the model, every further line with timings."""
    ask, answer = sys.stdin, sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # what a runtime prints must not stand among the answers
        started = time.perf_counter()
        try:
            classifier = open_row(json.loads(ask.readline()))
            crops = faces(classifier, 1)
            classifier.logits(crops)
        except Exception as error:  # whatever a model, a compiler or a driver raises leaves this row out
            print(json.dumps({"error": f"{error}" or type(error).__name__}), file=answer, flush=True)
            return
        print(json.dumps({"load_s": time.perf_counter() - started}), file=answer, flush=True)
        for line in ask:
            print(json.dumps(_answer(classifier, json.loads(line))), file=answer, flush=True)


def _answer(classifier: Classifier, wanted: dict[str, Any]) -> dict[str, Any]:
    try:
        crops = faces(classifier, wanted["batch"])
        times = timed(partial(classifier.logits, crops), wanted["seconds"], wanted["warm"])
    except Exception as error:  # such as a batch too large for a device
        return {"error": f"{error}" or type(error).__name__}
    return {"ms": times, "peak_mib": peak_mib()}


def open_row(row: dict[str, Any]) -> Classifier:
    """Return the classifier of a row.

    Raises:
        MienError: it can't be opened.
    """
    from mien.classifiers import load_classifier

    runtime = row["runtime"]
    backend = "torch" if runtime.startswith("torch") else runtime
    classifier = load_classifier(
        row["model"],
        backend=backend,
        device=row["device"],
        threads=row["threads"],
        spec=row["spec"] or None,
    )
    if runtime == "torch compiled":
        from mien.benchmark.compiled import compiled

        return compiled(classifier)
    return classifier


def faces(classifier: Classifier, batch: int) -> Any:
    """Return random crops of the size that the classifier takes."""
    import numpy as np

    spec = classifier.preprocess
    shape = (batch, spec.size_px, spec.size_px, spec.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def timed(call: Callable[[], object], seconds: float, warm: bool) -> list[float]:
    """Return the milliseconds of each call; calls are repeated for `seconds`, at least one is made."""
    if warm:
        until, calls = time.perf_counter() + WARM_SECONDS, 0
        while calls < WARM_CALLS or time.perf_counter() < until:
            call()
            calls += 1
    times: list[float] = []
    until = time.perf_counter() + seconds
    while not times or (time.perf_counter() < until and len(times) < MOST_CALLS):
        before = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - before))
    return times


def peak_mib() -> float | None:
    """Return the most memory this process has held, in MiB; None where the system does not say."""
    try:  # not getrusage: on Linux that includes the parent's memory at the time of the fork
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
