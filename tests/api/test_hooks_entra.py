"""Microsoft Entra's custom claims provider, by its documented format, with the keys of a tenant that really signs."""

import pytest

from app.sandbox.signing import SigningKey
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.hooks import AUDIENCE, ENTRAS_CALLER, HOOKS, REQUESTS, TENANT, Tenant, Vendors, asked, tenant_token
from tests.harness.service import CLAIM, USER, Json, enrol, problem
from tests.harness.tables import on_sqlite_only
from tests.integrations.documents import check_exchanges, page

pytestmark = on_sqlite_only

OTHER_TENANT = "99999999-2222-3333-4444-555555555555"


def claims_of(answer: Json) -> Json:
    [action] = answer["data"]["actions"]
    claims: Json = action["claims"]
    return claims


async def test_the_claim_comes_as_texts_and_without_what_is_empty(vendors: Vendors, clock: Clock) -> None:
    claim = (await enrol(vendors.service, clock))["claims"][CLAIM]
    claims = claims_of(await vendors.ask("entra", asked("entra", USER)))
    assert claims["incode_idv_completed"] == "true"
    assert claims["incode_idv_completed_at"] == claim["completed_at"]
    assert claims["incode_idv_given_name"] == claim["pii"]["given_name"]
    assert claims.keys() == {f"incode_idv_{name}" for name in {*claim, *claim["pii"]} - {"pii"}}
    assert all(isinstance(value, str) for value in claims.values())


async def test_personal_data_is_left_out_where_it_would_not_fit(
    make_service: MakeService, vendors: Vendors, tenant: Tenant, clock: Clock
) -> None:
    await enrol(vendors.service, clock)
    long = await make_service(entra_url=tenant.url, **HOOKS, entra_claim_name="x" * 250)
    claims = claims_of(await Vendors(long, tenant.key, clock).ask("entra", asked("entra", USER)))
    assert claims["x" * 250 + "_completed"] == "true"
    assert "x" * 250 + "_given_name" not in claims


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"},
        {"iss": f"https://evil.example/{TENANT}/v2.0"},
        {"iss": f"https://x.ciamlogin.com.evil.example/{TENANT}/v2.0"},
        {"iss": f"https://login.microsoftonline.com/{TENANT}/v2.0/"},
        {"iss": ...},
        {"iss": ["a"]},
        {"aud": "api://other"},
        {"aud": [AUDIENCE, "api://other"]},
        {"aud": ...},
        {"azp": OTHER_TENANT},
        {"azp": ...},
        {"azp": ..., "appid": OTHER_TENANT},
        {"exp": 1},
        {"exp": ...},
        {"nbf": 4_000_000_000},
    ],
    ids=str,
)
async def test_a_token_that_is_not_entras_for_us_is_refused(
    vendors: Vendors, tenant: Tenant, clock: Clock, changes: Json
) -> None:
    headers = {"Authorization": f"Bearer {tenant_token(tenant.key, clock, **changes)}"}
    answer = problem(await vendors.send("entra", REQUESTS["entra"], headers), 401, "unauthorized")
    assert "tenant" in answer["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": f"https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"},
        {"iss": f"https://sts.windows.net/{TENANT}/", "azp": ..., "appid": ENTRAS_CALLER},
    ],
    ids=["external id", "version 1"],
)
async def test_the_other_forms_of_the_tenants_tokens_are_taken(
    vendors: Vendors, tenant: Tenant, clock: Clock, changes: Json
) -> None:
    headers = {"Authorization": f"Bearer {tenant_token(tenant.key, clock, **changes)}"}
    assert (await vendors.send("entra", REQUESTS["entra"], headers)).status_code == 200


async def test_a_token_that_somebody_else_has_signed_is_refused(vendors: Vendors, tenant: Tenant, clock: Clock) -> None:
    stranger = SigningKey.generate()
    named_alike = SigningKey(tenant.key.kid, stranger.pem)
    for token in (tenant_token(stranger, clock), tenant_token(named_alike, clock), "x.y.z", ""):
        headers = {"Authorization": f"Bearer {token}"}
        problem(await vendors.send("entra", REQUESTS["entra"], headers), 401, "unauthorized")
    good = vendors.proof("entra", b"")["Authorization"].removeprefix("Bearer ")
    problem(await vendors.send("entra", REQUESTS["entra"], {"Authorization": f"Basic {good}"}), 401, "unauthorized")


async def test_the_keys_are_fetched_once_and_again_when_the_tenant_has_a_new_one(
    vendors: Vendors, tenant: Tenant, clock: Clock
) -> None:
    for _ in range(3):
        await vendors.ask("entra", REQUESTS["entra"])
    assert tenant.asked == 1
    clock.advance(seconds=61)
    rotated = SigningKey.generate()
    tenant.keys = [rotated]
    headers = {"Authorization": f"Bearer {tenant_token(rotated, clock)}"}
    assert (await vendors.send("entra", REQUESTS["entra"], headers)).status_code == 200
    for _ in range(3):  # a stranger's keys cost one fetch a minute
        stranger = {"Authorization": f"Bearer {tenant_token(SigningKey.generate(), clock)}"}
        problem(await vendors.send("entra", REQUESTS["entra"], stranger), 401, "unauthorized")
    assert tenant.asked == 2


async def test_while_the_tenants_keys_are_away_nobody_is_believed_and_the_log_says_why(
    make_service: MakeService, tenant: Tenant, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Vendors(await make_service(entra_url="http://127.0.0.1:9", **HOOKS), tenant.key, clock)
    problem(await nowhere.send("entra", REQUESTS["entra"]), 401, "unauthorized")
    assert "tenant_keys_unavailable" in capsys.readouterr().out


async def test_the_page_shows_what_crosses_the_wire(vendors: Vendors, clock: Clock) -> None:
    await enrol(vendors.service, clock)
    await vendors.ask("entra", {name: asked("entra", USER)[name] for name in ("type", "data")})
    check_exchanges(page("entra.md"), vendors.exchanges)
