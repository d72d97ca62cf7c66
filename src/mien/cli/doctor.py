"""``mien doctor``: what is installed, what is missing for which command, what this machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mien.cli.command import Json, command

if TYPE_CHECKING:
    from mien.doctor import Diagnosis, Extra


@command("mien doctor", "mien doctor --json -")
def doctor(json_to: Json = None) -> None:
    """Say what is installed, what is missing for which command, and what this machine can do.

    The exit status is 1 if something that mien needs is missing. The output holds no user name, so it can be
    pasted into a bug report.
    """
    from mien.cli.terminal import give
    from mien.doctor import examine

    found = examine()
    give(found.to_dict(), json_to, lambda: _print(found))
    if found.problems:
        raise typer.Exit(1)


def _print(found: Diagnosis) -> None:
    from mien.cli.terminal import print_table, say

    say(f"mien {found.mien}, {found.python}, {found.system}")
    for line in found.problems:
        say(f"problem: {line}")
    say()
    say("This machine")
    chip = found.processor
    say(f"  processor: {chip.name}, {chip.cores} threads")
    say(f"  instructions: {_instructions(chip.instructions)}")
    say(f"  GPU: {'; '.join(found.gpus) or 'none that nvidia-smi knows'}")
    libraries = ", ".join(f"{name} {version}" for name, version in found.runtimes.items())
    say(f"  libraries that may use a GPU: {libraries or 'none'}")
    say()
    packages = sorted({*found.core, *(one for extra in found.extras for one in extra.packages)}, key=str)
    for line in _wrapped([f"{one.name} {one.version}" for one in packages if one.version]):
        say(line)
    say()
    print_table(
        ("extra", "state", "needed for"), [(one.name, _state(one), one.needed_for) for one in found.extras]
    )
    for how in dict.fromkeys(one.command for one in found.extras if one.command):
        say(f"  {how}")
    say()
    rows = [
        (one.name, "at hand" if one.at_hand else one.note, "used by default" * (one.name == found.default_detector))
        for one in found.detectors
    ]  # fmt: skip
    print_table(("detector", "state", ""), rows)
    say()
    say(f"cache folder: {found.cache} (MIEN_CACHE names another)")
    say(f"  holds {', '.join(found.cached) or 'nothing yet; see mien fetch --help'}")


def _wrapped(names: list[str]) -> list[str]:
    import textwrap

    return textwrap.wrap(f"Installed: {', '.join(names)}", 80, subsequent_indent="  ", break_on_hyphens=False)


def _instructions(known: tuple[str, ...] | None) -> str:
    if known is None:
        return "this system does not tell"
    fast = "fast INT8" if any("VNNI" in one or "dot" in one for one in known) else "no fast INT8"
    bf16 = ", bf16" if "AVX512-BF16" in known else ""
    return f"{', '.join(known) or 'none of those that matter here'} ({fast}{bf16})"


def _state(extra: Extra) -> str:
    if extra.state == "unknown":
        return "unknown: mien was updated since; install it again"
    if extra.state == "missing":
        wrong = [
            f"{one.name}{f' {one.version}, needs {one.wanted}' if one.version else ''}"
            for one in extra.packages
            if not one.fits
        ]
        return f"missing: {', '.join(wrong)}"
    return extra.state
