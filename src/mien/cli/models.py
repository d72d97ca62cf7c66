"""``mien models``: the built-in bundles, and the networks that can be trained."""

from __future__ import annotations

from typing import Any

from mien.cli.command import Json, command


@command("mien models")
def models(json_to: Json = None) -> None:
    """List the built-in models and the networks."""
    from mien.cli.terminal import give
    from mien.networks.catalog import NETWORKS

    bundles = _bundles()
    networks = [{"name": name, **network._asdict()} for name, network in NETWORKS.items()]
    give({"bundles": bundles, "networks": networks}, json_to, lambda: _print(bundles, networks))


def _print(bundles: list[dict[str, Any]], networks: list[dict[str, Any]]) -> None:
    from mien.cli.terminal import print_table, say

    say("Built-in models")
    for row in bundles:
        alias = " (default)" if row["default"] else ""
        say(f"  {row['name']}{alias}: {row['parameters']:,} parameters, {len(row['labels'])} classes")
        for score in row["scores"]:
            say(f"    accuracy {score['accuracy']:.1%} on {score['split']}, tta {score['tta']}")
    say()
    say("Networks (parameters for 7 classes and a grey image of that size)")
    rows = [(one["name"], f"{one['parameters']:,}", f"{one['size_px']}", one["source"]) for one in networks]
    print_table(("name", "parameters", "size, px", "from"), rows)
    say("A recipe may also name any network of timm, as timm/NAME.")


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
