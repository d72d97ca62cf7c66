"""Model files of other tools are named for what they are, with the way to ONNX."""

from __future__ import annotations

import shutil
import zipfile

import pytest

from mien.classifiers import load_classifier
from mien.classifiers.formats import CONVERSIONS, SAVED_MODEL
from mien.errors import BundleError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m.h5", r"m\.h5 is a Keras or HDF5 file, and mien runs ONNX: python -m tf2onnx\.convert --keras m\.h5 "
         r"--output m\.onnx; then describe it in m\.spec\.toml \(labels, output, \[preprocess\]\)$"),
        ("My Net.HDF5", r"--keras 'My Net\.HDF5' --output 'My Net\.onnx'; then"),
        ("m.keras", r"a Keras file, .* -m tf2onnx\.convert --keras m\.keras --output m\.onnx; then"),
        ("m.tflite", r"a TensorFlow Lite file, .* -m tf2onnx\.convert --tflite m\.tflite --output m\.onnx; then"),
        ("m.pb", r"--graphdef m\.pb --inputs NAME:0 --outputs NAME:0 --output m\.onnx"),
        ("net/saved_model.pb", r"a TensorFlow model, .* -m tf2onnx\.convert --saved-model net --output net\.onnx"),
        ("m.pt", r"a PyTorch file, .*: build its network in Python, load the weights, then torch\.onnx\.export\("
         r"network\.eval\(\), \(torch\.zeros\(2, 1, 48, 48\),\), 'm\.onnx', dynamic_shapes=\(\{0: 'batch'\},\), "
         r"external_data=False\), with its own channels and size in place of 1, 48, 48; then"),
        ("m.pth", r"a PyTorch file"),
        ("m.pt2", r"torch\.onnx\.export\(torch\.export\.load\('m\.pt2'\), f='m\.onnx', external_data=False\)"),
        ("m.safetensors", r"a file of weights, and mien runs ONNX: build its network in Python"),
        ("m.ort", r"ONNX Runtime's own format, and mien runs ONNX: give the \.onnx file"),
    ],
)  # fmt: skip
def test_each_form_says_how_to_convert_it(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(BundleError, match=message) as caught:
        load_classifier(name)
    assert "\n" not in str(caught.value)


def test_every_row_can_be_said():
    for _, way in CONVERSIONS.values():
        assert "{" not in way.format(file="f", folder="d", onnx="o").replace("({0: 'batch'},)", "")


def test_torch_script_is_told_from_weights(tmp_path):
    for inside, message in (
        ("m/code/__torch__.py", r"a TorchScript file, .*torch\.jit\.load\("),
        ("m/data.pkl", "a PyTorch"),
    ):
        with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
            archive.writestr(inside, "")
        with pytest.raises(BundleError, match=message):
            load_classifier(tmp_path / "m.pt")


def test_a_folder_of_tensorflow(tmp_path):
    (tmp_path / "net").mkdir()
    with pytest.raises(BundleError, match="is not a model folder"):
        load_classifier(tmp_path / "net")
    (tmp_path / "net" / SAVED_MODEL).touch()
    with pytest.raises(BundleError, match=r"net is a TensorFlow model, .* --output net\.onnx"):
        load_classifier(tmp_path / "net")


def test_a_file_of_a_bundle(tiny_bundle, tmp_path):
    with pytest.raises(BundleError, match=r"safetensors is one file of the model .*tiny: name the folder$"):
        load_classifier(tiny_bundle / "model.safetensors")
    for name in ("named.pt", "named.onnx"):  # a folder may be called anything
        shutil.copytree(tiny_bundle, tmp_path / name, ignore=shutil.ignore_patterns("run"))
        assert load_classifier(tmp_path / name).id.name == "tiny"
