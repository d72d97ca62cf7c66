"""Feed every reader with damaged files for some minutes and count: ``make fuzz MINUTES=10``.

The good files are made by code (`fuzz_readers`); each input is one of them with a few things wrong. A find is an
exception that is no `MienError`, a crash, an input that takes longer than `SECONDS`, or more memory than
`MEMORY_BYTES`. Finds are kept in ``fuzz-finds/`` and the exit status is 1. The same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from fuzz_readers import corpus
from mien import escapes
from mien.errors import MienError

if TYPE_CHECKING:
    from fuzz_readers import Input

SECONDS, MEMORY_BYTES = 20, 2**31
BATCH = 2_000
"""Inputs of one process: a crash costs one of them, what leaks is seen."""
FINDS = Path("fuzz-finds")
SHARED_MEMORY = Path("/dev/shm")
RAW_BYTES = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff",
    b"'",
    b'"',
    b"\n",
    b"=",
    b"[" * 999,
)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return a file with one to four things wrong: bytes, a piece gone or twice, an end cut off."""
    broken = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(broken) + 1), draw.choice((1, 2, 4, 16, 64, 512))
        how = draw.randrange(6)
        if how == 0 and broken:
            broken[at % len(broken)] ^= 1 << draw.randrange(8)
        elif how == 1:
            broken[at : at + length] = draw.randbytes(length)
        elif how == 2:
            del broken[at : at + length]
        elif how == 3:
            broken[at:at] = broken[at : at + length]
        elif how == 4:
            piece = draw.choice(RAW_BYTES)
            broken[at : at + len(piece)] = piece
        elif draw.random() < 0.3:
            del broken[at:]
    return bytes(broken)


def schedule(inputs: list[Input]) -> list[Input]:
    """Return one round: each input as often as it weighs, spread over the round."""
    return [one for turn in range(max(one.weight for one in inputs)) for one in inputs if turn < one.weight]


def made(number: int, turns: list[Input]) -> bytes:
    """Return input `number`."""
    form = turns[number % len(turns)]
    content = damaged(form.content, random.Random(number))
    return form.seal(content) if form.seal else content


def batch(first: int, answer: int, folder: Path, turns: list[Input]) -> None:
    """Run one batch in this process, and write a line for each input before it is read and for each find."""
    warnings.simplefilter("ignore")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)  # libraries talk there
    with Path("/proc/self/statm").open() as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    for number in range(first, first + BATCH):
        form = turns[number % len(turns)]
        path = folder / form.name
        path.write_bytes(made(number, turns))
        os.write(answer, f"{number} {form.name}\n".encode())
        signal.alarm(SECONDS)
        # Python's handler waits for a library to return; this signal does not
        resource.setrlimit(
            resource.RLIMIT_CPU, (int(time.process_time()) + 3 * SECONDS, resource.RLIM_INFINITY)
        )
        try:
            form.read(path)
        except MienError:
            pass
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error}"[:200].replace("\n", " ")
            where = f"{Path(last.filename).name}:{last.lineno}"
            os.write(
                answer, f"FIND {number} {form.name} {told} at {where}\n".encode("utf-8", "backslashreplace")
            )
        finally:
            signal.alarm(0)
            with contextlib.suppress(OSError):
                path.unlink()


def run_batch(first: int, folder: Path, turns: list[Input]) -> tuple[list[str], list[str]]:
    """Run one batch in a process of its own; return a line for each input and for each find."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        batch(first, writing, folder, turns)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as answer:
        lines = answer.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    inputs = [line for line in lines if not line.startswith("FIND")]
    found = [line for line in lines if line.startswith("FIND")]
    if status:
        last = inputs[-1] if inputs else f"{first} {turns[first % len(turns)].name}"
        found.append(f"FIND {last} the process ended with {status}")
    return inputs, found


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0, help="number of the first input")
    parser.add_argument("--inputs", type=int, default=10**9, help="end after so many")
    parser.add_argument("--only", default="", help="readers whose name holds this")
    return parser.parse_args()


def main() -> int:
    """Fuzz for so many minutes; return the exit status."""
    given = options()
    begun, first = time.monotonic(), given.seed
    turns = schedule([one for one in corpus() if given.only in one.name])
    counts: Counter[str] = Counter()
    finds: dict[str, str] = {}
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    while time.monotonic() < begun + 60 * given.minutes and counts.total() < given.inputs:
        root = tempfile.mkdtemp(dir=place)
        folder = Path(root, "a", "b")  # a table's pictures are looked for around its folder, too
        folder.mkdir(parents=True)
        inputs, found = run_batch(first, folder, turns)
        shutil.rmtree(root, ignore_errors=True)
        counts.update(line.partition(" ")[2] for line in inputs)
        for line in found:
            _, number, name, told = line.split(" ", 3)
            if finds.setdefault(f"{name} {told.rpartition(' at ')[2]}", number) == number:
                FINDS.mkdir(exist_ok=True)
                (FINDS / f"{number}-{name}").write_bytes(made(int(number), turns))
                print(f"find: input {number}, {name}: {escapes.visible(told)}", flush=True)
        first = int(inputs[-1].split()[0]) + 1 if inputs else first + BATCH
    minutes = (time.monotonic() - begun) / 60
    for name, count in counts.most_common():
        print(f"{count:>9,} {name}")
    print(f"{counts.total():,} inputs of {len(counts)} kinds in {minutes:.1f} min, {len(finds)} finds")
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
