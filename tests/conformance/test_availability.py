"""The provider away, slow or silent: what is served from the cache, how often it is asked, and who does not notice.

What a verification comes to does not depend on the database here, so one engine is enough.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from functools import partial

import pytest
from starlette.responses import Response

from app.sandbox import Sandbox
from app.sandbox.observation import Endpoint
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.provider import ProviderHost
from tests.harness.service import USER, Json, Service, enrol, gist, until_answered
from tests.harness.tables import on_sqlite_only
from tests.harness.tampering import TamperedProvider
from tests.harness.waiting import arrivals
from tests.harness.wire import Wire, hang_up_at_once, keep_silent

pytestmark = on_sqlite_only

EVERYTHING: set[Endpoint] = {"discovery", "authorize", "token", "jwks", "userinfo"}


def counted(service: Service) -> dict[str, int]:
    """How often the back channel was used, by endpoint."""
    asked = {endpoint: service.asked(endpoint) for endpoint in ("discovery", "token", "jwks", "userinfo")}
    service.sandbox.requests.clear()
    return asked


async def on_the_way_when_the_cache_turns_old(service: Service, clock: Clock) -> tuple[Json, dict[str, str]]:
    """A login of an enrolled user up to the callback, with a cache that was fresh when it began and is not any more."""
    await enrol(service, clock)
    clock.advance(minutes=3, seconds=59)
    started = await service.start(USER, force=True)
    back = await service.visit(started)
    clock.advance(seconds=1)
    return started, back


# --- Outages and caches ---


async def test_discovery_down_for_a_process_that_has_not_seen_it(
    service: Service, make_service: MakeService, sandbox: Sandbox
) -> None:
    started = await service.start(USER)
    back = await service.visit(started)
    cold = await make_service()
    sandbox.down = {"discovery"}
    counted(service)

    decision = await cold.finish(USER, started, **back)

    assert gist(decision) == ("continue", "provider_unavailable")
    assert "discovery" in decision["error"]["detail"]
    asked = counted(service)
    assert asked["discovery"] >= 1
    assert (asked["token"], asked["jwks"], asked["userinfo"]) == (0, 0, 0)


async def test_keys_down_for_a_process_that_has_not_seen_them(service: Service, sandbox: Sandbox) -> None:
    sandbox.down = {"jwks"}

    decision = await service.verify(USER)

    assert gist(decision) == ("continue", "provider_unavailable")
    assert "keys" in decision["error"]["detail"]
    assert counted(service) == {"discovery": 1, "token": 1, "jwks": 1, "userinfo": 0}


async def test_the_token_endpoint_down_is_asked_once_and_says_nothing_about_the_person(
    service: Service, sandbox: Sandbox, clock: Clock
) -> None:
    first = await enrol(service, clock)
    sandbox.down = {"token"}
    counted(service)

    decision = await service.verify(USER, force=True)

    assert gist(decision) == ("continue", "provider_unavailable")
    assert "token endpoint" in decision["error"]["detail"]
    assert counted(service) == {"discovery": 0, "token": 1, "jwks": 0, "userinfo": 0}
    assert (await service.status(USER))["claims"] == first["claims"]


async def test_discovery_and_keys_are_served_from_the_cache_during_an_outage_of_up_to_a_day(
    service: Service, sandbox: Sandbox, clock: Clock
) -> None:
    await service.verify(USER)
    sandbox.down = {"discovery", "jwks"}

    clock.advance(hours=23, minutes=59, seconds=59.999)
    assert gist(await service.verify("auth0|bob")) == ("continue", "verified")
    clock.advance(milliseconds=1)
    assert gist(await service.start("auth0|eve")) == ("continue", "provider_unavailable")
    sandbox.down = {"jwks"}
    assert gist(await service.verify("auth0|eve")) == ("continue", "provider_unavailable")
    sandbox.down = set()
    assert gist(await service.verify("auth0|eve")) == ("continue", "verified")


async def test_discovery_and_keys_are_fetched_again_after_five_minutes(service: Service, clock: Clock) -> None:
    await service.verify(USER)
    assert counted(service) == {"discovery": 1, "token": 1, "jwks": 1, "userinfo": 1}

    clock.advance(seconds=299.999)
    await service.verify("auth0|bob")
    assert counted(service) == {"discovery": 0, "token": 1, "jwks": 0, "userinfo": 1}
    clock.advance(milliseconds=1)
    await service.verify("auth0|eve")
    assert counted(service) == {"discovery": 1, "token": 1, "jwks": 1, "userinfo": 1}


async def test_an_outage_is_not_made_worse_by_every_login(service: Service, sandbox: Sandbox, clock: Clock) -> None:
    await service.start(USER)
    sandbox.down = {"discovery"}
    clock.advance(minutes=10)
    counted(service)

    for _ in range(5):
        assert (await service.start(USER))["action"] == "redirect"

    assert counted(service)["discovery"] == 1


async def test_many_logins_at_once_fetch_discovery_once(service: Service) -> None:
    with service.sandbox.hold("discovery") as gate:
        logins = [asyncio.create_task(service.start(f"auth0|{n}")) for n in range(20)]
        await arrivals(gate)
    assert {decision["action"] for decision in await asyncio.gather(*logins)} == {"redirect"}
    assert service.asked("discovery") == 1


async def test_a_callback_during_an_outage_is_verified_from_the_cache(
    service: Service, sandbox: Sandbox, clock: Clock
) -> None:
    started, back = await on_the_way_when_the_cache_turns_old(service, clock)
    sandbox.down = {"discovery", "jwks"}
    counted(service)

    assert gist(await service.finish(USER, started, **back)) == ("continue", "verified")
    assert counted(service) == {"discovery": 1, "token": 1, "jwks": 1, "userinfo": 1}


async def test_a_callback_does_not_spend_its_time_on_a_silent_discovery(
    make_service: MakeService, clock: Clock
) -> None:
    service = await make_service(http_timeout_seconds=7)
    started, back = await on_the_way_when_the_cache_turns_old(service, clock)

    # The gates stay shut until the service has answered: either of these waits alone would be the whole callback.
    with service.sandbox.hold("discovery"), service.sandbox.hold("jwks"):
        assert gist(await service.finish(USER, started, **back)) == ("continue", "verified")


# --- Keys ---


async def test_a_rotated_key_is_noticed_with_one_refetch(service: Service, sandbox: Sandbox) -> None:
    await service.verify(USER)
    counted(service)
    sandbox.rotate_key()

    assert gist(await service.verify("auth0|bob")) == ("continue", "verified")
    assert counted(service) == {"discovery": 0, "token": 1, "jwks": 1, "userinfo": 1}
    assert gist(await service.verify("auth0|eve")) == ("continue", "verified")
    assert counted(service) == {"discovery": 0, "token": 1, "jwks": 0, "userinfo": 1}


async def _with_unknown_keys(service: Service, provider: TamperedProvider) -> None:
    """Let the provider sign with a key that its key set does not hold."""
    keys: list[bytes] = []

    def remember(body: bytes) -> Response:
        keys.append(body)
        return Response(keys[0], media_type="application/json")

    provider.rewrite("jwks", remember)
    assert gist(await service.verify("auth0|first")) == ("continue", "verified")
    service.sandbox.rotate_key()
    counted(service)


async def test_unknown_keys_cost_one_refetch_a_minute(
    service: Service, provider: TamperedProvider, clock: Clock
) -> None:
    await _with_unknown_keys(service, provider)

    for refetches in (1, 0, 0):
        decision = await service.verify(USER)
        assert gist(decision) == ("continue", "id_token_invalid")
        assert "kid" in decision["error"]["detail"]
        assert counted(service) == {"discovery": 0, "token": 1, "jwks": refetches, "userinfo": 0}
    clock.advance(seconds=59.999)
    await service.verify(USER)
    assert counted(service)["jwks"] == 0
    clock.advance(milliseconds=1)
    await service.verify(USER)
    assert counted(service)["jwks"] == 1


async def test_unknown_keys_at_once_cost_one_refetch(make_service: MakeService, provider: TamperedProvider) -> None:
    service = await make_service()
    await _with_unknown_keys(service, provider)
    started = [await service.start(f"auth0|{n}") for n in range(10)]
    visits = [(one, await service.visit(one)) for one in started]

    with service.sandbox.hold("jwks") as gate:
        callbacks = [
            asyncio.create_task(
                until_answered(partial(service.send_callback, one["verification"]["user_id"], one, **back))
            )
            for one, back in visits
        ]
        await arrivals(gate)

    answers = await asyncio.gather(*callbacks)
    assert {gist(answer.json()) for answer in answers} == {("continue", "id_token_invalid")}
    assert service.asked("jwks") == 1


async def test_a_refetch_that_fails_does_not_hammer_either(service: Service, sandbox: Sandbox) -> None:
    await service.verify(USER)
    sandbox.rotate_key()
    sandbox.down = {"jwks"}
    counted(service)

    for _ in range(4):
        assert (await service.verify("auth0|bob"))["reason"] in {"provider_unavailable", "id_token_invalid"}

    assert counted(service)["jwks"] == 1


# --- Who does not notice ---


async def test_a_login_inside_the_window_asks_a_provider_that_is_down_nothing(
    make_service: MakeService, sandbox: Sandbox, clock: Clock
) -> None:
    first = await enrol(await make_service(), clock)
    sandbox.down = EVERYTHING
    sandbox.requests.clear()

    for blocking in (False, True):
        cold = await make_service(block_on_failure=blocking)
        decision = await cold.start(USER)
        assert gist(decision) == ("continue", "recently_verified")
        assert decision["claims"] == first["claims"]
    assert sandbox.requests == []


async def test_a_users_status_and_readiness_do_not_notice_an_outage(
    make_service: MakeService, sandbox: Sandbox, clock: Clock
) -> None:
    first = await enrol(await make_service(), clock)
    sandbox.down = EVERYTHING
    sandbox.requests.clear()
    cold = await make_service()

    status = await cold.status(USER)
    assert (status["verified"], status["claims"]) == (True, first["claims"])
    assert (await cold.status("auth0|bob"))["reason"] == "never_verified"
    for path in ("/readyz", "/healthz"):
        assert (await cold.idp.get(path)).status_code == 200
    assert sandbox.requests == []


# --- A provider that is down ---


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    async with Wire(keep_silent).listening() as wire:
        yield wire.url


@asynccontextmanager
async def server_that_hangs_up() -> AsyncIterator[str]:
    async with Wire(hang_up_at_once).listening() as wire:
        yield wire.url


@asynccontextmanager
async def no_server() -> AsyncIterator[str]:
    # A port that is taken and not listened at: nobody else can be there.
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unheard.getsockname()[1]}"


@asynccontextmanager
async def no_such_name() -> AsyncIterator[str]:
    # RFC 6761 section 6.4: no name under "invalid" is ever found.
    yield "https://provider.invalid"


DOWN = [silent_server, server_that_hangs_up, no_server, no_such_name]


@pytest.mark.parametrize("server", DOWN)
@pytest.mark.parametrize(("block_on_failure", "action"), [(False, "continue"), (True, "deny")])
async def test_a_provider_that_is_down_is_said_to_be(
    make_service: MakeService,
    provider_host: ProviderHost,
    clock: Clock,
    server: Callable[[], AbstractAsyncContextManager[str]],
    *,
    block_on_failure: bool,
    action: str,
) -> None:
    healthy = await make_service()
    first = await enrol(healthy, clock)
    started = await healthy.start(USER, force=True)
    back = await healthy.visit(started)
    counted(healthy)
    async with server() as url:
        service = await make_service(
            incode_server_url=url,
            incode_issuer=provider_host.url,
            http_timeout_seconds=1.0,
            block_on_failure=block_on_failure,
        )
        start = await service.start("auth0|bob")
        finish = await service.finish(USER, started, **back)
        step_up = await service.start(USER, purpose="step_up")

    assert (gist(start), start["verification"]) == ((action, "provider_unavailable"), None)
    assert gist(finish) == (action, "provider_unavailable")
    assert gist(step_up) == ("deny", "provider_unavailable")
    for decision in (start, finish, step_up):
        assert decision["claims"] == {}
        assert "(discovery: " in decision["error"]["detail"]
    # The code was never sent, and nobody is worse off than before.
    assert counted(service) == {"discovery": 0, "token": 0, "jwks": 0, "userinfo": 0}
    assert (await service.status(USER))["claims"] == first["claims"]
    assert (await service.status("auth0|bob"))["app_metadata"] == {}


@pytest.mark.parametrize("endpoint", ["discovery", "token", "jwks"])
async def test_after_an_outage_logins_work_at_once(service: Service, sandbox: Sandbox, endpoint: Endpoint) -> None:
    sandbox.down = {endpoint}
    for _ in range(3):
        decision = await service.start(USER)
        if endpoint != "discovery":
            decision = await service.finish(USER, decision, **await service.visit(decision))
        assert gist(decision) == ("continue", "provider_unavailable")

    sandbox.down = set()

    assert gist(await service.verify(USER)) == ("continue", "verified")
