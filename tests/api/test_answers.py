import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from structlog.testing import capture_logs

from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.service import CLAIM, Service, problem
from tests.harness.tables import Tables

DECISION = ["action", "reason", "redirect_url", "claims", "app_metadata", "error", "verification"]
VERIFICATION = [
    *(
        "id",
        "user_id",
        "status",
        "flow",
        "purpose",
        "started_by",
        "finished_by",
        "created_at",
        "expires_at",
        "finished_at",
    ),
    *("interview_id", "identity_id", "auth_overall_score", "auth_overall_status", "error"),
]
USER_STATUS = ["user_id", "verified", "needs_verification", "reason", "reverify_at", "claims", "app_metadata"]
ERROR = ["code", "detail", "hint", "message"]
PROBLEM = ["type", "title", "status", "detail", "hint", "code", "request_id"]
RECORD = [
    *("incode_idv_completed", "incode_idv_completed_at", "incode_interview_id", "incode_identity_id"),
    *("incode_idv_error", "incode_idv"),
]
CLAIM_KEYS = [
    *("completed", "completed_at", "interview_id", "identity_id", "auth_overall_score", "auth_overall_status", "pii"),
]

REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SECURITY_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


async def one_chunk(content: bytes) -> AsyncIterator[bytes]:
    yield content


# What is asked, and how it is answered: a 200 of every kind, and every way to be refused.
REQUESTS: list[tuple[int, str, str, dict[str, Any]]] = [
    (200, "POST", "/v1/verifications", {"json": {"user_id": "ana"}}),
    (200, "GET", "/v1/users/ana", {}),
    (200, "POST", "/v1/users/ana/reset", {}),
    (204, "DELETE", "/v1/users/ana", {}),
    (200, "GET", "/healthz", {}),
    (200, "GET", "/readyz", {}),
    (200, "GET", "/docs", {}),
    (200, "GET", "/docs/swagger-start.js", {}),
    (200, "GET", "/docs/swagger-ui.css", {}),
    (200, "GET", "/openapi.json", {}),
    (401, "GET", "/v1/users/ana", {"headers": {"Authorization": ""}}),
    (404, "POST", "/v1/callback", {"json": {"user_id": "ana", "verification_id": "idv_" + "0" * 32}}),
    (404, "GET", "/v1/nowhere", {}),
    (404, "GET", "/v1", {}),
    (404, "GET", "/nowhere", {}),
    (404, "GET", "//v1/users", {}),
    (405, "PUT", "/v1/callback", {}),
    (405, "POST", "/docs", {}),
    (413, "POST", "/v1/callback", {"content": b"x" * 1_000_000}),
    (413, "POST", "/v1/callback", {"content": b"x" * 70_000, "headers": {"Content-Type": "application/json"}}),
    (422, "POST", "/v1/verifications", {"json": {}}),
    (422, "POST", "/v1/verifications", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
]


async def ask_everything(client: httpx.AsyncClient, **headers: str) -> list[httpx.Response]:
    responses = []
    for status, method, path, options in REQUESTS:
        both = {**headers, **options.get("headers", {})}
        responses.append(await client.request(method, path, **{**options, "headers": both}))
        assert responses[-1].status_code == status, (method, path, responses[-1].text[:200])
    chunked = await client.post("/v1/callback", content=one_chunk(b"x" * 1_000_000), headers=headers)
    assert chunked.status_code == 413
    return [*responses, chunked]


def times(value: Any) -> Iterator[str]:
    """Every value under a key that names a moment."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name.endswith("_at") and inner is not None:
                yield inner
            yield from times(inner)


async def test_every_response_has_a_request_id_of_its_own(service: Service) -> None:
    responses = await ask_everything(service.admin)
    request_ids = [response.headers.get_list("X-Request-ID") for response in responses]
    assert all(len(found) == 1 and REQUEST_ID.fullmatch(found[0]) for found in request_ids), request_ids
    assert len({found[0] for found in request_ids}) == len(responses)


async def test_every_response_takes_over_a_well_formed_request_id(service: Service) -> None:
    for response in await ask_everything(service.admin, **{"X-Request-ID": "trace:4711/a.b-c_d~e+f="}):
        assert response.headers.get_list("X-Request-ID") == ["trace:4711/a.b-c_d~e+f="], response.request.url
    for request_id in ("a", "x" * 128, "0f0c9f6c-7d6c-4f3c-9d3d-7f0f8d1f2a3b"):
        response = await service.idp.get("/healthz", headers={"X-Request-ID": request_id})
        assert response.headers["X-Request-ID"] == request_id


async def test_a_request_id_that_is_not_well_formed_is_replaced(service: Service) -> None:
    for given in (
        b"",
        b" ",
        b"x" * 129,
        b"a b",
        b"a\tb",
        b"a,b",
        b"<script>",
        b'"',
        b"caf\xc3\xa9",
        b"\xff",
        b"{}",
        b"%0d%0a",
        b"ana@x.example",
    ):
        for path in ("/healthz", "/v1/nowhere"):
            response = await service.idp.get(path, headers=[(b"X-Request-ID", given)])
            [request_id] = response.headers.get_list("X-Request-ID")
            assert request_id != given.decode("latin-1")
            assert REQUEST_ID.fullmatch(request_id)
            assert len(request_id) >= 32


async def test_every_response_has_the_security_headers(service: Service) -> None:
    for response in await ask_everything(service.admin):
        where = str(response.request.url)
        for name, value in SECURITY_HEADERS.items():
            assert response.headers.get_list(name) == [value], (where, name)
        [policy] = response.headers.get_list("Content-Security-Policy")
        assert "default-src 'none'" in policy, where
        assert "frame-ancestors 'none'" in policy, where
        assert "Strict-Transport-Security" not in response.headers, where
        assert "Server" not in response.headers, where


async def test_nothing_under_v1_is_stored(service: Service) -> None:
    under_v1 = [
        response for response in await ask_everything(service.admin) if response.request.url.path.startswith("/v1")
    ]
    assert len(under_v1) >= 14
    for response in under_v1:
        assert response.headers.get_list("Cache-Control") == ["no-store"], (response.status_code, response.request.url)


async def test_browsers_are_told_to_stay_on_https_where_the_service_is_public_there(make_service: MakeService) -> None:
    service = await make_service(public_url="https://idv.example")
    for response in await ask_everything(service.admin):
        [value] = response.headers.get_list("Strict-Transport-Security")
        assert int(re.fullmatch(r"max-age=(\d+).*", value)[1]) >= 31536000  # type: ignore[index]  # no match fails the test


async def test_a_decision_has_the_keys_of_the_contract_in_their_order(make_service: MakeService) -> None:
    service = await make_service(block_on_failure=True)
    started = await service.start("ana")
    arrived = await service.visit(started)
    decisions = {
        "redirect": started,
        "verified": await service.finish("ana", started, **arrived),
        "repeated": await service.finish("ana", started, **arrived),
        "recently verified": await service.start("ana"),
        "denied": await service.verify("bob", "denied"),
        "not started": await service.start("bob", purpose="step_up"),
    }
    for what, decision in decisions.items():
        assert list(decision) == DECISION, what
        if decision["verification"]:
            assert list(decision["verification"]) == VERIFICATION, what
        if decision["error"]:
            assert list(decision["error"]) == ERROR, what
            assert all(decision["error"].values())
            assert decision["reason"] == decision["error"]["code"]
        if decision["claims"]:
            assert list(decision["claims"][CLAIM]) == CLAIM_KEYS, what
        assert list(decision["app_metadata"]) in ([], RECORD), what
        assert (decision["redirect_url"] is None) == (decision["action"] != "redirect"), what
    assert [decision["action"] for decision in decisions.values()] == [
        *("redirect", "continue", "continue", "continue", "deny", "deny"),
    ]
    without_attempt = {what for what, decision in decisions.items() if decision["verification"] is None}
    assert without_attempt == {"recently verified", "not started"}
    assert list(decisions["denied"]["verification"]["error"]) == ERROR


async def test_a_user_status_has_the_keys_of_the_contract_in_their_order(service: Service) -> None:
    unknown = await service.status("ana")
    assert list(unknown) == USER_STATUS
    assert (unknown["reverify_at"], unknown["claims"], unknown["app_metadata"]) == (None, {}, {})
    await service.verify("ana")
    known = await service.status("ana")
    assert list(known) == USER_STATUS
    assert list(known["app_metadata"]) == RECORD
    assert list(known["claims"][CLAIM]) == CLAIM_KEYS
    reset = (await service.admin.post("/v1/users/ana/reset")).json()
    assert list(reset) == USER_STATUS
    assert list(reset["app_metadata"]) == RECORD
    assert reset == await service.status("ana")


async def test_a_problem_has_the_keys_of_the_contract_in_their_order(service: Service) -> None:
    problems = [response for response in await ask_everything(service.admin) if response.status_code >= 400]
    assert len(problems) > 10
    for response in problems:
        answer = problem(response, response.status_code, response.json()["code"])
        errors = ["errors"] if response.status_code == 422 else []
        assert list(answer) == PROBLEM + errors
        assert re.fullmatch(r"urn:\S+|https?://\S+", answer["type"])


async def test_times_are_utc_with_milliseconds(service: Service, clock: Clock) -> None:
    clock.now = clock.now.replace(microsecond=7_000)
    started = await service.start("ana")
    arrived = await service.visit(started)
    clock.advance(seconds=12, milliseconds=993)
    finished = await service.finish("ana", started, **arrived)
    status = await service.status("ana")

    assert started["verification"]["created_at"] == "2026-04-07T17:28:25.007Z"
    assert started["verification"]["expires_at"] == "2026-04-07T18:28:25.007Z"
    assert finished["verification"]["finished_at"] == "2026-04-07T17:28:38.000Z"
    assert finished["claims"][CLAIM]["completed_at"] == "2026-04-07T17:28:38.000Z"
    assert status["app_metadata"]["incode_idv_completed_at"] == "2026-04-07T17:28:38.000Z"
    assert status["reverify_at"] == "2026-05-07T17:28:38.000Z"
    found = [moment for answer in (started, finished, status) for moment in times(answer)]
    assert len(found) >= 10
    assert all(TIME.fullmatch(moment) for moment in found), found


async def test_a_decision_with_an_error_has_no_claims(service: Service, clock: Clock) -> None:
    """Not even where an earlier verification still stands."""
    outcomes = {"denied": "access_denied", "failed": "status_not_accepted", "provider-down": "provider_unavailable"}
    for outcome, code in outcomes.items():
        assert (await service.verify(outcome))["claims"]
        clock.advance(seconds=1)
        again = await service.verify(outcome, outcome, force=True)
        assert (again["action"], again["error"]["code"], again["claims"]) == ("continue", code, {})
    assert (await service.status("provider-down"))["claims"], "a provider that is down takes nothing away"


async def test_attempt_ids_are_random_and_unique(make_service: MakeService) -> None:
    service = await make_service(attempt_limit=0)
    ids = [(await service.start("ana"))["verification"]["id"] for _ in range(40)]
    assert len(set(ids)) == len(ids)
    for attempt_id in ids:
        random_part = attempt_id.removeprefix("idv_")
        assert random_part != attempt_id
        bits_per_character = 4 if re.fullmatch(r"[0-9a-f]+", "".join(ids).replace("idv_", "")) else 6
        assert re.fullmatch(r"[A-Za-z0-9_-]+", random_part)
        assert len(random_part) * bits_per_character >= 128
    for position in range(len(ids[0]) - 4):
        assert len({attempt_id[4 + position] for attempt_id in ids}) > 1, "a place that never changes is not random"


@contextmanager
def failing_with(text: str) -> Iterator[None]:
    """Let whatever looks at the time fail, as a mistake of ours would."""

    def fail(_: Clock) -> None:
        raise ValueError(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clock, "__call__", fail)
        yield


async def test_the_text_of_an_exception_is_neither_answered_nor_logged(service: Service) -> None:
    started = await service.start("ana", email="ana@example.com")
    arrived = await service.visit(started)

    with capture_logs() as logs, failing_with("Marked-4711"):
        response = await service.send_callback("ana", started, **arrived)

    problem(response, 500, "internal_error")
    assert list(response.json()) == PROBLEM
    for name, value in SECURITY_HEADERS.items():
        assert response.headers[name] == value
    assert response.headers["Cache-Control"] == "no-store"
    [fault] = [event for event in logs if event["log_level"] == "error"]
    assert fault["fault"] not in response.text
    assert "exc_info" not in fault
    for private in ("Marked-4711", arrived["code"], arrived["state"], "ana@example.com", "Traceback"):
        assert private not in response.text
        assert private not in repr(logs)
    assert any(event.get("status") == 500 and event.get("route") == "/v1/callback" for event in logs)
    assert (await service.finish("ana", started, **arrived))["reason"] == "verified"


async def test_the_service_goes_on_after_many_internal_errors(service: Service) -> None:
    started = await service.start("ana")
    arrived = await service.visit(started)
    with failing_with("Marked-4711"):
        for _ in range(20):
            problem(await service.send_callback("ana", started, **arrived), 500, "internal_error")
    assert (await service.verify("bob"))["reason"] == "verified"


@pytest.mark.parametrize("column", ["flow", "purpose", "status", "failure_code"])
async def test_an_attempt_that_somebody_has_made_unreadable_is_not_found(service: Service, column: str) -> None:
    started = await service.start("ana", email="ana@example.com")
    arrived = await service.visit(started)
    await Tables(service).change(f"UPDATE verifications SET {column} = 'Marked-4711'")  # noqa: S608
    before = await Tables(service).attempts("ana")

    with capture_logs() as logs:
        response = await service.send_callback("ana", started, **arrived)

    problem(response, 404, "verification_not_found")
    assert "Marked-4711" not in response.text + repr(logs)
    assert (await Tables(service).attempts("ana"), service.asked("token")) == (before, 0)
    assert (await service.verify("ana"))["reason"] == "verified"


async def test_an_attempt_that_no_key_opens_exchanges_nothing_and_proves_nothing(make_service: MakeService) -> None:
    service = await make_service()
    stranger = await make_service(encryption_keys=Fernet.generate_key().decode())
    started = await service.start("ana", email="ana@example.com")

    finished = await stranger.finish("ana", started, **await service.visit(started))

    assert (finished["action"], finished["reason"], finished["claims"]) == ("continue", "record_not_authentic", {})
    assert service.asked("token") == 0
    assert (await service.status("ana"))["verified"] is False


@pytest.mark.parametrize("path", ["/v1/users/ana", "/healthz", "/v1/nowhere"])
async def test_head_has_the_headers_and_no_body(service: Service, path: str) -> None:
    response = await service.idp.head(path)
    assert response.content == b""
    assert REQUEST_ID.fullmatch(response.headers["X-Request-ID"])
    for name, value in SECURITY_HEADERS.items():
        assert response.headers[name] == value
