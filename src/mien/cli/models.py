"""``mien models``: the built-in bundles, and the networks that can be trained."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(models)


def models(json_too: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the built-in models and the networks."""
    from mien.networks.catalog import NETWORKS

    bundles = _bundles()
    networks = [{"name": name, **network._asdict()} for name, network in NETWORKS.items()]
    if json_too:
        print(json.dumps({"bundles": bundles, "networks": networks}, indent=2))
        return
    print("built-in models")
    for row in bundles:
        scores = ", ".join(f"{s['accuracy']:.1%} on {s['split']} (tta {s['tta']})" for s in row["scores"])
        alias = " (default)" if row["default"] else ""
        print(
            f"  {row['name']}{alias}: {row['parameters']:,} parameters, {len(row['labels'])} classes, {scores}"
        )
    print(
        "networks, with parameters for 7 classes and grey input of that size; timm/ takes any name of timm's"
    )
    for network in networks:
        print(
            f"  {network['name']:25} {network['parameters']:>10,}  {network['size_px']:>3} px  {network['source']}"
        )


def _bundles() -> list[dict[str, Any]]:
    from mien import bundle

    rows = []
    for name in bundle.built_in():
        loaded = bundle.load(name)
        scores = [
            {key: getattr(score, key) for key in ("split", "tta", "n", "accuracy", "macro_f1")}
            for score in loaded.card.scores
        ]
        facts = {
            "default": name == bundle.DEFAULT_MODEL,
            "sha256": loaded.id.sha256,
            "labels": loaded.card.labels,
        }
        rows.append({"name": name, **facts, "parameters": loaded.card.parameters, "scores": scores})
    return rows
