"""ZITADEL's Actions v2, by its documented format."""

import json

import pytest

from tests.harness.clock import Clock
from tests.harness.hooks import REQUESTS, ZITADEL_SECRET, Vendors, asked, by_zitadel
from tests.harness.service import USER, enrol, problem
from tests.harness.tables import on_sqlite_only
from tests.integrations.documents import check_exchanges, page

pytestmark = on_sqlite_only

BODY = json.dumps(REQUESTS["zitadel"]).encode()


@pytest.mark.parametrize("seconds", [-300, -299, 0, 300])
async def test_a_signature_is_good_for_five_minutes(vendors: Vendors, clock: Clock, seconds: int) -> None:
    at = int(clock().timestamp()) + seconds
    clock.now = clock.now.replace(microsecond=0)
    response = await vendors.send("zitadel", BODY, by_zitadel(BODY, ZITADEL_SECRET, at=at))
    assert response.status_code == 200, response.text


async def test_a_repeat_within_that_time_gets_the_same_answer(vendors: Vendors, clock: Clock) -> None:
    headers = by_zitadel(BODY, ZITADEL_SECRET, at=clock().timestamp())
    first, second = [await vendors.send("zitadel", BODY, headers) for _ in range(2)]
    assert first.content == second.content
    clock.advance(seconds=301)
    problem(await vendors.send("zitadel", BODY, headers), 401, "unauthorized")


async def test_while_the_key_is_replaced_one_of_the_signatures_counts(vendors: Vendors, clock: Clock) -> None:
    headers = by_zitadel(BODY, "another-key", ZITADEL_SECRET, at=clock().timestamp())
    assert (await vendors.send("zitadel", BODY, headers)).status_code == 200


async def test_a_signature_that_is_stale_or_none_is_refused(vendors: Vendors, clock: Clock) -> None:
    now = int(clock().timestamp())
    good = by_zitadel(BODY, ZITADEL_SECRET, at=now)["ZITADEL-Signature"]
    for header in (
        "",
        by_zitadel(BODY, ZITADEL_SECRET, at=now - 302)["ZITADEL-Signature"],
        by_zitadel(BODY, ZITADEL_SECRET, at=now + 302)["ZITADEL-Signature"],
        by_zitadel(BODY, "another-key", at=now)["ZITADEL-Signature"],
        by_zitadel(BODY + b" ", ZITADEL_SECRET, at=now)["ZITADEL-Signature"],
        good.replace("v1=", "v0="),
        good.replace(f"t={now}", f"t={now + 1}"),
        good.replace(f"t={now},", ""),
        f"t={now - 302},{good}",
        good.replace(f"t={now}", "t=now"),
        good.replace(f"t={now}", f"t= {now}"),
    ):
        response = await vendors.send("zitadel", BODY, {"ZITADEL-Signature": header})
        answer = problem(response, 401, "unauthorized")
        assert "signature" in answer["detail"]


async def test_the_page_shows_what_crosses_the_wire(vendors: Vendors, clock: Clock) -> None:
    await enrol(vendors.service, clock)
    await vendors.ask("zitadel", asked("zitadel", USER))
    check_exchanges(page("zitadel.md"), vendors.exchanges)
