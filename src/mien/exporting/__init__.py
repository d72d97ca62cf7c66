"""Convert a model into another form: one graph, a further graph in a bundle, a folder for a hub, a web page.

The check that both forms agree is here, too. torch is needed only if a network is converted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mien import bundle
from mien.data.read import read_given
from mien.errors import ConfigError, needs
from mien.options import PageOptions, ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.data.dataset import FaceDataset
    from mien.exporting.agreement import Agreement


def export(
    model: str | Path,
    to: str,
    out: str | Path,
    *,
    data: FaceDataset | str | Path | None = None,
    split: str | None = None,
    reading: ReadOptions | None = None,
    page: PageOptions | None = None,
    command: str = "",
    on_read: Callable[[FaceDataset], None] = lambda _: None,
) -> Agreement | None:
    """Convert a model, compare the result with the original, and write it into the new folder `out`.

    ``mien.export("run1", "int8", "small", data="fer2013.zip")``

    Args:
        model: a model folder or the name of a built-in model.
        to: ``onnx`` (one file and its description), ``int8``, ``fp16`` (a model with a further graph), ``hub`` (a
            folder to upload) or ``web`` (a page).
        out: a new folder.
        data: images to calibrate and check with: a dataset, or what `mien.read_dataset` can read. ``int8`` needs
            it; without it, the other forms are checked on drawn faces.
        split: the split that calibrates; by default the one that the model was trained on.
        reading: how `data` is read, if it is a path.
        page: options of a web page.
        command: the command that makes this again; the model card states it.
        on_read: called with the dataset before it is used.

    Returns how the result agrees with the original; None for ``hub`` and ``web``, which convert nothing.

    Raises:
        ConfigError: no such form, an option that it does not use, no images to calibrate with, or `out` holds a
            model already.
        DataError: no such data or split, or too few images.
        BundleError: no such model, or the result differs by more than the limits; nothing is written.
        OutputError: `out` can't be written.
    """
    out = Path(out)
    _check(to, has_data=data is not None, split=split, page=page)
    (reading or ReadOptions()).check_used(data)
    if to == "web":
        _page(str(model), out, page or PageOptions())
        return None
    with needs("export"):
        from mien.exporting.ship import check_target, ship

    check_target(to, out, has_data=data is not None)
    source = bundle.load(model)
    if data is not None:
        data = read_given(data, source.preprocess, options=reading)
        on_read(data)
    return ship(source, to, out, data=data, split=split, command=command)


def _check(to: str, *, has_data: bool, split: str | None, page: PageOptions | None) -> None:
    """Refuse options that would be ignored.

    Raises:
        ConfigError: says which option, and what it is for.
    """
    if split and not has_data:
        raise ConfigError(f"`split={split}` needs a dataset: give `data` too")
    if has_data and to in ("web", "hub"):
        raise ConfigError(f"`to={to}` takes the model as it is: leave out `data`")
    given = [
        name for name, value in vars(page or PageOptions()).items() if value != getattr(PageOptions, name)
    ]
    if given and to != "web":
        raise ConfigError(f"`{given[0]}` is for a web page: expected `to=web`, got `to={to}`")


def _page(model: str, out: Path, options: PageOptions) -> None:
    from mien.exporting.web.write import detector_for, site, write

    detector = detector_for(options.page_detector, options.detector_weights)
    write(site(model, backend=options.page_backend, detector=detector, runtime_folder=options.runtime), out)
