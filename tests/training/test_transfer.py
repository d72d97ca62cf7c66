"""Transfer: weights from a file, a bundle or the hub; what fits, what is frozen, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from mien import bundle, files
from mien.card import Origin
from mien.config import Recipe, read_recipe
from mien.data.duplicates import picture_keys
from mien.data.synthetic import draw_dataset
from mien.errors import ConfigError, DataError, FetchError, MienWarning
from mien.evaluation.protocol import CHOSEN, keys_learnt
from mien.labels import EMOTIONS_7
from mien.networks import catalog
from mien.preprocess import Preprocess
from mien.training.finish import CHOSEN_BEFORE
from mien.training.fit import fit
from mien.training.loop import train
from mien.training.transfer import freeze, head, load_start
from tests.conftest import POOL_LAST
from tests.training.tiny import TINY, tiny_data

BACKBONE = "timm/resnet10t"


def recipe(*settings: str) -> Recipe:
    common = ["epochs=2", "batch_size=16", "precision=32-true", "ema.decay=0"]
    return read_recipe(TINY, [*common, "validation.split=test", "validation.keep=best", *settings])


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A backbone as the hub keeps one: 1000 classes, colour."""
    torch.manual_seed(1)
    network = catalog.build(BACKBONE, 1000, Preprocess(channels=3))
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    save_file(network.state_dict(), path)
    return path


def started(source, network=BACKBONE, classes=7, channels=1, labels=()):
    settings = [f"network={network}", f"transfer.weights={source}", f"input.channels={channels}"]
    shape = {"pool": "last"} if network == "mien_nano" else {}  # that of tiny_bundle
    made = catalog.build(network, classes, Preprocess(channels=channels), shape)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    load_start(made, recipe(*settings), labels)
    return before, made.state_dict()


def test_a_file_for_other_classes_and_colours(pretrained):
    given, (before, after) = load_file(pretrained), started(pretrained)
    assert torch.equal(after["layer1.0.conv2.weight"], given["layer1.0.conv2.weight"])
    assert torch.equal(after["layer1.0.bn1.running_var"], given["layer1.0.bn1.running_var"])
    assert torch.equal(after["fc.weight"], before["fc.weight"]), "1000 classes do not fit: the head is fresh"
    torch.testing.assert_close(after["conv1.0.weight"], given["conv1.0.weight"].sum(1, keepdim=True))
    grey = torch.randn(2, 1, 48, 48)
    first = torch.nn.functional.conv2d
    torch.testing.assert_close(
        first(grey, after["conv1.0.weight"]), first(grey.expand(-1, 3, -1, -1), given["conv1.0.weight"]),
        atol=1e-4, rtol=1e-4,
    )  # fmt: skip
    _, colour = started(pretrained, channels=3)
    assert torch.equal(colour["conv1.0.weight"], given["conv1.0.weight"])


def test_a_vision_transformer_for_another_size(tmp_path):
    torch.manual_seed(1)
    made = catalog.build("timm/test_vit", 3, Preprocess(channels=3, size_px=160)).eval()
    with torch.no_grad():
        made.pos_embed.zero_()
        made.pos_embed[:, 1:, 0] = torch.linspace(0, 1, 10).repeat(10)  # knows left from right
    save_file(made.state_dict(), tmp_path / "vit.safetensors")
    smaller = catalog.build("timm/test_vit", 3, Preprocess(channels=1, size_px=48))
    load_start(smaller, recipe("network=timm/test_vit", f"transfer.weights={tmp_path / 'vit.safetensors'}"))
    places = smaller.pos_embed[0, 1:, 0].reshape(3, 3)
    assert (places.diff(dim=1) > 0.2).all(), "still left to right"
    torch.testing.assert_close(places[0], places[2])
    torch.testing.assert_close(smaller.head.weight, made.head.weight)


def test_a_checkpoint_of_torch_with_its_wrappings(pretrained, tmp_path):
    given = load_file(pretrained)
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in given.items()}}
    torch.save(wrapped, tmp_path / "checkpoint.pth")
    _, after = started(tmp_path / "checkpoint.pth")
    assert torch.equal(after["layer2.0.conv1.weight"], given["layer2.0.conv1.weight"])


def test_a_bundle_gives_its_head_where_the_classes_agree(tiny_bundle):
    given = load_file(tiny_bundle / bundle.WEIGHTS)
    _, same = started(tiny_bundle, "mien_nano")
    assert all(torch.equal(same[name], given[name]) for name in given)
    before, fewer = started(tiny_bundle, "mien_nano", classes=3)
    last = max(name for name in given if name.endswith("weight") and given[name].shape[0] == 7)
    assert torch.equal(fewer[last], before[last])
    turned = EMOTIONS_7[3:] + EMOTIONS_7[:3]
    _, moved = started(tiny_bundle, "mien_nano", labels=turned)
    assert torch.equal(moved[last], given[last].roll(-3, 0)), "a class keeps its row, wherever it stands"
    before, others = started(tiny_bundle, "mien_nano", labels=("contempt", *EMOTIONS_7[1:]))
    assert torch.equal(others[last], before[last]), "as many classes, but other ones"


def test_what_a_start_has_learnt_and_was_chosen_on_is_not_forgotten(tiny_bundle, tmp_path):
    """Other training pictures of a dataset of the same name, and a split of its own to choose on."""
    data = draw_dataset(Preprocess(), {"train": 70, "test": 35, "val": 35}, seed=1)
    plan = recipe(POOL_LAST, f"transfer.weights={tiny_bundle}", "epochs=1", "validation.split=auto")
    child = bundle.load(train(plan, data, tmp_path / "child", device="cpu"))
    assert (child.card.trained_on, child.card.chosen_on) == (("train",), ("test", "val"))
    said = {row.split: row.protocol for row in child.card.scores}
    fitted = f"{CHOSEN}; temperature and class biases were fitted to it"
    assert said == {"test": CHOSEN_BEFORE, "val": fitted}
    again = recipe(POOL_LAST, f"transfer.weights={tiny_bundle}", "epochs=1", "validation.keep=last")
    watched = bundle.load(train(again, data, tmp_path / "watched", device="cpu"))
    assert {row.split: row.protocol for row in watched.card.scores}["test"] == CHOSEN_BEFORE
    own = picture_keys(data.images[data.rows("train")])
    assert set(keys_learnt(child)) == {*own, *keys_learnt(bundle.load(tiny_bundle))}
    named = replace(data, source="other.zip")
    taught = recipe(f"distillation.teachers=['{tiny_bundle}']", "epochs=1", "validation.split=auto")
    other = bundle.load(train(taught, named, tmp_path / "other", device="cpu"))
    assert other.card.chosen_on == ("val",), "test of another dataset"
    assert len(keys_learnt(other)) == 140, "what a teacher learnt"


def test_a_start_that_knows_the_images_that_choose(tiny_bundle, tmp_path):
    plan = recipe(f"transfer.weights={tiny_bundle}", "validation.split=holdout")
    with pytest.raises(
        DataError, match="tiny was trained on 100% of the images of 'holdout', so its results"
    ):
        train(plan, tiny_data(), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_frozen_first_then_all_of_it(pretrained, tmp_path):
    """After one frozen epoch only the head has moved, BatchNorm's statistics included; after two, everything."""
    given = load_file(pretrained)
    settings = [f"network={BACKBONE}", f"transfer.weights={pretrained}", "transfer.frozen_epochs=1",
                "validation.keep=last",
                "transfer.backbone_lr_factor=0.1"]  # fmt: skip
    out = train(recipe(*settings, "epochs=2"), tiny_data(), tmp_path / "run", device="cpu")
    first = fit(recipe(*settings, "epochs=1"), tiny_data(), device="cpu").network.state_dict()
    moved = [
        {name for name in given if state[name].shape == given[name].shape
         and not torch.equal(state[name], given[name])}
        for state in (first, load_file(out / bundle.WEIGHTS))
    ]  # fmt: skip
    assert moved[0] == set()
    assert {"layer1.0.conv1.weight", "layer1.0.bn1.running_mean"} <= moved[1]
    start = bundle.load(out).card.training.started_from
    assert start == Origin(name=pretrained.name, sha256=files.sha256(pretrained.read_bytes()))
    assert bundle.load(out).card.recipe["transfer"]["weights"] == pretrained.name, (
        "without this machine's folders"
    )
    assert f"From the weights `{pretrained.name}`" in (out / "README.md").read_text()


def test_freezing_leaves_the_head_alone():
    network = catalog.build("mynet_v1", 7, Preprocess())
    freeze(network, frozen=True)
    assert {id(p) for p in network.parameters() if p.requires_grad} == {
        id(p) for p in head(network).parameters()
    }
    assert not any(
        module.training for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)
    )
    freeze(network, frozen=False)
    assert all(p.requires_grad for p in network.parameters())
    assert all(module.training for module in network.modules())


def test_the_hub_out_of_reach_says_what_to_do(monkeypatch):
    import timm

    def unreachable(*_, **given):
        assert given["pretrained"]
        raise OSError("no route")

    network = catalog.build(BACKBONE, 7, Preprocess())
    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        FetchError, match=r"cannot get timm/resnet10t from the hub \(OSError: no route\): download"
    ):
        load_start(network, recipe(f"network={BACKBONE}", "transfer.weights=hub"))


def test_weights_that_have_no_place_are_told(pretrained, tmp_path):
    given = load_file(pretrained)
    save_file(given | {"neck.weight": given["fc.bias"].clone()}, tmp_path / "more.safetensors")
    with pytest.warns(
        MienWarning, match=r"left out, without a place in ResNet: 1 tensor of \d+, such as neck"
    ):
        _, after = started(tmp_path / "more.safetensors")
    assert torch.equal(after["layer1.0.conv2.weight"], given["layer1.0.conv2.weight"])


def test_what_is_refused(pretrained, tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"nonsense")
    (tmp_path / "damaged.pth").write_bytes(b"nonsense")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"weights": print}, tmp_path / "unsafe.pth")
    other = load_file(pretrained)
    other["layer1.0.conv1.weight"] = other["layer1.0.conv1.weight"][:5]
    save_file(other, tmp_path / "narrow.safetensors")
    for source, message in [
        (tmp_path / "nowhere.pth", r"expected a file, a bundle or hub; got '.*nowhere\.pth'"),
        (tmp_path / "damaged.safetensors", "is not a safetensors file"),
        (tmp_path / "damaged.pth", "holds no weights that can be loaded safely"),
        (tmp_path / "unsafe.pth", "holds no weights that can be loaded safely"),
        (tmp_path / "list.pth", "holds no table of tensors by name"),
        (
            tmp_path / "narrow.safetensors",
            r"its layer1\.0\.conv1\.weight is \[5, 64, 3, 3\], here \[64, 64, 3, 3\]",
        ),
        ("mien_nano", r"mien_nano does not fit ResNet: it lacks \d+ of \d+ tensors, such as"),
    ]:
        with pytest.raises(ConfigError, match=message):
            started(source)
    with pytest.raises(ConfigError, match="transfer.weights = 'hub' is for timm/ networks"):
        started("hub", "mynet_v1")
