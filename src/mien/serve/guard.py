"""Middleware for every request: checks host, API key and room in the queue; adds headers, times and counts."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders

from mien import files
from mien.errors import ConfigError
from mien.serve.options import LOOPBACK
from mien.serve.problems import CLIENT_LEFT, Problem, answer, translated

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mien.serve.engine import Engine
    from mien.serve.metrics import Metrics
    from mien.serve.options import ServeOptions

LEAST_KEY_CHARACTERS = 16
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "style-src 'self'", "connect-src 'self'",
        "img-src 'self' blob: data:", "media-src 'self' blob:", "worker-src 'self'", "base-uri 'none'",
        "form-action 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_WITH_KEY = ("/v1/", "/metrics")
"""Beginnings of the paths that need a key. The page is public, and monitoring has no key."""


def read_keys(path: Path) -> list[bytes]:
    """Return the digests of the keys in a file: one a line; blank lines and lines with # do not count.

    Raises:
        ConfigError: it cannot be read, has no key, or a key that is too short.
    """
    try:
        lines = [line.strip() for line in files.regular(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"cannot read `api_key_file` {path}: {why}") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"`api_key_file` {path} holds no key: write one key per line")
    if any(len(key) < LEAST_KEY_CHARACTERS for key in keys):
        raise ConfigError(
            f"`api_key_file` {path} has a key of fewer than {LEAST_KEY_CHARACTERS} characters: "
            "make one with python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return [hashlib.sha256(key.encode()).digest() for key in keys]


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(
        self, app: ASGIApp, *, options: ServeOptions, keys: list[bytes], state: Any, metrics: Metrics
    ) -> None:
        """`keys` are digests, as `read_keys` returns them; without any, everybody may use the service."""
        self.app, self.metrics, self._state, self._keys = app, metrics, state, keys
        self._hosts = (*LOOPBACK, options.host) if options.is_loopback else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and note its status and time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), CLIENT_LEFT

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            try:
                self._check(scope)
            except Problem as problem:
                self.metrics.rejected.labels(str(problem.status)).inc()
                await answer(problem.status, problem.detail, problem.headers)(scope, receive, note)
                return
            try:
                await self.app(scope, receive, note)
            except Exception as error:  # handled here, so that this answer has the headers, too
                if status != CLIENT_LEFT:
                    raise
                found = translated(error)
                await answer(found.status, found.detail, found.headers)(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.stage.labels("request").observe(time.perf_counter() - begun)

    def _check(self, scope: Scope) -> None:
        """Check the headers of a request, before its body is read.

        Raises:
            Problem: 400, 401 or 429.
        """
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        host = host[1:].partition("]")[0] if host.startswith("[") else host.rsplit(":", 1)[0]
        if self._hosts and host not in self._hosts:
            # Stops DNS rebinding: a foreign web page whose host name was pointed to this machine.
            raise Problem(400, "this service only answers to the name localhost")
        if self._keys and path.startswith(_WITH_KEY) and not self._has_key(headers):
            raise Problem(
                401, "an API key is needed: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
            )
        engine: Engine | None = getattr(self._state, "engine", None)
        if scope["method"] == "POST" and engine is not None:
            engine.gate.knock()

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip(" \t") if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        digest = hashlib.sha256(given.encode("latin-1")).digest()  # the bytes that came
        return (
            sum(hmac.compare_digest(digest, key) for key in self._keys) > 0
        )  # compares with every key, so that the time tells nothing
