"""``mien fetch``: download the weights of a detector or the runtime of the web page, at the user's request."""

from __future__ import annotations

from typing import Annotated

import typer

from mien.cli.command import command


@command("mien fetch yunet", "mien fetch web-runtime")
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to download: yunet or web-runtime.")],
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another address of the same file, such as a mirror.")
    ] = None,
) -> None:
    """Download the weights of a face detector, or the runtime of the web page.

    The files go to the cache folder, and their hashes are checked. This uses the network.
    """
    from mien.cli.terminal import say
    from mien.detectors.weights import YUNET
    from mien.detectors.weights import fetch as download
    from mien.errors import ConfigError
    from mien.exporting.web import runtime

    if name == runtime.NAME:
        say(f"{runtime.fetch(url)} (onnxruntime-web {runtime.VERSION}, {runtime.LICENCE} licence)")
        return
    if name != YUNET.name:
        raise ConfigError(
            f"nothing to download under the name {name!r}: expected {YUNET.name} or {runtime.NAME}"
        )
    path = download(YUNET, url)
    say(f"{path} ({YUNET.licence} licence, SHA-256 {YUNET.sha256[:12]}...)")
