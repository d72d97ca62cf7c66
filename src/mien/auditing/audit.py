"""`audit`: look at every image of a dataset and say what is wrong with it."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien import bundle
from mien.auditing.copies import Copies, Grouping, find_copies
from mien.auditing.findings import DOUBT, KINDS, LEAK, NEAR, NO_FACE, VOTES, Finding
from mien.auditing.judge import judge_labels
from mien.auditing.listing import of_corrupt, of_groups, of_images, of_labels
from mien.auditing.looks import almost_blank, blank, odd_looks, without_face
from mien.auditing.measure import Measured, measure
from mien.auditing.plan import drops, told
from mien.auditing.sheets import Card, sheets
from mien.auditing.votes import leaders
from mien.classifiers import is_graph, load_classifier
from mien.data.answered import read_out_of_fold
from mien.data.groups import SMALLEST_PX
from mien.data.read import in_memory
from mien.data.reading import ReadOptions
from mien.data.survey import warnings_of
from mien.detectors import open_detector
from mien.errors import number_of
from mien.evaluation.protocol import keys_learnt

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from jaxtyping import Int, Num, UInt8

    from mien.auditing.doubt import Doubts
    from mien.auditing.measure import Corrupt, Step
    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset
    from mien.detectors import FaceDetector
    from mien.preprocess import Preprocess

AUDIT_SCHEMA = "mien.audit/1"
_DEFAULT = ReadOptions()


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """What is wrong with a dataset. `data` has the images that could be decoded, fitted to a model's input."""

    source: str
    data: FaceDataset
    findings: tuple[Finding, ...]
    """Sorted by kind, the most serious first; doubtful labels begin with the most doubtful one."""
    dropped: tuple[str, ...]
    """Why a cleaned set leaves out each row of `data` (`mien.auditing.plan.RULE`); an empty text keeps it."""
    groups: dict[str, dict[str, int]]
    """For each kind of group: number of groups, of their images, of groups in several splits, and of groups with
    different labels."""
    doubts: Doubts | None
    """What a model says of the labels; None if no model could judge them."""
    judge: str
    """Name of the model that judged the labels."""
    corrupt: tuple[Corrupt, ...]
    notes: tuple[str, ...]
    unchecked: dict[str, str]
    """Kinds of findings that were not looked for, and why."""
    sheets: dict[str, list[Card]]
    """For each kind of finding, images to look at."""
    copies: Copies
    names_splits: bool
    divide: tuple[float, int]
    """Fraction and seed of the split val that a cleaned set draws where the source names none."""
    boxes: Num[np.ndarray, "n 4"] | None
    """Boxes of the faces in their photos, x0, y0, x1, y1 in pixels; None if the source gives none."""

    def __repr__(self) -> str:
        """Return a summary of one line."""
        found = ", ".join(f"{kind} {count:,}" for kind, count in self.found.items()) or "nothing found"
        return f"Audit({self.source}, {len(self.data):,} images; {found})"

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of images of each label in each split; unlabelled ones under an empty text."""
        counted = {}
        for split in self.data.splits:
            of = self.data.counts(split).tolist()
            counted[split] = dict(zip(self.data.labels, of, strict=True))
            if bare := len(self.data.rows(split)) - sum(of):
                counted[split][""] = bare
        return counted

    @property
    def found(self) -> dict[str, int]:
        """Number of images with a finding of each kind; kinds without one are left out."""
        images = Counter(kind for kind, _ in {(one.kind, one.image) for one in self.findings})
        return {kind: images[kind] for kind in KINDS if images[kind]}

    @property
    def told(self) -> str:
        """What a cleaned set leaves out, in one line."""
        return told(self.dropped, self.data.split, len(self.corrupt))

    def votes_on_doubts(self) -> dict[str, float] | None:
        """Return the fraction of labels that votes contradict: of the doubtful labels, and of all that were judged.

        ``suggested`` is the fraction of doubtful labels whose votes name the class that the model suggests. Images
        without a majority of votes are left out; None if no doubtful label is left.
        """
        if self.doubts is None or self.data.votes is None:
            return None
        leader = leaders(self.data)
        other = (leader != self.doubts.given) & (leader >= 0)
        listed, judged = self.doubts.listed(), self.doubts.judged & (leader >= 0)
        listed = listed[leader[listed] >= 0]
        if not len(listed):
            return None
        return {
            "listed": float(other[listed].mean()),
            "all": float(other[judged].mean()),
            "suggested": float((leader[listed] == self.doubts.suggested[listed]).mean()),
        }

    def to_rows(self) -> list[dict[str, str]]:
        """Return one dictionary for each finding."""
        return [one._asdict() for one in self.findings]

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as a dictionary for JSON, in the form that `AUDIT_SCHEMA` names."""
        judged = None
        if self.doubts is not None:
            names = self.data.labels
            judged = {
                "by": self.judge,
                "judged": int(self.doubts.judged.sum()),
                "accuracy": self.doubts.accuracy,
                "listed": len(self.doubts.listed()),
                "suspects": int(self.doubts.suspect.sum()),
                "estimated": {
                    name: dict(zip(names, row, strict=True))
                    for name, row in zip(names, self.doubts.estimated.tolist(), strict=True)
                },
                "votes": self.votes_on_doubts(),
            }
        return {
            "schema": AUDIT_SCHEMA,
            "source": self.source,
            "n": len(self.data),
            "labels": list(self.data.labels),
            "counts": self.counts,
            "found": self.found,
            "unchecked": self.unchecked,
            "groups": self.groups,
            "labels_judged": judged,
            "left_out_when_cleaned": dict(Counter(filter(None, self.dropped))),
            "notes": list(self.notes),
            "findings": self.to_rows(),
        }


def audit(
    data: str | Path | FaceDataset,
    *,
    reading: ReadOptions = _DEFAULT,
    model: Classifier | str | Path | None = None,
    probs: Num[np.ndarray, "m c"] | str | Path | None = None,
    detector: FaceDetector | str | None = None,
    preprocess: Preprocess | None = None,
    allocate: Callable[[tuple[int, int, int, int]], UInt8[np.ndarray, "n s s c"]] = in_memory,
    draws: bool = False,
    step: Step = lambda *_: None,
) -> Audit:
    """Look at every image of a dataset and say what is wrong with it; nothing is written.

    ``mien.audit("fer2013.zip").found``

    Labels are judged by `probs`, else by `model`, else by a quick model that is trained here in folds.

    Args:
        data: a dataset, or what `mien.read_dataset` can read.
        reading: how `data` is read, where it is a path. Votes stay beside the labels.
        model: judges the labels: a classifier, or what `mien.load_classifier` can load.
        probs: probabilities [m, c] of a model that was not trained on the image it answers for, such as
            out-of-fold ones: a row for each image, columns in the order of the dataset's labels. Rows of zeros are
            not judged. Or the table ``out_of_fold.csv`` of ``mien train --folds``.
        detector: looks for a face in each image: a detector, or a name that `mien.open_detector` knows.
        preprocess: what the images of `Audit.data` are fitted to; by default to what a packed set
            has, what `model` takes, or 48-pixel grey.
        allocate: makes the array of the fitted images; by default in memory.
        draws: a packed cleaned set will be written (`mien.auditing.clean`). A split val is drawn for it where the
            source names no splits; without it, options that say how a split is drawn are refused.
        step: called with what is being done, how many images are done, and of how many.

    Raises:
        BundleError: no such model.
        ConfigError: an option that has no effect here, or no such detector.
        DataError: as `read_dataset`, but corrupt images are findings; `probs` do not fit; or the detector cannot work
            on an image.
        MissingExtra: the quick model needs the extra ``report``.
    """
    classifier, learnt = _loaded(model)
    detector = open_detector(detector) if isinstance(detector, str) else detector
    if preprocess is None and classifier and not draws:
        preprocess = classifier.preprocess
    with ExitStack() as stack:
        measured = measure(data, reading, preprocess, stack, step, allocate=allocate, draws=draws)
        if isinstance(probs, str | Path):
            probs = read_out_of_fold(probs, measured.data)
        step("looking for duplicates", 0, 1)
        copies = find_copies(measured)
        shows = ~blank(measured) & ~almost_blank(measured)
        judgement = judge_labels(
            measured, copies.together, shows, step, classifier=classifier, probs=probs, learnt=learnt
        )
        odd = [*odd_looks(measured), *(without_face(measured, detector, step) if detector else ())]
        missing = {} if detector else {NO_FACE: "no detector was named"}
        return _audited(measured, copies, judgement, odd, (reading.val_fraction, reading.split_seed), missing)


def _loaded(
    model: Classifier | str | Path | None,
) -> tuple[Classifier | None, Int[np.ndarray, " m"] | None]:
    """Return the classifier, and the keys of the images it was trained on; None if it does not keep them."""
    if not isinstance(model, str | Path):
        return model, None
    classifier = load_classifier(model)
    return classifier, None if is_graph(model) else keys_learnt(bundle.load(model))


def _audited(
    measured: Measured,
    copies: Copies,
    judgement: tuple[Doubts | None, str, list[str]],
    odd: list[tuple[int, str, str]],
    divide: tuple[float, int],
    missing: dict[str, str],
) -> Audit:
    """Put together what was found."""
    judged, judge, said = judgement
    small = int((measured.size_hw_px.min(axis=1) < SMALLEST_PX).sum()) if measured.thumbs is not None else 0
    if small:
        said = [
            *said,
            f"not searched for near duplicates: {number_of(small, 'image')} below {SMALLEST_PX} pixels",
        ]
    why, order = drops(measured, copies), list(KINDS)
    findings = (
        *of_corrupt(measured),
        *of_groups(measured, copies, why),
        *of_images(measured, odd, why),
        *of_labels(measured, judged),
    )
    return Audit(
        source=measured.reading.source,
        data=measured.data,
        findings=tuple(sorted(findings, key=lambda one: order.index(one.kind))),
        dropped=tuple(why),
        groups=_group_counts(measured, copies),
        doubts=judged,
        judge=judge,
        corrupt=measured.corrupt,
        notes=(
            *measured.data.notes,
            *warnings_of(measured.data),
            *filter(None, (copies.note, *said)),
        ),
        unchecked=missing | _unchecked(measured.data, copies, judged),
        sheets=sheets(measured, copies, odd, judged),
        copies=copies,
        names_splits=measured.names_splits,
        divide=divide,
        boxes=measured.reading.boxes,
    )


def _unchecked(data: FaceDataset, copies: Copies, judged: Doubts | None) -> dict[str, str]:
    """Return the kinds of findings that could not be looked for in this dataset, and why."""
    why = {
        LEAK: len(data.splits) < 2 and "there is one split only",
        NEAR: copies.note,
        DOUBT: judged is None and "no model could judge the labels",
        VOTES: data.votes is None and "there are no votes",
    }
    return {kind: reason for kind, reason in why.items() if reason}


def _group_counts(measured: Measured, copies: Copies) -> dict[str, dict[str, int]]:
    labels = measured.data.given_names

    def counted(groups: Grouping) -> dict[str, int]:
        return {
            "groups": len(groups),
            "images": groups.n_images,
            "across_splits": sum(groups.differ(measured.data.split)),
            "different_labels": sum(groups.differ(labels)),
        }

    return {groups.kind: counted(groups) for groups in (copies.exact, copies.near, *copies.named)}
