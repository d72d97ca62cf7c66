"""A headless browser on this machine: it opens a page of this machine.

No browser driver is needed: the page sends its results to the server that it came from.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

from mien.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--mute-audio",
)  # fmt: skip
END_S = 10


def find() -> str:
    """Return the path of the browser.

    Raises:
        ConfigError: none is installed.
    """
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise ConfigError(
        f"no browser is installed here: expected one of {', '.join(NAMES)} (on Debian: apt install chromium)"
    )


@contextlib.contextmanager
def opened(url: str) -> Iterator[Callable[[], bool]]:
    """Show a page during the `with` block; yields a function that returns whether the browser still runs.

    Raises:
        ConfigError: no browser is installed.
    """
    with tempfile.TemporaryDirectory(prefix="mien-browser-", ignore_cleanup_errors=True) as profile:
        words = [find(), *QUIET, f"--user-data-dir={profile}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            words.append("--no-sandbox")  # the sandbox does not start for the administrator
        process = subprocess.Popen(  # noqa: S603 - the page is ours
            [*words, url], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield lambda: process.poll() is None
        finally:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
