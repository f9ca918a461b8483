"""The OpenAPI document holds: what it allows is answered as it says, what it forbids is refused, and nobody gets past a
key.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from schemathesis.python import asgi

from app.main import create_app
from tests.conftest import MakeService
from tests.fuzz.fuzzer import Fuzzed
from tests.fuzz.seeds import RETURN_TO, sow
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import ADMIN_KEY, IDP_KEY
from tests.harness.tables import on_sqlite_only

WRONG_KEY = "wrong-key-0123456789-0123456789-01234567"
# What a fuzzer with an administrator's key must have met, for its silence to mean something.
REACHED = {
    "POST /v1/verifications": {200, 422},
    "GET /v1/verifications": {200, 422},
    "GET /v1/verifications/{verification_id}": {200, 404, 422},
    "GET /v1/verifications/{verification_id}/launch": {303, 400},
    "GET /v1/callback": {303, 400},
    "POST /v1/callback": {200, 404, 409, 422},
    "GET /v1/users/{user_id}": {200, 422},
    "POST /v1/users/{user_id}/reset": {200, 422},
    "DELETE /v1/users/{user_id}": {204, 422},
    "GET /healthz": {200},
    "GET /readyz": {200},
    "GET /metrics": {200},
    "GET /v1/audit": {200, 422},
}
ADMINISTRATORS = {
    "GET /v1/verifications", "GET /v1/verifications/{verification_id}", "POST /v1/users/{user_id}/reset",
    "DELETE /v1/users/{user_id}", "GET /metrics", "GET /v1/audit",
}  # fmt: skip
WITHOUT_KEY = {"GET /healthz", "GET /readyz", "GET /v1/callback", "GET /v1/verifications/{verification_id}/launch"}


@pytest_asyncio.fixture
async def fuzzed(make_service: MakeService, clock: Clock) -> AsyncIterator[Fuzzed]:
    service = await make_service(public_url=PUBLIC_URL, return_urls=RETURN_TO)
    seeds = await sow(service, clock)
    app = create_app(service.settings, clock=clock, monotonic=clock.monotonic)
    yield Fuzzed(app, seeds)
    asgi.shutdown_lifespans()


@on_sqlite_only
def test_with_an_administrators_key_every_answer_is_as_declared(fuzzed: Fuzzed) -> None:
    fuzzed.run(ADMIN_KEY, drawn=50)
    assert fuzzed.failures == []
    for operation, statuses in REACHED.items():
        assert statuses <= fuzzed.statuses(operation), operation


# Whoever has a lesser key or none gets the same cases at an open route, and is refused before they are read at another:
# drawing more of them shows nothing that the bounds do not show.


@on_sqlite_only
def test_with_an_identity_providers_key_every_answer_is_as_declared_and_an_administrators_routes_are_forbidden(
    fuzzed: Fuzzed,
) -> None:
    fuzzed.run(IDP_KEY)
    assert fuzzed.failures == []
    for operation in REACHED.keys() - ADMINISTRATORS:
        assert fuzzed.statuses(operation) & REACHED[operation], operation
        assert 403 not in fuzzed.statuses(operation), operation
    for operation in ADMINISTRATORS:
        assert 403 in fuzzed.statuses(operation) <= {401, 403}, operation


@on_sqlite_only
@pytest.mark.parametrize("key", [None, WRONG_KEY], ids=["no key", "a wrong key"])
def test_without_a_known_key_nothing_but_the_open_routes_answers(fuzzed: Fuzzed, key: str | None) -> None:
    fuzzed.run(key)
    assert fuzzed.failures == []
    for operation in WITHOUT_KEY:
        assert fuzzed.statuses(operation) & REACHED[operation], operation
        assert 401 not in fuzzed.statuses(operation), operation
    for operation in REACHED.keys() - WITHOUT_KEY:
        assert fuzzed.statuses(operation) == {401}, operation
