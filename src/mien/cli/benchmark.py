"""``mien benchmark``: models beside each other, in every runtime they have."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.dataset import DATA_HELP, check_pair, reads_data
from mien.errors import ConfigError

if TYPE_CHECKING:
    from mien.benchmark.plan import Benchmark, Subject, Timing
    from mien.data.reading import ReadOptions


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(reads_data(benchmark))


def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(metavar="BUNDLE...", help="Bundles, built-in names, or ONNX files of anybody's."),
    ],
    options: ReadOptions,
    providers: Annotated[str, typer.Option(help="cpu, cuda or both with a comma.")] = "cpu",
    threads: Annotated[str, typer.Option(help="Numbers of threads, with commas.")] = "1",
    batch: Annotated[str, typer.Option(help="Faces a call, with commas.")] = "1,8,64",
    runtimes: Annotated[
        str, typer.Option(help="Which rows, with commas.")
    ] = "torch,torch compiled,onnx,int8,fp16",
    rounds: Annotated[int, typer.Option(min=1, help="How often each row has its turn.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.0, help="Length of a turn.")] = 0.3,
    spec: Annotated[
        Path | None,
        typer.Option(help="What an ONNX file does not say of itself: TOML or JSON."),
    ] = None,
    data: Annotated[str | None, typer.Option(help=f"Measure accuracies on this. {DATA_HELP}")] = None,
    split: Annotated[str | None, typer.Option(help="Which part of the dataset.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for table, JSON and plot.")] = None,
    json_to: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write the figures there; - prints only JSON."),
    ] = None,
) -> None:
    """Measure latency, throughput, size, memory and load time, every row in a process of its own, all in turn."""
    from mien.benchmark import plan
    from mien.files import make_folder, write

    check_pair(data, split)
    if spec and not any(model.endswith(".onnx") for model in models):
        raise ConfigError("--spec explains a single .onnx file: none is among the models")
    places, counts, sizes = providers.split(","), _numbers("--threads", threads), _numbers("--batch", batch)
    ways = runtimes.split(",")
    plan.check_options(places, counts, sizes, ways)
    if out:
        make_folder(out)
    subjects = [plan.subject(model, spec if model.endswith(".onnx") else None) for model in models]
    if data and split:
        subjects = _judged(subjects, data, split, options)
    measured = plan.benchmark(
        subjects, providers=places, threads=counts, batches=sizes, runtimes=ways, rounds=rounds, seconds=seconds,
        listen=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    document, page = json.dumps(measured.to_dict(), indent=2) + "\n", render(measured)
    print(document if json_to == "-" else page, end="")
    written = {Path(json_to): document} if json_to and json_to != "-" else {}
    if out:
        written |= {out / "benchmark.json": document, out / "benchmark.md": page}
    for path, text in written.items():
        write(path, text)
    if out:
        _draw(measured, out / "benchmark.png")


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{option} takes numbers with commas, such as 1,2; got {text!r}") from error


def _judged(subjects: list[Subject], data: str, split: str, options: ReadOptions) -> list[Subject]:
    from mien.benchmark.plan import judged
    from mien.data.sources import read_dataset

    return judged(
        subjects, lambda one: read_dataset(data, one.preprocess, split=split, options=options), split
    )


def _draw(measured: Benchmark, path: Path) -> None:
    from mien.benchmark.plot import draw
    from mien.files import write

    picture = draw(measured)
    if picture is None:
        print("no plot: no model here has an accuracy; give --data and --split", file=sys.stderr)
    else:
        write(path, picture)


def render(measured: Benchmark) -> str:
    """Return the figures as a Markdown table."""
    versions = ", ".join(f"{name} {number}" for name, number in measured.versions.items())
    lines = [
        measured.machine, versions,
        f"each row in a process of its own, {measured.rounds} rounds in turn after a warm-up; n = timed calls", "",
        "| model | runtime | device | threads | batch | n | p50, ms | p95 | p99 | faces/s | against onnx | size, MB "
        "| load, s | peak, MiB | accuracy |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [_line(row, measured) for row in measured.rows]
    if measured.accuracy_on:
        lines += ["", f"accuracy: {measured.accuracy_on}, without test-time augmentation"]
    lines += ["", *(f"left out: {name}: {reason}" for name, reason in measured.left_out.items())]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Timing, measured: Benchmark) -> str:
    base = [
        other.p50_ms for other in measured.rows if other.runtime == "onnx" and _place(other) == _place(row)
    ]
    against = f"{base[0] / row.p50_ms:.2f}x" if base else ""
    peak = "" if row.peak_mib is None else f"{row.peak_mib:,.0f}"
    accuracy = "" if row.accuracy is None else f"{row.accuracy:.2%}"
    return (
        f"| {row.model} | {row.runtime} | {row.device} | {row.threads} | {row.batch} | {row.n:,} | {row.p50_ms:.3f} "
        f"| {row.p95_ms:.3f} | {row.p99_ms:.3f} | {row.faces_per_s:,.0f} | {against} | {row.size_bytes / 1e6:.3f} "
        f"| {row.load_s:.2f} | {peak} | {accuracy} |"
    )


def _place(row: Timing) -> tuple[object, ...]:
    return row.model, row.device, row.threads, row.batch
