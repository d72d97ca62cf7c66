"""Serve the page from memory. Only the file names that `mien export --to web` writes exist."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request  # noqa: TC002 - FastAPI reads it from the signature
from starlette.responses import HTMLResponse, Response

from mien.serve.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastapi import FastAPI

INDEX = "index.html"
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "mjs": "text/javascript; charset=utf-8",
    "wasm": "application/wasm",
}
WITHOUT = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>mien</title><h1>mien</h1>'
    "<p>The service runs: POST a picture to <code>/v1/predict</code>; "
    '<a href="/openapi.json">/openapi.json</a> describes it.</p>'
    "<p>To see the page that classifies in the browser: stop the service, run "
    "<code>mien fetch web-runtime</code>, and start it again.</p></html>"
)
"""The page that is shown if the runtime was not fetched."""


def add_page(app: FastAPI, files: Callable[[], Mapping[str, bytes] | None]) -> None:
    """Add the page's files to an app; `files` is called once, at the first request."""
    kept: dict[str, tuple[bytes, bytes, str]] = {}

    def prepare() -> None:
        made = {INDEX: (WITHOUT.encode(), gzip.compress(WITHOUT.encode()), '"none"')}
        for name, content in (files() or {}).items():
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            made[name] = content, gzip.compress(content, 6, mtime=0), tag
        kept.update(made)  # all at once: other requests come meanwhile

    @app.get("/", include_in_schema=False, response_class=HTMLResponse)
    @app.get("/{name}", include_in_schema=False)
    async def page(request: Request, name: str = INDEX) -> Response:
        """Return one file of the page.

        Raises:
            Problem: 404, the page has no such file.
        """
        if not kept:
            await run_in_threadpool(prepare)
        if name not in kept:
            raise Problem(404, "there is nothing under this address")
        content, packed, tag = kept[name]
        zipped = "gzip" in request.headers.get("accept-encoding", "")
        headers = {"Cache-Control": "no-cache", "ETag": tag, "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        if zipped:
            headers["Content-Encoding"] = "gzip"
        kind = _TYPES.get(name.rsplit(".", 1)[-1], "application/octet-stream")
        return Response(packed if zipped else content, media_type=kind, headers=headers)
