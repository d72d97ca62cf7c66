"""Read the pictures of a request: multipart, the bytes of one picture, or JSON with data URIs.

A body stays in memory and is never written to disk. No address and no path in a request is ever opened.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mien.serve.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.requests import Request

    from mien.serve.options import LimitOptions

FIELD = "images"
MULTIPART, JSON = "multipart/form-data", "application/json"
_NAME_CHARACTERS = 200
_COMMAS = 8
"""A JSON body has two commas for each picture; this many show that it has too many."""
_HOW = (
    f"send {MULTIPART} with files in the field {FIELD!r}, the bytes of one picture (image/jpeg, "
    f'application/octet-stream), or {JSON} as {{"{FIELD}": ["data:image/jpeg;base64,..."]}}'
)


class Picture(NamedTuple):
    """The content of one picture file, and the name that the client gave it."""

    data: bytes
    name: str = ""


class JsonBody(BaseModel):
    """A JSON body: pictures as data URIs."""

    model_config = ConfigDict(extra="forbid")

    images: list[str] = Field(description="Pictures as data URIs: `data:image/jpeg;base64,...`.")


class _InMemory(MultiPartParser):
    """Keep every file in memory: a body is at most `max_body_bytes`, and no picture is stored on disk."""

    spool_max_size = 0  # 0: never roll over to a file

    @property
    def begun(self) -> int:
        """Number of files that have begun; the last one may not be complete."""
        return self._current_files

    def close(self) -> None:
        """Close all files, also incomplete ones."""
        for file in self._files_to_close_on_error:
            file.close()


async def pictures_of(request: Request, limits: LimitOptions, count: Callable[[int], None]) -> list[Picture]:
    """Read the pictures of a request.

    Args:
        request: a request whose body has not been read yet.
        limits: limits of the body and the number of pictures.
        count: called with the number of bytes of each piece of the body; may raise to refuse them.

    Raises:
        Problem: 413, 415 or 422 say what is wrong with the body.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "the body is compressed: send it as it is, without Content-Encoding")
    known = kind in (MULTIPART, JSON, "application/octet-stream") or kind.startswith("image/")
    if not known:
        raise Problem(415, f"content type {kind[:60] or '(none)'!r} is not taken: {_HOW}")
    body = await _read(request, limits.max_body_bytes, count)
    if kind == MULTIPART:
        pictures = await _from_form(request, body, limits.max_pictures)
    elif kind == JSON:
        pictures = _from_json(body, limits.max_pictures)
    else:
        pictures = [Picture(body)]
    if not pictures:
        raise Problem(422, f"no picture in the request: {_HOW}")
    if len(pictures) > limits.max_pictures:
        raise Problem(413, f"{len(pictures)} pictures, the limit of a request is {limits.max_pictures}")
    return pictures


async def _read(request: Request, most: int, count: Callable[[int], None]) -> bytes:
    too_large = Problem(413, f"the body is larger than the limit of {most:,} bytes", {"Connection": "close"})
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated[:20]) > most:
        raise too_large
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise too_large
        count(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


async def _from_form(request: Request, body: bytes, most: int) -> list[Picture]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _InMemory(request.headers, stream(), max_files=most, max_fields=1)
    try:
        form = await parser.parse()
        if parser.begun != sum(isinstance(value, UploadFile) for _, value in form.multi_items()):
            raise Problem(422, "the multipart body ends too early: its last boundary is missing")
        pictures = []
        for field, value in form.multi_items():
            if field != FIELD or not isinstance(value, UploadFile):
                raise Problem(422, f"unexpected field {shown(field)!r}: {_HOW}")
            pictures.append(Picture(await value.read(), shown(value.filename or "")))
    except MultiPartException as error:
        if parser.begun > most:
            raise Problem(413, f"more than {most} pictures, the limit of a request") from error
        raise Problem(422, f"the multipart body cannot be read: {error.message}") from error
    except (UnicodeError, LookupError) as error:  # of the encoding that the header names
        raise Problem(422, f"the multipart body cannot be read: {error}") from error
    finally:
        parser.close()
    return pictures


def _from_json(body: bytes, most: int) -> list[Picture]:
    # counting is quick; to read millions of texts blocks the event loop
    if body.count(b",") > _COMMAS * (most + 1):
        raise Problem(413, f"a JSON body of far more pictures than {most}, the limit of a request")
    try:
        given = JsonBody.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Problem(422, f"JSON body: {where + ': ' if where else ''}{first['msg']}; {_HOW}") from error
    return [_from_uri(uri, number) for number, uri in enumerate(given.images)]


def _from_uri(uri: str, number: int) -> Picture:
    """Return the picture in a data URI; nothing else is taken, so that no address is ever opened."""
    head, comma, text = uri.partition(",")
    if not uri.startswith("data:") or not comma or not head.endswith(";base64"):
        raise Problem(
            422,
            f"{FIELD}.{number}: expected data:image/...;base64, and then the picture as base64, got a text that "
            f"begins with {uri[:12]!r}; addresses and paths are not opened: send the picture itself",
        )
    try:
        return Picture(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise Problem(422, f"{FIELD}.{number}: what follows base64, is not base64") from error


def shown(name: str) -> str:
    """Return a client's text in a form that can be repeated: the last part of a path, printable, of limited length.

    It is only shown; no file of that name is opened.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(one for one in last if not unicodedata.category(one).startswith("C"))
    return kept[:_NAME_CHARACTERS]
