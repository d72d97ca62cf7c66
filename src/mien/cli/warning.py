"""How the command line shows a `MienWarning`."""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

from mien.errors import MienWarning
from mien.escapes import visible

_OPTION = re.compile(r"`([a-z_]+)`")
"""How messages name an option."""


def print_warnings(command: str) -> None:
    """From now on print every `MienWarning` of this process as one line on stderr, others as Python does."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **file: Any) -> None:
        if issubclass(category, MienWarning):
            line = _OPTION.sub(lambda name: "--" + name[1].replace("_", "-"), " ".join(str(message).split()))
            print(visible(f"{command}: warning: {line}"), file=sys.stderr)
        else:
            usual(message, category, *where, **file)

    warnings.showwarning = show
