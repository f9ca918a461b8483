"""The keys of erased users' digests, where a key of ENCRYPTION_KEYS is missing for a while, or is being changed."""

import asyncio

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from structlog.testing import capture_logs

from app.storage.encryption import Cipher
from app.storage.keeping import Resealed
from app.storage.sealed import Seals
from tests.api.test_audit_log import entries
from tests.api.test_keeping import BOTH_KEYS, NEW_KEY, keep
from tests.api.test_moving_in import kept
from tests.attacks.test_races import wait_or_are_done
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.service import ENCRYPTION_KEY, USER, Service, enrol, gist
from tests.harness.tables import Tables, on_postgresql_only

LACKING = Fernet.generate_key().decode()


async def erase(service: Service, clock: Clock, user_id: str) -> None:
    clock.advance(seconds=1)
    response = await service.admin.delete(f"/v1/users/{user_id}")
    assert response.status_code == 204, response.text


async def keyring(service: Service) -> list[str]:
    return [row["name"] for row in await Tables(service).rows("SELECT name FROM keyring ORDER BY name")]


@pytest.mark.parametrize("act", ["erasure", "reset of a stranger"])
async def test_what_a_missing_key_stood_for_is_found_again_when_it_is_back(
    make_service: MakeService, clock: Clock, act: str
) -> None:
    before = await make_service()
    await enrol(before, clock)
    await erase(before, clock, USER)
    lacking = await make_service(encryption_keys=LACKING)
    for user_id in ("one", "two"):
        if act == "erasure":
            await erase(lacking, clock, user_id)
        else:
            assert (await lacking.admin.post(f"/v1/users/{user_id}/reset")).status_code == 200
    assert await entries(lacking, user_id=USER) == []
    assert len(await entries(lacking, user_id="one")) == 1
    assert len(await keyring(lacking)) == 2  # one key more, not one for each act

    mended = await make_service(encryption_keys=f"{LACKING},{ENCRYPTION_KEY}", adopt_app_metadata=True)
    for user_id in (USER, "one", "two"):
        assert len(await entries(mended, user_id=user_id)) == 1
        assert gist(await mended.start(user_id, app_metadata=kept(clock))) == ("redirect", "never_verified")


async def test_while_a_key_is_missing_nobody_is_adopted_and_it_is_said(make_service: MakeService, clock: Clock) -> None:
    before = await make_service()
    await erase(before, clock, USER)
    lacking = await make_service(encryption_keys=LACKING, adopt_app_metadata=True)
    for user_id in (USER, "somebody else"):
        with capture_logs() as logs:
            assert gist(await lacking.start(user_id, app_metadata=kept(clock))) == ("redirect", "never_verified")
        assert [log for log in logs if log["event"] == "not_adopted"] == [
            {"event": "not_adopted", "log_level": "warning", "cause": "keyring_unreadable"}
        ]
        assert (await lacking.status(user_id))["reason"] == "never_verified"
    mended = await make_service(encryption_keys=f"{LACKING},{ENCRYPTION_KEY}", adopt_app_metadata=True)
    assert gist(await mended.start("a third", app_metadata=kept(clock))) == ("continue", "recently_verified")


async def test_erasures_on_old_and_new_processes_are_all_found_and_sealed_again(
    make_service: MakeService, clock: Clock
) -> None:
    """A new key that came in front at once, which processes that were not restarted do not know."""
    new, old = await make_service(encryption_keys=BOTH_KEYS), await make_service()
    await erase(new, clock, USER)
    await erase(old, clock, "second")
    await erase(new, clock, "third")
    for user_id in (USER, "second", "third"):
        assert len(await entries(new, user_id=user_id)) == 1
    assert len(await keyring(new)) == 2

    assert await keep(new.settings, BOTH_KEYS) == Resealed(resealed=1)
    last = await make_service(encryption_keys=NEW_KEY)
    for user_id in (USER, "second", "third"):
        assert len(await entries(last, user_id=user_id)) == 1


@on_postgresql_only
@pytest.mark.parametrize("sealed_with", [ENCRYPTION_KEY, LACKING], ids=["our key", "a key we lack"])
async def test_two_first_erasures_at_once_keep_the_key_of_the_first(
    make_service: MakeService, clock: Clock, sealed_with: str
) -> None:
    service = await make_service()
    tables = Tables(service)
    theirs = Seals(Cipher([sealed_with])).seal_key("audit", b"k" * 32)
    holder = create_async_engine(tables.url, poolclass=NullPool)
    async with holder.begin() as connection:
        await connection.execute(text("INSERT INTO keyring VALUES ('audit', :sealed)"), {"sealed": theirs})
        erasing = asyncio.create_task(erase(service, clock, USER))
        await wait_or_are_done(tables, erasing)
        assert not erasing.done()
    await erasing

    [first, *others] = await tables.rows("SELECT * FROM keyring ORDER BY name")
    assert (first["name"], bytes(first["sealed_key"])) == ("audit", theirs)
    assert len(others) == (sealed_with == LACKING)
    assert len(await entries(service, user_id=USER)) == 1
