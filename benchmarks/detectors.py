r"""Write docs/detectors.md: faces found by each detector, false positives, time, and what a classifier makes of them.

    python benchmarks/detectors.py --photos scenes.zip --portraits other_world.zip \
        --clips talking_face.mp4 single_face.mp4 --fer fer2013.zip --backgrounds backgrounds.zip \
        --yunet face_detection_yunet_2023mar.onnx --out docs/detectors.md

Every photo is resized to a longest side of 640 px. The reference boxes of photos and portraits are YuNet's own, so
YuNet's own figures are too good. The size of a face is the width of its reference box in the photo as it is stored;
faces count from 16 px. A face is found if a box overlaps its reference box by an IoU (intersection over union) of .4
or more. Each box finds one face, and a box that finds none is a false positive. The time is processor time on one
thread, for an image of 640x480. In the last table, `mien_nano` names the
expressions, and a face that is not found counts as wrong.

12 of YuNet's 130 boxes show dogs, monkeys, a fox, a duck and a pumpkin (`ANIMALS`, found by eye). The column *people*
leaves them out.
Some false positives are faces that YuNet misses.

`mien` was chosen on other photos: portraits, and pictures that come with other packages. But while it was made, the
faces that an earlier version missed in these photos were looked at, and three ways to combine the boxes of the
searched image sizes were compared on them. So its figures here are slightly optimistic. The parameters of `haar` were
chosen on these photos.
"""

from __future__ import annotations

import argparse
import json
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from machine import describe, give, opening
from mien.classifiers import load_classifier, probabilities
from mien.detectors import CATALOG, FaceDetector, open_detector
from mien.detectors.bundle import open_bundle
from mien.detectors.shrink import iou
from mien.errors import MienError
from mien.results import Face
from mien.vision import images
from mien.vision.crop import crop_faces
from mien.vision.frames import frames

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE_PX, SAME_IOU = 640, 0.4
SIZES_PX = ((16, 24), (24, 48), (48, 96), (96, 10_000))
ANIMALS = {"0041", "0093", "0095", "0097", "0099", "0103", "0109", "0111", "0113", "0115", "0139", "0151"}
"""Photos whose only reference box shows a duck, a dog, a fox, a monkey or a pumpkin; by eye."""
N_FER, FER_SIDE_PX = 700, (32, 64, 128)

Photos = dict[str, tuple[np.ndarray, float]]
Boxes = dict[str, list[tuple[float, ...]]]


def photos(path: Path, names: list[str] | None = None) -> Photos:
    """Return for each image of a zip its pixels at the common size, and the factor back to its own."""
    table = {}
    with zipfile.ZipFile(path) as archive:
        for name in names or [name for name in archive.namelist() if Path(name).suffix in images.SUFFIXES]:
            image = images.decode(archive.read(name))
            factor = max(image.shape[:2]) / SIDE_PX
            size = (round(image.shape[1] / factor), round(image.shape[0] / factor))
            table[name] = (cv2.resize(image, size, interpolation=cv2.INTER_AREA), factor)
    return table


def matched(found: list, truth: list) -> list[tuple[int, int]]:
    """Return pairs (box found, reference box), the best overlaps first, each box once."""
    overlaps = sorted(
        ((iou(box, own), i, j) for i, box in enumerate(found) for j, own in enumerate(truth)), reverse=True
    )
    pairs: list[tuple[int, int]] = []
    for overlap, i, j in overlaps:
        if overlap >= SAME_IOU and all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return pairs


def found_by(detector: FaceDetector, pictures: Photos) -> Boxes:
    """Return the boxes of every photo, in its own pixels."""
    return {
        name: [tuple(factor * side for side in face.box_xyxy_px) for face in detector.detect(image)]
        for name, (image, factor) in pictures.items()
    }


def recall_by_size(boxes: Boxes, references: Boxes) -> tuple[list[str], float]:
    """Return `found of faces` for all from 24 px and for each size, and false positives a photo."""
    sizes, hits, wrong = [], [], 0
    for name, truth in references.items():
        pairs = matched(boxes[name], truth)
        found = {j for _, j in pairs}
        sizes += [box[2] - box[0] for box in truth]
        hits += [j in found for j in range(len(truth))]
        wrong += len(boxes[name]) - len(pairs)
    width, hit = np.array(sizes), np.array(hits)
    cells = []
    for least, most in ((24, 10_000), *SIZES_PX):
        own = hit[(width >= least) & (width < most)]
        cells.append(f"{own.mean():.1%} of {len(own)}" if len(own) else "-")
    return cells, wrong / len(references)


def milliseconds(detector: FaceDetector, image: np.ndarray) -> float:
    """Return the median processor time of 15 calls."""
    detector.detect(image)
    took = []
    for _ in range(15):
        started = time.process_time()
        detector.detect(image)
        took.append(1000 * (time.process_time() - started))
    return float(np.median(took))


def frames_with_a_face(detector: FaceDetector, clip: Path, every: int = 10) -> str:
    """Return the fraction of a clip's frames in which a face is found."""
    found = [
        bool(detector.detect(one.image_rgb_u8))
        for number, one in enumerate(frames(clip))
        if number % every == 0
    ]
    return f"{np.mean(found):.1%} of {len(found)}"


def set_into_photos(fer: Path, backgrounds: Path) -> tuple[list[np.ndarray], list[str], list[np.ndarray]]:
    """Return test images of FER2013, their classes, and photographs of 320 px with one of them each."""
    rng = np.random.default_rng(3)
    with zipfile.ZipFile(fer) as archive, zipfile.ZipFile(backgrounds) as grounds:
        names = sorted(
            name for name in archive.namelist() if name.startswith("test/") and name.endswith(".jpg")
        )
        names = [names[i] for i in rng.permutation(len(names))[:N_FER]]
        bare = [images.decode(archive.read(name)) for name in names]
        places = sorted(name for name in grounds.namelist() if name.endswith(".jpg"))[7::8]
        photographs = []
        for number, face in enumerate(bare):
            ground = cv2.resize(images.decode(grounds.read(places[number % len(places)])), (320, 240))
            side = FER_SIDE_PX[number % len(FER_SIDE_PX)]
            x, y = rng.integers(0, 320 - side), rng.integers(0, 240 - side)
            ground[y : y + side, x : x + side] = cv2.resize(
                face, (side, side), interpolation=cv2.INTER_LINEAR
            )
            photographs.append(ground)
    return bare, [name.split("/")[1] for name in names], photographs


def end_to_end(
    detector: FaceDetector | None, bare: list[np.ndarray], labels: list[str], photographs: list[np.ndarray]
) -> str:
    """Return found faces and accuracy, where a face not found is wrong; without a detector that of bare crops."""
    model = load_classifier("mien_nano")
    right = found = 0
    for crop, label, photograph in zip(bare, labels, photographs, strict=True):
        image = crop if detector is None else photograph
        height, width = image.shape[:2]
        whole = [Face((0.0, 0.0, float(width), float(height)), 1.0, "whole")]
        faces = whole if detector is None else detector.detect(image)
        if not faces:
            continue
        best = max(faces, key=lambda face: (face.score or 0, face.box_xyxy_px[2] - face.box_xyxy_px[0]))
        probs = probabilities(model.logits(crop_faces(image, [best], model.preprocess)))
        found += 1
        right += model.id.labels[int(probs[0].argmax())] == label
    return f"{found / len(bare):.1%} | {right / len(bare):.1%}"


def rows(options: argparse.Namespace) -> list[tuple[str, Callable[[], FaceDetector]]]:
    """Return a name and what opens it, for each detector of the page."""
    table: list[tuple[str, Callable[[], FaceDetector]]] = []
    for name in options.detectors.split(","):
        if name == "mien" and options.bundle:
            table.extend(
                (f"mien, {kind}", lambda kind=kind: open_bundle(options.bundle, kind))
                for kind in ("onnx", "int8")
            )
        else:
            weights = options.yunet if name == "yunet" else None
            table.append((name, lambda name=name, weights=weights: open_detector(name, weights)))
    return table


def table(title: str, columns: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table under its title."""
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return f"## {title}\n\n{head}" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("photos", "portraits", "fer", "backgrounds"):
        parser.add_argument(f"--{name}", type=Path, required=name != "fer")
    parser.add_argument("--clips", type=Path, nargs="*", default=[])
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="a folder that `mien detector` wrote, with both graphs")
    parser.add_argument("--every", type=int, default=1, help="use each n-th portrait")
    parser.add_argument("--detectors", default=",".join(name for name in CATALOG if name != "whole"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with zipfile.ZipFile(options.photos) as archive:
        given = json.loads(archive.read("yunet_boxes_xywhs.json"))
    scenes = {name: [(x, y, x + w, y + h) for x, y, w, h, _ in boxes] for name, boxes in given.items()}
    people = {name: boxes for name, boxes in scenes.items() if Path(name).stem not in ANIMALS}
    pictures, portraits = photos(options.photos, sorted(scenes)), photos(options.portraits)
    portraits = {name: value for name, value in list(portraits.items())[:: options.every] if value[1] > 0.25}
    of_portraits = found_by(open_detector("yunet", options.yunet), portraits)
    empty = dict(list(photos(options.backgrounds).items())[7::8])
    size = next(image for image, _ in pictures.values() if image.shape[1] == SIDE_PX)
    image = cv2.resize(size, (640, 480))
    faces = set_into_photos(options.fer, options.backgrounds) if options.fer else None
    lines: dict[str, list[list[str]]] = {"photos": [], "rest": [], "worth": []}
    for name, opener in rows(options):
        try:
            detector = opener()
        except MienError as error:
            print(f"{name}: {error}")
            continue
        boxes = found_by(detector, pictures)
        (all_sizes, *cells), wrong = recall_by_size(boxes, scenes)
        (of_people, *_), _ = recall_by_size(boxes, people)
        lines["photos"].append(
            [name, all_sizes, of_people, *cells, f"{wrong:.2f}", f"{milliseconds(detector, image):.1f}"]
        )
        (near, *_), false = recall_by_size(found_by(detector, portraits), of_portraits)
        none = np.mean([len(boxes) for boxes in found_by(detector, empty).values()])
        clips = [frames_with_a_face(detector, clip) for clip in options.clips]
        lines["rest"].append([name, near, f"{false:.2f}", f"{none:.2f}", *clips])
        if faces:
            lines["worth"].append([name, *end_to_end(detector, *faces).split(" | ")])
    if faces:
        lines["worth"].insert(0, ["bare crops", *end_to_end(None, *faces).split(" | ")])
    columns = [
        "detector",
        "24 px and more",
        "people, 24 px and more",
        *(f"{a}-{b} px" if b < 10_000 else f"{a} px and more" for a, b in SIZES_PX),
    ]
    page = [
        "# Face detectors\n", opening(__doc__) + "\n", describe("mien", "opencv-python-headless") + "\n",
        table(f"{len(scenes)} photos", [*columns, "false positives a photo", "ms at 640x480"], lines["photos"]),
        table("Portraits, photographs without a face, clips",
              ["detector", f"recall on {len(portraits)} portraits", "false positives a portrait",
               f"false positives a photograph without a face ({len(empty)})",
               *(f"frames of {clip.name} with a face" for clip in options.clips)], lines["rest"]),
        table(f"{N_FER} test images of FER2013 set into photographs of 320x240", ["detector", "found", "accuracy"],
              lines["worth"]),
    ]  # fmt: skip
    give("\n".join(page), options.out)


if __name__ == "__main__":
    main()
