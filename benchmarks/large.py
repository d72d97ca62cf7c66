"""Large networks as in reference system C, 256-pixel colour pictures and 3 classes: framework, ONNX, INT8.

Random weights: time and size do not depend on them, accuracy would. Their INT8 graph is made as `mien export` makes
it, from drawn faces, with one calibration method, and its agreement is printed (of answers that mean nothing).

    python benchmarks/large.py --out /tmp/large && mien benchmark /tmp/large/* --threads 2 --batch 1
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save

from mien import bundle
from mien.card import versions
from mien.data.synthetic import draw_dataset
from mien.exporting.onnx import export_onnx
from mien.exporting.quantise import quantise
from mien.networks import catalog
from mien.preprocess import Preprocess

NETWORKS = {
    "resnet34": "timm/resnet34",
    "vit_base_patch16": "timm/vit_base_patch16_224",
}
LABELS = ("angry", "happy", "sad")


def main() -> None:
    """Write a bundle for each network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=8, help="pictures to calibrate on, and as many to compare")
    options = parser.parse_args()
    spec = Preprocess(channels=3, size_px=256)
    drawn = draw_dataset(spec, {"train": options.n, "test": options.n})
    for name, architecture in NETWORKS.items():
        torch.manual_seed(0)
        network = catalog.build(architecture, len(LABELS), spec)
        graph = export_onnx(network, spec, LABELS)
        rows = (drawn.select(split).images for split in ("train", "test"))
        int8, (best, *_) = quantise(graph, LABELS, spec, *rows, methods=["minmax"])
        print(f"{name}: {best}")
        facts = bundle.Card(
            name=name, architecture=architecture, labels=LABELS, preprocess=spec,
            parameters=sum(p.numel() for p in network.parameters()), recipe={}, command="",
            data={"name": "synthetic"}, training={}, versions=versions(), scores=[],
        )  # fmt: skip
        contents = {
            "model.safetensors": save(network.state_dict()),
            bundle.GRAPH: graph,
            bundle.GRAPHS["int8"]: int8,
        }
        bundle.save(options.out / name, facts, contents)


if __name__ == "__main__":
    main()
