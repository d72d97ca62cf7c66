"""``mien fetch``: weights of a detector, from the network, because it is asked to."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(fetch)


def fetch(
    name: Annotated[str, typer.Argument(help="What to fetch: yunet.")],
    url: Annotated[
        str | None, typer.Option(help="Another address of the same file, such as a mirror.")
    ] = None,
) -> None:
    """Download a detector's weights into the cache and check them against the pinned hash."""
    from mien.detectors.weights import YUNET
    from mien.detectors.weights import fetch as download
    from mien.errors import ConfigError

    if name != YUNET.name:
        raise ConfigError(f"nothing to fetch under the name {name!r}: expected {YUNET.name}")
    path = download(YUNET, url)
    print(f"{path} ({YUNET.licence} licence, SHA-256 {YUNET.sha256[:12]}...)")
