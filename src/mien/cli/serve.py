"""``mien serve``: the HTTP service and the page."""

from __future__ import annotations

from typing import Annotated

import typer

from mien.cli.command import command
from mien.errors import needs
from mien.options import LookOptions, RunOptions
from mien.serve.options import LimitOptions, ServeOptions


@command("mien serve", "mien serve my-model --port 9000 --api-key-file keys.txt")
def serve(
    serving: ServeOptions,
    limits: LimitOptions,
    look: LookOptions,
    run: RunOptions,
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="A model folder or a built-in name (see `mien models`).")
    ] = "default",
) -> None:
    """Answer HTTP requests: find faces in pictures and classify their expressions.

    Only this machine can connect unless --host says otherwise. Pictures are neither stored nor logged.
    """
    from mien.cli.terminal import complain

    with needs("serve"):
        from mien.serve.run import Service
        from mien.serve.run import serve as start

    arguments = {**look.of_pipeline(), **vars(run), "threads": run.threads or 1, "model": model}
    if not serving.is_loopback and not serving.api_key_file:
        complain(
            f"{serving.host}: everybody who reaches this address can use the service; see --api-key-file"
        )
    start(Service(arguments, serving, limits, look.workers), complain)
