"""The network: plain 3x3 convolutions with ReLU, which are fast in INT8 and in every runtime."""

from __future__ import annotations

import torch
from torch import nn

SCALE = 1 / 64
"""Grey levels become (grey - 128) / 64. So the grey outside a photo is 0, like the padding of a convolution."""


def block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """Return convolution, BatchNorm and ReLU; the first two fold into one before use."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class Detector(nn.Module):
    """Grey [b, 1, h, w] -> one map [b, 4, h/8, w/8]: face logit, dx, dy, log side.

    Each answer depends on 79x79 pixels, about twice the side of a large face and four times that of a small one.
    The surroundings of a face differ between drawn scenes and photos, so the network should see little of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(1, 16, 2), block(16, 24, 2), block(24, 40, 2))
        self.body = nn.Sequential(block(40, 48), block(48, 48), block(48, 48), block(48, 48))
        last = nn.Conv2d(48, 4, 1)
        nn.init.normal_(last.weight, std=0.01)
        last.bias = nn.Parameter(torch.tensor([-4.0, 0.0, 0.0, 1.2]))  # a face is rare; 3.3 strides are usual
        self.head = last

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        """Return the map."""
        found: torch.Tensor = self.head(self.body(self.stem((grey - 128.0) * SCALE)))
        return found


def loss(answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return quality focal loss on the heat (Li et al. 2020), and L1 on place and size where a face is."""
    heat, counts, own = target[:, 0], target[:, 1], target[:, 5]
    probability = torch.sigmoid(answer[:, 0])
    entropy = nn.functional.binary_cross_entropy_with_logits(answer[:, 0], heat, reduction="none")
    faces = (heat >= 0.999).sum().clamp(min=1)
    total = ((heat - probability).abs() ** 2 * entropy * counts).sum() / faces
    side = torch.exp(target[:, 4]).clamp(min=1)
    place = (answer[:, 1:3] - target[:, 2:4]).abs().sum(1) / side
    size = (answer[:, 3] - target[:, 4]).abs()
    return total + 0.5 * ((2 * place + size) * own).sum() / own.sum().clamp(min=1)
