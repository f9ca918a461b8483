import asyncio

from tests.conftest import MakeService
from tests.harness.service import Service
from tests.harness.waiting import arrivals


async def test_twenty_callbacks_at_once_fetch_discovery_and_keys_once(
    service: Service, make_service: MakeService
) -> None:
    users = [f"auth0|{n}" for n in range(20)]
    attempts = [await service.start(user) for user in users]
    visits = [await service.visit(one) for one in attempts]
    cold = await make_service(http_timeout_seconds=7)
    cold.sandbox.requests.clear()

    with service.sandbox.hold("jwks") as keys, service.sandbox.hold("discovery") as discovery:
        callbacks = [
            asyncio.create_task(cold.send_callback(user, one, **back))
            for user, one, back in zip(users, attempts, visits, strict=True)
        ]
        await arrivals(discovery)
        discovery.open()
        await arrivals(keys)
    responses = await asyncio.gather(*callbacks)

    # A slow machine may bring some to their limit, or to the database's; none of them fetches anything again.
    assert {response.status_code for response in responses} <= {200, 503}
    assert "verified" in {response.json().get("reason") for response in responses}
    assert (cold.asked("discovery"), cold.asked("jwks")) == (1, 1)
    assert cold.asked("token") <= 20
