"""What identity providers ask of the service, as requests that are made before they are timed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import quote

import httpx

from tests.bench.figures import Goal
from tests.bench.load import Work, drive, request
from tests.bench.servers import POSTGRESQL, SQLITE, Provider, Service
from tests.harness.hooks import asked
from tests.harness.service import Json, query_of
from tests.system.processes import IDP_KEY

VERIFIED = "bench|verified"
AT_ONCE = 500
"""For how many authorization requests the provider signs at a time."""
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of request. `work` makes them for a service: as many as are wanted, or without end where they can be
    made while the load goes on.
    """

    name: str
    title: str
    work: Callable[[Service, int], Work]
    goals: dict[str, Goal] = field(default_factory=dict)
    tls: bool = False
    warm_up_seconds: float = 0.5


def posted(path: str, body: Json) -> bytes:
    """A request with a JSON body, and the key of an identity provider."""
    return request("POST", path, IDP_KEY, json.dumps(body).encode())


def asked_for(user_id: str) -> bytes:
    """The request for a user."""
    return request("GET", f"/v1/users/{quote(user_id, safe='')}", IDP_KEY)


def repeated(sent: bytes, expected: bytes, _service: Service, _count: int) -> Work:
    """The same request over and over."""
    return Work(requests=itertools.repeat(sent), expected=expected)


def _new_users() -> Iterator[str]:
    return (f"bench|{number}" for number in _numbers)


def starts_of_new_users(_service: Service, _count: int) -> Work:
    """A start for a user whom nobody has met, over and over."""
    requests = (posted("/v1/verifications", {"user_id": user_id}) for user_id in _new_users())
    return Work(requests=requests, expected=b'"action":"redirect"')


def _callbacks(service: Service, count: int) -> Work:
    return callbacks_of(service, list(itertools.islice(_new_users(), count)))


def callbacks_of(service: Service, user_ids: Sequence[str]) -> Work:
    """The callbacks of users who have been to the provider."""
    starts = Work(
        requests=[posted("/v1/verifications", {"user_id": user_id}) for user_id in user_ids],
        expected=b'"action":"redirect"',
    )
    started = [json.loads(body) for body in drive(service.server.port, starts, callers=8, keep=True).bodies]
    queries = [query_of(each["redirect_url"]) for each in started]
    wanted = [{name: query[name] for name in ("nonce", "code_challenge")} for query in queries]
    bodies = [
        {
            "user_id": each["verification"]["user_id"],
            "verification_id": each["verification"]["id"],
            "code": code,
            "state": query["state"],
            "iss": service.provider.issuer,
        }
        for each, query, code in zip(started, queries, codes(service.provider, wanted), strict=True)
    ]
    return Work(requests=[posted("/v1/callback", body) for body in bodies], expected=b'"reason":"verified"')


def codes(provider: Provider, wanted: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """A code for each `nonce` and `code_challenge`, whose tokens the provider has signed by now."""
    with httpx.Client(verify=provider.trust, timeout=60) as client:
        for first in range(0, len(wanted), AT_ONCE):
            answer = client.post(f"{provider.issuer}/ahead", json=wanted[first : first + AT_ONCE])
            yield from answer.raise_for_status().json()


def enrol(service: Service) -> None:
    """Verify the user whose status is asked for."""
    drive(service.server.port, callbacks_of(service, [VERIFIED]), callers=1)


def _goals(postgresql: Goal, sqlite: Goal) -> dict[str, Goal]:
    return {POSTGRESQL: postgresql, SQLITE: sqlite}


_AS_THE_STATUS = _goals(Goal(ratio=0.10, half_p99_ms=8), Goal(ratio=0.13))
OPERATIONS = (
    Operation(
        "status",
        "status",
        partial(repeated, asked_for(VERIFIED), b'"verified":true'),
        _AS_THE_STATUS,
    ),
    Operation(
        "start-window",
        "start inside the window",
        partial(repeated, posted("/v1/verifications", {"user_id": VERIFIED}), b'"reason":"recently_verified"'),
        _AS_THE_STATUS,
    ),
    Operation(
        "hook",
        "token hook (Okta)",
        partial(repeated, posted("/v1/hooks/okta", asked("okta", VERIFIED)), b'"op":"add"'),
        _AS_THE_STATUS,
    ),
    Operation("start-new", "start, to be verified", starts_of_new_users, _goals(Goal(ratio=0.05), Goal(ratio=0.03))),
    Operation(
        "callback",
        "callback",
        _callbacks,
        _goals(Goal(cpu_ms=1.0), Goal(cpu_ms=1.0)),
    ),
    Operation(
        "callback-tls",
        "callback, provider with TLS",
        _callbacks,
        _goals(Goal(cpu_ms=1.8), Goal(cpu_ms=1.8)),
        tls=True,
    ),
)
