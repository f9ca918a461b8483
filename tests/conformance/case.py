from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.service import CLAIM, EMAIL, USER, Json, Service, problem


@dataclass(frozen=True)
class Asked:
    """How often the provider was asked on the back channel, from the callback on."""

    discovery: int = 0
    token: int = 0
    jwks: int = 0
    userinfo: int = 0

    @classmethod
    def of(cls, service: Service) -> "Asked":
        return cls(*(service.asked(endpoint) for endpoint in ("discovery", "token", "jwks", "userinfo")))


@dataclass(frozen=True)
class Case:
    """A persona of the provider, and the check that refuses it, if one does."""

    persona: str
    check: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    async def service(self, make_service: MakeService) -> Service:
        return await make_service(**self.settings)


async def _attempt(service: Service, started: Json) -> Json:
    answer: Json = (await service.admin.get(f"/v1/verifications/{started['verification']['id']}")).json()
    return answer


async def _enrol(service: Service, clock: Clock) -> Json:
    """Let the user be verified by an honest provider; what is cached of it is stale afterwards."""
    await service.verify(USER, email=EMAIL)
    clock.advance(minutes=6)
    return await service.status(USER)


async def _from_start_to_decision(service: Service, persona: str) -> tuple[Json, Json, Asked]:
    service.sandbox.become(persona)
    started = await service.start(USER, email=EMAIL, force=True)
    back = await service.visit(started)
    service.sandbox.requests.clear()
    return started, await service.finish(USER, started, **back), Asked.of(service)


async def assert_accepted(service: Service, persona: str) -> Json:
    """Assert that a new user is verified, with the claim, the record and the attempt that belong to it."""
    started, decision, asked = await _from_start_to_decision(service, persona)

    assert (decision["action"], decision["reason"], decision["error"]) == ("continue", "verified", None)
    assert decision["claims"][CLAIM]["identity_id"]
    status = await service.status(USER)
    assert (status["verified"], status["claims"]) == (True, decision["claims"])
    assert status["app_metadata"] == decision["app_metadata"]
    attempt = await _attempt(service, started)
    assert (attempt["status"], attempt["error"]) == ("completed", None)
    assert attempt["identity_id"] == decision["claims"][CLAIM]["identity_id"]
    assert asked == Asked(token=1, jwks=1, userinfo=1)
    return decision


async def assert_refused(
    service: Service, clock: Clock, case: Case, asked: Asked, code: str = "id_token_invalid"
) -> None:
    """Assert that a verification is taken away by what says something about the person, and that nothing else of it is
    kept.
    """
    before = (await _enrol(service, clock))["app_metadata"]
    text = f"{code}: {case.check}" if case.check else code

    started, decision, was_asked = await _from_start_to_decision(service, case.persona)

    assert (decision["action"], decision["reason"], decision["claims"]) == ("continue", code, {})
    assert decision["error"]["code"] == code
    assert decision["error"]["hint"]
    assert case.check is None or f"({case.check})" in decision["error"]["detail"]
    status = await service.status(USER)
    assert (status["verified"], status["reason"], status["claims"]) == (False, "not_verified", {})
    assert status["app_metadata"] == {**before, "incode_idv_completed": False, "incode_idv_error": text}
    attempt = await _attempt(service, started)
    assert (attempt["status"], attempt["error"]["code"], attempt["identity_id"]) == ("failed", code, None)
    assert was_asked == asked


async def assert_unavailable(service: Service, clock: Clock, persona: str, asked: Asked) -> None:
    """Assert that an answer which is none says nothing about the person: the verification stands, and the error is on
    record.
    """
    before = await _enrol(service, clock)

    started, decision, was_asked = await _from_start_to_decision(service, persona)

    assert (decision["action"], decision["reason"], decision["claims"]) == ("continue", "provider_unavailable", {})
    status = await service.status(USER)
    assert (status["verified"], status["claims"]) == (True, before["claims"])
    assert status["app_metadata"].pop("incode_idv_error").startswith("provider_unavailable: ")
    assert status["app_metadata"].items() <= before["app_metadata"].items()
    attempt = await _attempt(service, started)
    assert (attempt["status"], attempt["error"]["code"]) == ("failed", "provider_unavailable")
    assert was_asked == asked


async def assert_not_started(service: Service, clock: Clock, persona: str, word: str) -> None:
    """Assert that no browser is sent to such a provider, and that what stands, stands."""
    before = await _enrol(service, clock)
    service.sandbox.become(persona)
    service.sandbox.requests.clear()
    # A provider that was known before goes unnoticed for a day; a service that starts now has nothing else to go by.
    clock.advance(hours=24)

    decision = await service.start(USER, force=True)

    assert (decision["action"], decision["reason"]) == ("continue", "provider_unavailable")
    assert (decision["redirect_url"], decision["verification"], decision["claims"]) == (None, None, {})
    assert word in decision["error"]["detail"]
    assert Asked.of(service) == Asked(discovery=1)
    assert await service.status(USER) == before


async def assert_response_refused(service: Service, clock: Clock, persona: str) -> None:
    """Assert that the code of such a response is never used, and that the attempt waits for the true one."""
    before = await _enrol(service, clock)
    service.sandbox.become(persona)
    started = await service.start(USER, force=True)
    back = await service.visit(started)
    service.sandbox.requests.clear()

    problem(await service.send_callback(USER, started, **back), 409, "issuer_mismatch")

    assert Asked.of(service) == Asked()
    assert (await _attempt(service, started))["status"] == "pending"
    assert await service.status(USER) == before
    service.sandbox.become("honest")
    decision = await service.finish(USER, started, **await service.visit(started))
    assert (decision["action"], decision["reason"]) == ("continue", "verified")
