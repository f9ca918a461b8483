"""Supabase's custom access token hook, by the format of its source, signed by the library of Standard Webhooks."""

import json
import time

import pytest

from app.hooks.supabase import MAX_ANSWER_BYTES
from tests.harness.clock import Clock
from tests.harness.hooks import (
    OTHER_WEBHOOK_SECRET,
    REQUESTS,
    WEBHOOK_SECRET,
    Vendors,
    asked,
    by_webhook,
    changed,
)
from tests.harness.service import CLAIM, USER, enrol, problem
from tests.harness.tables import on_sqlite_only
from tests.integrations.documents import check_exchanges, page

pytestmark = on_sqlite_only

BODY = json.dumps(REQUESTS["supabase"]).encode()
STRANGERS_SECRET = "v1,whsec_c3RyYW5nZXItMDEyMzQ1Njc4OS0wMTIz"


async def test_every_claim_is_given_back_and_a_stale_one_of_ours_is_not(vendors: Vendors) -> None:
    claims = {
        "sub": USER,
        "exp": 1775585905,
        "amr": [{"method": "password"}],
        "user_metadata": {"a": None},
        CLAIM: {"completed": True},
    }
    answer = await vendors.ask("supabase", changed(asked("supabase", USER), claims=claims))
    assert answer == {"claims": {name: value for name, value in claims.items() if name != CLAIM}}


@pytest.mark.parametrize(
    "secrets",
    [
        (WEBHOOK_SECRET,),
        (OTHER_WEBHOOK_SECRET,),
        (WEBHOOK_SECRET, OTHER_WEBHOOK_SECRET),
        (STRANGERS_SECRET, OTHER_WEBHOOK_SECRET),
    ],
    ids=["first", "second", "both", "one of them"],
)
async def test_while_a_secret_is_replaced_each_of_the_two_counts(vendors: Vendors, secrets: tuple[str, ...]) -> None:
    response = await vendors.send("supabase", BODY, by_webhook(BODY, *secrets))
    assert response.status_code == 200, response.text


async def test_a_repeat_has_an_id_of_its_own_and_gets_the_same_answer(vendors: Vendors) -> None:
    answers = [
        await vendors.send("supabase", BODY, by_webhook(BODY, WEBHOOK_SECRET, message=message))
        for message in ("msg_1", "msg_2", "msg_2")
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.content for answer in answers}) == 1


async def test_a_signature_that_is_stale_or_none_is_refused(vendors: Vendors) -> None:
    good = by_webhook(BODY, WEBHOOK_SECRET)
    for headers in (
        by_webhook(BODY, STRANGERS_SECRET),
        by_webhook(BODY, WEBHOOK_SECRET, at=time.time() - 400),
        by_webhook(BODY, WEBHOOK_SECRET, at=time.time() + 400),
        by_webhook(BODY + b" ", WEBHOOK_SECRET),
        {**good, "webhook-id": "msg_2"},
        {**good, "webhook-timestamp": "now"},
        {**good, "webhook-timestamp": "nan"},
        {**good, "webhook-signature": "v1"},
        {**good, "webhook-signature": "v1,a,b"},
        {**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")},
        *({name: value for name, value in good.items() if name != left_out} for left_out in good),
    ):
        answer = problem(await vendors.send("supabase", BODY, headers), 401, "unauthorized")
        assert "signature" in answer["detail"]


async def test_an_answer_that_grows_too_large_loses_personal_data_first_and_then_the_claim(
    vendors: Vendors, clock: Clock
) -> None:
    claims = (await enrol(vendors.service, clock))["claims"]

    async def answered(filling: int) -> tuple[int, object]:
        request = changed(asked("supabase", USER), claims={"filling": "x" * filling})
        response = await vendors.send("supabase", request)
        return len(response.content), response.json()["claims"].get(CLAIM)

    size, _ = await answered(0)
    room = MAX_ANSWER_BYTES - size
    assert await answered(room) == (MAX_ANSWER_BYTES, claims[CLAIM])
    size, claim = await answered(room + 1)
    assert claim == {**claims[CLAIM], "pii": {}}
    assert size < MAX_ANSWER_BYTES
    size, claim = await answered(MAX_ANSWER_BYTES - 50)
    assert claim is None
    assert size <= MAX_ANSWER_BYTES


async def test_the_page_shows_what_crosses_the_wire(vendors: Vendors, clock: Clock) -> None:
    await enrol(vendors.service, clock)
    await vendors.ask("supabase", asked("supabase", USER))
    check_exchanges(page("supabase.md"), vendors.exchanges)
