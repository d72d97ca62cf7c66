"""Every answer that is not a result: one JSON form (RFC 9457), mapped from exceptions in one place.

An answer holds no path, no traceback and no text of an unexpected exception.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from mien.errors import DataError, ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
CLIENT_LEFT = 499
"""Status in the metrics if the client closed the connection; nobody receives it."""
_log = logging.getLogger("mien.serve")


class Problem(Exception):  # noqa: N818 - named as the RFC names it
    """An answer that is not a result."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def busy(retry_after_s: int) -> Problem:
    """Return the answer for a request that finds no room."""
    return Problem(
        429, f"the service is busy: try again in {retry_after_s} s", {"Retry-After": str(retry_after_s)}
    )


def answer(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem as a response."""
    title = HTTPStatus(status).phrase if status != CLIENT_LEFT else "Client closed the connection"
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, dict(headers or {}), MEDIA_TYPE)


def translated(error: Exception) -> Problem:
    """Return the answer for an exception."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ImageError | DataError):  # about the picture, never about files of the server
        return Problem(422, str(error))
    if isinstance(error, HTTPException):
        return Problem(error.status_code, str(error.detail), error.headers)
    if isinstance(error, RequestValidationError):
        first: dict[str, Any] = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Problem(422, f"{where}: {first['msg']}")
    if isinstance(error, ClientDisconnect):
        return Problem(CLIENT_LEFT, "the client closed the connection")
    if isinstance(error, TimeoutError):
        return Problem(503, "the request took too long: send fewer or smaller pictures", {"Retry-After": "1"})
    _log.error("unexpected error", exc_info=error)
    return Problem(500, "internal error; the server's log has more")


async def handle(_: Request, error: Exception) -> Response:
    """Answer any exception."""
    found = translated(error)
    return answer(found.status, found.detail, found.headers)


def install(app: FastAPI) -> None:
    """Let `handle` answer every exception of an app."""
    for kind in (
        Problem,
        ImageError,
        DataError,
        HTTPException,
        RequestValidationError,
        ClientDisconnect,
        TimeoutError,
    ):
        app.add_exception_handler(kind, handle)
