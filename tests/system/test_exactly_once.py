"""Any number of processes on one database, and one callback that reaches them all at once."""

import asyncio
from contextlib import ExitStack

import httpx
import pytest

from app.sandbox import Sandbox
from tests.harness.service import COME_BACK
from tests.harness.tables import Tables
from tests.harness.waiting import PATIENCE
from tests.system.callers import Caller, Login
from tests.system.processes import IDP_KEY, Workplace, serving

TIMES = 100
pytestmark = pytest.mark.usefixtures("alone")  # many processes at once slow each other down


async def finish(client: httpx.AsyncClient, url: str, login: Login) -> httpx.Response:
    """Send the callback, again where a slow machine has it told to come back."""
    while True:
        response = await client.post(f"{url}/v1/callback", json=login.callback)
        if response.json().get("code") not in COME_BACK:
            return response


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
            responses = await asyncio.gather(*(finish(client, urls[n % services], login) for n in range(TIMES)))
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
