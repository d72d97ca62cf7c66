"""The page in a real browser. Debian's `chromium` is driven by Playwright, which downloads none of its own here."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest

from mien.exporting.web import runtime
from mien.exporting.web.write import at_hand, site, write
from tests.conftest import REPOSITORY

RUNTIME = Path(os.environ.get("MIEN_WEB_RUNTIME") or REPOSITORY / ".venv" / "cache" / runtime.folder().name)


def lacking(what: str) -> None:
    """Skip where something is not installed; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory, yunet_weights):
    """Return the page of the default model with YuNet."""
    if not RUNTIME.is_dir():
        lacking(f"no onnxruntime-web in {RUNTIME}: MIEN_CACHE={RUNTIME.parent} mien fetch web-runtime")
    out = tmp_path_factory.mktemp("page") / "site"
    write(site("default", detector=at_hand(yunet_weights), runtime_folder=RUNTIME), out)
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
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        lacking("no chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *camera])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def page(browser, address):
    """Return the page, ready; its errors and every address that it asks for are kept in lists."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.mien_errors, opened.mien_addresses = [], []
    opened.on("pageerror", lambda error: opened.mien_errors.append(str(error)))
    opened.on("request", lambda request: opened.mien_addresses.append(request.url))
    opened.goto(address)
    opened.wait_for_selector("body[data-ready]", timeout=60_000)
    return opened
