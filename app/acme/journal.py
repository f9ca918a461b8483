"""What happened on the wire during one login, in a form that one can show: secrets are shortened as they are noted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import httpx

_SECRETS: Final = frozenset({
    "code", "session_token", "state", "nonce", "code_challenge", "code_verifier", "client_secret", "client_assertion",
    "access_token", "id_token",
})  # fmt: skip
_ADDRESSES: Final = frozenset({"redirect_url", "Location"})


@dataclass
class Step:
    """One request and its answer. Without a status nothing has come back."""

    sender: str
    receiver: str
    method: str
    address: str
    sent: Any = None
    authorization: str = ""
    status: int | None = None
    answered: Any = None
    note: str = ""
    milliseconds: float | None = None
    began: float = field(default_factory=time.perf_counter)

    @property
    def ended(self) -> float:
        """When the answer was there; without one, when the request began."""
        return self.began + (self.milliseconds or 0) / 1000

    @property
    def digest(self) -> str:
        """The answer in a few words."""
        match self.answered:
            case {"action": action, "reason": reason}:
                return f"{action}: {reason}"
            case {"code": code} | {"error": code}:
                return str(code)
            case {"Location": str(location)}:
                return "to " + urlsplit(location).path
            case _:
                return ""

    def end(self, status: int | None = None, answered: Any = None) -> None:
        """Note the answer, and how long it took."""
        self.milliseconds = (time.perf_counter() - self.began) * 1000
        self.status, self.answered = status, secrets_shortened(answered)


@dataclass(frozen=True)
class Moment:
    """A step in its place.

    It has the seconds since the first one began, and the number of the step that waited for it, if any did.
    """

    step: Step
    after: float
    within: int | None
    depth: int


def timeline(steps: Iterable[Step]) -> list[Moment]:
    """The steps in the order in which they began, each inside those that had not ended yet."""
    moments: list[Moment] = []
    waiting: list[tuple[int, Step]] = []
    for number, step in enumerate(sorted(steps, key=lambda step: step.began), start=1):
        waiting = [(outer, other) for outer, other in waiting if other.ended > step.began]
        first = moments[0].step.began if moments else step.began
        moments.append(Moment(step, step.began - first, waiting[-1][0] if waiting else None, len(waiting)))
        waiting.append((number, step))
    return moments


class Journal:
    """The steps of one login that Acme sees. `traces` are values that tell which others belong to it."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.traces: frozenset[str] = frozenset()

    def begin(self, sender: str, receiver: str, method: str, path: str, *, sent: Any = None) -> Step:
        """Note a request that goes out now."""
        step = Step(sender, receiver, method, path, sent=secrets_shortened(sent))
        self.steps.append(step)
        return step


class NotedTransport(httpx.AsyncBaseTransport):
    """Passes Acme's requests on to the gateway, and notes them. The transport beneath stays open."""

    def __init__(self, beneath: httpx.AsyncBaseTransport, journal: Journal) -> None:
        self._beneath = beneath
        self._journal = journal

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read its whole answer."""
        sent = json.loads(request.content) if request.content else None
        step = self._journal.begin("Acme", "Gateway", request.method, request.url.raw_path.decode("ascii"), sent=sent)
        step.authorization = credentials_shortened(request.headers["Authorization"])
        try:
            response = await self._beneath.handle_async_request(request)
            await response.aread()
        except httpx.TransportError:
            step.end()
            step.note = "No answer came."
            raise
        is_json = "json" in response.headers.get("Content-Type", "")
        step.end(response.status_code, json.loads(response.content) if is_json else None)
        return response


def secrets_shortened(value: Any) -> Any:
    """JSON with its secrets shortened. The `code` of an error, which has a `detail` beside it, is none."""
    if isinstance(value, Mapping):
        secret = _SECRETS - {"code"} if "detail" in value else _SECRETS
        return {name: _member(name, member, secret) for name, member in value.items()}
    if isinstance(value, list):
        return [secrets_shortened(member) for member in value]
    return value


def _member(name: str, value: Any, secret: frozenset[str]) -> Any:
    if isinstance(value, str) and name in secret:
        return shortened(value)
    if isinstance(value, str) and name in _ADDRESSES:
        return _shown_address(value)
    return secrets_shortened(value)


def _shown_address(address: str) -> str:
    parts = urlsplit(address)
    pairs = [_parameter(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
    return urlunsplit(parts._replace(query="&".join(pairs)))


def _parameter(name: str, value: str) -> str:
    return f"{name}={shortened(value) if name in _SECRETS else quote(value, safe=':/@')}"


def credentials_shortened(authorization: str) -> str:
    """An Authorization header with its secret shortened."""
    scheme, _, secret = authorization.partition(" ")
    return f"{scheme} {shortened(secret)}"


def shortened(secret: str) -> str:
    """Enough of a secret to recognize it, and too little to use it."""
    return secret[:6] + "…"
