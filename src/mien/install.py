"""How to add an extra to this installation of mien: the command that an error message shows."""

from __future__ import annotations

import json
import shlex
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

HERE = Path(__file__)


def pip(verb: str = "install") -> str:
    """Return the beginning of a command that changes this environment: pip, or uv where it has no pip."""
    return f"pip {verb}" if find_spec("pip") else f"uv pip {verb} --python {shlex.quote(sys.executable)}"


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this installation: from a checkout, an address or an index."""
    checkout = HERE.parents[2]
    if (checkout / "pyproject.toml").is_file():
        where = "." if checkout == Path.cwd() else str(checkout)
        return f"{pip()} -e {shlex.quote(f'{where}[{extra}]')}"
    address = _installed_from()
    if address.startswith("file:") and (folder := Path(url2pathname(urlsplit(address).path))).is_dir():
        return f"{pip()} {shlex.quote(f'{folder}[{extra}]')}"
    return f"{pip()} {shlex.quote(f'mien[{extra}] @ {address}' if address else f'mien[{extra}]')}"


def _installed_from() -> str:
    """Return the address that this package was installed from; empty for a package index (PEP 610)."""
    try:
        found = json.loads(distribution("mien").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return ""
    address, version = str(found.get("url", "")), found.get("vcs_info", {})
    return f"{version['vcs']}+{address}@{version['commit_id']}" if version else address
