"""``mien data audit`` and ``mien data split``: find faults of a dataset, and make splits that do not leak."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.command import DATA_HELP, Json, command, out_option
from mien.errors import ConfigError, number_of
from mien.options import FINDERS, ReadOptions, check_choices, option, weights_option

if TYPE_CHECKING:
    from mien.auditing.audit import Audit
    from mien.cli.progress import Progress
    from mien.data.folding import Folds

_Source = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]


@dataclass(frozen=True)
class Looks:
    """Models and detectors that look at the images."""

    model: str | None = option(
        None, "Model that judges the labels: a folder or a built-in name. By default a quick model is trained on "
        "parts of the dataset and judges the rest.", short="-m", metavar="MODEL",
    )  # fmt: skip
    probabilities: Path | None = option(
        None, "Table that judges the labels instead: out_of_fold.csv of `mien train --folds`, read with the same "
        "options.", metavar="FILE",
    )  # fmt: skip
    detector: str | None = option(
        None, "List images in which this detector finds no face.",
        choices=FINDERS,
    )  # fmt: skip
    detector_weights: Path | None = weights_option()

    def __post_init__(self) -> None:
        """Check each option, and that they fit together.

        Raises:
            ConfigError: an unknown word, or options that contradict each other or have no effect.
        """
        if self.model and self.probabilities:
            raise ConfigError("`model` and `probabilities` both judge the labels: leave one out")
        if self.detector is not None:
            check_choices(self)
        elif self.detector_weights:
            raise ConfigError(
                "`detector_weights` belongs to `detector`: say which detector has these weights"
            )


@dataclass(frozen=True)
class Fix:
    """A cleaned copy of the dataset."""

    fix: Path | None = option(
        None, "Also write a cleaned set: packed (.npz), or a list of the files that stay (.csv). See docs/data.md "
        "for what is left out.", metavar="FILE",
    )  # fmt: skip
    size_px: int | None = option(
        None,
        "Side of the packed images, in pixels; by default 48. A packed DATA keeps its own shape if neither "
        "this nor --channels is given.",
    )
    channels: int | None = option(None, "1 for grey, 3 for colour; by default 1.")

    def __post_init__(self) -> None:
        """Refuse a size where no packed set is written.

        Raises:
            ConfigError: says which option has no effect.
        """
        for name in ("size_px", "channels"):
            if getattr(self, name) is not None and not self.is_packed:
                raise ConfigError(
                    f"`{name}` is of the packed set that `fix=FILE.npz` writes: leave it out, or add that"
                )

    @property
    def is_packed(self) -> bool:
        """Whether a packed set is written: it needs a split val, which is drawn where the source names no splits."""
        return self.fix is not None and self.fix.suffix.lower() == ".npz"


@command("mien data audit synthetic --out audit", "mien data audit faces/ --out audit --fix clean.npz")
def audit(
    path: _Source,
    out: Annotated[Path, out_option("Folder for audit.html and findings.csv.")],
    reading: ReadOptions,
    looks: Looks,
    cleaned: Fix,
    json_to: Json = None,
) -> None:
    """Find what is wrong with a dataset: duplicates, leaks, doubtful labels and more.

    Writes one page that shows the worst and one table that lists everything. Needs the extra `report`.
    """
    from mien.auditing.clean import check_target, write_cleaned
    from mien.auditing.page import write_audit
    from mien.cli.command import note_line
    from mien.cli.progress import progress
    from mien.cli.terminal import give, say
    from mien.files import locked

    if cleaned.fix:
        check_target(cleaned.fix, path)
    # Locked first, so that minutes of work are not lost because the folder cannot be written.
    with locked(out):
        with progress("reading images") as bar:
            found = _look(path, reading, looks, cleaned, bar)
        page = write_audit(found, out)
        data = write_cleaned(found, cleaned.fix) if cleaned.fix else None

    def show() -> None:
        _print(found)
        if data is not None:
            say(f"{cleaned.fix}: {len(data):,} images{_shape(cleaned.fix, data.images.shape)}; {found.told}")
            for note in data.notes[len(found.data.notes) :]:
                say(note_line(note))
        say(f"wrote {page} and {out / 'findings.csv'}")

    give(found.to_dict(), json_to, show)


def _shape(out: Path | None, shape: tuple[int, ...]) -> str:
    if out is None or out.suffix.lower() != ".npz":
        return ""
    return f" of {shape[2]}x{shape[1]} pixels, {shape[3]} channel{'s' if shape[3] > 1 else ''}"


def _look(path: str, reading: ReadOptions, looks: Looks, cleaned: Fix, bar: Progress) -> Audit:
    from mien.auditing.audit import audit as look
    from mien.cli.terminal import complain
    from mien.data.packed import scratch
    from mien.detectors import auto_advice, open_detector

    if looks.detector == "auto":
        complain(auto_advice(looks.detector_weights))
    on_disk: dict[str, Any] = {"allocate": scratch(cleaned.fix.resolve().parent)} if cleaned.fix else {}
    return look(
        path,
        reading=reading,
        model=looks.model,
        probs=looks.probabilities,
        detector=open_detector(looks.detector, looks.detector_weights) if looks.detector else None,
        preprocess=_packed_as(cleaned),
        draws=cleaned.is_packed,
        step=_steps(bar),
        **on_disk,
    )


def _packed_as(cleaned: Fix) -> Any:
    """Return the preprocessing that the user chose; None if the audit chooses it."""
    from mien.config import checked_recipe

    if cleaned.size_px is None and cleaned.channels is None:
        return None
    shape = {
        "size_px": 48 if cleaned.size_px is None else cleaned.size_px,
        "channels": 1 if cleaned.channels is None else cleaned.channels,
    }
    return checked_recipe({"network": "none", "input": shape}).input


def _steps(bar: Progress) -> Any:
    """Return a function that advances a bar, and starts it again when another step of the work begins."""
    last: dict[str, Any] = {"title": "", "done": 0}

    def step(title: str, done: int, total: int) -> None:
        if title != last["title"] or done < last["done"]:
            bar.begin(title, total, done)
        else:
            bar(done - last["done"])
        last.update(title=title, done=done)

    return step


def _print(found: Audit) -> None:
    from mien.auditing.page import sentence
    from mien.cli.command import note_line
    from mien.cli.terminal import print_table, say

    splits = ", ".join(f"{split} {sum(of.values()):,}" for split, of in found.counts.items())
    say(f"{found.source}: {len(found.data):,} images ({splits})")
    if found.found:
        say()
        rows = [(kind, sentence(found, kind)) for kind in found.found]
        print_table(("finding", "what there is"), rows)
        say()
    else:
        say("nothing was found that is wrong")
    if found.doubts is not None:
        n, accuracy = int(found.doubts.judged.sum()), found.doubts.accuracy
        say(f"labels: {n:,} judged by {found.judge}, which agrees with {accuracy:.1%} of them")
        if votes := found.votes_on_doubts():
            say(
                f"votes: clear majorities contradict {votes['listed']:.0%} of the doubtful labels, and "
                f"{votes['all']:.0%} of all"
            )
    for note in found.notes:
        say(note_line(note))


@command("mien data split synthetic --folds 5 --out folds")
def split(
    path: _Source,
    folds: Annotated[int, typer.Option(metavar="K", help="Number of folds; each is val once.")],
    out: Annotated[Path, out_option("Folder for the K datasets and the table folds.csv.")],
    reading: ReadOptions,
    lists: Annotated[
        bool, typer.Option("--lists", help="Write lists of the image files (.csv) in place of packed sets.")
    ] = False,
    size_px: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Side of the packed images, in pixels; by default 48. A packed DATA keeps its own shape if neither "
            "this nor --channels is given.",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(metavar="N", help="1 for grey, 3 for colour; by default 1."),
    ] = None,
    json_to: Json = None,
) -> None:
    """Divide a dataset K times for cross-validation.

    In each of the K datasets another fold of the training images is val. Duplicates, and images that the grouping
    options name, stay together, so that no image of val is a training image, too.
    """
    from mien.cli.progress import progress
    from mien.cli.terminal import give
    from mien.data.folding import write_folds

    if lists and (size_px is not None or channels is not None):
        raise ConfigError(
            "`size_px` and `channels` are of packed sets, and `lists` writes none: leave one out"
        )
    with progress("folds", folds) as step:
        made = write_folds(
            path, out, folds, preprocess=_packed_as(Fix(Path("x.npz"), size_px, channels)), options=reading,
            as_lists=lists, step=lambda _: step(),
        )  # fmt: skip
    give(made.to_dict(), json_to, lambda: _print_folds(made, out))


def _print_folds(made: Folds, out: Path) -> None:
    from mien.cli.command import note_line
    from mien.cli.terminal import print_table, say

    say(
        f"{made.source}: {made.n_divided:,} images in {number_of(made.n_groups, 'group')} divided into "
        f"{len(made.files)} folds"
    )
    names = tuple(made.counts[0])
    rows = [
        (str(number), *(f"{sum(counts[name].values()):,}" for name in names), file)
        for number, (file, counts) in enumerate(zip(made.files, made.counts, strict=True), 1)
    ]
    print_table(("fold", *names, "file"), rows, right=True)
    for note in made.notes:
        say(note_line(note))
    say(f"wrote {out / 'folds.csv'}: the fold of each image")
