"""AffectNet as it ships for training: ``images/0.jpg`` and, for each, ``annotations/0_exp.npy`` and others."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from mien.data.place import Place, Sign, beside_images
from mien.data.reading import Reading, class_targets
from mien.data.split_names import split_name
from mien.errors import DataError
from mien.labels import AFFECTNET_ORDER
from mien.vision import images

if TYPE_CHECKING:
    from mien.options import ReadOptions

USES: frozenset[str] = frozenset()
_END = "_exp.npy"


def recognise(place: Place) -> Sign:
    """Return a sure sign if annotations lie beside images."""
    return beside_images(place, _END)


def read(place: Place, _: ReadOptions) -> Reading:
    """Read the images and their annotations; the folders above name the splits (``train_set``, ``val_set``).

    Raises:
        DataError: an image without annotation, or an annotation that is no class number of AffectNet.
    """
    source, tree, pictures = str(place.path), place.tree, place.pictures
    labels, splits = [], []
    for picture in pictures:
        path = PurePosixPath(picture)
        label = str(path.parent.parent / "annotations" / f"{path.stem}{_END}")
        if label not in tree.files:
            raise DataError(f"{source}: {picture} has no annotation: expected {label}")
        labels.append(_name(tree.read(label), label, source))
        splits.append(next((one for part in reversed(path.parts[:-1]) if (one := split_name(part))), ""))
    classes, targets = class_targets(labels, source)
    meaning = ", ".join(f"{number} {name}" for number, name in enumerate(AFFECTNET_ORDER[:8]))
    return Reading(
        source=source,
        ids=list(pictures),
        splits=splits,
        classes=classes,
        targets=targets,
        picture=lambda row: images.decode_dataset_image(tree.read(pictures[row])),
        notes=(f"the class numbers are AffectNet's: {meaning}",),
    )


def _name(content: bytes, name: str, source: str) -> str:
    try:
        number = int(np.load(io.BytesIO(content), allow_pickle=False).reshape(-1)[0])
        return AFFECTNET_ORDER[number] if number >= 0 else ""
    except Exception as error:  # NumPy parses the header as Python, which fails in many ways
        raise DataError(f"{source}: {name} holds no class number of AffectNet's, 0-10 ({error})") from error
