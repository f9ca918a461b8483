"""The examples of the OpenAPI document: each request is sent, and each answer is held against the schema and the real
one.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import jsonschema_rs
import pytest
from pydantic import SecretStr

from app.api.reference import examples
from app.main import create_app
from tests.conftest import MakeService
from tests.harness.bodies import dripping, impatient
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.openapi import document_of
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import Json, Service, query_of, state_of
from tests.harness.tables import Tables, on_sqlite_only

USER, EMAIL = examples.USER_ID, examples.EMAIL
HOOKS = "/v1/hooks/"
JSON, PROBLEM = "application/json", "application/problem+json"
# These are new in each answer: their form is compared, and everything else exactly.
ADDRESSES, ANEW = {"redirect_url"}, {"request_id", "next_cursor"}
METRICS_KEY = "metrics-key-0123456789-0123456789-0123456789"
SETTINGS = {
    "public_url": PUBLIC_URL,
    "return_urls": examples.RETURN_TO,
    "metrics_api_keys": f"prometheus={METRICS_KEY}",
}


class Story:
    """What happens before an example; `actual` maps its fixed values to what the service and the provider really
    gave.
    """

    def __init__(self, service: Service, clock: Clock) -> None:
        self.service = service
        self._clock = clock
        self.actual: dict[str, str] = {}

    async def nothing(self) -> None:
        """Nobody has met anybody."""

    async def a_verified_user(self) -> None:
        await self.a_return()
        finished = await self.service.finish(USER, None, **self._came_back())
        self.actual[examples.INTERVIEW_ID] = finished["verification"]["interview_id"]

    async def a_refused_user(self) -> None:
        await self.a_refusal()
        await self.service.finish(USER, None, **self._came_back())

    async def two_attempts(self) -> None:
        self._clock.advance(hours=-1)
        await self.service.start(USER)
        self._clock.advance(hours=1)
        await self.a_refused_user()

    async def two_resets(self) -> None:
        self._clock.advance(hours=-1)
        await self.service.start(USER)
        await self.service.admin.post(f"/v1/users/{quote(USER)}/reset")
        self._clock.advance(hours=1)
        await self.service.admin.post(f"/v1/users/{quote(USER)}/reset")

    async def an_exchange(self) -> None:
        await self.a_return()
        await Tables(self.service).change(
            "UPDATE verifications SET status = 'exchanging', exchange_started_at = :now, callback_fingerprint = "
            "'another'",
            now=self._clock().isoformat(timespec="microseconds"),
        )

    async def a_start(self) -> None:
        started = self._keep(await self.service.start(USER, email=EMAIL))
        self.actual[examples.STATE] = state_of(started)

    async def a_return(self) -> None:
        await self._return("verified")

    async def a_refusal(self) -> None:
        await self._return("denied")

    async def a_hosted_return(self) -> None:
        started = self._keep(await self.service.start(USER, email=EMAIL, flow="hosted", return_to=examples.RETURN_TO))
        async with Browser(self.service) as browser:
            arrived = await browser.go_through(started)
        self.actual[examples.SESSION_TOKEN] = arrived["session_token"]

    async def _return(self, outcome: str) -> None:
        self._response = await self.service.visit(self._keep(await self.service.start(USER, email=EMAIL)), outcome)
        names = {"state": examples.STATE, "iss": examples.ISSUER, "code": examples.CODE}
        self.actual |= {names[name]: value for name, value in self._response.items() if name in names}

    def _keep(self, started: Json) -> Json:
        self.actual[examples.VERIFICATION_ID] = started["verification"]["id"]
        return started

    def _came_back(self) -> dict[str, str]:
        return {"verification_id": self.actual[examples.VERIFICATION_ID], **self._response}

    def learn(self, answer: Json) -> None:
        """Take over the ids that the answer itself has made."""
        for entry in answer.get("items", []):
            if entry["id"].startswith("aud_"):
                self.actual[examples.AUDIT_ID] = entry["id"]
        attempt = answer.get("verification") or answer
        for fixed, name in ((examples.VERIFICATION_ID, "id"), (examples.INTERVIEW_ID, "interview_id")):
            if attempt.get(name):
                self.actual[fixed] = attempt[name]

    def told(self, answer: Any) -> Any:
        """What the service really gave, as the example would say it."""
        text = json.dumps(answer)
        for fixed, actual in self.actual.items():
            text = text.replace(json.dumps(actual)[1:-1], fixed)
        return json.loads(text)

    def asked(self, example: Any) -> Any:
        """What the example says, with what was really given."""
        if isinstance(example, dict):
            return {name: self.asked(value) for name, value in example.items()}
        return self.actual.get(example, example) if isinstance(example, str) else example


Before = Callable[[Story], Awaitable[None]]
BEFORE: dict[str, Before] = {
    "startVerification.first_login": Story.nothing,
    "startVerification.returning_user": Story.a_verified_user,
    "startVerification.auth0": Story.nothing,
    "startVerification.step_up": Story.a_verified_user,
    "startVerification.step_up_refused": Story.nothing,
    "startVerification.hosted": Story.nothing,
    "finishVerification.relay": Story.a_return,
    "finishVerification.provider_error": Story.a_refusal,
    "finishVerification.no_parameters": Story.a_start,
    "finishVerification.hosted": Story.a_hosted_return,
    "getUserStatus.verified": Story.a_verified_user,
    "getUserStatus.never_verified": Story.nothing,
    "resetUser.verification": Story.a_verified_user,
    "resetUser.identity": Story.a_verified_user,
    "getVerification.completed": Story.a_verified_user,
    "getVerification.failed": Story.a_refused_user,
    "listVerifications.page": Story.two_attempts,
    "listVerifications.last_page": Story.a_start,
    "listAudit.page": Story.two_resets,
    "getHealth.ok": Story.nothing,
    "getReadiness.ready": Story.nothing,
    "getReadiness.503.unreachable": Story.nothing,
    "getMetrics.metrics": Story.a_start,
}
QUERY = {"listVerifications.page": {"limit": "1"}, "listAudit.page": {"limit": "1"}}
WITHOUT_DATABASE = {"getReadiness.503.unreachable"}


def operation_of(document: Json, operation_id: str) -> tuple[str, str, Json]:
    """Method, path and description of an operation."""
    [found] = [
        (method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation["operationId"] == operation_id
    ]
    return found


def request_examples(operation: Json) -> Json:
    if "requestBody" not in operation:
        return {}
    found: Json = operation["requestBody"]["content"][JSON]["examples"]
    return found


def described(document: Json) -> set[str]:
    """Every example of a request or of an answer that is no problem, as `operation.name`, but for those of the
    hooks.
    """
    asked = {
        f"{operation['operationId']}.{name}"
        for path, operations in document["paths"].items()
        for operation in operations.values()
        for name in request_examples(operation)
        if not path.startswith(HOOKS)
    }
    return asked | {name for name in document["components"]["examples"] if not name.startswith(("page.", "answer"))}


def validator(document: Json, content: Json) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**content["schema"], "components": document["components"]})


@asynccontextmanager
async def without_database(service: Service, folder: Path) -> AsyncIterator[Service]:
    """The same service, whose database cannot be opened."""
    url = SecretStr(f"sqlite+aiosqlite:///{folder}/nowhere/idv.db")
    app = create_app(service.settings.model_copy(update={"database_url": url}))
    async with app.router.lifespan_context(app):
        away = Service(app, service.sandbox, service.settings)
        yield away
        await away.close()


@asynccontextmanager
async def failing(service: Service) -> AsyncIterator[Service]:
    """The same service, which was not started: whatever a route reaches for is not there."""
    broken = Service(create_app(service.settings), service.sandbox, service.settings)
    yield broken
    await broken.close()


def same_form(name: str, example: Any, actual: Any) -> None:
    """Equal but for what is new each time, and for the address that a redirect names: its path and parameters are
    equal.
    """
    if isinstance(example, dict) and isinstance(actual, dict):
        assert list(example) == list(actual), name
        for key, value in example.items():
            same_form(key, value, actual[key])
    elif isinstance(example, list) and isinstance(actual, list):
        assert len(example) == len(actual), name
        for one, other in zip(example, actual, strict=True):
            same_form(name, one, other)
    elif name in ADDRESSES and example and actual:
        assert urlsplit(example).path == urlsplit(actual).path
        assert list(query_of(example)) == list(query_of(actual))
        assert query_of(example).get("login_hint") == query_of(actual).get("login_hint")
    elif name in ANEW:
        assert type(example) is type(actual), name
    else:
        assert example == actual, name


def client_for(service: Service, operation: Json) -> httpx.AsyncClient:
    match operation["security"]:
        case []:
            return service.client(None)
        case [{"IdpKey": []}, *_, {"AdminKey": []}]:
            return service.idp
        case [*_, {"AdminKey": []}]:
            return service.admin
    raise AssertionError(operation["security"])


def request_of(document: Json, operation_id: str, story: Story, name: str) -> Json:
    """The example's request, or the operation's own where it takes no body."""
    method, path, operation = operation_of(document, operation_id)
    return {
        "method": method,
        "url": path.format(user_id=quote(USER, safe=""), verification_id=story.asked(examples.VERIFICATION_ID)),
        "json": story.asked(request_examples(operation)[name]["value"]) if "requestBody" in operation else None,
        "params": QUERY.get(f"{operation_id}.{name}"),
    }


@pytest.fixture
def document() -> Json:
    return document_of()


def test_every_example_is_played(document: Json) -> None:
    assert described(document) == BEFORE.keys()


@on_sqlite_only
@pytest.mark.parametrize("key", BEFORE)
async def test_each_example_is_taken_and_answered_as_the_document_says(
    key: str, make_service: MakeService, clock: Clock, document: Json, tmp_path: Path
) -> None:
    answered, _, name = key.rpartition(".")
    operation_id, _, status = answered.partition(".")
    service = await make_service(**SETTINGS)
    story = Story(service, clock)
    await BEFORE[key](story)
    _, _, operation = operation_of(document, operation_id)

    async with without_database(service, tmp_path) if key in WITHOUT_DATABASE else nullcontext(service) as asked:
        response = await client_for(asked, operation).request(**request_of(document, operation_id, story, name))

    assert response.status_code == int(status or 200), response.text
    example = document["components"]["examples"][key]["value"]
    if response.headers["Content-Type"] != JSON:
        assert set(example.splitlines()) <= set(response.text.splitlines())
        return
    answer = response.json()
    holds = validator(document, operation["responses"][str(response.status_code)]["content"][JSON])
    holds.validate(example)
    holds.validate(answer)
    story.learn(answer)
    same_form("", example, story.told(answer))


@on_sqlite_only
@pytest.mark.parametrize("operation_id", ["getUserStatus", "resetUser", "eraseUser"])
async def test_each_user_id_of_the_paths_is_taken(operation_id: str, service: Service, document: Json) -> None:
    method, path, operation = operation_of(document, operation_id)
    [parameter] = operation["parameters"]
    for example in parameter["examples"].values():
        response = await service.admin.request(method, path.format(user_id=quote(example["value"], safe="")))
        assert response.status_code in {200, 204}, response.text
        assert response.status_code == 204 or response.json()["user_id"] == example["value"]


@on_sqlite_only
@pytest.mark.parametrize(
    ("operation_id", "own"),
    [("listVerifications", {"user_id", "status", "identity_id"}), ("listAudit", {"user_id", "action"})],
)
async def test_each_example_of_the_lists_parameters_is_taken(
    service: Service, document: Json, operation_id: str, own: set[str]
) -> None:
    _, path, operation = operation_of(document, operation_id)
    given = {parameter["name"]: parameter["schema"]["examples"][0] for parameter in operation["parameters"]}
    assert given.keys() == {"since", "until", "limit", "cursor"} | own
    assert (await service.admin.get(path, params=given)).status_code == 200


def page_example(document: Json, operation_id: str, response: httpx.Response, name: str) -> str:
    """The example of a page, which the operation declares for this status."""
    _, _, operation = operation_of(document, operation_id)
    declared = operation["responses"][str(response.status_code)]["content"]["text/html"]["examples"]
    assert declared[name] == {"$ref": f"#/components/examples/page.{name}"}
    found: str = document["components"]["examples"][f"page.{name}"]["value"]
    return found


def words_of(page: str) -> str:
    """A page but for its reference, and for where it moves on to."""
    return re.sub(r'<meta http-equiv="refresh".*\n|<p class="reference">.*\n', "", page)


@on_sqlite_only
async def test_the_browsers_addresses_and_pages_are_as_the_document_shows(
    make_service: MakeService, document: Json, tmp_path: Path
) -> None:
    service = await make_service(**SETTINGS)
    start = examples.START_REQUESTS["hosted"]["value"]
    started = (await service.idp.post("/v1/verifications", json=start)).json()
    launch, receive = "launchVerification", "receiveCallback"
    async with Browser(service) as browser, Browser(service) as stranger:
        preview = await browser.client.get(started["redirect_url"], headers={"User-Agent": "linkpreview"})
        launched = await browser.launch(started)
        foreign = await stranger.launch(started)
        unknown = await stranger.client.get("/v1/callback", params={"state": examples.STATE})
        back = await browser.come_back(await browser.at_provider(launched))
    async with without_database(service, tmp_path) as away, Browser(away) as browser:
        unavailable = await browser.launch(started)

    for operation_id, response in ((launch, launched), (receive, back)):
        _, _, operation = operation_of(document, operation_id)
        example = operation["responses"]["303"]["headers"]["Location"]["example"]
        same_form("redirect_url", example, response.headers["Location"])
    for operation_id, response, name in (
        (launch, preview, "preview"),
        (launch, foreign, "foreign_browser"),
        (launch, unavailable, "unavailable"),
        (receive, unknown, "bad_link"),
    ):
        assert words_of(page_example(document, operation_id, response, name)) == words_of(response.text), name


PROBLEMS = {
    "finishVerification": {
        "session_token_invalid", "verification_not_found", "verification_mismatch", "verification_already_finished",
        "callback_in_progress", "state_invalid", "issuer_mismatch",
    },
    "getVerification": {"verification_not_found"},
}  # fmt: skip
OF_EVERY_KEY = {"unauthorized", "forbidden", "validation_error", "internal_error", "database_unavailable"}
OPERATIONS: dict[str, set[str]] = {
    "startVerification": {"payload_too_large", "request_timeout"},
    "finishVerification": {"payload_too_large", "request_timeout"},
    "getUserStatus": set(),
    "resetUser": {"payload_too_large", "request_timeout"},
    "eraseUser": set(),
    "listVerifications": set(),
    "getVerification": set(),
    "listAudit": set(),
}
SENT = {"startVerification": "first_login", "finishVerification": "relay", "resetUser": "identity"}
DECLARED = sorted(
    [(name, code) for name, own in OPERATIONS.items() for code in own | OF_EVERY_KEY | PROBLEMS.get(name, set())]
    + [("getMetrics", code) for code in ("unauthorized", "forbidden", "internal_error")]
    + [(name, "internal_error") for name in ("launchVerification", "receiveCallback", "getHealth", "getReadiness")]
)
# It reaches for nothing that could fail.
UNFAILING = {("getHealth", "internal_error")}
# What happens before a refusal, and what is sent in place of the example's.
REFUSALS: dict[str, tuple[Before, Json]] = {
    "session_token_invalid": (Story.a_hosted_return, {"session_token": "forged"}),
    "verification_not_found": (Story.nothing, {}),
    "verification_mismatch": (Story.a_return, {"user_id": examples.OTHER_USER_ID}),
    "verification_already_finished": (Story.a_verified_user, {"code": "another"}),
    "callback_in_progress": (Story.an_exchange, {"code": "another"}),
    "state_invalid": (Story.a_return, {"state": "forged"}),
    "issuer_mismatch": (Story.a_return, {"iss": "https://other.example"}),
}


def without_user(body: Json) -> Json:
    return {name: value for name, value in body.items() if name != "user_id"}


# The field of an example's validation error, and a request that has this fault.
FAULTY: dict[str, Callable[[Json], Json]] = {
    "body.user_id": lambda request: {**request, "json": without_user(request["json"])},
    "body.identity": lambda request: {**request, "json": {"identity": "yes"}},
    "path.user_id": lambda request: {**request, "url": request["url"].replace("66f1c0ffee", "6" * 256)},
    "path.verification_id": lambda request: {**request, "url": "/v1/verifications/" + "6" * 65},
    "query.action": lambda request: {**request, "params": {"action": "promote"}},
    "query.limit": lambda request: {**request, "params": {"limit": "101"}},
}


def declared_problems(document: Json) -> dict[tuple[str, str], tuple[str, Json, Json]]:
    """The example of every problem of every operation, by the operation's id and the problem's code."""
    return {
        (operation["operationId"], code): (status, example["value"], response["content"][PROBLEM])
        for path, operations in document["paths"].items()
        for operation in operations.values()
        for status, response in operation["responses"].items()
        if not path.startswith(HOOKS)
        for code, example in response.get("content", {}).get(PROBLEM, {}).get("examples", {}).items()
    }


async def refused(
    service: Service, operation: Json, request: Json, code: str, example: Json, folder: Path
) -> httpx.Response:
    """The answer to a request that meets this problem."""
    if code == "payload_too_large":
        request["json"] = {"user_id": "6" * 65536}
    if code == "validation_error":
        request = FAULTY[example["errors"][0]["field"]](request)
    if code == "request_timeout":
        request = {**request, "json": None, "content": dripping()}
    places = {
        "request_timeout": impatient(service),
        "internal_error": failing(service),
        "database_unavailable": without_database(service, folder),
    }
    async with places.get(code, nullcontext(service)) as asked:
        other_role = asked.idp if operation["operationId"] == "getMetrics" else asked.client(METRICS_KEY)
        clients = {"unauthorized": asked.client(None), "forbidden": other_role}
        return await clients.get(code, client_for(asked, operation)).request(**request)


def test_every_declared_problem_is_met(document: Json) -> None:
    assert sorted(declared_problems(document)) == DECLARED


@on_sqlite_only
@pytest.mark.parametrize(("operation_id", "code"), [each for each in DECLARED if each not in UNFAILING])
async def test_each_problem_is_answered_as_its_example_says(
    operation_id: str, code: str, make_service: MakeService, clock: Clock, document: Json, tmp_path: Path
) -> None:
    service = await make_service(**SETTINGS)
    story = Story(service, clock)
    before, changes = REFUSALS.get(code, (Story.nothing, {}))
    await before(story)
    status, example, content = declared_problems(document)[operation_id, code]
    _, _, operation = operation_of(document, operation_id)
    request = request_of(document, operation_id, story, SENT.get(operation_id, ""))
    if changes and operation_id == "finishVerification":
        whose = {name: request["json"][name] for name in ("user_id", "verification_id")}
        request["json"] = {**(whose if "session_token" in changes else request["json"]), **changes}

    response = await refused(service, operation, request, code, example, tmp_path)

    assert response.status_code == int(status), response.text
    assert response.headers["Content-Type"] == PROBLEM
    for name, header in operation["responses"][status]["headers"].items():
        assert name == "X-Request-ID" or not header["required"] or response.headers[name] == header["example"]
    validator(document, content).validate(example)
    same_form("", example, response.json())
