"""What all token hooks share: they are off until they are wanted, and answer from the record alone."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import make_url

from app.main import MAX_HOOK_BODY_BYTES, create_app
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.hooks import BY_KEY, HOOKS, PATHS, REQUESTS, Tenant, Vendors, asked, changed
from tests.harness.nesting import DEEP, written
from tests.harness.service import ADMIN_KEY, CLAIM, IDP_KEY, USER, Json, Service, enrol, problem
from tests.harness.silence import Wire
from tests.harness.tables import on_postgresql_only, on_sqlite_only

SUPPORT_KEY = "support-key-0123456789-0123456789-0123456"
TOKEN_HOOKS = tuple(path for path in PATHS if path != "wso2/authentication")
SETTINGS_OF = {
    "hydra": {"hydra_hook": True},
    "supabase": {"supabase_hook_secrets": HOOKS["supabase_hook_secrets"]},
    "okta": {"okta_hook": True},
    "entra": {name: HOOKS[name] for name in ("entra_tenant_id", "entra_audience")},
    "zitadel": {"zitadel_hook_secret": HOOKS["zitadel_hook_secret"]},
    "wso2": {"wso2_hook": True},
}

# How long each vendor waits for an answer, as its documents say or docs/integrations has the operator set it.
VENDORS_WAIT = {
    "hydra": 30,
    "supabase": 5,
    "okta": 3,
    "entra": 2,
    "zitadel": 5,
    "wso2/token": 5,
    "wso2/authentication": 5,
}


def claims_in(path: str, answer: Json) -> list[Json]:
    """Our claim, wherever the answer has it."""
    match path:
        case "hydra":
            found = [answer["session"][token].get(CLAIM) for token in ("access_token", "id_token")]
        case "supabase":
            found = [answer["claims"].get(CLAIM)]
        case "okta":
            found = [change.get("value") for command in answer["commands"] for change in command["value"]]
        case "entra":
            found = [action["claims"] for action in answer["data"]["actions"]]
        case "zitadel":
            found = [appended["value"] for appended in answer["append_claims"]]
        case _:
            found = [operation["value"]["value"] for operation in answer["operations"]]
    return [claim for claim in found if claim]


@asynccontextmanager
async def on_database(
    url: str, vendors: Vendors, tenant: Tenant, clock: Clock, **changes: Any
) -> AsyncIterator[Vendors]:
    """The same vendors, in front of a service that uses this database."""
    changed = vendors.service.settings.model_copy(update={"database_url": SecretStr(url), **changes})
    app = create_app(changed, clock=clock, monotonic=clock.monotonic, entra_url=tenant.url)
    async with app.router.lifespan_context(app):
        service = Service(app, vendors.service.sandbox, changed)
        yield Vendors(service, vendors.key, clock)
        await service.close()


def going_on(path: str) -> dict[str, str]:
    """The setting that lets tokens be minted without the database."""
    return {f"{path.partition('/')[0]}_without_database": "continue"}


@on_sqlite_only
@pytest.mark.parametrize("path", PATHS)
async def test_a_hook_is_off_until_its_settings_are_there(
    path: str, make_service: MakeService, tenant: Tenant, clock: Clock
) -> None:
    own = SETTINGS_OF[path.partition("/")[0]]
    others = {name: value for name, value in HOOKS.items() if name not in own}
    vendors = Vendors(await make_service(entra_url=tenant.url, **others), tenant.key, clock)
    answer = problem(await vendors.send(path, REQUESTS[path]), 404, "not_found")
    assert "off" in answer["detail"]
    vendors = Vendors(
        await make_service(entra_url=tenant.url, return_urls=HOOKS["return_urls"], **own), tenant.key, clock
    )
    assert (await vendors.send(path, REQUESTS[path])).status_code == 200


@pytest.mark.parametrize("path", TOKEN_HOOKS)
async def test_the_claim_is_there_while_the_verification_stands_and_no_provider_is_asked(
    path: str, vendors: Vendors, clock: Clock
) -> None:
    assert claims_in(path, await vendors.ask(path, asked(path, USER))) == []
    await enrol(vendors.service, clock)
    before = len(vendors.service.sandbox.requests)

    found = claims_in(path, await vendors.ask(path, asked(path, USER)))
    assert found
    assert all("interview_id" in claim or "incode_idv_interview_id" in claim for claim in found)
    assert len(vendors.service.sandbox.requests) == before

    clock.advance(hours=721)
    assert claims_in(path, await vendors.ask(path, asked(path, USER))) == []


@on_sqlite_only
@pytest.mark.parametrize("path", TOKEN_HOOKS)
async def test_a_reset_takes_the_claim_away_and_another_user_never_has_it(
    path: str, vendors: Vendors, clock: Clock
) -> None:
    await enrol(vendors.service, clock)
    assert claims_in(path, await vendors.ask(path, asked(path, "somebody-else"))) == []
    await vendors.service.admin.post(f"/v1/users/{USER}/reset")
    assert claims_in(path, await vendors.ask(path, asked(path, USER))) == []


@on_sqlite_only
@pytest.mark.parametrize("path", PATHS)
async def test_whoever_cannot_prove_himself_learns_nothing_of_the_parser(path: str, vendors: Vendors) -> None:
    for body in (b"", b"{", b"[]", json.dumps(REQUESTS[path]).encode()):
        problem(await vendors.send(path, body, headers={}), 401, "unauthorized")


@on_sqlite_only
@pytest.mark.parametrize("path", BY_KEY)
async def test_a_key_of_an_identity_provider_opens_it_as_bearer_or_as_password(
    path: str, make_service: MakeService, tenant: Tenant, clock: Clock
) -> None:
    service = await make_service(entra_url=tenant.url, support_api_keys=f"desk={SUPPORT_KEY}", **HOOKS)
    vendors = Vendors(service, tenant.key, clock)
    body = REQUESTS[path]
    for headers in (
        {"Authorization": f"Bearer {IDP_KEY}"},
        {"Authorization": f"bearer {ADMIN_KEY}"},
        {"Authorization": basic("anything", IDP_KEY)},
        {"Authorization": basic("", IDP_KEY)},
    ):
        assert (await vendors.send(path, body, headers)).status_code == 200
    for value in (
        IDP_KEY,
        f"Token {IDP_KEY}",
        "Basic !!!",
        "Basic /w==",
        basic(IDP_KEY, ""),
        basic("acme", IDP_KEY + "x"),
    ):
        problem(await vendors.send(path, body, {"Authorization": value}), 401, "unauthorized")
    problem(await vendors.send(path, body, {"Authorization": f"Bearer {SUPPORT_KEY}"}), 403, "forbidden")


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@on_sqlite_only
@pytest.mark.parametrize("path", PATHS)
async def test_without_the_database_a_hook_fails_unless_the_operator_chose_to_go_on(
    path: str, vendors: Vendors, tenant: Tenant, clock: Clock, tmp_path: Path
) -> None:
    nowhere = f"sqlite+aiosqlite:///{tmp_path}/nowhere/idv.db"
    async with on_database(nowhere, vendors, tenant, clock) as away:
        response = await away.send(path, REQUESTS[path])
        problem(response, 503, "database_unavailable")
        assert response.headers["Retry-After"] == "1"
    async with on_database(nowhere, vendors, tenant, clock, **going_on(path)) as away:
        answer = await away.ask(path, REQUESTS[path])
        assert path == "wso2/authentication" or claims_in(path, answer) == []


@on_postgresql_only
@pytest.mark.parametrize(("path", "seconds"), VENDORS_WAIT.items())
async def test_while_the_database_hangs_a_hook_answers_before_its_vendor_has_gone(
    path: str, seconds: float, vendors: Vendors, tenant: Tenant, clock: Clock, database_url: str
) -> None:
    address = make_url(database_url)
    async with AsyncExitStack() as stack:
        wire = await stack.enter_async_context(Wire(address.host or "", address.port or 5432).laid())
        url = address.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
        failing = await stack.enter_async_context(on_database(url, vendors, tenant, clock))
        going = await stack.enter_async_context(on_database(url, vendors, tenant, clock, **going_on(path)))
        for each in (failing, going):
            assert (await each.send(path, REQUESTS[path])).status_code == 200
        wire.cut()
        async with asyncio.timeout(seconds):
            refused, minted = await asyncio.gather(*(each.send(path, REQUESTS[path]) for each in (failing, going)))
        wire.mend()

    problem(refused, 503, "database_unavailable")
    assert minted.status_code == 200
    assert path == "wso2/authentication" or claims_in(path, minted.json()) == []


@on_sqlite_only
@pytest.mark.parametrize("path", PATHS)
async def test_a_body_may_be_larger_than_elsewhere_and_has_an_end(path: str, vendors: Vendors) -> None:
    request = {**REQUESTS[path], "more": "x" * 100_000}
    assert (await vendors.send(path, request)).status_code == 200
    problem(await vendors.send(path, b" " * (MAX_HOOK_BODY_BYTES + 1)), 413, "payload_too_large")


@on_sqlite_only
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b"\xff",
        b"[" * 50_000,
    ],
    ids=["empty", "null", "list", "nothing", "twice", "nan", "infinite", "surrogate", "no utf-8", "deep"],
)
async def test_a_body_that_is_none_is_refused(path: str, body: bytes, vendors: Vendors) -> None:
    if path == "supabase" and body == b"\xff":
        problem(await vendors.send(path, body, headers={"webhook-signature": "v1,AA=="}), 401, "unauthorized")
        return
    problem(await vendors.send(path, body), 422, "validation_error")


@on_sqlite_only
@pytest.mark.parametrize(("path", "place"), [("hydra", "session__extra"), ("supabase", "claims")])
async def test_what_can_be_read_can_be_given_back_however_deep_it_is_nested(
    path: str, place: str, vendors: Vendors
) -> None:
    answers = set()
    for levels in range(700, 1000):
        request = changed(asked(path, USER), **{place: {"deep": DEEP}})
        answers.add((await vendors.send(path, written(request, levels))).status_code)
    assert answers == {200, 422}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def mutated(value: Any, data: st.DataObject) -> Any:
    """The value with one of its parts replaced by anything."""
    if data.draw(st.booleans()) or not isinstance(value, dict | list) or not value:
        return data.draw(JSON_VALUES)
    if isinstance(value, list):
        return [mutated(value[0], data), *value[1:]]
    name = data.draw(st.sampled_from(sorted(value)))
    return {**value, name: mutated(value[name], data)}


@on_sqlite_only
@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_whatever_a_vendor_sends_is_answered_or_refused(path: str, vendors: Vendors, data: st.DataObject) -> None:
    request = mutated(REQUESTS[path], data)
    response = await vendors.send(path, json.dumps(request).encode())
    assert response.status_code in {200, 204, 400, 422}, response.text
