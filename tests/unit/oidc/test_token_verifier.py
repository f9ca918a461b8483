import asyncio

import pytest

from app.oidc import IdTokenInvalid, ProviderUnavailable, TokenVerifier
from app.sandbox.signing import SigningKey
from tests.harness.clock import Clock
from tests.harness.hooks import TENANT, Tenant
from tests.harness.waiting import PATIENCE, until


def verifier(url: str, clock: Clock, patience: float = PATIENCE) -> TokenVerifier:
    return TokenVerifier(
        f"{url}/{TENANT}/discovery/v2.0/keys",
        algorithms=frozenset({"RS256"}),
        leeway_seconds=60,
        request_seconds=PATIENCE,
        patience=patience,
        now=lambda: clock().timestamp(),
        monotonic=clock.monotonic,
    )


def claims(clock: Clock, **changes: int) -> dict[str, int]:
    now = int(clock().timestamp())
    return {"iat": now, "exp": now + 300, **changes}


async def test_what_a_token_says_is_told_once_a_key_of_the_set_has_signed_it(tenant: Tenant, clock: Clock) -> None:
    told = await verifier(tenant.url, clock).claims(tenant.key.sign(claims(clock)))
    assert told == claims(clock)


@pytest.mark.parametrize(("seconds", "good"), [(359, True), (360, False)])
async def test_a_token_is_good_until_its_end_and_a_little_longer(
    tenant: Tenant, clock: Clock, seconds: int, good: bool
) -> None:
    token = tenant.key.sign(claims(clock))
    clock.now = clock.now.replace(microsecond=0)
    clock.advance(seconds=seconds)
    if good:
        await verifier(tenant.url, clock).claims(token)
    else:
        with pytest.raises(IdTokenInvalid, match="exp"):
            await verifier(tenant.url, clock).claims(token)


async def test_a_stranger_and_another_algorithm_are_refused(tenant: Tenant, clock: Clock) -> None:
    with pytest.raises(IdTokenInvalid, match="kid"):
        await verifier(tenant.url, clock).claims(SigningKey.generate().sign(claims(clock)))
    with pytest.raises(IdTokenInvalid, match="structure"):
        await verifier(tenant.url, clock).claims("nonsense")


async def test_without_the_keys_nobody_is_believed_however_long_they_take(clock: Clock) -> None:
    with pytest.raises(ProviderUnavailable):
        await verifier("http://127.0.0.1:9", clock).claims(SigningKey.generate().sign(claims(clock)))

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    done = asyncio.Event()
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ProviderUnavailable, match="no answer in time"):
            await verifier(url, clock, patience=0.05).claims(SigningKey.generate().sign(claims(clock)))
        done.set()


async def test_the_keys_are_fetched_before_a_token_comes(tenant: Tenant, clock: Clock) -> None:
    one = verifier(tenant.url, clock)
    keeping = asyncio.create_task(one.keep_keys())
    await until(lambda: tenant.asked == 1)
    token = tenant.key.sign(claims(clock))
    tenant.keys = []
    await until(lambda: one._keys._keys.at_hand is not None)
    await one.claims(token)
    keeping.cancel()
    assert tenant.asked == 1
