"""Whose certificates are believed: the machine's choice (SSL_CERT_FILE, SSL_CERT_DIR), else Mozilla's list."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache

import httpx


class TrustStoreUnreadable(Exception):
    """The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read."""


def tls_context() -> ssl.SSLContext:
    """The context of every connection, made once: reading a hundred certificates takes longer than ten callbacks.

    Raises TrustStoreUnreadable.
    """
    return _read(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=4)
def _read(file: str | None, folder: str | None) -> ssl.SSLContext:
    named = file or folder
    try:
        if named and not os.path.exists(named):
            raise FileNotFoundError
        context = httpx.create_ssl_context()
    except OSError:  # ssl.SSLError is one
        raise TrustStoreUnreadable from None
    context.set_alpn_protocols(["http/1.1"])
    return context
