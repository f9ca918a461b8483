"""A request as the provider reads it: its parameters, repeated ones included."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request


@dataclass(frozen=True)
class Incoming:
    """The parameters of the query, or for a POST those of the form.

    Empty ones count as omitted (RFC 6749 section 3.1).
    """

    pairs: tuple[tuple[str, str], ...]
    authorization: str | None

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters by name."""
        return dict(self.pairs)

    @property
    def repeated(self) -> frozenset[str]:
        """The names that came more than once, which RFC 6749 section 3.1 forbids."""
        return frozenset(name for name, times in Counter(name for name, _ in self.pairs).items() if times > 1)

    def credentials(self, scheme: str) -> str | None:
        """The credentials of the Authorization header, if it is of this scheme (RFC 9110 section 11.4)."""
        given, _, credentials = (self.authorization or "").partition(" ")
        return credentials.strip() if given.lower() == scheme else None


async def read(request: Request) -> Incoming:
    """Read a request; a body that is no form has no parameters."""
    text = request.url.query
    if request.method == "POST":
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await request.body()
        text = body.decode(errors="replace") if media_type == "application/x-www-form-urlencoded" else ""
    return Incoming(tuple(parse_qsl(text)), request.headers.get("authorization"))
