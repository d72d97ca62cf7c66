"""Print the licence of each library that mien or one of its extras brings, as a Markdown table (``make licences``).

It reads the metadata of what is installed beside this Python, following the requirements of requirements. Libraries
whose metadata state no licence are shown with ``?``, and named at the end.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def wanted() -> dict[str, set[str]]:
    """Return each library that is needed on this machine, with the extras that bring it; `core` is none of them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, set[str]] = {}
    for group, lines in groups.items():
        if group == "all":
            continue
        for line in lines:
            one = Requirement(line)
            for extra in sorted(one.extras) if one.name == "mien" else []:
                for other in groups[extra]:
                    follow(Requirement(other), group, found)
            if one.name != "mien":
                follow(one, group, found)
    return found


def follow(one: Requirement, group: str, found: dict[str, set[str]]) -> None:
    """Add a library and what it needs itself."""
    name = canonicalize_name(one.name)
    if one.marker and not any(one.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
        return
    if name == "mien" or group in found.get(name, set()):
        return
    found.setdefault(name, set()).add(group)
    try:
        needs = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for inner in map(Requirement, needs):
        if inner.marker is None or any(
            inner.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)
        ):
            follow(Requirement(str(inner).split(";")[0]), group, found)


def licence(of: Distribution) -> str:
    """Return the licence as the metadata says: an SPDX expression, classifiers, or the first line of a text."""
    facts = of.metadata
    if expression := facts.get("License-Expression"):
        return expression
    classified = [
        line.rsplit(" :: ", 1)[-1]
        for line in facts.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    named = [line for line in classified if line != "OSI Approved"]
    text = (facts.get("License") or "").strip().splitlines()
    return ", ".join(named) or (text[0][:60] if text else "?")


def main() -> None:
    """Print the table, and on stderr what states no licence or is not installed."""
    print("| library | version | licence | brought by |\n|---|---|---|---|")
    silent = []
    for name, groups in sorted(wanted().items()):
        try:
            here = distribution(name)
            version, said = here.version, licence(here)
        except PackageNotFoundError:
            version, said = "not installed here", "?"
        silent += [name] * (said == "?")
        by = "core" if "core" in groups else ", ".join(sorted(groups))
        print(f"| {name} | {version} | {said} | {by} |")
    if silent:
        print(f"no licence is known of: {', '.join(silent)}", file=sys.stderr)


if __name__ == "__main__":
    main()
