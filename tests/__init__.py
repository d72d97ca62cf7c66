"""Tests mirror the package; `tests.shapes` is loaded here so that jaxtyping's import hook finds it."""

from tests import shapes as shapes
