"""CK+ as its authors distribute it: sequences of images; some have ``*_emotion.txt`` for their last image."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from mien.data.groups import GROUP_COLUMN
from mien.data.place import Place, Sign, beside_images
from mien.data.reading import Reading, class_targets
from mien.errors import DataError, number_of
from mien.labels import CKPLUS_ORDER
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.options import ReadOptions

USES: frozenset[str] = frozenset()
_END = "_emotion.txt"
_IMAGES = "cohn-kanade-images"
"""The folder of the images, as the authors distribute them."""
_NUMBER_LIMIT_BYTES = 64


def recognise(place: Place) -> Sign:
    """Return a sure sign if files of labels lie beside images."""
    return beside_images(place, _END)


def read(place: Place, _: ReadOptions) -> Reading:
    """Read the images that have a label; a person's images are a group.

    Raises:
        DataError: a label without its image or with several, or a label that is no class number of CK+.
    """
    source, tree = str(place.path), place.tree
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for name in place.pictures:
        by_stem[PurePosixPath(name).stem].append(name)
    labelled, labels = [], []
    for file in sorted(name for name in tree.files if name.endswith(_END)):
        stem = PurePosixPath(file).name.removesuffix(_END)
        if stem not in by_stem:
            raise DataError(f"{source}: {file} labels the image {stem}, which is not there")
        labelled.append(_image_of(file, by_stem[stem], source))
        labels.append(_label(tree.read(file), file, source))
    classes, targets = class_targets(labels, source)
    meaning = ", ".join(f"{number} {name}" for number, name in enumerate(CKPLUS_ORDER))
    left = len(place.pictures) - len(labelled)
    return Reading(
        source=source,
        ids=labelled,
        splits=[""] * len(labelled),
        classes=classes,
        targets=targets,
        columns={GROUP_COLUMN: np.array([PurePosixPath(name).name.partition("_")[0] for name in labelled])},
        picture=lambda row: images.decode_dataset_image(tree.read(labelled[row])),
        notes=(
            f"the class numbers are CK+'s: {meaning}; the images of a person stay in one split",
            *(
                [f"left out {number_of(left, 'image')} of the sequences, without a label of its own"]
                if left
                else []
            ),
        ),
    )


def _image_of(file: str, found: Sequence[str], source: str) -> str:
    """Return the image of a label: the one in folders of the same names, and of the authors' copy, if there are more.

    Raises:
        DataError: several could be meant.
    """
    sequence = PurePosixPath(file).parts[-3:-1]
    found = [name for name in found if PurePosixPath(name).parts[-3:-1] == sequence] or found
    found = [name for name in found if _IMAGES in PurePosixPath(name).parts] or found
    if len(found) > 1:
        raise DataError(f"{source}: {file} could label {' or '.join(found[:3])}: keep one of them")
    return found[0]


def _label(content: bytes, name: str, source: str) -> str:
    try:
        number = float(content[:_NUMBER_LIMIT_BYTES])
    except ValueError:
        number = -1.0
    if number not in range(len(CKPLUS_ORDER)):
        raise DataError(f"{source}: {name} holds {content[:20]!r}: expected a class number of CK+, 0-7")
    return CKPLUS_ORDER[int(number)]
