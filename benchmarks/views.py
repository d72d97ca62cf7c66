"""How many views of a face to classify: the accuracy and the cost of the mean over several crops of the same face.

A view is a crop of the face frame at one zoom. A photo's probabilities are the mean over its views. `VIEWS` in
`mien.vision.crop` was chosen with this program, on photographs that no model was trained on:

    python benchmarks/views.py --photos other_world.zip [--yunet face_detection_yunet_2023mar.onnx]

The zip holds one folder a class. The largest face of each photo counts. A photo in which a detector finds none is
left out of that detector's rows, and their number is stated. A row names the sides of its crops, in units of the face
frame's side: 0.85 shows less around the face than 1. Every row is compared with the single crop, photo by photo: the
difference of accuracy and of balanced accuracy in points, and of the mean log loss of the truth (lower is better),
each with its standard error.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np

from machine import describe
from mien.classifiers import load_classifier, probabilities
from mien.detectors import open_detector
from mien.vision import images
from mien.vision.crop import crop_faces

SIDES: dict[str, tuple[float, ...]] = {
    "1": (1.0,),
    "2: mirror": (1.0,),
    "4: .9-1.1": (0.9, 1.1),
    "4: .85-1.15": (0.85, 1.15),
    "6: .95-1.05": (0.95, 1.0, 1.05),
    "6: .9-1.1": (0.9, 1.0, 1.1),
    "6: .85-1": (0.85, 0.925, 1.0),
    "6: .85-1.15": (0.85, 1.0, 1.15),
    "6: .8-1.2": (0.8, 1.0, 1.2),
    "6: 1-1.2": (1.0, 1.1, 1.2),
    "10: .9-1.1": (0.9, 0.95, 1.0, 1.05, 1.1),
    "10: .85-1.15": (0.85, 0.925, 1.0, 1.075, 1.15),
    "10: .8-1.2": (0.8, 0.9, 1.0, 1.1, 1.2),
    "10: .7-1.3": (0.7, 0.85, 1.0, 1.15, 1.3),
}
"""Side of each crop in units of the frame's; every row but the first sees each crop's mirror image too."""


def photos(path: Path) -> tuple[list[np.ndarray], list[str]]:
    """Return the images of a zip of class folders, and their classes."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if Path(name).suffix.lower() in images.SUFFIXES)
        return [images.decode(archive.read(name)) for name in names], [Path(name).parts[-2] for name in names]


def largest(faces):
    """Return a list of the face with the widest box, or of none."""
    return sorted(faces, key=lambda face: face.box_xyxy_px[0] - face.box_xyxy_px[2])[:1]


def view_probs(classifier, found, sides: set[float]) -> dict[tuple[float, bool], np.ndarray]:
    """Return the probabilities [photos, classes] of every view: (side, mirrored)."""
    table = {}
    for side in sorted(sides):
        crops = np.concatenate(
            [crop_faces(image, faces, classifier.preprocess, zoom=1 / side) for image, faces in found]
        )
        for mirrored in (False, True):
            seen = np.ascontiguousarray(crops[:, :, ::-1]) if mirrored else crops
            table[side, mirrored] = probabilities(classifier.logits(seen))
    return table


def difference(hits: np.ndarray, base: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float]:
    """Return in points: difference of accuracy, its standard error, the same of balanced accuracy."""
    change = 100 * (hits.astype(float) - base)
    classes = [change[truth == label] for label in np.unique(truth)]
    errors = [np.var(rows, ddof=1) / len(rows) for rows in classes]
    return (
        float(change.mean()),
        float(np.std(change, ddof=1) / np.sqrt(len(change))),
        float(np.mean([rows.mean() for rows in classes])),
        float(np.sqrt(np.sum(errors)) / len(classes)),
    )


def balanced(hits: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean over the classes of the fraction of hits."""
    return float(np.mean([hits[truth == label].mean() for label in np.unique(truth)]))


def rows(table, truth: np.ndarray, columns: list[int]) -> None:
    """Print a row for each set of views; only the classes of `columns` may be answered."""
    base = first = None
    for name, sides in SIDES.items():
        mirrors = (False,) if name == "1" else (False, True)
        mean = np.mean([table[side, mirror] for side in sides for mirror in mirrors], axis=0)
        hits = np.asarray(columns)[mean[:, columns].argmax(1)] == truth
        base = hits if base is None else base
        accuracy, error, of_balanced, its_error = difference(hits, base, truth)
        loss = -np.log(mean[range(len(truth)), truth] / mean[:, columns].sum(1))
        first = loss if first is None else first
        change, its = loss - first, np.std(loss - first) / np.sqrt(len(loss))
        print(
            f"| {name} | {100 * hits.mean():.1f} | {accuracy:+.1f} ± {error:.1f} | "
            f"{100 * balanced(hits, truth):.1f} | {of_balanced:+.1f} ± {its_error:.1f} | "
            f"{loss.mean():.3f} | {change.mean():+.3f} ± {its:.3f} |"
        )


def cost(classifier, found, n: int) -> float:
    """Return milliseconds of processor time to cut and classify n views of one face, one call a face."""
    started = time.process_time()
    for image, faces in found:
        cut = [
            crop_faces(image, faces, classifier.preprocess, zoom=1 + 0.01 * k) for k in range((n + 1) // 2)
        ]
        crops = np.concatenate(cut)
        both = crops if n == 1 else np.concatenate([crops, crops[:, :, ::-1]])
        probabilities(classifier.logits(both)).mean(0)
    return 1000 * (time.process_time() - started) / len(found)


def main() -> None:
    """Print a table for each detector, for all of the model's classes and for those of the photos."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--yunet", type=Path)
    parser.add_argument("--model", default="mien_nano")
    parser.add_argument("--detectors", default="yunet,haar")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    classifier = load_classifier(options.model, threads=1)
    labels = list(classifier.id.labels)
    pictures, names = photos(options.photos)
    print(describe("mien", "onnxruntime", "opencv-python-headless"))
    for name in options.detectors.split(","):
        detector = open_detector(name, options.yunet if name == "yunet" else None)
        faces = [largest(detector.detect(image)) for image in pictures]
        found = [(image, face) for image, face in zip(pictures, faces, strict=True) if face]
        truth = np.array([labels.index(own) for own, face in zip(names, faces, strict=True) if face])
        table = view_probs(classifier, found, {side for sides in SIDES.values() for side in sides})
        asked = {"all": list(range(len(labels))), "only the photos'": sorted(set(truth.tolist()))}
        for which, columns in asked.items():
            print(
                f"\n{name}: a face in {len(found)} of {len(pictures)} photos; {which} {len(columns)} classes"
            )
            print(
                f"| views | accuracy | difference | balanced | difference | log loss | difference |\n|{'---|' * 7}"
            )
            rows(table, truth, columns)
        costs = ", ".join(f"{n}: {cost(classifier, found[:200], n):.2f}" for n in (1, 2, 4, 6, 10))
        print(f"\nms a face to cut and classify, one thread, by the number of views: {costs}")


if __name__ == "__main__":
    main()
