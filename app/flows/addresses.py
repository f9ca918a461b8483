"""Where a browser may be sent back to in the hosted flow: only to addresses that the operator has listed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_plus, urlencode, urlsplit

from app.oidc import is_safe_url

MAX_LENGTH = 2048
_OURS = frozenset({"state", "session_token"})


def is_allowed(url: str, allowed: Sequence[str]) -> bool:
    """Whether `url` is a listed address, compared character by character but for its query (RFC 9700 section 4.1.3).

    No fragment, and no parameter in the query that this service adds: the caller could not tell ours from a stranger's.
    """
    address, _, query = url.partition("?")
    if len(url) > MAX_LENGTH or not is_safe_url(url, allow_http=True):
        return False
    if address not in {entry.partition("?")[0] for entry in allowed}:
        return False
    # Some servers also split a query at semicolons.
    names = {unquote_plus(part.partition("=")[0]) for part in re.split("[&;]", query)}
    return not names & _OURS


def with_answer(url: str, *, state: str | None, session_token: str | None) -> str:
    """`url` with the caller's own state and the session token added to its query, as far as there are any.

    What the query holds already is left as it was written: it may mean more to the caller than pairs of text do.
    """
    given = {"state": state, "session_token": session_token}
    ours = urlencode({name: value for name, value in given.items() if value is not None})
    address, _, query = url.partition("?")
    return f"{address}?{query}{'&' if query else ''}{ours}" if ours else url


def site_of(url: str) -> str:
    """The site's own address, without anything that belongs to somebody's visit there."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"
