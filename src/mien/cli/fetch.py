"""``mien fetch``: weights of a detector, from the network, because it is asked to."""

from __future__ import annotations

from typing import Annotated

import typer

from mien.cli.command import command


@command("mien fetch yunet")
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to download: yunet.")],
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another address of the same file, such as a mirror.")
    ] = None,
) -> None:
    """Download the weights of a face detector.

    The file goes to the cache folder, and its SHA-256 is checked. This uses the network.
    """
    from mien.cli.terminal import say
    from mien.detectors.weights import YUNET
    from mien.detectors.weights import fetch as download
    from mien.errors import ConfigError

    if name != YUNET.name:
        raise ConfigError(f"nothing to download under the name {name!r}: expected {YUNET.name}")
    path = download(YUNET, url)
    say(f"{path} ({YUNET.licence} licence, SHA-256 {YUNET.sha256[:12]}...)")
