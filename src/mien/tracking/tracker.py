"""`Tracker`: numbers the people in a video, and smooths the probabilities of each over time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mien.options import TrackOptions
from mien.results import UNCERTAIN, Box, FaceResult
from mien.tracking.pairs import centre, moved, paired

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mien.predictions import ImageResult
    from mien.vision.frames import Frames

SPEED_MEMORY_S = 0.2
"""Time in seconds over which the speed of a face is averaged."""


@dataclass
class _Track:
    number: int
    box: Box
    time_s: float
    speed_xy: tuple[float, float] = (0.0, 0.0)
    """Pixels a second."""
    weight: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    """Weighted sums of the probabilities; older ones have lower weights."""

    def at(self, time_s: float) -> Box:
        """Return the predicted box of its face; a straight motion is assumed for a short time only."""
        ahead = min(time_s - self.time_s, SPEED_MEMORY_S)
        return moved(self.box, self.speed_xy[0] * ahead, self.speed_xy[1] * ahead)

    def see(self, face: FaceResult, time_s: float, smooth_s: float) -> dict[str, float]:
        """Take the face of a new frame; return the smoothed probabilities."""
        passed = time_s - self.time_s
        if passed > 0:
            keep = math.exp(-passed / SPEED_MEMORY_S)
            steps = (b - a for a, b in zip(centre(self.box), centre(face.box_xyxy_px), strict=True))
            right, down = (
                keep * v + (1 - keep) * step / passed for v, step in zip(self.speed_xy, steps, strict=True)
            )
            self.speed_xy = right, down
        raw = face.raw_probs or face.probs
        decay = math.exp(-max(passed, 0.0) / smooth_s) if smooth_s else 0.0
        self.weight = decay * self.weight + 1
        self.sums = {label: decay * self.sums.get(label, 0.0) + prob for label, prob in raw.items()}
        self.box, self.time_s = face.box_xyxy_px, time_s
        return {label: one / self.weight for label, one in self.sums.items()}


class Tracker:
    """Numbers the faces of a video; give it to `Pipeline.stream`. It serves one stream at a time.

    Numbers begin at 1 and are never used again. A face keeps its number while its box overlaps, or lies near, the
    place that is predicted from its motion. A face that was away for at most `bridge` seconds and comes back near its
    old place keeps it, too. Faces are not compared by their looks: someone who comes back later or elsewhere gets a
    new number. A cut is not noticed: another person at nearly the same place takes over the number.
    """

    def __init__(self, *, detect_every: int = 1, smooth: float = 0.5, bridge: float = 1.0) -> None:
        """Set how faces are followed.

        Args:
            detect_every: K, faces are searched in every Kth frame. If two of these show the same faces at nearly the
                same places, the frames between get boxes on a straight line; else they are searched, too.
            smooth: seconds after which the weight of a probability in the average is 1/e; 0 does not average.
            bridge: seconds that a face may be away and keep its number.

        Raises:
            ConfigError: a number out of range.
        """
        options = TrackOptions(detect_every=detect_every, smooth=smooth, bridge=bridge)
        self.detect_every, self.smooth, self.bridge = options.detect_every, options.smooth, options.bridge
        self._tracks: list[_Track] = []
        self._next, self._source, self._time_s = 1, "", -math.inf
        self._adopted: dict[str, Tracker] = {}
        self._reserved: dict[str | None, int] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """The settings of the tracker, for documents and tables."""
        told = f"detect every {self.detect_every}, smooth {self.smooth:g} s, bridge {self.bridge:g} s"
        return {"tracking": told}

    def update(self, result: ImageResult, uncertain_below: float = 0.0) -> ImageResult:
        """Return the result of the next frame with numbers and smoothed probabilities; the raw ones stay beside them.

        The label is that of the smoothed probabilities. A result without a time (a photo) is returned unchanged.
        """
        if result.time_s is None or result.error is not None:
            return result
        self._begin(result.source, result.time_s)
        found = self._assigned(result)
        seen = [
            self._seen(face, track, result.time_s, uncertain_below)
            for face, track in zip(result.faces, found, strict=True)
        ]
        return replace(result, faces=tuple(seen))

    def adopt(self, result: ImageResult) -> None:
        """Take a result of an earlier run, so that a resumed run continues its tracks.

        It may come while frames of another video are still followed: it counts when its own video begins.
        """
        if result.time_s is None or result.error is not None:
            return
        if result.source not in self._adopted:
            self._adopted[result.source] = Tracker(
                detect_every=self.detect_every, smooth=self.smooth, bridge=self.bridge
            )
        of_source = self._adopted[result.source]
        of_source._take(result, result.time_s)
        self._next = max(self._next, of_source._next)

    def reserve(self, last_tracks: Mapping[str | None, int]) -> None:
        """Take the highest numbers that an earlier run gave in each source: others get higher ones.

        None stands for sources that never come again, such as a camera's earlier frames.
        """
        self._reserved = dict(last_tracks)

    def _take(self, result: ImageResult, time_s: float) -> None:
        self._begin(result.source, time_s)
        known = {track.number: track for track in self._tracks}
        for face in result.faces:
            if face.track is not None:
                track = known.get(face.track) or self._new(face, time_s, face.track)
                track.see(face, time_s, self.smooth)

    def _begin(self, source: str, time_s: float) -> None:
        """Forget tracks that have ended: of another source, away for too long, or of a later time than this frame."""
        if source != self._source:
            others = (last for name, last in self._reserved.items() if name != source)
            self._next = max(self._next, 1 + max(others, default=0))
        if source != self._source and source in self._adopted:
            earlier = self._adopted.pop(source)
            self._tracks, self._source, self._time_s = earlier._tracks, source, earlier._time_s
        if source != self._source or time_s < self._time_s:
            self._tracks = []
        self._tracks = [
            track
            for track in self._tracks
            if time_s - track.time_s <= self.bridge or track.time_s == self._time_s
        ]
        self._source, self._time_s = source, time_s

    def _assigned(self, result: ImageResult) -> list[_Track]:
        assert result.time_s is not None
        places = [track.at(result.time_s) for track in self._tracks]
        pairs = paired(places, [face.box_xyxy_px for face in result.faces])
        before = list(self._tracks)
        return [
            before[pairs[place]] if place in pairs else self._new(face, result.time_s)
            for place, face in enumerate(result.faces)
        ]

    def _new(self, face: FaceResult, time_s: float, number: int | None = None) -> _Track:
        track = _Track(self._next if number is None else number, face.box_xyxy_px, time_s)
        self._next = max(self._next, track.number + 1)
        self._tracks.append(track)
        return track

    def _seen(self, face: FaceResult, track: _Track, time_s: float, uncertain_below: float) -> FaceResult:
        probs = track.see(face, time_s, self.smooth)
        best = max(probs, key=probs.__getitem__)
        label = best if probs[best] >= uncertain_below else UNCERTAIN
        return replace(
            face, probs=probs, raw_probs=face.raw_probs or face.probs, label=label, track=track.number
        )


def tracker_for(stream: Frames, options: TrackOptions) -> Tracker | None:
    """Return a tracker if the stream holds videos, animations or cameras, else None: photos need no tracker."""
    return Tracker(**vars(options)) if stream.moving else None
