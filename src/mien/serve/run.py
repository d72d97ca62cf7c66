"""Start the server: one process, or several on one socket. Nothing else may run in this process."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from mien import bundle
from mien.detectors import auto_advice
from mien.errors import BundleError, ConfigError
from mien.exporting.web import runtime
from mien.exporting.web.write import GRAPHS, detector_for, site
from mien.options import PAGE_DETECTORS
from mien.pipeline import Pipeline
from mien.serve.app import make_app
from mien.serve.metrics import SHARED_FOLDER
from mien.workers import cores

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from mien.serve.options import LimitOptions, ServeOptions

BACKLOG = 256
"""Number of connections that may wait in the system's queue."""


@dataclass(frozen=True)
class Service:
    """Everything that a server process needs; it can be pickled, so that further processes can be started."""

    pipeline: dict[str, Any]
    """Arguments of `Pipeline`."""
    options: ServeOptions
    limits: LimitOptions
    workers: int | None = None
    """Number of pictures that each process works on at once; None: one per core."""

    def app(self) -> FastAPI:
        """Return the app of one process."""
        return make_app(self.open, self.options, self.limits, self.workers, self.page)

    def open(self) -> Pipeline:
        """Open the model and the detector."""
        pipeline = Pipeline(**self.pipeline)
        if cores() > 1 and not pipeline.finds_one_at_a_time:
            import cv2

            cv2.setNumThreads(1)  # OpenCV's own threads would compete with the workers
        return pipeline

    def page(self) -> dict[str, bytes] | None:
        """Return the files of the page; None if its runtime was not fetched, or the model is not a bundle."""
        if not runtime.is_there():
            return None
        backend = self.pipeline.get("backend", "onnx")
        try:
            model = self.pipeline.get("model", bundle.DEFAULT_MODEL)
            name = self.pipeline.get("detector", "auto")
            own = name in PAGE_DETECTORS
            found = detector_for(
                name if own else "auto", self.pipeline.get("detector_weights") if own else None
            )
            return site(model, backend=backend if backend in GRAPHS else "onnx", detector=found)
        except (BundleError, ConfigError) as error:
            logging.getLogger("mien.serve").warning("no page: %s", error)
            return None


def serve(service: Service, say: Callable[[str], None]) -> None:
    """Serve until a signal to stop; requests that have begun are answered first.

    Raises:
        ConfigError: the address is in use or not of this machine, or the file of keys cannot be used.
        BundleError: the model cannot be loaded.
    """
    options = service.options
    config = uvicorn.Config(
        service.app, factory=True, workers=options.processes, backlog=BACKLOG, access_log=False, server_header=False,
        date_header=True, proxy_headers=False, log_level="warning", timeout_graceful_shutdown=options.stop_s,
        http="httptools", ws="none", timeout_keep_alive=5,
    )  # fmt: skip
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every broken body
    service.app()  # so that a wrong key file is an error before the port is opened
    facts = service.open().facts  # and a wrong model, too; it is not kept: the app opens its own
    if service.pipeline.get("detector") == "auto":
        say(auto_advice(service.pipeline.get("detector_weights")))
    else:
        say(f"detector: {facts['detector']}")
    with listening(options) as sock:
        shown = f"[{options.host}]" if ":" in options.host else options.host
        say(f"listening on http://{shown}:{sock.getsockname()[1]}/ (stop with Ctrl-C)")
        if options.processes == 1:
            with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again, after the last answer
                uvicorn.Server(config).run(sockets=[sock])
            return
        with tempfile.TemporaryDirectory(prefix="mien-metrics-") as folder:
            os.environ[SHARED_FOLDER] = folder  # read by the metrics library in the processes that start now
            Multiprocess(config, sockets=[sock]).run()


def listening(options: ServeOptions) -> socket.socket:
    """Return a socket that takes connections.

    Raises:
        ConfigError: the address is in use or not of this machine.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((options.host, options.port))
        sock.listen(BACKLOG)  # connections wait from here on, until a process takes them
    except (OSError, TypeError, UnicodeError) as error:  # the last two: text that cannot be a host's name
        sock.close()
        raise ConfigError(
            f"cannot listen on {options.host}:{options.port}: {getattr(error, 'strerror', None) or error}; choose"
            " another `port` or `host`"
        ) from error
    sock.set_inheritable(True)
    return sock
