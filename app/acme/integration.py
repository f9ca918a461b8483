"""The integration with the gateway, whole: ask at login, send the browser away, and finish when it comes back."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, quote, urlsplit

import httpx

Flow = Literal["relay", "hosted"]
RELAYED = ("code", "state", "iss", "error", "error_description")


@dataclass(frozen=True)
class Pending:
    """What the session of the login remembers while the person is away. None of it may come from an address.

    `state` is what the answer must bring back: the gateway's own in the relay flow, ours in the hosted flow.
    """

    user_id: str
    verification_id: str
    flow: Flow
    state: str


@dataclass(frozen=True)
class Answer:
    """The gateway's decision: do what `action` says. With `redirect`, keep `pending` in the session."""

    action: Literal["continue", "redirect", "deny"]
    decision: dict[str, Any]
    pending: Pending | None = None


class ForeignResponse(Exception):
    """What arrived does not belong to this session. Nothing was sent to the gateway."""


class GatewayRefused(Exception):
    """The gateway refused the request and recorded nothing; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class GatewayUnavailable(Exception):
    """The gateway did not answer. Whether a login goes on without it is for the identity provider to say."""


async def start(gateway: httpx.AsyncClient, user_id: str, *, flow: Flow, return_to: str, **wishes: Any) -> Answer:
    """Ask whether this user must be verified. `wishes` are further members: email, purpose, force, locale."""
    hosted = {"return_to": return_to, "state": secrets.token_urlsafe(32)} if flow == "hosted" else {}
    decision = await _post(gateway, "/v1/verifications", {"user_id": user_id, "flow": flow, **hosted, **wishes})
    if decision["action"] != "redirect":
        return Answer(decision["action"], decision)
    state = hosted["state"] if hosted else parse_qs(urlsplit(decision["redirect_url"]).query)["state"][0]
    return Answer("redirect", decision, Pending(user_id, decision["verification"]["id"], flow, state))


async def finish(gateway: httpx.AsyncClient, pending: Pending, arrived: Mapping[str, str]) -> Answer:
    """Hand over what arrived at the continue URL, for the user of the session that began."""
    if not _same(arrived.get("state", ""), pending.state):  # a link that somebody else has made
        raise ForeignResponse
    names = RELAYED if pending.flow == "relay" else ("session_token",)
    body = {"user_id": pending.user_id, "verification_id": pending.verification_id}
    body |= {name: arrived[name] for name in names if name in arrived}
    try:
        decision = await _post(gateway, "/v1/callback", body)
    except GatewayUnavailable:  # the answer may have been lost: the same callback again gets the same answer
        decision = await _post(gateway, "/v1/callback", body)
    return Answer(decision["action"], decision)


async def reset(admin: httpx.AsyncClient, user_id: str, *, identity: bool) -> None:
    """Make the user's next login verify again; with `identity`, as anybody. It takes an administrator's key."""
    await _post(admin, f"/v1/users/{quote(user_id, safe='')}/reset", {"identity": identity})


async def _post(gateway: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send JSON to the gateway; the client has its address, the API key, and a time limit of 10 s."""
    try:
        response = await gateway.post(path, json=body)
        answer: dict[str, Any] = response.json()
    except (httpx.TransportError, ValueError) as error:
        raise GatewayUnavailable from error
    if response.status_code >= 500:
        raise GatewayUnavailable
    if response.status_code >= 400:
        raise GatewayRefused(answer["code"])
    return answer


def _same(given: str, kept: str) -> bool:
    return hmac.compare_digest(given.encode(), kept.encode())
