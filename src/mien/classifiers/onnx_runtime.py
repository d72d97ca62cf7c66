"""A classifier run by ONNX Runtime: the one that ships, with no torch installed.

Bundles, single graphs of ours and graphs of other tools are one class; only the place of their spec differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mien import files
from mien.bundle import read_model_file
from mien.classifiers import log_probabilities
from mien.classifiers.inputs import check_crops
from mien.classifiers.session import open_session
from mien.classifiers.spec import EXAMPLE, SUFFIXES, Spec, from_metadata, of_ours, read_spec
from mien.errors import BundleError, ConfigError
from mien.results import ModelId

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float32, Shaped, UInt8

    from mien.classifiers import Crops, RunOptions
    from mien.classifiers.session import Session
    from mien.preprocess import Preprocess

BATCH_SIZE = 256
"""Crops given to the runtime at once: enough to keep it busy, little memory."""
NUMBERS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
"""Types of input and output that are used, as ONNX Runtime calls them."""
SUM_TOLERANCE = 0.02
"""How far the sum of a row of probabilities may be from one; a softmax rounded to 8 bits is not exact."""


class OnnxClassifier:
    """A graph with one image input and one row of scores a crop, used as its spec says."""

    def __init__(self, identity: ModelId, spec: Spec, session: Session) -> None:
        """Check the graph's inputs and outputs against the spec.

        Raises:
            BundleError: they differ.
        """
        self.id, self.preprocess, self.device = identity, spec.preprocess, session.device
        self._spec, self._session, self._checked = spec, session, False
        self._image = _choose(session, "input", session.inputs, spec.input_name)
        self._scores = _choose(session, "output", session.outputs, spec.output_name)
        _check_shapes(session, spec, self._image, self._scores)

    def logits(self, crops: Crops) -> Float32[np.ndarray, "n k"]:
        """Return one row of logits a crop; n may be zero.

        Raises:
            DataError: not u8 [n, s, s, c] of this preprocessing.
            BundleError: the graph fails, or its output is not what the spec says.
        """
        check_crops(crops, self.preprocess)
        out = np.empty((len(crops), len(self.id.labels)), np.float32)
        step = self._batch_size or BATCH_SIZE
        for start in range(0, len(crops), step):
            out[start : start + step] = self._run(crops[start : start + step])
        return log_probabilities(out) if self._spec.output == "probabilities" else out

    @property
    def _batch_size(self) -> int | None:
        """The batch that the graph is fixed to, if it is."""
        size = self._image.shape[0]
        return size if isinstance(size, int) else None

    def _run(self, crops: UInt8[np.ndarray, "n s s c"]) -> Shaped[np.ndarray, "n k"]:
        image = self.preprocess.normalise(crops).astype(NUMBERS[self._image.type], copy=False)
        if self._spec.layout == "nhwc":
            image = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
        missing = (self._batch_size or len(image)) - len(image)
        if missing:
            image = np.concatenate([image, np.zeros((missing, *image.shape[1:]), image.dtype)])
        scores = self._session.run(self._scores.name, self._image.name, image)
        if scores.shape != (len(image), len(self.id.labels)):
            raise BundleError(
                f"model {self._session.name}: its graph gave {list(scores.shape)} for {len(image)} crops; expected "
                f"[{len(image)}, {len(self.id.labels)}]"
            )
        scores = scores[: len(crops)]
        if not np.isfinite(scores).all():
            raise BundleError(
                f"model {self._session.name}: its graph gave numbers that are not finite: is it damaged, or do its "
                "numbers overflow in 16 bits?"
            )
        self._check_output(scores)
        return scores

    def _check_output(self, scores: Shaped[np.ndarray, "n k"]) -> None:
        """Compare the first scores with what the spec says of them; later batches are not checked.

        Raises:
            BundleError: probabilities called logits, or the reverse.
        """
        if self._checked:
            return
        said, name = self._spec.output, self._session.name
        rounding = max(1e-5, float(np.finfo(scores.dtype).eps))
        if said == "logits" and are_probabilities(scores, rounding):
            raise BundleError(
                f"model {name}: its spec says logits, but every row is from 0 to 1 and sums to 1: write output = "
                f'"probabilities" in its spec'
            )
        if said == "probabilities" and not are_probabilities(scores, SUM_TOLERANCE):
            low, high, total = scores.min(), scores.max(), scores[0].sum()
            raise BundleError(
                f"model {name}: its spec says probabilities, but values are from {low:.3g} to {high:.3g} and the "
                f'first row sums to {total:.3g}: write output = "logits" in its spec, or export it with a softmax'
            )
        self._checked = True


def open_graph(
    identity: ModelId,
    preprocess: Preprocess,
    graph: bytes,
    *,
    threads: int | None = None,
    device: str = "cpu",
) -> OnnxClassifier:
    """Open a graph of ours, and check what it says of itself against its bundle.

    Raises:
        BundleError: not an ONNX graph, or labels, preprocessing or input size that don't fit it.
        ConfigError: the device is not there.
    """
    name, labels = identity.name, identity.labels
    session = open_session(name, graph, threads=threads, device=device)
    written = from_metadata(name, session.metadata)
    if written and written.labels != labels:
        raise BundleError(
            f"model {name}: its labels ({', '.join(labels)}) do not fit the weights, which have "
            f"{len(written.labels)} outputs for {', '.join(written.labels)}: use the bundle as it was written"
        )
    if written and written.preprocess != preprocess:
        raise BundleError(
            f"model {name}: its preprocessing differs from the one its weights were trained with"
        )
    opened = OnnxClassifier(identity, of_ours(name, labels, preprocess), session)
    if not written:
        raise BundleError(f"model {name}: its graph does not say its labels and preprocessing")
    return opened


def open_file(path: Path, options: RunOptions, spec: Spec | Path | None = None) -> OnnxClassifier:
    """Open an ``.onnx`` file; its spec is `spec`, a file beside it, or its metadata.

    Raises:
        ConfigError: another backend than ``onnx``, a wrong spec, or the device is not there.
        BundleError: not an ONNX graph, one without a spec, or one that differs from it.
    """
    if options.backend != "onnx":
        raise ConfigError(
            f"{path} is one graph, run by ONNX Runtime: backend {options.backend} needs a bundle"
        )
    graph = read_model_file(path, f"cannot read the model {path}")
    session = open_session(path.name, graph, threads=options.threads, device=options.device)
    beside = [path.with_name(path.stem + suffix) for suffix in SUFFIXES]
    written = spec or next((file for file in beside if file.is_file()), None)
    known: Spec | None
    if written:
        known = written if isinstance(written, Spec) else read_spec(written)
    else:
        known = from_metadata(path.name, session.metadata)
    if known is None:
        raise BundleError(
            f"{path} does not say its labels and preprocessing: write them into {beside[0].name} beside it (or "
            f"give another file, `spec=FILE`): {EXAMPLE}"
        )
    return OnnxClassifier(ModelId(path.stem, files.sha256(graph), known.labels), known, session)


def are_probabilities(scores: Shaped[np.ndarray, "n k"], tolerance: float) -> bool:
    """Return whether all values are from 0 to 1 and every row sums to one."""
    sums = scores.sum(axis=1, dtype=np.float64)
    return bool((scores >= 0).all() and (scores <= 1).all() and (np.abs(sums - 1) <= tolerance).all())


def _choose(session: Session, kind: str, tensors: Sequence[Any], name: str | None) -> Any:
    """Return the input or output that the spec names, or the only one.

    Raises:
        BundleError: there is no such one, or several and the spec names none.
    """
    listed = ", ".join(map(_described, tensors))
    if kind == "input" and len(tensors) != 1:
        raise BundleError(
            f"model {session.name}: its graph takes {listed}; expected one image and nothing else"
        )
    if name is None and len(tensors) > 1:
        raise BundleError(
            f"model {session.name}: its graph has {len(tensors)} outputs, {listed}: name the one with the scores, "
            f'such as output_name = "{tensors[0].name}", in its spec'
        )
    chosen = next((one for one in tensors if name in (None, one.name)), None)
    if chosen is None:
        raise BundleError(f"model {session.name}: its graph has no {kind} {name!r}; it has {listed}")
    return chosen


def _check_shapes(session: Session, spec: Spec, image: Any, scores: Any) -> None:
    side, channels = spec.preprocess.size_px, spec.preprocess.channels
    wanted = [channels, side, side] if spec.layout == "nchw" else [side, side, channels]
    fits = _fits(image.shape, wanted) and _fits(scores.shape, [len(spec.labels)])
    if not fits or not {image.type, scores.type} <= NUMBERS.keys():
        raise BundleError(
            f"model {session.name}: its graph takes {_described(image)} and gives {_described(scores)}; expected "
            f"[batch, {', '.join(map(str, wanted))}] and [batch, {len(spec.labels)}], both float, by its spec's "
            f"channels, size_px, layout and labels"
        )


def _fits(shape: Sequence[Any], wanted: Sequence[int]) -> bool:
    """Return whether a shape, without its batch, is as wanted; what it leaves open fits."""
    return len(shape) == 1 + len(wanted) and all(
        not isinstance(there, int) or there == number for there, number in zip(shape[1:], wanted, strict=True)
    )


def _described(tensor: Any) -> str:
    sizes = ", ".join("?" if size is None else str(size) for size in tensor.shape)
    return f"{tensor.name!r} {tensor.type.removeprefix('tensor(').removesuffix(')')} [{sizes}]"
