"""Options of the service: where it listens, its limits, who may use it. Importing it is light."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass, fields
from pathlib import Path  # noqa: TC003 - the command line reads the types of the fields

from mien.errors import ConfigError
from mien.options import check_least, option

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIB = 2**20
LARGEST = 10**12
"""No limit is larger: more is a mistake, and the largest numbers of a float are no whole numbers of bytes."""


@dataclass(frozen=True)
class ServeOptions:
    """Where the service listens, and who may use it."""

    host: str = option("127.0.0.1", "Address to listen on; by default only this machine can connect.")
    port: int = option(8000, "Port to listen on; 0 takes a free one.")
    processes: int = option(1, "Server processes; each loads the model and has its own queue.")
    api_key_file: Path | None = option(
        None, "File with one API key per line; requests without one of them are refused.", metavar="FILE"
    )
    cors_origin: str | None = option(
        None, "Origins of web pages that may call the service from a browser, separated by commas.",
        metavar="ORIGINS",
    )  # fmt: skip
    stop_s: int = option(30, "Seconds that running requests may still take after a signal to stop.")

    def __post_init__(self) -> None:
        """Check each option.

        Raises:
            ConfigError: a number out of range, or a text that is not an origin.
        """
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"`port` must be from 0 to 65535, got {self.port}")
        check_least(self, 1, "processes", "stop_s")
        for origin in self.origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise ConfigError(
                    f"`cors_origin` expects origins such as https://example.org, got {origin!r}"
                )

    @property
    def origins(self) -> list[str]:
        """The origins that may call the service."""
        return [one.strip() for one in (self.cors_origin or "").split(",") if one.strip()]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host in LOOPBACK


@dataclass(frozen=True)
class LimitOptions:
    """Limits of a request, and how requests share the work."""

    max_body_mb: float = option(32.0, "Largest request body, in MiB.")
    max_pixels: int = option(40_000_000, "Largest picture, in pixels.")
    max_pictures: int = option(32, "Most pictures in one request.")
    max_faces: int = option(200, "Most faces in one picture; a picture with more is an error.")
    timeout_s: float = option(30.0, "Seconds that a request may take, its upload included.")
    queue: int = option(
        64, "Most pictures of a process that wait or are worked on; a further request gets status 429."
    )
    max_batch: int = option(
        64, "Crops of faces, of all requests, after which a batch takes no more. The crops of a photo are never "
        "divided, so a batch can have more.",
    )  # fmt: skip
    max_wait_ms: float = option(
        2.0, "Longest wait for crops of other requests, in milliseconds; a lone request does not wait."
    )

    def __post_init__(self) -> None:
        """Check each option.

        Raises:
            ConfigError: a number that is not positive (`max_wait_ms` may be 0), or more pictures in a request than in
                the queue.
        """
        for one in fields(self):
            value, may_be_zero = getattr(self, one.name), one.name == "max_wait_ms"
            if not (0 < value <= LARGEST or (may_be_zero and value == 0)):
                wanted = "0 or a positive number" if may_be_zero else "a positive number"
                raise ConfigError(f"`{one.name}` must be {wanted} up to {LARGEST:,}, got {value:g}")
        if self.max_pictures > self.queue:
            raise ConfigError(
                f"`max_pictures` ({self.max_pictures}) is more than `queue` ({self.queue}): "
                "a request of that size could never be served"
            )

    @property
    def max_body_bytes(self) -> int:
        """The largest body in bytes."""
        return int(self.max_body_mb * MIB)
