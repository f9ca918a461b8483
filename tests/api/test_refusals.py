import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.conftest import MakeService
from tests.harness.provider import PUBLIC_URL, REDIRECT_URI
from tests.harness.service import ADMIN_KEY, IDP_KEY, Json, Service, problem, query_of, state_of
from tests.harness.tables import Tables, on_sqlite_only

MARK = "Marked-4711-Value"
NUMBER = 918273645
LIMIT = 64 * 1024
JSON_TYPE = {"Content-Type": "application/json"}

START, CALLBACK, RESET = "/v1/verifications", "/v1/callback", "/v1/users/ana/reset"
UNKNOWN = "idv_" + "0" * 32
REQUIRED: dict[str, Json] = {
    START: {"user_id": "ana"},
    CALLBACK: {"user_id": "ana", "verification_id": UNKNOWN},
    RESET: {},
}
STRINGS = [
    (START, "user_id"),
    (START, "email"),
    (START, "redirect_uri"),
    (START, "return_to"),
    (START, "state"),
    (START, "locale"),
    (CALLBACK, "user_id"),
    (CALLBACK, "verification_id"),
    (CALLBACK, "code"),
    (CALLBACK, "state"),
    (CALLBACK, "iss"),
    (CALLBACK, "session_token"),
]
# What the provider says of its error is cleaned, not refused: the person's login must not fail for it.
FOREIGN_TEXTS = [(CALLBACK, "error"), (CALLBACK, "error_description")]
WORDS = [(START, "purpose"), (START, "flow")]
BOOLEANS = [(START, "force"), (START, "omit_state"), (RESET, "identity")]

CONTROLS = ["\x00", "\t", "\n", "\r", "\x1f", "\x7f", "\x80", "\x85", "\x9f"]
LONE_SURROGATES = ["\ud800", "\udfff", "\udc00\ud800"]

USER_IDS = [
    "samlp|tenant|http://x/y",
    "a/b",
    "a%2Fb",
    "a/reset",
    "/",
    "//",
    "..",
    "a/../b",
    "100%",
    "%00",
    "a?b=c&d#e",
    " a b ",
    "a+b;c,d",
    "a\\b\"c'",
    "'; DROP TABLE users; --",
    "ünï",
    "u\u0308ni",
    "日本 語",
    "😀" * 255,
    "null",
    "x" * 255,
]


def encoded(user_id: str) -> str:
    """A user id as a path segment, with every byte escaped: no client on the way can normalise it."""
    return "".join(f"%{byte:02X}" for byte in user_id.encode())


async def send(service: Service, path: str, body: Json | bytes, headers: dict[str, str] = JSON_TYPE) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await service.admin.post(path, content=content, headers=headers)


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(content), 4096):
        yield content[begin : begin + 4096]


async def recorded(service: Service) -> list[list[Json]]:
    tables = Tables(service)
    return [await tables.rows("SELECT * FROM users"), await tables.rows("SELECT * FROM verifications ORDER BY id")]


async def refused(service: Service, path: str, body: Json | bytes, headers: dict[str, str] = JSON_TYPE) -> list[str]:
    """The fields that are named in a refusal, which repeats nothing of what was sent."""
    response = await send(service, path, body, headers)
    assert response.status_code == 422, (path, body, response.text)
    answer = problem(response, 422, "validation_error")
    assert MARK not in response.text, (path, body)
    assert str(NUMBER) not in response.text, (path, body)
    assert all(error["message"] for error in answer["errors"])
    return [error["field"] for error in answer["errors"]]


@pytest.fixture
async def unchanged(service: Service) -> AsyncIterator[Service]:
    """A service with a verified user and a pending attempt, whose tables must be the same after the test."""
    await service.verify("ana")
    await service.start("ana", force=True)
    before = await recorded(service)
    assert [len(rows) for rows in before] == [1, 2]
    yield service
    assert await recorded(service) == before


async def test_what_is_missing_is_named(unchanged: Service) -> None:
    for path in (START, CALLBACK):
        assert await refused(unchanged, path, {}) == [f"body.{field}" for field in REQUIRED[path]]
        for field in REQUIRED[path]:
            without = {name: value for name, value in REQUIRED[path].items() if name != field}
            assert await refused(unchanged, path, without) == [f"body.{field}"]


async def test_unknown_fields_are_named_and_their_values_are_not_repeated(unchanged: Service) -> None:
    for path, required in REQUIRED.items():
        fields = await refused(unchanged, path, {**required, "is_admin": MARK, "User_Id": NUMBER})
        assert set(fields) == {"body.is_admin", "body.User_Id"}


async def test_an_unknown_field_that_is_no_name_is_not_repeated(unchanged: Service) -> None:
    for path, required in REQUIRED.items():
        for name in (f"<b>{MARK}</b>", f"{MARK}\n", f"{MARK} ", MARK + "x" * 64, "", "\ud800"):
            fields = await refused(unchanged, path, {**required, name: 1})
            assert fields in (["body"], ["body.?"])


async def test_a_string_is_a_string(unchanged: Service) -> None:
    for path, field in STRINGS + FOREIGN_TEXTS + WORDS:
        for value in (NUMBER, NUMBER / 1000, True, [MARK], {MARK: MARK}):
            assert await refused(unchanged, path, {**REQUIRED[path], field: value}) == [f"body.{field}"], value


async def test_a_user_id_is_not_null_and_not_empty(unchanged: Service) -> None:
    for path in (START, CALLBACK):
        for value in (None, ""):
            assert await refused(unchanged, path, {**REQUIRED[path], "user_id": value}) == ["body.user_id"]


async def test_a_boolean_is_a_boolean(unchanged: Service) -> None:
    for path, field in BOOLEANS:
        for value in ("true", "false", "", 1, 0, 1.0, None, [True], {MARK: True}, MARK):
            assert await refused(unchanged, path, {**REQUIRED[path], field: value}) == [f"body.{field}"], value


@pytest.mark.parametrize(("path", "field"), WORDS)
async def test_an_unknown_word_is_refused_with_the_known_ones(unchanged: Service, path: str, field: str) -> None:
    known = {"purpose": "step_up", "flow": "relay"}[field]
    for value in (MARK, known.upper(), f" {known}", ""):
        response = await send(unchanged, path, {**REQUIRED[path], field: value})
        [error] = problem(response, 422, "validation_error")["errors"]
        assert error["field"] == f"body.{field}"
        assert known in error["message"]
        assert "<" not in error["message"], "the message shows Python, not the API"
        assert MARK not in response.text


async def test_control_characters_and_lone_surrogates_are_refused(unchanged: Service) -> None:
    for path, field in STRINGS:
        for character in CONTROLS + LONE_SURROGATES:
            for value in (character + MARK, f"{MARK}{character}{MARK}", MARK + character):
                assert await refused(unchanged, path, {**REQUIRED[path], field: value}) == [f"body.{field}"], ascii(
                    value
                )


async def test_what_the_provider_says_is_cleaned_before_it_is_kept(service: Service) -> None:
    for character in CONTROLS + LONE_SURROGATES:
        user_id = f"user-{character!a}"
        started = await service.start(user_id)
        arrived = {"verification_id": started["verification"]["id"], **await service.visit(started, "denied")}
        assert arrived["error"] == "access_denied"
        arrived["error_description"] = f"{character}not{character}now{character}"

        response = await send(service, CALLBACK, {"user_id": user_id, **arrived})

        assert response.status_code == 200, response.text
        assert response.json()["app_metadata"]["incode_idv_error"] == "access_denied: not now"
        assert (await service.idp.get(f"/v1/users/{encoded(user_id)}")).json()["app_metadata"] == response.json()[
            "app_metadata"
        ]


async def test_an_error_that_is_no_code_is_an_unregistered_one(service: Service) -> None:
    for character in [*CONTROLS, *LONE_SURROGATES, " "]:
        user_id = f"user-{character!a}"
        started = await service.start(user_id)
        arrived = {"verification_id": started["verification"]["id"], **await service.visit(started, "denied")}
        body = {"user_id": user_id, **arrived, "error": f"{MARK}{character}", "error_description": None}

        response = await send(service, CALLBACK, body)

        assert response.status_code == 200, response.text
        assert response.json()["error"]["code"] == "authorization_error"
        assert MARK not in response.text


async def test_null_and_the_empty_string_mean_that_an_email_is_absent(service: Service) -> None:
    for value in (None, ""):
        started = await service.start("ana", email=value)
        assert "login_hint" not in query_of(started["redirect_url"])


@pytest.mark.parametrize("value", [None, ""], ids=["null", "empty"])
async def test_null_and_the_empty_string_mean_that_a_parameter_did_not_arrive(
    service: Service, value: str | None
) -> None:
    for outcome, absent, reason in (
        ("verified", ("error", "error_description"), "verified"),
        ("denied", ("code", "error_description"), "access_denied"),
        ("verified", ("code", "iss", "error", "error_description"), "no_code_returned"),
    ):
        started = await service.start("ana", force=True)
        arrived = await service.visit(started, outcome)
        finished = await service.finish("ana", started, **{**arrived, **dict.fromkeys(absent, value)})
        assert finished["reason"] == reason


NOT_JSON = [
    b"{",
    MARK.encode(),
    b'{"user_id": "' + MARK.encode(),
    b"{'user_id': '" + MARK.encode() + b"'}",
    b'{"user_id": "ana"} ' + MARK.encode(),
    b'{"user_id": "ana",}',
    b"user_id=" + MARK.encode(),
    b"\xff\xfe" + MARK.encode(),
    b'{"user_id": "\xe9' + MARK.encode() + b'"}',
    b"\x00",
]
NO_OBJECT = [
    b"[]",
    b'"' + MARK.encode() + b'"',
    b"918273645",
    b"true",
    b'[{"user_id": "' + MARK.encode() + b'"}]',
    b"NaN",
]


async def test_a_body_that_is_not_json_is_refused_as_a_whole(unchanged: Service) -> None:
    for path in REQUIRED:
        for body in NOT_JSON:
            response = await send(unchanged, path, body)
            assert response.status_code == 422, (body, response.text)
            [error] = problem(response, 422, "validation_error")["errors"]
            assert error == {"field": "body", "message": "is not valid JSON"}, body
            assert MARK not in response.text


async def test_a_body_that_is_no_object_is_refused_as_a_whole(unchanged: Service) -> None:
    for path in REQUIRED:
        for body in NO_OBJECT:
            assert await refused(unchanged, path, body) == ["body"], body


async def test_a_body_is_required(unchanged: Service) -> None:
    for path in (START, CALLBACK):
        for body in (b"", b"null"):
            assert await refused(unchanged, path, body) == ["body"]


async def test_a_deeply_nested_body_is_refused_as_any_other(unchanged: Service) -> None:
    for body in (b"[" * 60_000, b"[" * 30_000 + b"]" * 30_000, b'{"user_id":' * 5_900):
        assert len(body) < LIMIT
        for path in REQUIRED:
            assert await refused(unchanged, path, body) == ["body"]
            fields = await refused(unchanged, path, b'{"user_id": ' + body + b"}")
            assert fields in (["body"], ["body.user_id"])


async def test_another_content_type_is_refused_and_json_is_asked_for(unchanged: Service) -> None:
    for path, required in REQUIRED.items():
        for content_type in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None):
            headers: dict[str, str] = {} if content_type is None else {"Content-Type": content_type}
            response = await send(unchanged, path, {**required}, headers)
            [error] = problem(response, 422, "validation_error")["errors"]
            assert error["field"] == "body"
            assert "application/json" in error["message"]


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
async def test_a_large_body_is_refused_with_a_problem(unchanged: Service, chunked: bool) -> None:
    for key in (ADMIN_KEY, "wrong", None):
        async with unchanged.client(key) as client:
            for path in (*REQUIRED, "/v1/nowhere"):
                await refuse_large_bodies(client, path, chunked=chunked, known=key == ADMIN_KEY)


async def refuse_large_bodies(client: httpx.AsyncClient, path: str, *, chunked: bool, known: bool) -> None:
    codes = {413: "payload_too_large"}
    if not known:
        codes[401] = "unauthorized"
    if path == "/v1/nowhere":
        codes[404] = "not_found"
    for size in (LIMIT + 1, 1_000_000):
        content = json.dumps({"user_id": "ana", "code": MARK}).encode().ljust(size)
        response = await client.post(path, content=chunks(content) if chunked else content, headers=JSON_TYPE)
        assert ("Content-Length" in response.request.headers) is not chunked
        assert response.status_code in codes, response.text
        problem(response, response.status_code, codes[response.status_code])
        assert MARK not in response.text


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_large_body_where_none_is_expected_does_no_harm(unchanged: Service, method: str) -> None:
    for content in (b"x" * 1_000_000, chunks(b"x" * 1_000_000)):
        response = await unchanged.idp.request(method, "/v1/users/ana", content=content)
        if response.status_code == 413:
            problem(response, 413, "payload_too_large")
        else:
            assert response.status_code == (200 if method == "GET" else 403)


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
async def test_a_body_of_exactly_64_kb_is_read(service: Service, chunked: bool) -> None:
    content = b'{"user_id": "ana"}'.ljust(LIMIT)
    response = await service.idp.post(START, content=chunks(content) if chunked else content, headers=JSON_TYPE)
    assert response.status_code == 200, response.text
    assert response.json()["verification"]["user_id"] == "ana"


async def test_the_length_of_a_user_id_is_counted_in_characters(unchanged: Service) -> None:
    for character in ("x", "é", "日", "😀"):
        user_id = character * 256
        for path in (START, CALLBACK):
            response = await send(unchanged, path, {**REQUIRED[path], "user_id": user_id})
            assert [error["field"] for error in problem(response, 422, "validation_error")["errors"]] == [
                "body.user_id"
            ]
            assert user_id not in response.text
        for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/reset")):
            response = await unchanged.admin.request(method, f"/v1/users/{encoded(user_id)}{suffix}")
            assert [error["field"] for error in problem(response, 422, "validation_error")["errors"]] == [
                "path.user_id"
            ]
            assert user_id not in response.text


async def test_a_user_id_is_the_same_in_the_body_and_in_the_path(service: Service) -> None:
    for user_id in USER_IDS:
        address = f"/v1/users/{encoded(user_id)}"
        started = await service.start(user_id)
        assert started["verification"]["user_id"] == user_id
        await service.finish(user_id, started, **await service.visit(started))

        status = (await service.idp.get(address)).json()
        assert (status["user_id"], status["reason"]) == (user_id, "recently_verified")
        reset = (await service.admin.post(f"{address}/reset")).json()
        assert (reset["user_id"], reset["reason"]) == (user_id, "not_verified")
        assert (await service.admin.delete(address)).status_code == 204
        assert (await service.idp.get(address)).json()["reason"] == "never_verified"
        assert await recorded(service) == [[], []]


async def test_user_ids_that_look_alike_are_different_users(service: Service) -> None:
    for user_id in USER_IDS:
        assert (await service.start(user_id))["reason"] == "never_verified"
        started = await service.start(user_id)
        assert (await service.finish(user_id, started, state=state_of(started)))["reason"] == "no_code_returned"
    statuses = [(await service.idp.get(f"/v1/users/{encoded(user_id)}")).json() for user_id in USER_IDS]
    assert [status["user_id"] for status in statuses] == USER_IDS
    assert {status["reason"] for status in statuses} == {"not_verified"}
    assert (await service.status("a"))["reason"] == "never_verified"


@pytest.mark.parametrize("form", ["{}ana", "a{}na", "ana{}"])
async def test_a_control_character_in_the_path_is_refused(unchanged: Service, form: str) -> None:
    for character in CONTROLS:
        address = f"/v1/users/{encoded(form.format(character))}"
        for method, path in (("GET", address), ("POST", f"{address}/reset"), ("DELETE", address)):
            response = await unchanged.admin.request(method, path)
            assert response.status_code in {404, 422}, f"{method} of {form.format(ascii(character))} did something"
            problem(response, response.status_code, {404: "not_found", 422: "validation_error"}[response.status_code])


async def test_an_empty_user_id_in_the_path_is_refused(unchanged: Service) -> None:
    for method, path in (("GET", "/v1/users/"), ("DELETE", "/v1/users/"), ("POST", "/v1/users//reset")):
        response = await unchanged.admin.request(method, path)
        assert response.status_code in {404, 422}
        problem(response, response.status_code, {404: "not_found", 422: "validation_error"}[response.status_code])


async def test_an_email_has_at_most_320_characters(service: Service) -> None:
    for character in ("x", "é", "😀"):
        email = character * 308 + "@example.com"
        started = await service.start("ana", email=email)
        assert query_of(started["redirect_url"])["login_hint"] == email
        before = await recorded(service)
        response = await send(service, START, {"user_id": "ana", "email": character + email})
        assert [error["field"] for error in problem(response, 422, "validation_error")["errors"]] == ["body.email"]
        assert email not in response.text
        assert await recorded(service) == before


async def test_an_unknown_verification_is_not_found(unchanged: Service) -> None:
    for verification_id in (UNKNOWN, MARK, "'; --"):
        response = await send(unchanged, CALLBACK, {"user_id": "ana", "verification_id": verification_id, "code": MARK})
        problem(response, 404, "verification_not_found")
        assert MARK not in response.text
    problem(await send(unchanged, CALLBACK, {**REQUIRED[CALLBACK], "user_id": "nobody"}), 404, "verification_not_found")


async def test_a_state_that_was_not_made_for_the_attempt_is_refused(service: Service) -> None:
    own, other, foreign = await service.start("ana"), await service.start("ana"), await service.start("bob")
    arrived = await service.visit(own)
    before = await recorded(service)
    signed = arrived["state"]
    header, payload, signature = signed.split(".")
    for state in (
        MARK,
        "a.b.c",
        signed[:-2],
        f"{header}.{payload}.",
        f"{header}.{payload[:-1]}.{signature}",
        signed + " ",
        "é" * 40,
        query_of(other["redirect_url"])["state"],
        query_of(foreign["redirect_url"])["state"],
    ):
        response = await service.send_callback("ana", own, **{**arrived, "state": state})
        problem(response, 409, "state_invalid")
        assert state not in response.text
    assert await recorded(service) == before
    assert (await service.finish("ana", own, **arrived))["reason"] == "verified"


async def test_a_response_of_another_issuer_is_refused(service: Service) -> None:
    started = await service.start("ana")
    arrived = await service.visit(started)
    before = await recorded(service)
    for issuer in (f"https://{MARK}.example", arrived["iss"] + "/", arrived["iss"].upper(), None):
        response = await service.send_callback("ana", started, **{**arrived, "iss": issuer})
        problem(response, 409, "issuer_mismatch")
        assert MARK not in response.text
    assert await recorded(service) == before
    assert (await service.finish("ana", started, **arrived))["reason"] == "verified"


async def test_a_callback_of_another_user_is_refused(service: Service) -> None:
    started = await service.start("ana")
    arrived = await service.visit(started)
    before = await recorded(service)
    for user_id in ("bob", "Ana", "ana ", MARK):
        response = await service.send_callback(user_id, started, **arrived)
        problem(response, 409, "verification_mismatch")
        assert "ana" not in response.text
    assert await recorded(service) == before
    assert (await service.status("bob"))["reason"] == "never_verified"
    assert (await service.finish("ana", started, **arrived))["reason"] == "verified"


async def test_a_second_code_after_the_end_is_refused(service: Service) -> None:
    started = await service.start("ana")
    first, second = await service.visit(started), await service.visit(started)
    finished = await service.finish("ana", started, **first)
    before, exchanges = await recorded(service), service.asked("token")
    for parameters in (second, {}, {**second, "code": MARK}, {"iss": first["iss"], "error": "access_denied"}):
        response = await service.send_callback("ana", started, **parameters)
        problem(response, 409, "verification_already_finished")
        assert MARK not in response.text
    assert await recorded(service) == before
    assert service.asked("token") == exchanges == 1
    assert await service.finish("ana", started, **first) == finished


NOWHERE = [
    "/v1",
    "/v1/",
    "/v1/users",
    "//v1/users",
    "//v1/users/ana",
    "/v1//users/ana",
    "/v2/users/ana",
    "/V1/users/ana",
    "/v1/verifications/",
    f"/v1/{MARK}?{MARK}={MARK}",
    f"/{MARK}%0A{MARK}",
    "/nowhere/docs.js",
    "/docs/..%2f..%2fetc%2fpasswd",
    "/.env",
    "/healthz/",
    "/healthz%0A",
    "/v1/callback%0A",
    "/v1/verifications%0A",
]


async def test_an_unknown_route_is_not_found(unchanged: Service) -> None:
    for path in NOWHERE:
        for method in ("GET", "POST"):
            response = await unchanged.admin.request(method, path, json={"user_id": "ana", "code": MARK})
            assert response.status_code == 404, f"{method} {path}: {response.text}"
            problem(response, 404, "not_found")
            assert MARK not in response.text


def routes(service: Service) -> dict[str, set[str]]:
    """The documented methods of every route, with paths filled in."""
    documented: dict[str, Any] = service.app.openapi()["paths"]
    return {
        re.sub(r"{\w+}", "ana", path): {method.upper() for method in methods} for path, methods in documented.items()
    }


async def test_a_wrong_method_is_refused_and_the_right_ones_are_named(unchanged: Service) -> None:
    for path, documented in routes(unchanged).items():
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "TRACE", "PROPFIND"} - documented:
            response = await unchanged.admin.request(method, path)
            allowed = {name.strip() for name in response.headers.get("Allow", "").split(",")}
            if method == "HEAD":
                assert response.content == b""
                assert response.headers["X-Request-ID"]
            elif path != RESET or method != "GET":  # GET of this path is the status of a user called "ana/reset"
                problem(response, 405, "method_not_allowed")
            if response.status_code == 405:
                assert documented <= allowed, f"{method} {path} names {allowed}"
                assert method not in allowed


async def test_a_repeated_request_id_gives_one_answer_with_one_id(service: Service) -> None:
    response = await service.idp.get("/v1/users/%00", headers=[("X-Request-ID", "first"), ("X-Request-ID", "second")])
    problem(response, 422, "validation_error")
    [request_id] = response.headers.get_list("X-Request-ID")
    assert re.fullmatch(r"[A-Za-z0-9._~+/=:@-]{1,128}", request_id)


async def test_other_callers_are_served_after_every_kind_of_refusal(service: Service) -> None:
    async with service.client(IDP_KEY) as client:
        for body in (b"x" * 1_000_000, b"[" * 60_000, b"{", b""):
            assert (await client.post(START, content=body, headers=JSON_TYPE)).status_code in {413, 422}
    assert (await service.verify("ana"))["reason"] == "verified"


async def test_a_name_that_comes_twice_in_the_body_is_refused(unchanged: Service) -> None:
    response = await unchanged.idp.post(START, content=b'{"user_id": "ana", "user_id": "eve"}', headers=JSON_TYPE)
    assert problem(response, 422, "validation_error")["errors"] == [{"field": "body", "message": "is not valid JSON"}]


async def test_a_path_that_is_no_utf8_is_no_other_users_path(service: Service) -> None:
    problem(await service.idp.get("/v1/users/%ff"), 404, "not_found")
    assert (await service.idp.get("/v1/users/%EF%BF%BD")).status_code == 200


HOSTED = {"public_url": PUBLIC_URL, "return_urls": "https://tenant.example/continue"}
# What the settings and the flow have no place for: the service's settings, what is asked of it, and the words.
MISFITS: list[tuple[Json, Json, Json]] = [
    ({}, {"flow": "hosted"}, {"flow": "hosted needs RETURN_URLS or AUTH0_DOMAIN to be set"}),
    ({**HOSTED, "redirect_uri": ""}, {"flow": "relay"}, {"flow": "relay needs REDIRECT_URI or AUTH0_DOMAIN to be set"}),
    (HOSTED, {"flow": "hosted", "return_to": "https://evil.example/"}, {"return_to": "is not one of RETURN_URLS"}),
    (HOSTED, {"flow": "hosted", "omit_state": True}, {"omit_state": "belongs to the relay flow"}),
    (HOSTED, {"flow": "hosted", "redirect_uri": REDIRECT_URI}, {"redirect_uri": "belongs to the relay flow"}),
    ({}, {"redirect_uri": "https://evil.example/"}, {"redirect_uri": "is not one of REDIRECT_URI"}),
    (HOSTED, {"return_to": HOSTED["return_urls"]}, {"return_to": "belongs to the hosted flow"}),
    (HOSTED, {"state": "callers"}, {"state": "belongs to the hosted flow"}),
    ({}, {"app_metadata": {}}, {"app_metadata": "is taken over only with ADOPT_APP_METADATA=true"}),
    (
        {},
        {"flow": "hosted", "omit_state": True, "app_metadata": {}},
        {
            "flow": "hosted needs RETURN_URLS or AUTH0_DOMAIN to be set",
            "omit_state": "belongs to the relay flow",
            "app_metadata": "is taken over only with ADOPT_APP_METADATA=true",
        },
    ),
]


@on_sqlite_only
@pytest.mark.parametrize(("settings", "body", "wrong"), MISFITS, ids=[" ".join(body) for _, body, _ in MISFITS])
async def test_what_does_not_fit_the_flow_is_refused_with_the_setting_that_is_needed(
    make_service: MakeService, settings: Json, body: Json, wrong: Json
) -> None:
    service = await make_service(**settings)
    response = await service.idp.post(START, json={"user_id": "ana", **body})
    named = problem(response, 422, "validation_error")["errors"]
    assert {error["field"]: error["message"] for error in named} == {f"body.{name}": wrong[name] for name in wrong}
    assert await recorded(service) == [[], []]
