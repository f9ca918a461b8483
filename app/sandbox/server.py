"""Serving the sandbox: on this machine only, unless somebody insists."""

from __future__ import annotations

import ipaddress

import uvicorn

from app.sandbox.sandbox import Sandbox


def refuse_public_host(host: str, *, allowed: bool) -> None:
    """Check that nobody else can reach the sandbox, which verifies whoever asks.

    Raises:
        ValueError: the host is not a loopback address, and that was not allowed.
    """
    if not allowed and not _is_loopback(host):
        raise ValueError(
            f"The sandbox verifies anybody, so it listens on loopback only (127.0.0.1, ::1, localhost), not {host!r}."
        )


def serve(sandbox: Sandbox, host: str, port: int, *, allow_public: bool = False) -> None:
    """Serve until interrupted.

    Raises:
        ValueError: the host is public, see `refuse_public_host`.
    """
    refuse_public_host(host, allowed=allow_public)
    # No access log: the query of an authorization request holds personal data, the redirect a code.
    uvicorn.run(sandbox.app, host=host, port=port, access_log=False, server_header=False)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
