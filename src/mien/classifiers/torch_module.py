"""A classifier run by torch: for training, for proof against the deployed graph, for GPUs."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from mien.bundle import WEIGHTS
from mien.classifiers.inputs import check_crops
from mien.errors import BundleError, ConfigError
from mien.networks import catalog
from mien.networks.plain import deploy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float32

    from mien.bundle import Bundle
    from mien.classifiers import Crops
    from mien.preprocess import Preprocess
    from mien.results import ModelId

BATCH_SIZE = 512


class Calibrated(nn.Module):
    """A network whose logits are divided by a temperature and moved by a bias, as the deployed graph's are."""

    def __init__(self, network: nn.Module, temperature: float, bias: tuple[float, ...]) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature
        self.register_buffer("bias", torch.tensor(bias or [0.0]))

    @classmethod
    def of(cls, network: nn.Module, temperature: float, bias: tuple[float, ...]) -> nn.Module:
        """Return the network with its calibration; the network itself where there is none."""
        return network if temperature == 1 and not any(bias) else cls(network, temperature, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return calibrated logits."""
        return self.network(x) / self.temperature + self.bias


class TorchClassifier:
    """A torch network in evaluation mode with its labels and preprocessing."""

    def __init__(
        self, identity: ModelId, preprocess: Preprocess, network: nn.Module, *, threads: int | None = None
    ) -> None:
        self.id, self.preprocess, self.network = identity, preprocess, network.eval()
        self._threads = threads

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, *, device: str = "cpu", threads: int | None = None
    ) -> TorchClassifier:
        """Rebuild the network from the bundle's weights, in deployed form.

        Raises:
            BundleError: no such network, or the weights do not fit it or the labels.
            ConfigError: the device is not there.
        """
        bundle.check_has(WEIGHTS)
        options = bundle.card.recipe.get("network_options")
        try:
            network = catalog.build(
                bundle.card.architecture, len(bundle.id.labels), bundle.preprocess, options
            )
        except ConfigError as error:
            raise BundleError(f"model {bundle.id.name} cannot be built: {error}") from error
        try:
            weights = load(bundle.read(WEIGHTS))
        except SafetensorError as error:
            raise BundleError(
                f"model {bundle.id.name}: its weights are damaged ({error}): copy it again"
            ) from error
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise BundleError(
                f"model {bundle.id.name}: labels or architecture do not fit the weights: {reason}"
            ) from error
        calibrated = Calibrated.of(deploy(network), bundle.card.temperature, bundle.card.bias)
        network = calibrated.to(_device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(bundle.id, bundle.preprocess, network, threads=threads)

    @torch.inference_mode()
    def logits(self, crops: Crops) -> Float32[np.ndarray, "n k"]:
        """Return one row of logits a crop; n may be zero.

        Raises:
            DataError: not crops of `preprocess`.
        """
        check_crops(crops, self.preprocess)
        device = next(self.network.parameters()).device
        parts = [np.empty((0, len(self.id.labels)), np.float32)]
        with _threads(self._threads):
            for start in range(0, len(crops), BATCH_SIZE):
                batch = torch.from_numpy(self.preprocess.normalise(crops[start : start + BATCH_SIZE]))
                batch = batch.to(device, memory_format=torch.channels_last)  # convolves faster on a CPU
                parts.append(self.network(batch).float().cpu().numpy())
        return np.concatenate(parts)


def _device(name: str) -> str:
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError(
            f"torch {torch.__version__} sees no CUDA device: check the driver, or leave out `device={name}`"
        )
    return "cuda" if there and name != "cpu" else "cpu"


_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Bound torch's threads for the time of one call.

    The number is a setting of the whole process, so calls that ask for one wait for each other; those that leave it
    to torch change nothing and do not wait.
    """
    if number is None:
        yield
        return
    with _one_at_a_time:
        before = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)
