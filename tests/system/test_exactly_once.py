"""Any number of processes on one database, and one callback that reaches them all at once."""

import asyncio
from contextlib import ExitStack
from functools import partial

import httpx
import pytest

from app.sandbox import Sandbox
from tests.harness.service import until_answered
from tests.harness.tables import Tables
from tests.harness.waiting import PATIENCE
from tests.system.callers import Caller
from tests.system.processes import IDP_KEY, Workplace, serving

TIMES = 100
pytestmark = pytest.mark.usefixtures("alone")  # many processes at once slow each other down


@pytest.mark.parametrize(("database_url", "services"), [("postgresql", 2), ("sqlite", 1)], indirect=["database_url"])
async def test_one_callback_a_hundred_times_at_once_is_exchanged_once_and_answered_alike(
    work: Workplace, provider: Sandbox, connected: dict[str, str], services: int
) -> None:
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(work, "--workers", "2", **connected))[1] for _ in range(services)]
        caller = Caller(urls[0])
        login = caller.visited("ana")
        async with httpx.AsyncClient(
            headers={"Authorization": f"Bearer {IDP_KEY}"},
            timeout=PATIENCE,
            limits=httpx.Limits(max_connections=TIMES, max_keepalive_connections=0),
        ) as client:
            callbacks = [
                partial(client.post, f"{urls[n % services]}/v1/callback", json=login.callback) for n in range(TIMES)
            ]
            responses = await asyncio.gather(*(until_answered(callback) for callback in callbacks))
        status = caller.status("ana").json()

    answer = responses[0].json()
    assert [response.status_code for response in responses] == [200] * TIMES
    assert all(response.json() == answer for response in responses)
    assert (answer["reason"], answer["verification"]["status"]) == ("verified", "completed")
    assert status["claims"] == answer["claims"]
    assert [request.endpoint for request in provider.requests].count("token") == 1
    tables = Tables(connected["DATABASE_URL"])
    assert await tables.rows("SELECT user_id, revision FROM users") == [{"user_id": "ana", "revision": 1}]
    assert await tables.rows("SELECT id, status FROM verifications") == [{"id": login.id, "status": "completed"}]
