"""What every network in the catalog must keep."""

from __future__ import annotations

import pytest
import torch

from mien.errors import ConfigError
from mien.export.onnx import check_parity, export_onnx
from mien.networks import catalog
from mien.networks.plain import deploy
from mien.preprocess import Preprocess
from mien.results import ModelId
from tests.training.tiny import tiny_data

LABELS = tuple("abcde")


@pytest.fixture(params=sorted(catalog.NETWORKS))
def name(request):
    return request.param


def trained_a_little(name: str, classes: int = 5) -> torch.nn.Module:
    """A network whose BatchNorm statistics are not those it was born with."""
    torch.manual_seed(0)
    network = catalog.build(name, classes, 1)
    network.train()
    for _ in range(3):
        network(torch.randn(7, 1, 48, 48) * 2 + 1)
    return network.eval()


def test_parameter_count_to_the_unit(name):
    network = catalog.build(name, 7, 1)
    assert sum(p.numel() for p in network.parameters()) == catalog.NETWORKS[name].parameters


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_gradients(name, channels):
    network = catalog.build(name, 5, channels)
    logits = network(torch.randn(3, channels, 48, 48))
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    for parameter, p in network.named_parameters():
        assert p.grad is not None, parameter
        assert torch.isfinite(p.grad).all(), parameter
        assert p.grad.abs().sum() > 0 or parameter.endswith("bias"), parameter


def test_deployment_folds_and_changes_nothing(name):
    network = trained_a_little(name)
    deployed = deploy(network)
    x = torch.randn(3, 1, 48, 48)
    torch.testing.assert_close(deployed(x), network(x), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in deployed.modules())
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms or name.startswith("blog_cnn"), "deploying must leave the original as it is"


def test_onnx_agrees(name):
    network = deploy(trained_a_little(name))
    spec = Preprocess()
    graph = export_onnx(network, spec, LABELS)
    identity = ModelId(name, "0" * 64, LABELS)
    assert check_parity(network, graph, identity, spec, tiny_data().images) < 1e-5


def test_ours_is_plain_and_small():
    deployed = deploy(catalog.build("mien_nano", 7, 1))
    assert sum(p.numel() for p in deployed.parameters()) <= 300_000
    kinds = {type(module).__name__ for module in deployed.modules()} - {"Sequential"}
    assert kinds == {"Conv2d", "ReLU", "MaxPool2d", "GlobalMean", "Linear"}
    convolutions = [m for m in deployed.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(m.kernel_size == (3, 3) and m.groups == 1 and m.out_channels % 16 == 0 for m in convolutions)


def test_an_unknown_network_names_its_neighbour():
    with pytest.raises(
        ConfigError, match=r"unknown network 'mien_nanno'; did you mean mien_nano\? \(known: "
    ):
        catalog.build("mien_nanno", 7, 1)
