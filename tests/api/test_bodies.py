"""When a request's body is read: after the key, whole within its time, and as JSON that nobody could read
differently.
"""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message

from tests.conftest import MakeService
from tests.harness.bodies import dripping, impatient
from tests.harness.clock import Clock
from tests.harness.service import IDP_KEY, Json, Service, problem
from tests.harness.tables import on_sqlite_only
from tests.harness.waiting import PATIENCE

pytestmark = on_sqlite_only

START = "/v1/verifications"
JSON_TYPE = {"Content-Type": "application/json"}
KEYLESS: list[tuple[bytes, bytes]] = []
KEY = [(b"authorization", f"Bearer {IDP_KEY}".encode())]
LONG = [(b"content-type", b"application/json"), (b"content-length", b"1000")]


class Client:
    """A client at the server's end of the wire: it sends its pieces, then nothing, and notes what is asked and
    answered.
    """

    def __init__(self, service: Service, pieces: list[Message]) -> None:
        self._app = service.app
        self._pieces = pieces
        self.events: list[str] = []
        self.answer: list[Message] = []

    async def receive(self) -> Message:
        self.events.append("receive")
        if not self._pieces:
            raise TimeoutError  # as the deadline does in a wait without end
        return self._pieces.pop(0)

    @property
    def pieces_left(self) -> int:
        return len(self._pieces)

    async def send(self, message: Message) -> None:
        self.events.append(message["type"])
        self.answer.append(message)

    async def post(self, path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, dict[str, str], Json]:
        scope: dict[str, Any] = {
            **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": ""},
            **{"method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers},
        }
        await self._app(scope, self.receive, self.send)
        start, *bodies = self.answer
        told = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return start["status"], told, json.loads(b"".join(each.get("body", b"") for each in bodies))


def piece(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize("path", [START, "/v1/callback", "/v1/users/ana/reset", "/v1/nowhere"])
async def test_a_stranger_is_answered_before_his_body_is_looked_at(service: Service, path: str) -> None:
    client = Client(service, [])
    status, headers, answer = await client.post(path, KEYLESS + LONG)
    assert (status, answer["code"]) in {(401, "unauthorized"), (404, "not_found")}
    assert client.events[0] == "http.response.start"
    assert headers["connection"] == "close"
    assert client.answer[-1].get("more_body", False) is False


async def test_a_key_is_checked_before_a_length_is(service: Service) -> None:
    async with service.client("wrong") as stranger:
        problem(await stranger.post(START, content=b"x" * 70_000, headers=JSON_TYPE), 401, "unauthorized")


async def test_the_rest_of_a_refused_body_is_let_in_before_the_connection_ends(service: Service) -> None:
    client = Client(service, [piece(b"x" * 500, more=True), piece(b"x" * 500)])
    status, headers, _ = await client.post(START, KEYLESS + LONG)
    assert (status, headers["connection"]) == (401, "close")
    assert client.events == ["http.response.start", "http.response.body", "receive", "receive", "http.response.body"]


async def test_a_body_that_does_not_come_whole_in_time_is_given_up(service: Service) -> None:
    for pieces in ([], [piece(b'{"user_id": "ana"', more=True)]):
        status, headers, answer = await Client(service, pieces).post(START, KEY + LONG)
        assert (status, answer["code"], headers["connection"]) == (408, "request_timeout", "close")
    assert service.asked("discovery") == 0


async def test_a_client_that_leaves_within_its_body_has_started_nothing(service: Service) -> None:
    client = Client(service, [piece(b'{"user_id": "ana"}', more=True), {"type": "http.disconnect"}])
    status, *_ = await client.post(START, KEY + LONG)
    assert status == 408
    assert (await service.admin.get("/v1/verifications")).json()["items"] == []


async def test_the_deadline_stands_whatever_the_client_drips(service: Service) -> None:
    async with asyncio.timeout(PATIENCE), impatient(service) as hurried:
        problem(await hurried.idp.post(START, content=dripping(), headers=JSON_TYPE), 408, "request_timeout")
        assert (await hurried.idp.post(START, json={"user_id": "ana"})).status_code == 200


class SlowClient(Client):
    """A client whose pieces each come some seconds after the one before."""

    def __init__(self, service: Service, clock: Clock, waits: list[float], pieces: list[Message]) -> None:
        super().__init__(service, pieces)
        self._clock, self._waits = clock, waits

    async def receive(self) -> Message:
        # A wait, so that a deadline which has passed is noticed.
        await asyncio.sleep(0)
        self._clock.advance(seconds=self._waits.pop(0) if self._waits else 0)
        return await super().receive()


BEGUN, NOTHING, REST = piece(b"{", more=True), piece(b"", more=True), piece(b'"user_id": "ana"}')


@pytest.mark.parametrize(
    ("waits", "pieces"),
    [([6, 4, 5.9], [BEGUN, NOTHING, REST]), ([6, 3.9, 5, 4.9], [NOTHING, BEGUN, NOTHING, REST])],
)
async def test_a_body_may_take_ten_seconds_from_its_first_byte(
    make_service: MakeService, clock: Clock, waits: list[float], pieces: list[Message]
) -> None:
    client = SlowClient(await make_service(), clock, list(waits), list(pieces))
    assert (await client.post(START, KEY + LONG))[0] == 200


@pytest.mark.parametrize(
    ("waits", "pieces"),
    [
        ([6, 10], [BEGUN, NOTHING, REST]),
        ([6, 5, 5], [BEGUN, piece(b" ", more=True), NOTHING, REST]),
        ([10], [NOTHING, REST]),
        ([6, 4], [NOTHING, NOTHING, REST]),
    ],
)
async def test_a_body_that_does_not_begin_or_end_in_its_ten_seconds_is_waited_for_no_longer(
    make_service: MakeService, clock: Clock, waits: list[float], pieces: list[Message]
) -> None:
    client = SlowClient(await make_service(), clock, list(waits), list(pieces))
    status, _, answer = await client.post(START, KEY + LONG)
    assert (status, answer["code"], client.pieces_left) == (408, "request_timeout", 1)


async def test_a_stranger_has_no_second_ten_seconds(make_service: MakeService, clock: Clock) -> None:
    pieces = [piece(b"x", more=True) for _ in range(3)]
    client = SlowClient(await make_service(), clock, [6, 4, 0], pieces)
    status, *_ = await client.post(START, KEYLESS + LONG)
    assert (status, client.pieces_left) == (401, 1)


TEXT = '{"user_id": "ana"}'


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "cp037"]
)
async def test_json_is_utf_8_without_a_mark(service: Service, encoding: str) -> None:
    response = await service.idp.post(START, content=TEXT.encode(encoding), headers=JSON_TYPE)
    assert problem(response, 422, "validation_error")["errors"] == [{"field": "body", "message": "is not valid JSON"}]


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"]
)
async def test_what_says_that_it_is_json_is_read_as_json(service: Service, kind: str) -> None:
    assert (await service.idp.post(START, content=TEXT, headers={"Content-Type": kind})).status_code == 200


# What is wrong with a field, in our own words.

WRONG: list[tuple[str, Any, str, str]] = [
    (START, {}, "body.user_id", "is missing"),
    (START, {"user_id": ""}, "body.user_id", "must not be empty"),
    (START, {"user_id": "x" * 256}, "body.user_id", "may have at most 255 characters"),
    (START, {"user_id": "a\x00"}, "body.user_id", "may not contain control characters"),
    (START, {"user_id": 1}, "body.user_id", "must be a string"),
    (START, {"user_id": "ana", "user": "ana"}, "body.user", "unknown field: did you mean user_id?"),
    (START, {"user_id": "ana", "returnTo": "https://x"}, "body.returnTo", "unknown field: did you mean return_to?"),
    (START, {"user_id": "ana", "force": "yes"}, "body.force", "must be true or false"),
    (START, {"user_id": "ana", "purpose": "pay"}, "body.purpose", "must be 'login' or 'step_up'"),
    ("/v1/callback", {"user_id": "ana", "sessionToken": "x"}, "body.sessionToken",
    "unknown field: did you mean session_token?"),
    ("/v1/users/ana/reset", {"identty": True}, "body.identty", "unknown field: did you mean identity?"),
    ("/v1/users/ana/reset", {"zzz": True}, "body.zzz", "unknown field: known are identity"),
    ("/v1/users/ana/reset", [], "body", "must be a JSON object, sent as application/json"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "field", "message"), WRONG, ids=[f"{row[2]}: {row[3]}" for row in WRONG])
async def test_what_is_wrong_is_said_in_words_of_this_api(
    service: Service, path: str, body: Any, field: str, message: str
) -> None:
    answer = problem(await service.admin.post(path, json=body), 422, "validation_error")
    assert {"field": field, "message": message} in answer["errors"]


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("limit=0", "query.limit", "must be 1 or more"),
        ("limit=101", "query.limit", "must be 100 or less"),
        ("limit=x", "query.limit", "must be a whole number"),
        (
            "status=done",
            "query.status",
            "must be 'pending', 'exchanging', 'returned', 'completed', 'failed' or 'expired'",
        ),
        ("cursor=x", "query.cursor", "is not a cursor of this list"),
        ("stat=failed", "query.stat", "unknown field: did you mean status?"),
    ],
)
async def test_so_it_is_of_a_query(service: Service, query: str, field: str, message: str) -> None:
    answer = problem(await service.admin.get(f"/v1/verifications?{query}"), 422, "validation_error")
    assert answer["errors"] == [{"field": field, "message": message}]
