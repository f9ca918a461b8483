"""What the state machine does: each step is done to the service and told to the model, and the two answers are
compared.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import uvloop

from app.main import create_app
from app.sandbox.people import People
from tests.fuzz import model
from tests.fuzz.model import Claim, Decision, Exchange, Model, Refusal, Rules, UserStatus, Verdict
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL, ProviderHost, new_sandbox
from tests.harness.service import CLAIM, Json, Service, problem, query_of, settings_for

RETURN_TO = "https://tenant.example/continue"
CODE_LASTS = timedelta(seconds=60)
STATUSES = ["pending", "exchanging", "returned", "completed", "failed", "expired"]
T = TypeVar("T")


@dataclass(frozen=True)
class Login:
    """What is asked for, and `person`: who goes to the provider where it is not whom the provider expects."""

    user: str
    email: str
    purpose: str
    force: bool
    person: str | None


@dataclass(frozen=True)
class Started:
    """An attempt that sends somebody to the provider; `hint` is whom the provider then expects."""

    id: str
    user: str
    hint: str
    decision: Json = field(repr=False)


@dataclass(frozen=True)
class Returned:
    """What the provider sent the browser back with at `at`, and the verdict that its code is good for."""

    started: Started
    ending: str
    verdict: Verdict
    parameters: dict[str, str]
    at: datetime


@dataclass(frozen=True)
class Callback:
    """A relay callback as it was sent: once, or again. `state_of` is the attempt that the state in it was made for."""

    user: str
    attempt_id: str
    parameters: dict[str, str]
    returned: Returned
    state_of: str | None


@dataclass(frozen=True)
class Visit:
    """A hosted login that is about to come back to our callback, at `address`."""

    returned: Returned
    address: str = field(repr=False)


@dataclass(frozen=True)
class Token:
    """A session token and whom and what it was made for."""

    text: str = field(repr=False)
    started: Started


class Driver:
    """One service on a database of its own, with its provider, its browsers and its event loop; and the model beside
    it.
    """

    def __init__(self, host: ProviderHost, database_url: str, rules: Rules) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._stack = AsyncExitStack()
        self.clock = Clock()
        self.sandbox = new_sandbox(host, self.clock)
        self._settings = settings_for(
            host.url,
            database_url,
            public_url=PUBLIC_URL,
            return_urls=RETURN_TO,
            reverification_hours=model.VERIFICATION_STANDS / timedelta(hours=1),
            verification_ttl_seconds=int(model.ATTEMPT_LASTS.total_seconds()),
            attempt_limit=model.ATTEMPT_LIMIT,
            attempt_window_hours=model.ATTEMPT_WINDOW / timedelta(hours=1),
            **asdict(rules),
        )
        self.model = Model(rules, self.clock())
        self._people = People()
        self._users: set[str] = set()
        self._answers: dict[str, Json] = {}
        self._locations: dict[str, str] = {}
        self._service, self._browsers = self._runner.run(self._open())

    def act(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do something at this moment; what comes next comes later."""
        done = self._look(coroutine)
        self.clock.advance(milliseconds=1)
        return done

    def compare_users(self) -> None:
        for user in sorted(self._users):
            assert self._look(self._status(user)) == self.model.status(user)

    def compare_attempts(self) -> None:
        assert self._look(self._attempts()) == {key: self.model.shown(key) for key in self.model.attempts}

    def compare_lists_by_status(self) -> None:
        for status in STATUSES:
            found = self._look(self._attempts(status=status))
            assert found.keys() == {key for key in self.model.attempts if self.model.shown(key)[0] == status}

    def compare_codes_sent(self) -> None:
        sent = Counter(each.parameters["code"] for each in self.sandbox.requests if each.endpoint == "token")
        assert sent == self.model.sent

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def _look(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self.model.now = self.clock()
        return self._runner.run(coroutine)

    async def _open(self) -> tuple[Service, dict[str, Browser]]:
        app = create_app(self._settings, clock=self.clock, monotonic=self.clock.monotonic)
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        service = Service(app, self.sandbox, self._settings)
        self._stack.push_async_callback(service.close)
        browsers = {name: await self._stack.enter_async_context(Browser(service)) for name in ("first", "second")}
        return service, browsers

    async def _start(self, who: Login, flow: str, *, omit_state: bool = False) -> Started | None:
        user, purpose, force = who.user, who.purpose, who.force
        self._users.add(user)
        record = self.model.users.get(user)
        expected = self.model.start(user, purpose, force=force)
        body = {"flow": flow, "purpose": purpose, "force": force, "email": who.email, "omit_state": omit_state}
        answer = await self._service.start(user, **body)
        assert _decision(answer) == expected
        if expected.action != "redirect":
            assert answer["verification"] is answer["redirect_url"] is None
            return None
        hint = record.identity if record and record.identity else who.email
        attempt_id = answer["verification"]["id"]
        self.model.started(attempt_id, user, flow, purpose, omit_state=omit_state)
        return Started(attempt_id, user, hint, answer)

    async def begin(self, who: Login, ending: str, *, omit_state: bool = False) -> Returned | None:
        started = await self._start(who, "relay", omit_state=omit_state)
        if started is None:
            return None
        assert query_of(started.decision["redirect_url"])["login_hint"] == started.hint
        parameters = await self._service.visit(started.decision, ending, who.person)
        assert ("state" in parameters) is not omit_state
        return self._returned(started, ending, who.person, parameters)

    async def begin_hosted(self, who: Login, ending: str) -> Visit | None:
        started = await self._start(who, "hosted")
        if started is None:
            return None
        launched = await self.launch(started, "first")
        assert query_of(launched.headers["Location"])["login_hint"] == started.hint
        address = await self._browsers["first"].at_provider(launched, ending, who.person)
        return Visit(self._returned(started, ending, who.person, query_of(address)), address)

    def _returned(self, started: Started, ending: str, person: str | None, parameters: dict[str, str]) -> Returned:
        subject = self._people.identify(person or started.hint)
        if ending == "another-person":
            subject = self._people.somebody_else(subject)
        verdict = Verdict(
            identity=None if ending == "no-identity" else subject.identity_id,
            status={"failed": "FAIL", "warn": "WARN", "no-status": None}.get(ending, "OK"),
            name=None if ending == "userinfo-down" else str(subject.person.claims()["name"]),
        )
        return Returned(started, ending, verdict, parameters, self.clock())

    def _exchange(self, returned: Returned) -> Exchange:
        """What the provider makes of the code: it is good for the attempt that it was made for, and not for long."""

        def exchange(attempt_id: str) -> Verdict | str:
            if returned.ending == "provider-down":
                return "provider_unavailable"
            lasts = timedelta() if returned.ending == "expired" else CODE_LASTS
            if attempt_id != returned.started.id or self.clock() >= returned.at + lasts:
                return "invalid_grant"
            return returned.verdict

        return exchange

    async def call_back(self, callback: Callback, times: int = 1) -> None:
        self._users.add(callback.user)
        user, parameters = callback.user, callback.parameters
        known = {name: value for name, value in parameters.items() if name != "error_description"}
        exchange, state_of = self._exchange(callback.returned), callback.state_of
        expected = [self.model.finish(user, callback.attempt_id, known, state_of, exchange) for _ in range(times)]
        body = {"user_id": user, "verification_id": callback.attempt_id, **parameters}
        responses = await asyncio.gather(*(self._service.idp.post("/v1/callback", json=body) for _ in range(times)))
        for response, each in zip(responses, expected, strict=True):
            self._compare(response, each, user)

    def _compare(self, response: httpx.Response, expected: Decision | Refusal, user: str) -> None:
        if isinstance(expected, Refusal):
            problem(response, expected.status, expected.code)
            return
        assert response.status_code == 200, response.text
        answer: Json = response.json()
        assert _decision(answer) == expected
        assert answer["verification"]["user_id"] == user
        # A repeat gets the answer to the letter.
        assert self._answers.setdefault(answer["verification"]["id"], answer) == answer

    async def launch(self, started: Started, browser: str) -> httpx.Response:
        expected = self.model.launch(started.id, browser)
        response = await self._browsers[browser].launch(started.decision)
        if expected == "provider":
            assert response.status_code == 303, response.text
            assert not response.headers["Location"].startswith(RETURN_TO)
        else:
            self._returns(response, expected, started)
        return response

    def _returns(self, response: httpx.Response, expected: str, started: Started) -> str | None:
        """The address at which the caller gets its browser back with a token, the same one each time; or None."""
        if expected == "page":
            assert response.status_code == 400
            assert "Location" not in response.headers
            return None
        assert response.status_code == 303, response.text
        location = response.headers["Location"]
        if expected == "caller without a token":
            assert location == RETURN_TO
            return None
        assert location.startswith(f"{RETURN_TO}?")
        assert self._locations.setdefault(started.id, location) == location
        return str(location)

    async def come_back(self, visit: Visit, browser: str) -> Token | None:
        returned = visit.returned
        started = returned.started
        expected = self.model.come_back(started.id, browser, returned.parameters, self._exchange(returned))
        location = self._returns(await self._browsers[browser].come_back(visit.address), expected, started)
        return Token(query_of(location)["session_token"], started) if location else None

    async def confirm(self, token: Token, user: str) -> None:
        self._users.add(user)
        expected = self.model.confirm(user, token.started.user, token.started.id, token.text)
        body = {"user_id": user, "session_token": token.text, "verification_id": token.started.id}
        self._compare(await self._service.idp.post("/v1/callback", json=body), expected, user)

    async def reset(self, user: str, *, identity: bool) -> None:
        self.model.reset(user, identity=identity)
        response = await self._service.admin.post(
            f"/v1/users/{quote(user, safe='')}/reset", json={"identity": identity}
        )
        assert _status(response.json()) == self.model.status(user)

    async def erase(self, user: str) -> None:
        self.model.erase(user)
        assert (await self._service.admin.delete(f"/v1/users/{quote(user, safe='')}")).status_code == 204

    async def _status(self, user: str) -> UserStatus:
        return _status(await self._service.status(quote(user, safe="")))

    async def _attempts(self, **query: str) -> dict[str, tuple[str, str | None, str | None]]:
        page = (await self._service.admin.get("/v1/verifications", params={"limit": "100", **query})).json()
        assert page["next_cursor"] is None
        return {each["id"]: (each["status"], _code(each), each["identity_id"]) for each in page["items"]}


def _code(answer: Json) -> str | None:
    return answer["error"]["code"] if answer["error"] else None


def _claim(answer: Json) -> Claim | None:
    if not answer["claims"]:
        return None
    claim = answer["claims"][CLAIM]
    return Claim(
        claim["identity_id"],
        claim["auth_overall_status"],
        claim["pii"].get("name"),
        datetime.fromisoformat(claim["completed_at"]),
    )


def _decision(answer: Json) -> Decision:
    assert not answer["claims"] or (answer["action"] == "continue" and answer["error"] is None)
    return Decision(answer["action"], answer["reason"], _code(answer), _claim(answer))


def _status(answer: Json) -> UserStatus:
    assert answer["verified"] is not answer["needs_verification"]
    assert answer["verified"] is bool(answer["claims"])
    record, ends = answer["app_metadata"], answer["reverify_at"]
    error = record.get("incode_idv_error")
    return UserStatus(
        verified=answer["verified"],
        reason=answer["reason"],
        reverify_at=datetime.fromisoformat(ends) if ends else None,
        claim=_claim(answer),
        on_record=bool(record),
        completed=record.get("incode_idv_completed"),
        identity=record.get("incode_identity_id"),
        error=error.partition(":")[0] if error else None,
    )
