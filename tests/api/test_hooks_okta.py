"""Okta's token inline hook, by its documented format."""

from typing import Any

import pytest

from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.hooks import Tenant, Vendors, asked, changed
from tests.harness.service import CLAIM, USER, Json, enrol
from tests.harness.tables import on_sqlite_only
from tests.integrations.documents import check_exchanges, page

pytestmark = on_sqlite_only

IDENTITY, ACCESS = "com.okta.identity.patch", "com.okta.access.patch"


def types(answer: Json) -> list[str]:
    return [command["type"] for command in answer["commands"]]


@pytest.mark.parametrize(
    ("left_out", "expected"),
    [({}, [IDENTITY, ACCESS]), ({"data__access": ...}, [IDENTITY]), ({"data__identity": ...}, [ACCESS])],
    ids=["both", "id token", "access token"],
)
async def test_only_tokens_that_were_asked_for_are_changed(
    vendors: Vendors, clock: Clock, left_out: Json, expected: list[str]
) -> None:
    claims = (await enrol(vendors.service, clock))["claims"]
    answer = await vendors.ask("okta", changed(asked("okta", USER), **left_out))
    assert types(answer) == expected
    for command in answer["commands"]:
        assert command["value"] == [{"op": "add", "path": "/claims/incode_idv", "value": claims[CLAIM]}]


async def test_a_claim_that_no_longer_stands_is_removed_only_where_it_is(vendors: Vendors) -> None:
    request = changed(asked("okta", USER), data__access__claims={"incode_idv": {"completed": True}})
    assert await vendors.ask("okta", request) == {
        "commands": [{"type": ACCESS, "value": [{"op": "remove", "path": "/claims/incode_idv"}]}]
    }


@pytest.mark.parametrize("user", [None, ...])
async def test_a_machine_has_no_user_and_is_left_alone(vendors: Vendors, user: Any) -> None:
    request = changed(asked("okta", USER), data__context__user=user, data__identity=...)
    assert await vendors.ask("okta", request) == {"commands": []}


async def test_a_name_that_is_a_url_is_written_as_a_pointer(
    make_service: MakeService, tenant: Tenant, clock: Clock
) -> None:
    service = await make_service(okta_hook=True, okta_claim_name="https://x/~idv")
    vendors = Vendors(service, tenant.key, clock)
    await enrol(service, clock)
    answer = await vendors.ask("okta", asked("okta", USER))
    assert answer["commands"][0]["value"][0]["path"] == "/claims/https:~1~1x~1~0idv"


async def test_the_page_shows_what_crosses_the_wire(vendors: Vendors, clock: Clock) -> None:
    await vendors.ask("okta", changed(asked("okta", "00u1"), data__context__user=...))
    await enrol(vendors.service, clock, "00u1")
    await vendors.ask("okta", asked("okta", "00u1"))
    check_exchanges(page("okta.md"), vendors.exchanges)
