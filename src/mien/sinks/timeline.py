"""The labels of each person in a video over time: bins of time, and a summary. Long videos need no more memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mien.escapes import csv_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.predictions import ImageResult
    from mien.results import Box

FIRST_BIN_S = 0.02
MOST_BINS = 20_000
"""Most bins of time; if there are more, and more than two a person, neighbouring bins are joined in pairs."""
MOST_GLIMPSES = 24
"""Most places of a face that are kept for its strip of faces."""


@dataclass
class Person:
    """One track."""

    number: int
    first_s: float
    last_s: float
    frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds for which each label was shown."""
    changes: int = 0
    longest: tuple[str, float, float] = ("", 0.0, 0.0)
    """The longest time with one label: label, from, to."""
    label: str = ""
    since_s: float = 0.0
    glimpses: list[tuple[float, Box]] = field(default_factory=list)
    """Times and face frames, about evenly spread."""
    every: int = 1

    @property
    def seen_s(self) -> float:
        """Seconds in which the face was seen."""
        return sum(self.seconds.values())

    @property
    def shares(self) -> dict[str, float]:
        """Fraction of the seen time of each label, largest first."""
        whole = self.seen_s or 1.0
        return {
            label: part / whole for label, part in sorted(self.seconds.items(), key=lambda item: -item[1])
        }


class Timeline:
    """Takes the results of one video, in order."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels, self.people = tuple(labels), dict[int, Person]()
        self.bin_s, self._bins = FIRST_BIN_S, dict[tuple[int, int], list[float]]()
        self._time_s: float | None = None
        self._step_s = 0.0
        self.frames = 0

    def add(self, result: ImageResult) -> None:
        """Count the faces of a frame; one lasts until the next frame."""
        if result.time_s is None or result.error is not None:
            return
        time_s = result.time_s
        if self._time_s is not None and time_s > self._time_s:
            self._step_s = time_s - self._time_s
            if self.frames == 1:  # only now is it known how long the first frame lasts
                for person in self.people.values():
                    self._extend(person)
        self.frames, self._time_s = self.frames + 1, time_s
        for face in result.faces:
            if face.track is None:
                continue
            person = self.people.setdefault(face.track, Person(face.track, time_s, time_s, since_s=time_s))
            self._count(person, face.label, time_s, face.frame_xyxy_px or face.box_xyxy_px)
            found = self._bins.setdefault(
                (face.track, int(time_s / self.bin_s)), [0.0] * (len(self.labels) + 1)
            )
            found[0] += 1
            for place, label in enumerate(self.labels, start=1):
                found[place] += face.probs.get(label, 0.0)
        if len(self._bins) > max(MOST_BINS, 2 * len(self.people)):  # each person keeps one bin at least
            self._merge()

    def _count(self, person: Person, label: str, time_s: float, box: Box) -> None:
        if person.label != label:
            person.changes += bool(person.label)
            person.label, person.since_s = label, time_s
        person.last_s = time_s
        self._extend(person)
        if person.frames % person.every == 0:
            person.glimpses.append((time_s, box))
            if len(person.glimpses) > MOST_GLIMPSES:
                person.glimpses, person.every = person.glimpses[::2], 2 * person.every
        person.frames += 1

    def _extend(self, person: Person) -> None:
        """Let a person's label last for a frame."""
        lasts = min(self._step_s, 1.0)
        person.seconds[person.label] = person.seconds.get(person.label, 0.0) + lasts
        person.last_s += lasts
        if person.last_s - person.since_s > person.longest[2] - person.longest[1]:
            person.longest = (person.label, person.since_s, person.last_s)

    def _merge(self) -> None:
        wider: dict[tuple[int, int], list[float]] = {}
        for (track, place), values in self._bins.items():
            into = wider.setdefault((track, place // 2), [0.0] * len(values))
            for at, value in enumerate(values):
                into[at] += value
        self.bin_s, self._bins = 2 * self.bin_s, wider

    @property
    def end_s(self) -> float:
        """Time in seconds at which the last frame ends."""
        return (self._time_s or 0.0) + self._step_s

    def longest(self, most: int) -> list[Person]:
        """Return the people who are seen for longest, by number."""
        chosen = sorted(self.people.values(), key=lambda one: (-one.seen_s, one.number))[:most]
        return sorted(chosen, key=lambda one: one.number)

    def series(self, track: int, bins: int) -> tuple[list[float], list[list[float]]]:
        """Return the centres of `bins` equal spans of time, and the mean probabilities in each; zeros if not seen."""
        width = max(self.end_s, 1e-9) / bins
        sums = [[0.0] * (len(self.labels) + 1) for _ in range(bins)]
        for (number, place), values in self._bins.items():
            if number == track:
                at = min(bins - 1, int((place + 0.5) * self.bin_s / width))
                for column, value in enumerate(values):
                    sums[at][column] += value
        for at in range(1, bins - 1):  # a frame longer than a bin leaves the next one empty
            if not sums[at][0] and sums[at - 1][0] and sums[at + 1][0]:
                sums[at] = sums[at - 1]
        means = [[value / row[0] if row[0] else 0.0 for value in row[1:]] for row in sums]
        return [(place + 0.5) * width for place in range(bins)], means

    def table(self) -> str:
        """Return CSV: mean probabilities of each track in each bin of time."""
        lines: list[list[Any]] = [
            ["from_s", "to_s", "track", "frames", *(f"prob_{label}" for label in self.labels)]
        ]
        for (track, place), values in sorted(self._bins.items(), key=lambda item: (item[0][1], item[0][0])):
            means = [f"{value / values[0]:.6f}" for value in values[1:]]
            ends = f"{place * self.bin_s:.3f}", f"{(place + 1) * self.bin_s:.3f}"
            lines.append([*ends, track, int(values[0]), *means])
        return csv_lines(lines)

    def summary(self, people: Sequence[Person]) -> list[dict[str, Any]]:
        """Return what a page says of each person."""
        return [
            {
                "track": one.number, "first_s": one.first_s, "last_s": one.last_s, "seen_s": one.seen_s,
                "frames": one.frames, "shares": one.shares, "changes": one.changes,
                "longest": one.longest[0], "longest_from_s": one.longest[1], "longest_to_s": one.longest[2],
            }
            for one in people
        ]  # fmt: skip
