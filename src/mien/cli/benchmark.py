"""``mien benchmark``: speed, size and memory of models, in every runtime they have."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.command import DATA_HELP, Json, check_together, command, out_option, telling_once
from mien.errors import ConfigError
from mien.options import ReadOptions, check_least, option

if TYPE_CHECKING:
    from mien.benchmark.timings import Benchmark, Timing


@dataclass(frozen=True)
class Combinations:
    """What is measured, and how long."""

    providers: str = option("cpu", "cpu, cuda, or cpu,cuda.", metavar="NAMES")
    threads: str = option("1", "Numbers of CPU threads to measure with.", metavar="N,N...")
    batch: str = option("1,8,64", "Numbers of faces per call to measure with.", metavar="N,N...")
    runtimes: str = option(
        "torch,torch compiled,onnx,int8,fp16",
        "Which runtimes to measure, with commas between.",
        metavar="NAMES",
    )
    rounds: int = option(5, "How often each combination is measured.")
    seconds: float = option(0.3, "How long one measurement takes, in seconds.", metavar="X")

    def __post_init__(self) -> None:
        """Check the numbers; `mien.benchmark.run` checks the rest.

        Raises:
            ConfigError: a number out of range.
        """
        check_least(self, 1, "rounds")
        check_least(self, 0, "seconds")

    def asked(self) -> dict[str, Any]:
        """Return the options as arguments of `mien.benchmark.run.benchmark`.

        Raises:
            ConfigError: a list of numbers that holds something else.
        """
        return {
            "providers": self.providers.split(","),
            "threads": _numbers("threads", self.threads),
            "batches": _numbers("batch", self.batch),
            "runtimes": self.runtimes.split(","),
            "rounds": self.rounds,
            "seconds": self.seconds,
        }


@command("mien benchmark default --runtimes onnx --batch 1,8 --rounds 2")
def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Model folders, built-in names, or single ONNX files."),
    ],
    reading: ReadOptions,
    combinations: Combinations,
    spec: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML or JSON that describes an ONNX file: labels, input, output."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", metavar="DATA", help=f"Also measure accuracy on this. {DATA_HELP}"),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="The split of the dataset to use.")
    ] = None,
    out: Annotated[Path | None, out_option("Folder for table, JSON and plot.")] = None,
    json_to: Json = None,
) -> None:
    """Measure speed, size and memory of models.

    Each combination of model, runtime, threads and batch runs in its own process. They take turns, so that
    other work on the machine slows all of them alike.
    """
    import json

    from mien.benchmark.run import benchmark as measure
    from mien.benchmark.run import check_options
    from mien.benchmark.subjects import judged, subject
    from mien.classifiers import is_graph
    from mien.cli.terminal import complain, give, say
    from mien.data.read import read_split
    from mien.files import locked, together, write

    check_together(data, split, reading)
    if spec and not any(map(is_graph, models)):
        raise ConfigError("`spec` describes a single .onnx file: none is among the models")
    wanted = combinations.asked()
    check_options(wanted["providers"], wanted["threads"], wanted["batches"], wanted["runtimes"])
    with locked(out) if out else nullcontext():
        subjects = [subject(model, spec if is_graph(model) else None) for model in models]
        if data and split:
            read = telling_once(lambda preprocess: read_split(data, preprocess, split, reading))
            subjects = judged(subjects, read, split)
        measured = measure(subjects, **wanted, listen=complain)
        if out:
            with together(out, "benchmark.md", replaces=True) as stage:
                write(stage / "benchmark.json", json.dumps(measured.to_dict(), indent=2) + "\n")
                write(stage / "benchmark.md", render(measured))
                drawn = _draw(measured, stage / "benchmark.png")

    def show() -> None:
        _print(measured)
        if out:
            say(f"wrote {out / 'benchmark.md'} with JSON{' and plot' if drawn else ''}")

    give(measured.to_dict(), json_to, show)


def _numbers(name: str, text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"`{name}` takes numbers with commas, such as 1,2; got {text!r}") from error


def _draw(measured: Benchmark, path: Path) -> bool:
    """Draw accuracy against time, and return whether there was something to draw."""
    from mien.benchmark.plot import draw
    from mien.cli.terminal import complain
    from mien.files import write

    picture = draw(measured)
    if picture is None:
        complain("no plot: no model here has an accuracy; give --data and --split")
        return False
    write(path, picture)
    return True


def _print(measured: Benchmark) -> None:
    """Print the figures as two tables: speed, and figures that are the same for all batch sizes."""
    from mien.cli.terminal import print_table, say, shorten

    say(measured.machine)
    say(", ".join(f"{name} {number}" for name, number in measured.versions.items()))
    say(f"{measured.rounds} rounds in turn after a warm-up, each combination in its own process")
    speed = ("model", "runtime", "device", "threads", "batch", "p50 ms", "p95 ms", "faces/s", "vs onnx")
    rows = [
        (shorten(row.model, 16), row.runtime, row.device, f"{row.threads}", f"{row.batch}", f"{row.p50_ms:.3f}",
         _ms(row.p95_ms), f"{row.faces_per_s:,.0f}", _against(row, measured))
        for row in measured.rows
    ]  # fmt: skip
    say()
    print_table(speed, rows, right=True)
    say("vs onnx: how many times as fast as the ONNX graph")
    sizes = {
        (row.model, row.runtime, row.device): (
            shorten(row.model, 24), row.runtime, row.device, f"{row.size_bytes / 1e6:.3f}", f"{row.load_s:.2f}",
            _peak(row), _accuracy(row),
        )
        for row in measured.rows
    }  # fmt: skip
    say()
    header = ("model", "runtime", "device", "size, MB", "load, s", "peak, MiB", "accuracy")
    print_table(header, list(sizes.values()), right=True)
    if measured.accuracy_on:
        say(f"accuracy: {measured.accuracy_on}, without test-time augmentation")
    for name, reason in measured.left_out.items():
        say(f"left out: {name}: {reason}")


def render(measured: Benchmark) -> str:
    """Return the figures as a Markdown table."""
    versions = ", ".join(f"{name} {number}" for name, number in measured.versions.items())
    lines = [
        measured.machine, versions,
        f"each row in its own process, {measured.rounds} rounds in turn after a warm-up; n = timed calls", "",
        "| model | runtime | device | threads | batch | n | p50, ms | p95 | p99 | faces/s | vs onnx | size, MB "
        "| load, s | peak, MiB | accuracy |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [_line(row, measured) for row in measured.rows]
    if measured.accuracy_on:
        lines += ["", f"accuracy: {measured.accuracy_on}, without test-time augmentation"]
    lines += ["", *(f"left out: {name}: {reason}" for name, reason in measured.left_out.items())]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Timing, measured: Benchmark) -> str:
    return (
        f"| {row.model} | {row.runtime} | {row.device} | {row.threads} | {row.batch} | {row.n:,} | {row.p50_ms:.3f} "
        f"| {_ms(row.p95_ms)} | {_ms(row.p99_ms)} | {row.faces_per_s:,.0f} | {_against(row, measured)} "
        f"| {row.size_bytes / 1e6:.3f} | {row.load_s:.2f} | {_peak(row)} | {_accuracy(row)} |"
    )


def _against(row: Timing, measured: Benchmark) -> str:
    """Return how many times as fast this is as the model's ONNX graph with the same device, threads and batch."""
    base = [
        other.p50_ms for other in measured.rows if other.runtime == "onnx" and _place(other) == _place(row)
    ]
    return f"{base[0] / row.p50_ms:.2f}x" if base else ""


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _peak(row: Timing) -> str:
    return "" if row.peak_mib is None else f"{row.peak_mib:,.0f}"


def _accuracy(row: Timing) -> str:
    return "" if row.accuracy is None else f"{row.accuracy:.2%}"


def _place(row: Timing) -> tuple[object, ...]:
    return row.model, row.device, row.threads, row.batch
