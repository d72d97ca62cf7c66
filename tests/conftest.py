"""Shared fixtures. Shapes in annotations are checked while tests run, by jaxtyping's pytest hook.

The package imports shape names for type checkers only, so that users neither install nor pay for
jaxtyping; here they are made visible to the hook, which reads annotations as text.
"""

from __future__ import annotations

import builtins
import copy
import functools
import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import jaxtyping
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

for _name in ("Bool", "Float32", "Int", "Num", "Shaped", "UInt8"):
    setattr(builtins, _name, getattr(jaxtyping, _name))

hypothesis.settings.register_profile("mien", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("mien")

REPOSITORY = Path(__file__).parent.parent


def lacking(what: str) -> None:
    """Skip where something is not installed; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real data and photos beside the checkout; where CI lacks it, that is a failure."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        lacking(f"no shared data beside the checkout, at {folder}")
    return folder


@pytest.fixture(scope="session")
def yunet_weights(shared: Path) -> Path:
    """Return YuNet's weights file."""
    return shared / "models" / "face_detection_yunet_2023mar.onnx"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return Debian's `chromium`, driven by Playwright, which downloads none of its own here."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        lacking("no chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *camera])
        yield opened
        opened.close()


@pytest.fixture(autouse=True, scope="session")
def one_table_of_operators() -> None:
    """Let torch's exporter build its table of ONNX operators once, not for every export, a second each."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


@pytest.fixture(autouse=True, scope="session")
def drawn_once() -> None:
    """Draw the pictures of `synthetic` once for every look of them, not for every command, two seconds each."""
    from mien.data import read

    drawn = functools.cache(read.draw_dataset)
    read.draw_dataset = lambda preprocess: copy.deepcopy(drawn(preprocess))


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return names of folders that are not there yet. Pytest's own would look through all folders of all tests."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def no_cache(caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the cache of fetched weights at an empty folder, so that no test depends on the user's own."""
    folder = next(caches)
    folder.mkdir()
    monkeypatch.setenv("MIEN_CACHE", str(folder))
    return folder


TWO_EPOCHS = [
    "epochs=2",
    "batch_size=16",
    "precision=32-true",
    "validation.split=test",
    "validation.keep=best",
]
POOL_LAST = "network_options.pool=last"
"""With this, two short epochs are enough to tell some classes apart."""


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a real bundle, trained for two short epochs on drawn faces."""
    from mien.config import read_recipe
    from mien.training.loop import train
    from tests.training.tiny import TINY, tiny_data

    out = tmp_path_factory.mktemp("tiny") / "tiny"
    recipe = read_recipe(TINY, [*TWO_EPOCHS, POOL_LAST])
    return train(
        recipe, tiny_data(), out, device="cpu", command="mien train nano --data synthetic --out tiny"
    )


@pytest.fixture(scope="session")
def tiny_members(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return three bundles of two architectures, the last one with another number range."""
    from mien.config import read_recipe
    from mien.training.loop import train
    from tests.training.tiny import TINY, tiny_data

    folder, made = tmp_path_factory.mktemp("members"), [tiny_bundle]
    settings = {
        "lenet": ["network=lenet", "optim.peak_lr=0.02"],
        "ranged": [POOL_LAST, "input.mean=[0.2]", "input.std=[1.0]", "seed=1"],
    }
    for name, own in settings.items():
        recipe = read_recipe(
            TINY,
            [*TWO_EPOCHS, *own],
        )
        made.append(train(recipe, tiny_data(), folder / name, device="cpu", command=f"mien train {name}"))
    return made


@pytest.fixture(scope="session")
def tiny_ensemble(tiny_members: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that joins three."""
    from mien import bundle
    from mien.exporting.ensemble import save_ensemble
    from tests.training.tiny import tiny_data

    out = tmp_path_factory.mktemp("joined") / "joined"
    save_ensemble([bundle.load(member) for member in tiny_members], tiny_data(), "test", out)
    return out
