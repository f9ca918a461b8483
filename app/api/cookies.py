"""The cookies that bind a browser to an attempt: one for each attempt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from starlette.responses import Response

from app.core.domain import ATTEMPT_ID
from app.core.lifetimes import CONFIRMABLE_FOR

# Proxies take a request's headers up to some size (nginx: 8 KB a line), and a person finishes one login at a time.
MOST_KEPT: Final = 5


class BindingCookies:
    """Names, reads, sets and drops the cookies.

    Over https the `__Host-` prefix keeps a sibling subdomain from planting one.
    """

    def __init__(self, public_url: str, lifetime: timedelta) -> None:
        self._secure = public_url.startswith("https:")
        self._prefix = "__Host-" if self._secure else ""
        self._lifetime = lifetime + CONFIRMABLE_FOR

    def read(self, cookies: Mapping[str, str]) -> dict[str, str]:
        """The binding cookies among a request's, by attempt id, the oldest first (RFC 6265 section 5.4)."""
        names = {name.removeprefix(self._prefix): name for name in cookies if name.startswith(self._prefix)}
        return {attempt_id: cookies[name] for attempt_id, name in names.items() if ATTEMPT_ID.fullmatch(attempt_id)}

    def bind(self, response: Response, attempt_id: str, value: str, *, beside: Mapping[str, str]) -> None:
        """Bind the browser that gets `response`. Of the cookies that it holds, `beside`, only the newest are kept."""
        for surplus in list(beside)[: max(0, len(beside) - MOST_KEPT + 1)]:
            self._set(response, surplus, "", timedelta(0))
        self._set(response, attempt_id, value, self._lifetime)

    def release(self, response: Response, attempt_id: str, held: Mapping[str, str]) -> None:
        """Let go of an attempt that has ended, as soon as nobody reloads its pages any more."""
        if attempt_id in held:
            self._set(response, attempt_id, held[attempt_id], CONFIRMABLE_FOR)

    def _set(self, response: Response, attempt_id: str, value: str, lasts: timedelta) -> None:
        # The prefix demands Path=/, also where PUBLIC_URL has a path of its own.
        response.set_cookie(
            self._prefix + attempt_id,
            value,
            max_age=int(lasts.total_seconds()),
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )
