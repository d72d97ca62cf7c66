"""A bundle is whole, or it is refused in one line."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import onnx
import pytest

from mien import bundle
from mien.classifiers import load_classifier
from mien.errors import BundleError, ConfigError, OutputError
from mien.files import sha256


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "tiny", ignore=shutil.ignore_patterns("run"))


def edit(folder, change) -> None:
    """Change the config as someone with an editor would."""
    config = json.loads((folder / bundle.CONFIG).read_text())
    change(config)
    (folder / bundle.CONFIG).write_text(json.dumps(config))


def test_everything_it_must_hold(tiny_bundle):
    loaded = bundle.load(tiny_bundle)
    assert set(loaded.contents) == {"model.safetensors", "model.onnx", "trained_on.bin", "README.md"}
    assert loaded.id.name == "tiny"
    assert loaded.id.sha256 == sha256((tiny_bundle / "model.onnx").read_bytes())
    card = loaded.card
    assert card.architecture == "mien_nano"
    assert card.parameters == 296_583
    assert card.recipe["batch_size"] == 16
    assert {"torch", "onnxruntime", "mien"} <= set(card.versions)
    assert card.training["onnx_max_probability_difference"] <= 1e-4
    page = loaded.read("README.md").decode()
    for needed in (
        card.command,
        "prohibited in the European Union",
        "must be told",
        "| angry |",
        "70 images",
    ):
        assert needed in page


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "README.md"])
def test_one_flipped_byte_is_found(copy, name):
    raw = bytearray((copy / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / name).write_bytes(raw)
    with pytest.raises(
        BundleError, match=rf"{name} has SHA-256 .*, expected .*: the file was changed or damaged"
    ):
        bundle.load(copy)


def test_a_missing_file_is_named(copy):
    (copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"lacks its file model\.onnx: No such file"):
        bundle.load(copy)


def test_labels_that_do_not_fit_the_weights(copy):
    edit(copy, lambda config: config["card"]["labels"].pop())
    with pytest.raises(
        BundleError, match=r"its labels \(angry, .*, sad\) do not fit the weights, which have 7 outputs"
    ):
        load_classifier(copy)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_labels_in_another_order_are_found_too(copy, backend):
    edit(copy, lambda config: config["card"]["labels"].reverse())
    with pytest.raises(BundleError, match=r"do not fit the weights, which have 7 outputs for angry, disgust"):
        load_classifier(copy, backend=backend)


def test_weights_of_another_architecture(copy):
    edit(copy, lambda config: config["card"].update(architecture="mynet_v1"))
    with pytest.raises(BundleError, match="labels or architecture do not fit the weights"):
        load_classifier(copy, backend="torch")


def test_an_unknown_backend(copy):
    with pytest.raises(ConfigError, match="unknown backend 'tensorflow': expected onnx, int8, fp16, torch"):
        load_classifier(copy, backend="tensorflow")


def test_another_preprocessing_is_found(copy):
    edit(copy, lambda config: config["card"]["preprocess"].update(mean=[0.4]))
    with pytest.raises(
        BundleError, match="its preprocessing differs from the one its weights were trained with"
    ):
        load_classifier(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a mien bundle config: JSON"),
        ("{}", "is not a mien bundle config: format: Field required"),
        ('{"model_type": "vit"}', "is not a mien bundle config"),
        (
            '{"format": "mien.bundle/9", "card": {}, "sha256": {}}',
            r"format: Input should be 'mien\.bundle/1'",
        ),
    ],
)
def test_a_foreign_config(tmp_path, text, message):
    (tmp_path / bundle.CONFIG).write_text(text)
    with pytest.raises(BundleError, match=message):
        bundle.load(tmp_path)


def test_a_config_that_points_outside(copy):
    edit(copy, lambda config: config["sha256"].update({"../secret": "0"}))
    with pytest.raises(BundleError, match=r"names the file '\.\./secret' outside itself"):
        bundle.load(copy)


def foreign_graph(shape, metadata=()) -> bytes:
    """A graph that takes something and gives its mean."""
    value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)
    out = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node("ReduceMean", ["image"], ["logits"], keepdims=0)
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [value], [out]), opset_imports=[onnx.helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    onnx.helper.set_model_props(model, dict(metadata))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (b"not a graph", r"this is not an ONNX graph, or a damaged one .*: export or copy it again"),
        (
            foreign_graph(["b", 3, 224, 224]),
            r"its graph takes 'image' float \[b, 3, 224, 224\] .* expected \[batch, 1, 48, 48\] and \[batch, 7\]",
        ),
        (foreign_graph(["b", 1, 48, 48]), r"gives 'logits' float \[\]; expected .* and \[batch, 7\]"),
    ],
)
def test_a_foreign_graph(copy, graph, message):
    (copy / "model.onnx").write_bytes(graph)
    edit(copy, lambda config: config["sha256"].update({"model.onnx": sha256(graph)}))
    with pytest.raises(BundleError, match=message):
        load_classifier(copy)


def test_a_built_in_name_never_hides_a_folder(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_bundle, "mien_nano", ignore=shutil.ignore_patterns("run"))
    with pytest.raises(
        BundleError, match=r"'mien_nano' is a built-in model and a bundle here: write \./mien_nano"
    ):
        bundle.load("mien_nano")
    assert bundle.load("./mien_nano").card.name == bundle.load(Path("mien_nano")).card.name == "tiny"
    assert bundle.load("default").card.name == "mien_nano"


def test_no_such_model(tmp_path):
    with pytest.raises(
        BundleError, match=r"no model 'defautl': expected a bundle folder or one of .*mean default\?"
    ):
        bundle.load("defautl")
    with pytest.raises(BundleError, match=r"is not a model bundle: it has no config\.json"):
        bundle.load(tmp_path)
    (tmp_path / "run").mkdir()
    with pytest.raises(BundleError, match="holds an unfinished run, .* that began it and --resume"):
        bundle.load(tmp_path)
    with pytest.raises(BundleError, match="no model 'aaa"):
        bundle.load("a" * 300)


def test_a_disk_that_fills_up_while_saving_leaves_no_bundle(tiny_bundle, tmp_path, monkeypatch):
    loaded, real, calls = bundle.load(tiny_bundle), os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        bundle.save(tmp_path / "new", loaded.card, loaded.contents)
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(BundleError, match=r"it has no config\.json"):
        bundle.load(tmp_path / "new")


def test_save_then_load(tiny_bundle, tmp_path):
    loaded = bundle.load(tiny_bundle)
    bundle.save(tmp_path / "new", loaded.card, loaded.contents)
    again = bundle.load(tmp_path / "new")
    assert (again.card, again.contents) == (loaded.card, loaded.contents)
