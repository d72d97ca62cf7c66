"""A bundle is whole, or it is refused in one line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from mien import bundle
from mien.classifiers import load_classifier
from mien.errors import BundleError, ConfigError, MienWarning, OutputError
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
    assert set(loaded.sha256) == {"model.safetensors", "model.onnx", "trained_on.bin", "README.md"}
    assert loaded.id.name == "tiny"
    assert loaded.id.sha256 == sha256((tiny_bundle / "model.onnx").read_bytes())
    card = loaded.card
    assert card.architecture == "mien_nano"
    assert card.parameters == 294_135
    assert card.recipe["batch_size"] == 16
    assert {"torch", "onnxruntime", "mien"} <= set(card.versions)
    assert card.training.onnx_max_probability_difference <= 1e-4
    page = loaded.read("README.md").decode()
    for needed in (
        card.command,
        "prohibited in the European Union",
        "must be told",
        "| angry |",
        "70 images",
    ):
        assert needed in page


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
def test_one_flipped_byte_is_found(copy, name):
    raw = bytearray((copy / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / name).write_bytes(raw)
    with pytest.raises(
        BundleError, match=rf"{name} has SHA-256 .*, expected .*: the file was changed or damaged"
    ):
        bundle.load(copy).read(name)


def test_only_what_is_used_is_read(copy, monkeypatch):
    classes = load_classifier(copy).logits(np.zeros((3, 48, 48, 1), np.uint8))
    (copy / "model.safetensors").unlink()
    (copy / "trained_on.bin").unlink()
    np.testing.assert_array_equal(load_classifier(copy).logits(np.zeros((3, 48, 48, 1), np.uint8)), classes)
    with pytest.raises(BundleError, match=r"cannot read model\.safetensors: No such file"):
        load_classifier(copy, backend="torch")
    (copy / "model.onnx").unlink()
    opened = bundle.load(copy)
    assert opened.id.sha256 == opened.sha256["model.onnx"], "the stored hash, not one of the file"
    with pytest.raises(BundleError, match=r"cannot read model\.onnx: No such file"):
        opened.graph("onnx")


@pytest.mark.parametrize(
    "change", [lambda page: page.replace(b"\n", b"\r\n"), lambda page: page + b"Mine.", None]
)
def test_an_edited_page_is_a_warning(copy, change):
    page = copy / "README.md"
    page.write_bytes(change(page.read_bytes())) if change else page.unlink()
    with pytest.warns(
        MienWarning, match=r"README\.md was edited, or is missing: the model is used all the same"
    ):
        opened = bundle.load(copy)
    assert opened.graph("onnx")


def test_a_git_lfs_pointer_is_named(copy):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:123\nsize 1189672\n"
    for name in ("model.onnx", "config.json"):
        (copy / name).write_bytes(pointer)
        with pytest.raises(
            BundleError, match=rf"{name} is a Git LFS pointer, not the file itself: run `git lfs pull`"
        ):
            bundle.load(copy).graph("onnx")


def test_a_pipe_or_device_as_a_file_is_not_waited_for(copy):
    for name in ("model.onnx", "config.json"):
        (copy / name).unlink()
        os.mkfifo(copy / name)
        with pytest.raises(
            BundleError, match=rf"{name}: it is not a regular file but a folder, pipe or device"
        ):
            bundle.load(copy).graph("onnx")
    (copy / "config.json").unlink()
    (copy / "config.json").symlink_to("/dev/zero")
    with pytest.raises(BundleError, match="it is not a regular file"):
        bundle.load(copy)


def test_fields_of_a_later_version_are_a_warning(copy):
    def newer(config):
        config["signature"] = "x"
        config["card"]["mood"] = 3
        config["card"]["preprocess"]["gamma"] = 2.2

    edit(copy, newer)
    with pytest.warns(
        MienWarning,
        match=r"does not know and ignores: signature, card\.mood, card\.preprocess\.gamma; a later",
    ):
        assert bundle.load(copy).card.preprocess == bundle.load("default").preprocess


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
    edit(copy, lambda config: config["card"]["recipe"].update(network_options={}))
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
        ("{", "is not a mien bundle config: it is not JSON: EOF"),
        ("[" * 100_000, "is not a mien bundle config: it is not JSON: recursion limit"),
        ("[]", "is not a mien bundle config: JSON"),
        ('{"format": "other/1", "card": {}, "sha256": {}}', r"format: Input should be 'mien\.bundle/1'"),
        ("{}", "is not a mien bundle config: format: Field required"),
        ('{"model_type": "vit"}', "is not a mien bundle config"),
        (
            '{"format": "mien.bundle/9", "card": {}, "sha256": {}}',
            r"has the format mien\.bundle/9, this is mien .*, which reads mien\.bundle/1: upgrade mien",
        ),
    ],
)
def test_a_foreign_config(tmp_path, text, message):
    (tmp_path / bundle.CONFIG).write_text(text)
    with pytest.raises(BundleError, match=message):
        bundle.load(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "", "..", "a/b"])
def test_a_config_that_points_outside(copy, name):
    """An empty name is the folder itself, whose new file would lie beside it."""
    edit(copy, lambda config: config["sha256"].update({name: "0"}))
    with pytest.raises(BundleError, match=f"names the file {name!r} outside itself"):
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
    assert bundle.load("default").card.name == bundle.DEFAULT_MODEL


def test_no_such_model(tmp_path):
    with pytest.raises(
        BundleError, match=r"no model 'defautl': expected a model folder or one of .*mean default\?"
    ):
        bundle.load("defautl")
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "model.onnx").write_bytes(b"graph")
    with pytest.raises(
        BundleError, match=r"has no config\.json; the graph in it has the name .*deploy.model\.onnx"
    ):
        bundle.load(tmp_path / "deploy")
    with pytest.raises(
        BundleError, match=r"model\.onnx is a graph alone, and this command takes a model folder"
    ):
        bundle.load(tmp_path / "deploy" / "model.onnx")
    with pytest.raises(BundleError, match=r"is not a model folder: it has no config\.json"):
        bundle.load(tmp_path)
    (tmp_path / "run").mkdir()
    with pytest.raises(
        BundleError, match="holds an unfinished training run, not a model yet: .* and --resume"
    ):
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
        bundle.save(tmp_path / "new", loaded.card, {}, base=loaded)
    assert not (tmp_path / "new").exists()


def test_save_then_load(tiny_bundle, tmp_path):
    loaded = bundle.load(tiny_bundle)
    bundle.save(tmp_path / "new", loaded.card, {}, base=loaded)
    again = bundle.load(tmp_path / "new")
    assert (again.card, dict(again.sha256)) == (loaded.card, dict(loaded.sha256))
    assert {name: again.read(name) for name in loaded.sha256} == {
        name: loaded.read(name) for name in loaded.sha256
    }
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*loaded.sha256, "config.json"}


KILLED = """
import os, shutil, sys, warnings
from pathlib import Path
from mien import bundle
from mien.errors import BundleError

warnings.simplefilter("error")
old, work, base = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "in place"
names = ("model.onnx", "model.int8.onnx", "model.safetensors")

def change(folder):
    opened = bundle.load(old)
    card = opened.card.model_copy(update={"command": "another"})
    contents = {"model.onnx": b"graph 2", "model.int8.onnx": b"int8 2"}
    if base:
        bundle.save(folder, card, contents, base=bundle.load(folder))
    else:
        bundle.save(folder, card, {**contents, "model.safetensors": b"weights"})

def killed_at(moment, folder):
    child = os.fork()
    if child == 0:
        seen = [0]
        def count(event, args):
            if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(folder) in str(args):
                seen[0] += 1
                if seen[0] == moment:
                    os._exit(9)
        sys.addaudithook(count)
        change(folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

def state(folder):
    opened = bundle.load(folder)
    return opened.card.command == "another", {name: opened.read(name) for name in names}

before = {name: bundle.load(old).read(name) for name in names}
after = {"model.onnx": b"graph 2", "model.int8.onnx": b"int8 2", "model.safetensors": b"weights"}
moment, seen = 1, []
while True:
    folder = work / str(moment)
    if base:
        shutil.copytree(old, folder)
    if not killed_at(moment, folder):
        break
    try:
        new, contents = state(folder)
        assert contents == (after if new else before), (moment, contents)
        seen.append("new" if new else "old")
    except BundleError as error:
        assert not base and "config.json" in str(error) or not folder.exists(), (moment, error)
        assert not (folder / "model.onnx").exists()
        seen.append("none")
    change(folder)  # it can be repeated
    assert state(folder) == (True, after), moment
    left = {path.name for path in folder.iterdir() if not path.name.startswith(".tmp-")}
    assert left == {*names, "README.md", "config.json"}, (moment, left)
    moment += 1
print(*seen)
"""


@pytest.mark.parametrize(("how", "first"), [("in place", "old"), ("fresh", "none")])
def test_a_save_killed_at_any_file_operation_leaves_a_bundle_that_loads(tmp_path, how, first):
    opened = bundle.load("default")
    contents = {"model.onnx": b"graph 1", "model.int8.onnx": b"int8 1", "model.safetensors": b"weights"}
    bundle.save(tmp_path / "old", opened.card, contents)
    (tmp_path / "work").mkdir()
    words = [sys.executable, "-c", KILLED, str(tmp_path / "old"), str(tmp_path / "work"), how]
    run = subprocess.run(words, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    seen = run.stdout.split()
    assert len(seen) > 15
    assert seen == sorted(seen, key=[first, "new"].index), "one moment of change"
    assert set(seen) == {first, "new"}


def test_an_interruption_right_after_the_moment_of_change(copy, monkeypatch):
    """Ctrl-C may come when the config is in place and before anything else runs: what it counts must stay."""
    opened, real = bundle.load(copy), bundle.files.write

    def interrupted(path, content):
        real(path, content)
        if path.name == "config.json":
            raise KeyboardInterrupt

    monkeypatch.setattr(bundle.files, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bundle.save(copy, opened.card, {"model.onnx": b"another"}, base=opened)
    assert bundle.load(copy).graph("onnx") == b"another"


def test_a_save_first_ends_one_that_was_killed(copy, monkeypatch):
    opened = bundle.load(copy)
    bundle.save(copy, opened.card, {"model.onnx": b"another"}, base=opened)
    (copy / "model.onnx").rename(copy / "model.onnx.new")  # as it was just after the moment of change
    (copy / "model.onnx").write_bytes(b"old")
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    opened = bundle.load(copy)
    with pytest.raises(OutputError, match="No space left"):
        bundle.save(copy, opened.card, {"model.onnx": b"a third"}, base=opened)
    assert bundle.load(copy).graph("onnx") == b"another"


def test_of_two_changes_the_second_is_refused(copy, monkeypatch):
    first, second = bundle.load(copy), bundle.load(copy)
    bundle.save(copy, first.card, {"model.onnx": b"another"}, base=first)
    with pytest.raises(
        OutputError, match="another command has changed .* since this one read it: nothing was"
    ):
        bundle.save(copy, second.card, {"model.onnx": b"a third"}, base=second)
    with (
        bundle.files.locked(copy),
        pytest.raises(OutputError, match="another command is writing into"),
    ):
        bundle.save(copy, second.card, {"model.onnx": b"a third"})
    assert bundle.load(copy).graph("onnx") == b"another"


def test_a_new_file_that_cannot_be_renamed_is_told_with_the_state(copy, monkeypatch):
    opened, real = bundle.load(copy), Path.replace

    def refuses(self, target):
        if self.name == "model.onnx.new":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", refuses)
    with pytest.raises(
        OutputError,
        match=r"the new model is in .* and works, but model\.onnx\.new there could not be renamed",
    ):
        bundle.save(copy, opened.card, {"model.onnx": b"another"}, base=opened)
    assert bundle.load(copy).graph("onnx") == b"another"
