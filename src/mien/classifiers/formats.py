"""Model files of other tools: named for what they are, with the way to ONNX."""

from __future__ import annotations

import os
import shlex
import zipfile
from typing import TYPE_CHECKING

from mien import bundle
from mien.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

_TF2ONNX = "python -m tf2onnx.convert --"
_SIZE = "with its own channels and size in place of 1, 48, 48"
_TORCH = (
    "build its network in Python, load the weights, then torch.onnx.export(network.eval(), "
    "(torch.zeros(2, 1, 48, 48),), {onnx!r}, dynamic_shapes=({{0: 'batch'}},), external_data=False), " + _SIZE
)
_SCRIPT = (
    "torch.onnx.export(torch.jit.load({file!r}), (torch.zeros(1, 1, 48, 48),), {onnx!r}, dynamo=False), "
    + _SIZE
)
SAVED_MODEL, TORCH_SCRIPT = "saved_model.pb", "TorchScript"
CONVERSIONS = {
    SAVED_MODEL: ("a TensorFlow model", _TF2ONNX + "saved-model {folder} --output {onnx}"),
    ".pb": (
        "a TensorFlow graph",
        _TF2ONNX + "graphdef {file} --inputs NAME:0 --outputs NAME:0 --output {onnx}",
    ),
    ".h5": ("a Keras or HDF5 file", _TF2ONNX + "keras {file} --output {onnx}"),
    ".hdf5": ("a Keras or HDF5 file", _TF2ONNX + "keras {file} --output {onnx}"),
    ".keras": ("a Keras file", _TF2ONNX + "keras {file} --output {onnx}"),
    ".tflite": ("a TensorFlow Lite file", _TF2ONNX + "tflite {file} --output {onnx}"),
    ".pt": ("a PyTorch file", _TORCH),
    ".pth": ("a PyTorch file", _TORCH),
    ".ckpt": ("a PyTorch file", _TORCH),
    ".bin": ("a PyTorch file", _TORCH),
    TORCH_SCRIPT: ("a TorchScript file", _SCRIPT),
    ".pt2": (
        "an exported PyTorch program",
        "torch.onnx.export(torch.export.load({file!r}), f={onnx!r}, external_data=False)",
    ),
    ".safetensors": ("a file of weights", _TORCH),
    ".ort": ("a file in ONNX Runtime's own format", "give the .onnx file that it was made from"),
}
"""By name or suffix: what it is, and how to make ONNX of it."""


def check_format(path: Path) -> None:
    """Refuse a model that is not a bundle but a file or folder of another tool.

    Raises:
        BundleError: says what it is, and how to convert it.
    """
    folder = os.path.isdir(path)  # noqa: PTH112 - never raises, whatever the name
    file = path / SAVED_MODEL if folder else path
    known = file.name if file.name in CONVERSIONS else file.suffix.lower()
    if known not in CONVERSIONS or (folder and not file.is_file()):
        return
    if (file.parent / bundle.CONFIG).is_file():
        raise BundleError(f"{path} is one file of the model {path.parent}: name the folder")
    what, way = CONVERSIONS[TORCH_SCRIPT if _is_torch_script(file) else known]
    stem = file.parent.name if known == SAVED_MODEL else file.stem
    names = {"file": str(file), "folder": str(file.parent), "onnx": f"{stem}.onnx"}
    if way.startswith(_TF2ONNX):
        names = {name: shlex.quote(text) for name, text in names.items()}
    raise BundleError(
        f"{path} is {what}, and mien runs ONNX: {way.format(**names)}; then describe it in {stem}.spec.toml "
        f"(labels, output, [preprocess])"
    )


def _is_torch_script(file: Path) -> bool:
    """Return whether a file has code in it, as TorchScript's zip archives have and archives of weights have not."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
