"""Find ONNX graphs that keep weights in other files, without the `onnx` package.

ONNX calls this *external data*. A graph given as bytes has no folder of its own, so ONNX Runtime would look for the
file below the working directory and read whatever lies there, unhashed. `mien` refuses such graphs.

An ONNX file is a protobuf message. This module walks through its fields just far enough to see every tensor; field
names and numbers are those of `onnx.proto`. What it does not check: whether the graph is valid in any other way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGES: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""Fields of each message that lead to tensors, by number."""
DATA_LOCATION = 14
"""The field of a tensor that is not zero where its data are in another file."""
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10


def has_external_data(graph: bytes) -> bool:
    """Return whether any tensor of an ONNX file keeps its data in another file.

    Raises:
        ValueError: this is not a protobuf message, or a damaged one.
    """
    unread = [("ModelProto", 0, len(graph))]
    while unread:  # a stack, not recursion: the depth is the file's choice
        message, start, end = unread.pop()
        for field, wire, value, stop in _fields(graph, start, end):
            if wire == _LENGTH and (inner := MESSAGES[message].get(field)):
                unread.append((inner, value, stop))
            elif wire == _VARINT and message == "TensorProto" and field == DATA_LOCATION and value:
                return True
    return False


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, value (or where it begins) and end of each field of a message."""
    while start < end:
        tag, start = _varint(data, start, end)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, stop = _varint(data, start, end)
        elif wire == _LENGTH:
            length, value = _varint(data, start, end)
            stop = value + length
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            value, stop = start, start + (8 if wire == _EIGHT_BYTES else 4)
        else:
            raise ValueError(f"wire type {wire}")
        if stop > end:
            raise ValueError("a field ends behind its message")
        yield field, wire, value, stop
        start = stop


def _varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Return an integer of protobuf's variable length and where it ends."""
    value = 0
    for number, byte in enumerate(data[start : min(end, start + _LONGEST_VARINT)]):
        value |= (byte & 0x7F) << (7 * number)
        if byte < 0x80:
            return value, start + number + 1
    raise ValueError("an integer without an end")
