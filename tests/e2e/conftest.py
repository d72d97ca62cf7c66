"""Fixtures of the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import REPOSITORY
from tests.typed import WithoutTorch

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def run_without_torch() -> Iterator[WithoutTorch]:
    """Return what runs a command where torch cannot be imported."""
    light = WithoutTorch(REPOSITORY)
    yield light
    light.close()
