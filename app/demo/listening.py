"""What a browser would show in its network tab, and the gateway's own requests, for Acme's pages.

They are heard where they arrive.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.acme import Step, Wire, credentials_shortened, secrets_shortened, traces

GATEWAY: Final = "Gateway"
SANDBOX: Final = "Sandbox"


@dataclass(frozen=True)
class _Leg:
    """A kind of request that Acme does not see; a group in its path is the verification's id."""

    receiver: str
    path: str
    sender: str
    note: str


_LEGS: Final = (
    _Leg(
        GATEWAY,
        "/v1/verifications/([^/]+)/launch",
        "Browser",
        "The gateway binds this browser to the verification with a cookie, and sends it on to Incode: here, the "
        "sandbox.",
    ),
    _Leg(
        GATEWAY,
        "/v1/callback",
        "Browser",
        "The gateway takes the browser back. It uses the code at once, keeps the result unconfirmed, and gives the "
        "browser a session token for Acme.",
    ),
    _Leg(
        SANDBOX,
        "/oauth2/authorize",
        "Browser",
        "At Incode, the person shows a document and a face now. The sandbox asks how the verification ends: the first "
        "request gets that page, the next one tells the choice.",
    ),
    _Leg(
        SANDBOX,
        "/.well-known/openid-configuration",
        GATEWAY,
        "The gateway learns Incode’s addresses. It remembers them for five minutes, so most logins need no such "
        "request.",
    ),
    _Leg(
        SANDBOX,
        "/oauth2/jwks",
        GATEWAY,
        "The gateway gets the keys that check the signature of the ID token. It remembers them for five minutes.",
    ),
    _Leg(
        SANDBOX,
        "/oauth2/token",
        GATEWAY,
        "The gateway exchanges the code for a signed ID token, whose signature and claims it checks. The code works "
        "once.",
    ),
    _Leg(SANDBOX, "/userinfo", GATEWAY, "The gateway gets the personal details of the verified person."),
)


@dataclass
class _Exchange:
    """One request and its answer, as bytes go by."""

    method: str
    path: str
    query: str
    headers: Headers
    began: float = field(default_factory=time.perf_counter)
    body: bytes = b""
    status: int = 0
    answer_headers: Headers = field(default_factory=Headers)
    answer: bytes = b""

    @property
    def sent(self) -> dict[str, str]:
        """The form of a POST, or the query."""
        return dict(parse_qsl(self.body.decode(errors="replace") if self.method == "POST" else self.query))

    @property
    def answered(self) -> dict[str, Any]:
        """Where the answer sends the browser, or its JSON; nothing of a page."""
        if location := self.answer_headers.get("Location"):
            return {"Location": location}
        is_json = "json" in self.answer_headers.get("Content-Type", "")
        return json.loads(self.answer) if is_json else {}


class Listening:
    """ASGI middleware that tells a wire of the requests that Acme does not see, and changes nothing."""

    def __init__(self, app: ASGIApp, receiver: str, wire: Wire) -> None:
        self._app = app
        self._legs = tuple(leg for leg in _LEGS if leg.receiver == receiver)
        self._wire = wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and listen where it is one of the legs."""
        leg = self._leg(scope) if scope["type"] == "http" else None
        if leg is None:
            await self._app(scope, receive, send)
        else:
            await self._listen(leg, scope, receive, send)

    def _leg(self, scope: Scope) -> _Leg | None:
        """The browser's requests at the gateway are GET; Acme notes its own POSTs itself."""
        found = (leg for leg in self._legs if re.fullmatch(leg.path, scope["path"]))
        return next((leg for leg in found if leg.receiver == SANDBOX or scope["method"] == "GET"), None)

    async def _listen(self, leg: _Leg, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(
            scope["method"], scope["path"], scope["query_string"].decode("ascii"), Headers(scope=scope)
        )

        async def hear() -> Message:
            message = await receive()
            exchange.body += message.get("body", b"")
            return message

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status, exchange.answer_headers = message["status"], Headers(raw=message["headers"])
            else:
                exchange.answer += message.get("body", b"")
                if not message.get("more_body", False):
                    self._note(leg, exchange)
            await send(message)

        await self._app(scope, hear, say)

    def _note(self, leg: _Leg, exchange: _Exchange) -> None:
        authorization = exchange.headers.get("Authorization", "")
        step = Step(
            leg.sender,
            leg.receiver,
            exchange.method,
            exchange.path,
            sent=secrets_shortened(exchange.sent),
            authorization=credentials_shortened(authorization) if authorization else "",
            note=leg.note,
            began=exchange.began,
        )
        step.end(exchange.status, exchange.answered)
        self._wire.note(
            step, traces(exchange.sent) | traces(exchange.answered) | _in_head(leg, exchange.path, authorization)
        )


def _in_head(leg: _Leg, path: str, authorization: str) -> frozenset[str]:
    """The verification's id in a path, and an access token.

    The client's own credentials are the same in every login.
    """
    ids = re.fullmatch(leg.path, path)
    scheme, _, token = authorization.partition(" ")
    return frozenset([*(ids.groups() if ids else ()), *([token] if scheme == "Bearer" else [])])
