"""What every network in the catalog must keep."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors

from mien import bundle
from mien.classifiers import load_classifier
from mien.classifiers.torch_module import TorchClassifier
from mien.errors import BundleError, ConfigError
from mien.exporting.onnx import check_parity, export_onnx
from mien.networks import catalog
from mien.networks.plain import ConvNorm, deploy
from mien.preprocess import Preprocess
from mien.results import ModelId
from tests.training.tiny import tiny_data

LABELS = tuple("abcde")


@pytest.fixture(params=sorted(catalog.NETWORKS))
def name(request):
    return request.param


OPTIONS = {"timm/vit_base_patch16_224": {"depth": 2}}
"""Twelve equal blocks show no more than two, and take half a minute to export."""


def trained_a_little(name: str, classes: int = 5) -> torch.nn.Module:
    """A network whose BatchNorm statistics are not those it was born with."""
    torch.manual_seed(0)
    network = catalog.build(name, classes, Preprocess(), OPTIONS.get(name))
    network.train()
    for _ in range(3):
        network(torch.randn(7, 1, 48, 48) * 2 + 1)
    return network.eval()


def test_parameter_count_to_the_unit(name):
    row = catalog.NETWORKS[name]
    with torch.device("meta"):  # shapes alone: 86 million numbers take seconds to draw
        network = catalog.build(name, 7, Preprocess(size_px=row.size_px))
    assert sum(p.numel() for p in network.parameters()) == row.parameters


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_gradients(name, channels):
    torch.manual_seed(0)
    network = catalog.build(name, 5, Preprocess(channels=channels), OPTIONS.get(name))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # residual blocks of timm are born closed by a zero
            torch.nn.init.ones_(module.weight)
    logits = network(torch.randn(3, channels, 48, 48))
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    for parameter, p in network.named_parameters():
        assert p.grad is not None, parameter
        assert torch.isfinite(p.grad).all(), parameter
        assert p.grad.abs().sum() > 0 or parameter.endswith("bias"), parameter


def test_a_network_is_born_undecided(name):
    """Its first loss is near the logarithm of the number of classes, so that training need not unlearn anything."""
    torch.manual_seed(0)
    network = catalog.build(name, 5, Preprocess())
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(network(torch.randn(8, 1, 48, 48)), torch.arange(8) % 5)
    assert loss < np.log(5) + 0.5


def test_a_transformer_is_born_seeing_where_a_patch_is():
    """Its patches in other places change its features nearly as another picture does."""
    torch.manual_seed(0)
    features = catalog.build("vit", 5, Preprocess()).eval()[:-1]
    pictures = torch.from_numpy(tiny_data().images[::5]).permute(0, 3, 1, 2).float() / 64 - 2
    with torch.no_grad():
        here, moved, other = (
            features(x) for x in (pictures, pictures.roll((12, 18), (2, 3)), pictures.roll(1, 0))
        )
    assert (here - moved).norm(dim=1).mean() > 0.1 * (here - other).norm(dim=1).mean()


def test_deployment_folds_and_changes_nothing(name):
    network = trained_a_little(name)
    deployed = deploy(network)
    x = torch.randn(3, 1, 48, 48)
    torch.testing.assert_close(deployed(x), network(x), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, ConvNorm) for module in deployed.modules())
    ours = any(isinstance(module, ConvNorm) for module in network.modules())
    assert ours == (name.split("_")[0] in {"inception", "mien", "mish", "mynet", "plain"}), (
        "the original stays as it is"
    )


def test_onnx_agrees_and_a_bundle_gives_it_back(name, tmp_path):
    network, spec, crops = trained_a_little(name), Preprocess(), tiny_data().images[::5]
    deployed = deploy(network)
    graph = export_onnx(deployed, spec, LABELS)
    identity = ModelId(name, "0" * 64, LABELS)
    assert check_parity(deployed, graph, identity, spec, crops) < 1e-5
    card = bundle.Card(
        name="it", architecture=name, labels=LABELS, preprocess=spec, parameters=1,
        recipe={"network_options": OPTIONS.get(name, {})}, command="", data={}, training={}, versions={}, scores=[],
    )  # fmt: skip
    bundle.save(tmp_path, card, {bundle.GRAPH: graph, bundle.WEIGHTS: to_safetensors(network.state_dict())})
    again = load_classifier(tmp_path, backend="torch").logits(crops)
    np.testing.assert_allclose(again, TorchClassifier(identity, spec, deployed).logits(crops), atol=1e-5)


def test_ours_is_plain_and_small():
    deployed = deploy(catalog.build("mien_nano", 7, Preprocess()))
    assert sum(p.numel() for p in deployed.parameters()) <= 300_000
    kinds = {type(module).__name__ for module in deployed.modules()} - {"Sequential"}
    assert kinds == {"Conv2d", "ReLU", "MaxPool2d", "GlobalMean", "Linear"}
    convolutions = [m for m in deployed.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(m.kernel_size == (3, 3) and m.groups == 1 and m.out_channels % 16 == 0 for m in convolutions)


def test_an_unknown_network_names_its_neighbour():
    with pytest.raises(
        ConfigError, match=r"unknown network 'mien_nanno'; did you mean mien_nano\? \(known: .*timm/ with"
    ):
        catalog.build("mien_nanno", 7, Preprocess())


@pytest.mark.parametrize(
    ("name", "size_px", "options", "message"),
    [
        (
            "mish_cnn",
            48,
            {"activation": "tanh"},
            "unknown activation 'tanh': expected one of mish, silu, relu",
        ),
        (
            "mish_cnn",
            48,
            {"activatoin": "relu"},
            r"mish_cnn has no option 'activatoin'; did you mean activation\?",
        ),
        (
            "mien_nano",
            48,
            {"depth": 3},
            r"mien_nano has no option 'depth' \(it has: pool, branches, dropout\)",
        ),
        ("lenet", 48, {"depth": 3}, r"lenet has no option 'depth'"),
        ("mynet_v1", 48, {"dropout": 2}, "mynet_v1 cannot be built for 48 pixels with .*dropout"),
        ("mynet_v1", 48, {"dropout": "much"}, "mynet_v1 cannot be built for 48 pixels with .*'much'"),
        ("blog_cnn_4", 8, {}, "blog_cnn_4 cannot be built for 8 pixels .* too small for its pools"),
        (
            "plain",
            8,
            {"first_stride": 2},
            "plain cannot be built for 8 pixels .*: .*[Oo]utput size is too small",
        ),
        ("plain", 48, {"first_stride": 0}, "plain cannot be built for 48 pixels .*: .*stride"),
        ("vit", 50, {"patch_px": 16}, "vit cannot be built for 50 pixels .* patches of 16 pixels must tile"),
        ("timm/resnet43", 48, {}, r"timm [\d.]+ has no model 'resnet43'; did you mean resnet"),
        (
            "timm/resnet34",
            48,
            {"drop_rat": 0.1},
            r"timm/resnet34 has no option 'drop_rat'; did you mean drop_rate\? \(it has: drop_.*_stride\)",
        ),
        ("timm/resnet34", 48, {"depth": 3}, "timm/resnet34 cannot be built for 48 pixels with .*depth"),
        ("timm/hf-hub:timm/resnet34", 48, {}, "has no model 'hf-hub:timm/resnet34'"),
    ],
)
def test_what_cannot_be_built(name, size_px, options, message):
    with pytest.raises(ConfigError, match=message):
        catalog.build(name, 7, Preprocess(size_px=size_px), options)


DOWNLOADING = {
    "pretrained": True,
    "pretrained_cfg": {"url": "http://127.0.0.1:9/x"},
    "pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/x"},
    "checkpoint_path": "/etc/hosts",
    "cache_dir": "/tmp",
    "pretrained_strict": False,
}


@pytest.mark.parametrize("option", DOWNLOADING)
def test_no_option_of_a_recipe_or_bundle_makes_timm_load_weights(option, tmp_path, monkeypatch):
    import timm

    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm was called"))
    options = {option: DOWNLOADING[option]}
    said = f"network_options cannot have '{option}': a run starts|timm/resnet10t has no option '{option}'"
    with pytest.raises(ConfigError, match=said):
        catalog.build("timm/resnet10t", 5, Preprocess(), options)
    card = bundle.load("mien_nano").card.model_copy(
        update={"architecture": "timm/resnet10t", "recipe": {"network_options": options}}
    )
    bundle.save(tmp_path, card, {}, base=bundle.load("mien_nano"))
    with pytest.raises(BundleError, match=f"model mien_nano cannot be built: ({said})"):
        load_classifier(tmp_path, backend="torch")


@pytest.mark.parametrize(
    "options",
    [
        {"pool": "first"},
        {"branches": True},
        {"pool": "first", "branches": True, "first_stride": 2, "widths": [[16, 16], [32]], "dropout": 0.2},
    ],
)
def test_what_helps_training_folds_away(options):
    """With factors of BatchNorm of both signs, as training may leave them."""
    torch.manual_seed(0)
    network = catalog.build("plain", 5, Preprocess(), options)
    for _ in range(3):
        network(torch.randn(7, 1, 48, 48) * 2 + 1)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.normal_()
    x, deployed = torch.randn(3, 1, 48, 48), deploy(network)
    torch.testing.assert_close(deployed(x), network.eval()(x), atol=1e-5, rtol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in deployed.modules())
    leaves = [type(module).__name__ for module in deployed.modules() if not list(module.children())]
    behind = [after for name, after in pairwise(leaves) if name == "Conv2d"]
    assert set(behind) == {"ReLU"}, "runtimes compute a convolution and the ReLU behind it as one"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "middle"}, "unknown network option pool 'middle'"),
        ({"widths": [[16], []]}, "widths: expected a list"),
    ],
)
def test_a_shape_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        catalog.build("plain", 5, Preprocess(), options)


def test_timm_is_never_asked_for_weights_unless_the_caller_does(monkeypatch):
    import timm

    asked, real = [], timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **g: asked.append(g["pretrained"]) or real(*a, **g))
    catalog.build("timm/test_vit", 5, Preprocess(), {"drop_rate": 0.1})
    assert asked == [False]


def test_networks_take_other_sizes_and_options():
    for name in ("mish_cnn", "pooled_cnn", "lenet", "blog_cnn_1", "blog_cnn_3", "blog_cnn_4", "vit"):
        network = catalog.build(name, 3, Preprocess(size_px=64, channels=3))
        assert network(torch.randn(2, 3, 64, 64)).shape == (2, 3)
    smooth = catalog.build("mish_cnn", 7, Preprocess(), {"activation": "leaky_relu", "dropout": 0.1})
    assert sum(isinstance(module, torch.nn.LeakyReLU) for module in smooth.modules()) == 5
    other = catalog.build("timm/resnet18", 3, Preprocess(size_px=32), {"drop_rate": 0.2})
    assert other(torch.randn(2, 1, 32, 32)).shape == (2, 3)
