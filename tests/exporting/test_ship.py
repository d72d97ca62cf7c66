"""What leaves the house: made from the bundle's own graph, compared, and kept only if it keeps its promise."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import mien
from mien import bundle, files
from mien.classifiers import load_classifier, probabilities
from mien.data.synthetic import draw_dataset
from mien.errors import BundleError, ConfigError, DataError, OutputError
from mien.evaluation.protocol import BEFORE, CHOSEN, FITTED, READ_ONCE, scores
from mien.exporting import quantise, ship
from mien.exporting.agreement import Bound
from mien.exporting.temperature import save_calibrated
from mien.options import PageOptions, ReadOptions
from mien.preprocess import Preprocess
from tests.training.tiny import tiny_data

DATA = draw_dataset(Preprocess(), {"train": 301, "test": 35}, seed=3)


@pytest.fixture(autouse=True)
def one_method(monkeypatch):
    monkeypatch.setattr(quantise, "METHODS", {"minmax": quantise.METHODS["minmax"]})


@pytest.fixture
def tiny(tiny_bundle):
    return bundle.load(tiny_bundle)


@pytest.fixture(autouse=True)
def lenient(monkeypatch):
    """Two short epochs give answers near to a tie: the promise is tested apart."""
    for target in ("int8", "fp16"):
        monkeypatch.setitem(ship.BOUNDS, target, Bound(equal_labels=0.9, drop=0.05))


@pytest.mark.parametrize("kind", ["tiny_bundle", "tiny_ensemble"])
def test_int8_then_fp16_of_a_bundle_and_of_an_ensemble(kind, request, tmp_path):
    source = bundle.load(request.getfixturevalue(kind))
    ship.ship(source, "int8", tmp_path / "q", data=DATA, command="mien export x")
    ship.ship(bundle.load(tmp_path / "q"), "fp16", tmp_path / "both", data=DATA)
    made = bundle.load(tmp_path / "both")
    assert {*source.sha256, "model.int8.onnx", "model.fp16.onnx"} == set(made.sha256)
    assert made.read("model.onnx") == source.read("model.onnx")
    assert len(made.graph("int8")) < 0.45 * len(made.graph("onnx"))
    assert len(made.graph("fp16")) < 0.6 * len(made.graph("onnx"))
    crops = draw_dataset(Preprocess(), {"other": 35}, seed=5).images
    fp32 = probabilities(load_classifier(tmp_path / "both").logits(crops))
    for backend, atol in (("int8", 0.1), ("fp16", 0.01)):
        one = load_classifier(tmp_path / "both", backend=backend)
        assert one.id.sha256 == files.sha256(made.graph(backend))
        np.testing.assert_allclose(probabilities(one.logits(crops)), fp32, atol=atol)
    facts = made.card.exports["int8"]
    assert (facts.compared_on.split, facts.calibration_n, facts.held_out.n) == (
        "train",
        150,
        151,
    )
    assert facts.onnx_sha256 == source.id.sha256
    assert facts.command == "mien export x"
    assert [(s.split, s.tta) for s in facts.scores] == [("test", "none"), ("test", "flip")]
    moved = [one["mean_probability_difference"] for one in facts.candidates]
    assert moved[0] == min(moved)
    page = made.read("README.md").decode()
    assert page.count("## Other graphs") == 1
    assert "151 of `train`, `synthetic`, none of them learnt by the model | static, QDQ, U8S8" in page
    assert page.index("## Other graphs") < page.index("| fp16 |") < page.index("## Training")


def test_a_graph_is_judged_on_other_pictures_than_it_was_chosen_on(tiny_bundle, monkeypatch):
    source, data = bundle.load(tiny_bundle), draw_dataset(Preprocess(), {"train": 301})
    data = data.take(np.argsort(data.truth, kind="stable"))
    for name, n in (("CALIBRATION", 60), ("CHOOSING", 90), ("JUDGING", 120)):
        monkeypatch.setattr(ship, name, n)
    parts = ship.sample(source, data, "train")
    seen = [
        {image.tobytes() for image in part} for part in (parts.calibration, parts.choosing, parts.held_out)
    ]
    assert [len(part) for part in seen] == [60, 90, 120]
    assert len(set.union(*seen)) == 270
    _, facts = ship._convert(source, "int8", parts)
    assert facts["candidates"][0]["n"] == 90
    shows = {image.tobytes(): truth for image, truth in zip(data.images, data.truth.tolist(), strict=True)}
    first = {shows[image.tobytes()] for image in parts.choosing[:21]}
    assert first == set(range(7)), "of every class, though the data may be sorted by class"
    assert not parts.chose
    monkeypatch.setattr(ship, "CHOOSING", 200)  # 41 would be left: too few to judge on
    parts = ship.sample(source, data, "train")
    assert parts.chose
    assert np.array_equal(parts.held_out, parts.choosing)
    assert len(parts.held_out) == len(parts.truth) == 200


def test_promises_are_judged_on_images_that_the_model_has_not_learnt(tiny):
    """Of 70 training images it has learnt, and of 250 others: the default split is the learnt one."""
    learnt, others = tiny_data(), draw_dataset(Preprocess(), {"train": 140, "test": 250}, seed=7)
    data = replace(
        others,
        images=np.concatenate([learnt.images[learnt.split == "train"], others.images]),
        targets=np.concatenate([learnt.targets[learnt.split == "train"], others.targets]),
        split=np.concatenate([learnt.split[learnt.split == "train"], others.split]),
        ids=tuple(f"{number}.png" for number in range(460)),
    )
    parts = ship.sample(tiny, data, "train")
    assert (parts.judged, parts.unlearnt, parts.chose) == ("test", True, False)
    assert len(parts.held_out) == len(parts.truth) == 250
    few = data.take(np.flatnonzero(np.arange(len(data)) < 220))
    parts = ship.sample(tiny, few, "train")
    assert (parts.judged, parts.unlearnt) == ("train", False), "too few others: what is left of the split"


def test_weighed_operators_work_in_int8_and_the_tail_of_an_ensemble_in_float(tiny_ensemble, tmp_path):
    ship.ship(bundle.load(tiny_ensemble), "int8", tmp_path / "q", data=DATA)
    nodes = onnx.load(tmp_path / "q" / "model.int8.onnx").graph.node
    rounded = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    for node in nodes:
        if node.op_type in ("Softmax", "Log", "ReduceSum"):
            assert not rounded & set(node.input), node.op_type
    assert sum(node.op_type == "Conv" and node.input[0] in rounded for node in nodes) >= 12


def test_a_graph_says_what_was_fitted_to_the_images_that_judge_it(tiny_bundle, tmp_path):
    """It has the calibration of its bundle: its figures are not of before, and those of the fit are not clean."""
    data = replace(draw_dataset(Preprocess(), {"train": 301, "val": 70, "test": 63}, seed=3), source="here")
    made = bundle.load(tiny_bundle)
    judged = scores(load_classifier(tiny_bundle), data, {"test": CHOSEN})
    facts = made.card.model_copy(
        update={"scores": judged, "data": made.card.data.model_copy(update={"name": "here"})}
    )
    bundle.save(tmp_path / "own", facts, {}, base=made)
    save_calibrated(bundle.load(tmp_path / "own"), data, "val", tmp_path / "own")
    assert {score.protocol for score in bundle.load(tmp_path / "own").card.scores} == {CHOSEN + BEFORE}
    ship.ship(bundle.load(tmp_path / "own"), "fp16", tmp_path / "half", data=data)
    said = {
        score.split: score.protocol for score in bundle.load(tmp_path / "half").card.exports["fp16"].scores
    }
    assert said == {"val": "no epoch was chosen on it" + FITTED, "test": CHOSEN}
    elsewhere = replace(data, source="elsewhere")
    ship.ship(bundle.load(tmp_path / "own"), "fp16", tmp_path / "other", data=elsewhere)
    said = {
        score.split: score.protocol for score in bundle.load(tmp_path / "other").card.exports["fp16"].scores
    }
    assert said == {"val": READ_ONCE, "test": READ_ONCE}, "other images, though their splits have these names"


def test_learnt_splits_judge_no_graph(tiny, tmp_path):
    """A model says which splits it has learnt; an ensemble has no recipe that names one."""
    training = tiny.card.training.model_copy(update={"trained_on": ("faces", "val")})
    recipe = {name: value for name, value in tiny.card.recipe.items() if name != "train_split"}
    source = replace(tiny, card=tiny.card.model_copy(update={"training": training, "recipe": recipe}))
    data = draw_dataset(Preprocess(), {"faces": 301, "val": 35, "test": 35}, seed=3)
    ship.ship(source, "fp16", tmp_path / "half", data=data)
    made = bundle.load(tmp_path / "half").card.exports["fp16"]
    assert made.calibration_split == "faces"
    assert {score.split for score in made.scores} == {"test"}


def test_data_that_nothing_reads_are_refused(tiny_bundle, tmp_path):
    with pytest.raises(ConfigError, match="to=hub takes the model as it is: leave out data"):
        mien.export(tiny_bundle, "hub", tmp_path / "out", data="nowhere.zip", split="nosuch")
    with pytest.raises(ConfigError, match="labels says how a dataset is read: give data too"):
        mien.export(tiny_bundle, "onnx", tmp_path / "out", reading=ReadOptions(labels="happy,sad"))
    assert not (tmp_path / "out").exists()


def test_one_graph_alone(tiny, tmp_path):
    found = ship.ship(tiny, "onnx", tmp_path / "alone")
    assert found.max_probability_difference == 0
    crops = DATA.images[:11]
    alone = load_classifier(tmp_path / "alone" / "model.onnx").logits(crops)
    (tmp_path / "alone" / "model.onnx").unlink()
    assert {path.name for path in (tmp_path / "alone").iterdir()} == {"model.spec.json", "README.md"}
    ship.ship(tiny, "hub", tmp_path / "hub")
    np.testing.assert_array_equal(load_classifier(tmp_path / "hub").logits(crops), alone)


def test_worse_than_promised_is_not_kept(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(ship.BOUNDS, "int8", Bound(equal_labels=1.01, drop=0.003))
    with pytest.raises(
        BundleError,
        match=r"too different from model.onnx on 151 pictures of train \(.*% equal labels, .* not kept; of so few",
    ):
        ship.ship(tiny, "int8", tmp_path / "q", data=DATA)
    assert not (tmp_path / "q").exists()


def test_a_calibration_split_that_is_too_small(tiny, tmp_path):
    with pytest.raises(DataError, match=r"the split 'test' of synthetic has 35 pictures: .* needs 200"):
        ship.ship(tiny, "int8", tmp_path / "q", data=DATA, split="test")


def graph_of(operator: str, **attributes) -> bytes:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 48, 48])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1, 48, 48])
    node = helper.make_node(operator, ["image"], ["logits"], **attributes)
    graph = helper.make_graph([node], "g", [image], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model.SerializeToString()


def test_operators_that_cannot_be_quantised(tiny, monkeypatch, tmp_path):
    crops = DATA.images[:32]
    with pytest.raises(
        BundleError, match=r"none of this graph's operators \(Erf\) can be quantised, only Conv, Gemm"
    ):
        list(quantise._candidates(graph_of("Erf"), tiny.preprocess, crops, ["minmax"], tmp_path))

    def refuses(*_, **__):
        raise NotImplementedError("no quantiser for ConvTranspose3D")

    monkeypatch.setattr(quantise, "quantize_static", refuses)
    with pytest.raises(
        BundleError,
        match="cannot quantise this graph: no quantiser for ConvTranspose3D: ship it with to=onnx or",
    ):
        list(quantise._candidates(tiny.graph("onnx"), tiny.preprocess, crops, ["minmax"], tmp_path))


def test_an_unknown_operator_leaves_nothing_behind(tiny, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(BundleError, match=r"operators \(Nonsense\) can be quantised"):
        list(
            quantise._candidates(
                graph_of("Nonsense"), tiny.preprocess, DATA.images[:32], ["minmax"], tmp_path
            )
        )
    assert not list((tmp_path / "here").iterdir())


def test_eight_bits_are_tried_only_where_they_would_show(monkeypatch):
    for flags, bits in (
        ("fma avx2", (7, 8)), ("avx2 avx512_vnni", (7,)), ("avx2 avx_vnni", (7,)), ("sse2", (7,)),
    ):  # fmt: skip
        text = f"model name: x\nflags\t\t: {flags}\n"
        monkeypatch.setattr(quantise.Path, "read_text", lambda self, text=text, **_: text)
        assert quantise.weight_bits() == bits


def test_what_is_refused_before_anything_is_read(tiny, tmp_path):
    for target, has_data, message in [
        ("int4", True, r"unknown to 'int4': expected onnx, int8, fp16, hub; did you mean int8\?"),
        ("int8", False, "int8 needs images to calibrate with: give data"),
    ]:
        with pytest.raises(ConfigError, match=message):
            ship.check_target(target, tmp_path / "q", has_data=has_data)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match="already holds a model: choose another out"):
        ship.check_target("onnx", tmp_path, has_data=False)


def test_a_disk_that_fills_up_leaves_no_bundle(tiny, tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        ship.ship(tiny, "fp16", tmp_path / "half")
    assert not (tmp_path / "half").exists()


class Hub:
    """Stands for the client of the Hugging Face hub."""

    def __init__(self, error=None):
        self.error, self.calls = error, []

    def __call__(self):
        return self

    def create_repo(self, repository, exist_ok):
        if self.error:
            raise self.error
        return f"hub/{repository}"

    def upload_folder(self, **words):
        self.calls.append(words)


def test_pushing(tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", hub := Hub())
    assert ship.push(tmp_path, "me/mine") == "hub/me/mine"
    assert [(call["repo_id"], call["folder_path"]) for call in hub.calls] == [("me/mine", tmp_path)]
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub(OSError("401 Unauthorized")))
    with pytest.raises(OutputError, match="cannot push .* to me/mine: 401 Unauthorized; the folder is whole"):
        ship.push(tmp_path, "me/mine")


def test_unlabelled_pictures_calibrate_too(tiny):
    bare = replace(DATA, targets=np.zeros_like(DATA.targets))
    assert ship.sample(tiny, bare, "train").truth is None


def test_an_export_that_was_killed_can_be_repeated(tiny, tmp_path, monkeypatch):
    real, calls = files.write, []

    def killed(path, content):
        calls.append(path)
        if len(calls) == 3:
            raise SystemExit
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", killed)
        patch.setattr(bundle, "_settle", lambda *_: None)  # a killed process clears nothing away
        with pytest.raises(SystemExit):
            ship.ship(tiny, "fp16", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) >= 2, "otherwise this test shows nothing"
    ship.ship(tiny, "fp16", tmp_path / "out")
    assert load_classifier(tmp_path / "out").logits(DATA.images[:3]).shape == (3, 7)
    with pytest.raises(ConfigError, match="already holds a model"):
        ship.ship(tiny, "fp16", tmp_path / "out")


def test_export_takes_strings(tiny_bundle, tmp_path):
    agreement = mien.export(str(tiny_bundle), "fp16", str(tmp_path / "half"))
    assert agreement.equal_labels == 1
    assert set(bundle.load(tmp_path / "half").card.exports) == {"fp16"}
    assert mien.export(tiny_bundle, "hub", tmp_path / "hub") is None
    with pytest.raises(ConfigError, match="leave out data"):
        mien.export(tiny_bundle, "web", tmp_path / "page", data="synthetic")
    with pytest.raises(ConfigError, match="page_backend is for a web page"):
        mien.export(tiny_bundle, "onnx", tmp_path / "x", page=PageOptions(page_backend="int8"))
