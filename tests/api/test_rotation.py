"""Changing keys and secrets while the service runs, one process after the other, in the order that docs/operations.md
tells: the new one behind, then in front, then alone.
"""

import pytest

from tests.api.test_audit_log import entries
from tests.api.test_digest_keys import erase
from tests.api.test_keeping import BOTH_KEYS, HOSTED, NEW_KEY
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.service import EMAIL, ENCRYPTION_KEY, REDIRECT_SECRET, Service, gist

NEW_SECRET = "the-next-redirect-secret-0123456789-0123456789"
CHANGES = {"encryption_keys": (ENCRYPTION_KEY, NEW_KEY), "redirect_secret": (REDIRECT_SECRET, NEW_SECRET)}


def stages(setting: str) -> list[str]:
    old, new = CHANGES[setting]
    return [old, f"{old},{new}", f"{new},{old}", new]


async def serve(one: Service, other: Service, user_id: str) -> None:
    """Whatever one process has begun the other goes on with: both flows, the status, and a repeated answer."""
    started = await one.start(user_id, email=EMAIL)
    back = await other.visit(started)
    finished = await other.finish(user_id, started, **back)
    assert gist(finished) == ("continue", "verified")
    assert await one.finish(user_id, started, **back) == finished
    assert (await one.status(user_id))["claims"] == finished["claims"]
    assert gist(await one.start(user_id)) == ("continue", "recently_verified")
    async with Browser(other) as browser:
        arrived = await browser.go_through(await one.start(user_id, flow="hosted", force=True))
    confirmed = await one.finish(user_id, None, session_token=arrived["session_token"])
    assert gist(confirmed) == ("continue", "verified")


@pytest.mark.parametrize("step", [1, 2, 3], ids=["behind", "in front", "alone"])
@pytest.mark.parametrize("setting", CHANGES)
async def test_processes_before_and_after_a_step_go_on_with_what_the_other_has_begun(
    make_service: MakeService, clock: Clock, setting: str, step: int
) -> None:
    before, after = [await make_service(**HOSTED, **{setting: stages(setting)[at]}) for at in (step - 1, step)]
    await serve(before, after, "auth0|ana")
    await serve(after, before, "auth0|ben")
    await erase(before, clock, "auth0|ana")
    await erase(after, clock, "auth0|ben")
    for service in (before, after):
        for user_id in ("auth0|ana", "auth0|ben"):
            assert [entry["action"] for entry in await entries(service, user_id=user_id)] == ["erase"]


async def test_a_key_that_is_put_in_front_at_once_is_unknown_to_the_other_processes(make_service: MakeService) -> None:
    """Why the new one goes behind first."""
    old = await make_service()
    new = await make_service(encryption_keys=BOTH_KEYS, redirect_secret=f"{NEW_SECRET},{REDIRECT_SECRET}")
    await new.verify("auth0|ana", email=EMAIL)
    assert (await old.start("auth0|ana"))["reason"] == "record_not_authentic"
    started = await new.start("auth0|ben", email=EMAIL)
    refused = await old.send_callback("auth0|ben", started, **await new.visit(started))
    assert (refused.status_code, refused.json()["code"]) == (409, "state_invalid")
