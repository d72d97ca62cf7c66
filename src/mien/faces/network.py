"""The network: plain 3x3 convolutions with ReLU, two heads, so that INT8 and every runtime are quick with it."""

from __future__ import annotations

import torch
from torch import nn

SCALE = 1 / 64
"""Grey levels become (grey - 128) / 64, so what lies outside a photo is 0, as the padding of a convolution is."""


def block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """Return convolution, BatchNorm and ReLU; the first two fold into one before use."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class Detector(nn.Module):
    """Grey [b, 1, h, w] -> two maps [b, 4, h/8, w/8] and [b, 4, h/16, w/16]: face logit, dx, dy, log side.

    The coarse map tells the fine one what surrounds a small face.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(1, 16, 2), block(16, 24, 2), block(24, 48, 2), block(48, 48))  # 1/8
        self.deep = nn.Sequential(block(48, 48, 2), block(48, 56), block(56, 56))  # 1/16
        self.back = nn.Conv2d(56, 48, 1)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.fine = nn.Sequential(block(48, 32), nn.Conv2d(32, 4, 1))
        self.coarse = nn.Sequential(block(56, 32), nn.Conv2d(32, 4, 1))
        for head in (self.fine, self.coarse):
            last = head[1]
            assert isinstance(last, nn.Conv2d)
            nn.init.normal_(last.weight, std=0.01)
            last.bias = nn.Parameter(
                torch.tensor([-4.0, 0.0, 0.0, 1.2])
            )  # a face is rare; 3.3 strides are usual

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the two maps."""
        near = self.stem((grey - 128.0) * SCALE)
        far = self.deep(near)
        return self.fine(torch.relu(near + self.up(self.back(far)))), self.coarse(far)


def loss(answers: tuple[torch.Tensor, ...], wanted: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return quality focal loss on the heat (Li et al. 2020), and L1 on place and size where a face is."""
    total = torch.zeros(())
    for answer, target in zip(answers, wanted, strict=True):
        heat, counts, own = target[:, 0], target[:, 1], target[:, 5]
        probability = torch.sigmoid(answer[:, 0])
        entropy = nn.functional.binary_cross_entropy_with_logits(answer[:, 0], heat, reduction="none")
        faces = (heat >= 0.999).sum().clamp(min=1)
        total = total + ((heat - probability).abs() ** 2 * entropy * counts).sum() / faces
        side = torch.exp(target[:, 4]).clamp(min=1)
        place = (answer[:, 1:3] - target[:, 2:4]).abs().sum(1) / side
        size = (answer[:, 3] - target[:, 4]).abs()
        total = total + 0.5 * ((2 * place + size) * own).sum() / own.sum().clamp(min=1)
    return total
