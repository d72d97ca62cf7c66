"""A timeline as a page, a picture and a table: for each person the probabilities over time, stacked."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien import files
from mien.errors import ImageError, MissingExtra, needs
from mien.palette import colours, hex_code
from mien.vision.crop import around, cut
from mien.vision.images import encode_jpeg

with needs("video"):
    from jinja2 import Environment, PackageLoader
    from matplotlib import rc_context
    from matplotlib.figure import Figure

if TYPE_CHECKING:
    from mien.sinks.timeline import Person, Timeline

PEOPLE = 12
"""Most people shown: those who are seen longest; the table has all."""
FACES, FACE_PX = 10, 72
COLUMNS = 600
"""Most points of a curve."""


def write_timeline(stem: Path, source: str, timeline: Timeline, *, strips: bool = True) -> None:
    """Write ``STEM.timeline.html``, ``.png`` and ``.csv``; `strips` adds faces to the page.

    Raises:
        OutputError: a file cannot be written.
    """
    people = timeline.longest(PEOPLE)
    picture = drawn(timeline, people, "png")
    page = rendered(source, timeline, people, strips=strips)
    for ending, content in (("png", picture), ("csv", timeline.table()), ("html", page)):
        files.write(stem.with_name(f"{stem.name}.timeline.{ending}"), content)


@rc_context({"svg.hashsalt": "mien", "svg.fonttype": "none", "text.parse_math": False})
def drawn(timeline: Timeline, people: list[Person], form: str) -> bytes:
    """Return the curves as PNG or SVG, a row for each person."""
    rows = max(1, len(people))
    figure = Figure(figsize=(8, 0.55 + 1.05 * rows), layout="constrained", dpi=110)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    inks = {label: hex_code(rgb) for label, rgb in colours(timeline.labels).items()}
    bins = max(2, min(COLUMNS, timeline.frames // 3, int(timeline.end_s / timeline.bin_s / 2)))
    for axis, person in zip(axes, people, strict=False):
        times, means = timeline.series(person.number, bins)
        axis.stackplot(times, *zip(*means, strict=True), colors=list(inks.values()), linewidth=0, step="mid")
        axis.set_ylabel(f"person {person.number}", rotation=0, ha="right", va="center")
    for axis in axes:
        axis.set(xlim=(0, max(timeline.end_s, 1e-3)), ylim=(0, 1), yticks=[])
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[-1].set_xlabel("seconds" if people else "seconds (no face found)")
    handles = [axes[-1].fill_between([], [], color=ink, label=label) for label, ink in inks.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(inks), frameon=False, handlelength=1)
    out = io.BytesIO()
    figure.savefig(out, format=form, metadata={"Date": None} if form == "svg" else None)
    return out.getvalue()


def rendered(source: str, timeline: Timeline, people: list[Person], *, strips: bool = True) -> str:
    """Return the page: the curves, and for each person a strip of faces and a summary."""
    svg = drawn(timeline, people, "svg").decode()
    environment = Environment(loader=PackageLoader("mien.sinks", "pages"), autoescape=True)
    environment.filters["clock"] = clock
    inks = {label: hex_code(rgb) for label, rgb in colours(timeline.labels).items()}
    rows = timeline.summary(people)
    for row, person in zip(rows, people, strict=True):
        row["faces"] = _faces(source, person) if strips else []
    return environment.get_template("timeline.html.j2").render(
        name=Path(source).name or source or "video",
        seconds=timeline.end_s,
        frames=timeline.frames,
        count=len(timeline.people),
        people=rows,
        inks=inks,
        svg=svg[svg.index("<svg") :],
    )


def clock(seconds: float) -> str:
    """Return a time as ``1:02:03.4``, without hours if there are none."""
    whole, tenth = divmod(round(seconds * 10), 10)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}.{tenth}" if hours else f"{minute}:{second:02}.{tenth}"


def _faces(source: str, person: Person) -> list[dict[str, Any]]:
    """Return small pictures of a person, decoded again; none if the source is not a file."""
    if not Path(source).is_file():
        return []
    import cv2

    from mien.vision.films import Film

    step = max(1, -(-len(person.glimpses) // FACES))
    found = []
    for time_s, box in person.glimpses[::step]:
        try:
            image = Film(source).at(time_s)
        except (ImageError, MissingExtra):
            continue
        square = cut(image, around(box))
        small = cv2.resize(square, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)
        data = base64.b64encode(encode_jpeg(small)).decode()
        found.append({"time_s": time_s, "source": f"data:image/jpeg;base64,{data}"})
    return found
