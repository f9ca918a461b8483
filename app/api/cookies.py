"""The cookies that bind a browser to an attempt: one for each attempt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from starlette.responses import Response

from app.core.lifetimes import CONFIRMABLE_FOR


class BindingCookies:
    """Names, reads and sets the cookies. Over https the `__Host-` prefix keeps a sibling subdomain from planting one."""

    def __init__(self, public_url: str, lifetime: timedelta) -> None:
        self._secure = public_url.startswith("https:")
        self._prefix = "__Host-" if self._secure else ""
        self._max_age = int((lifetime + CONFIRMABLE_FOR).total_seconds())

    def read(self, cookies: Mapping[str, str]) -> dict[str, str]:
        """The binding cookies among a request's, by attempt id."""
        begins = self._prefix + "idv_"
        return {name.removeprefix(self._prefix): value for name, value in cookies.items() if name.startswith(begins)}

    def set(self, response: Response, attempt_id: str, value: str) -> None:
        """Bind the browser that gets `response`."""
        response.set_cookie(
            self._prefix + attempt_id,
            value,
            max_age=self._max_age,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )
