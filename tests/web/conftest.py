"""The page in a real browser."""

from __future__ import annotations

import functools
import http.server
import os
import threading
from pathlib import Path

import pytest

from mien.exporting.web import runtime
from mien.exporting.web.write import detector_for, site, write
from tests.conftest import REPOSITORY, lacking

RUNTIME = Path(os.environ.get("MIEN_WEB_RUNTIME") or REPOSITORY / ".venv" / "cache" / runtime.folder().name)


@pytest.fixture(scope="session")
def runtime_folder():
    """Return the folder with the files of onnxruntime-web."""
    if not RUNTIME.is_dir():
        lacking(f"no onnxruntime-web in {RUNTIME}: MIEN_CACHE={RUNTIME.parent} mien fetch web-runtime")
    return RUNTIME


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory, yunet_weights, runtime_folder):
    """Return the page of the default model with YuNet."""
    out = tmp_path_factory.mktemp("page") / "site"
    write(site("default", detector=detector_for("yunet", yunet_weights), runtime_folder=runtime_folder), out)
    return out


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address(page_folder):
    handler = functools.partial(Quiet, directory=str(page_folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def page(browser, address):
    """Return the page, ready; its errors and every address that it asks for are kept in lists."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.mien_errors, opened.mien_addresses = [], []
    opened.on("pageerror", lambda error: opened.mien_errors.append(str(error)))
    opened.on("request", lambda request: opened.mien_addresses.append(request.url))
    opened.goto(address)
    opened.wait_for_selector("body[data-ready]", timeout=180_000)
    return opened
