"""What administrators did: entered with the act itself, and without the id of whom was erased."""

from typing import Any

import pytest

from app.core.domain import Actor
from app.core.errors import DatabaseUnavailable
from tests.harness.clock import Clock
from tests.harness.service import ADMIN_KEY, USER, Json, Service, enrol, problem
from tests.harness.tables import Tables

OTHER = "samlp|tenant|http://x/y"


async def entries(service: Service, **query: Any) -> list[Json]:
    response = await service.admin.get("/v1/audit", params=query)
    assert response.status_code == 200, response.text
    items: list[Json] = response.json()["items"]
    return items


async def reset(service: Service, user_id: str, clock: Clock, **body: Any) -> str:
    """Reset a user; returns the request's id."""
    clock.advance(seconds=1)
    response = await service.admin.post(f"/v1/users/{user_id.replace('/', '%2F')}/reset", json=body)
    assert response.status_code == 200, response.text
    return response.headers["X-Request-ID"]


async def test_each_act_is_entered_with_who_when_and_in_which_request(service: Service, clock: Clock) -> None:
    await enrol(service, clock)
    requests = [await reset(service, USER, clock), await reset(service, USER, clock, identity=True)]

    newest, oldest = await entries(service)

    assert newest == {
        "id": newest["id"],
        "at": clock.now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "action": "reset_identity",
        "by": "root",
        "user_id": USER,
        "request_id": requests[1],
    }
    assert (oldest["action"], oldest["request_id"]) == ("reset", requests[0])
    assert newest["id"] != oldest["id"]


async def test_whoever_exports_what_is_on_file_is_entered_before_it_is_told(service: Service, clock: Clock) -> None:
    await enrol(service, clock)
    users = service.app.state.services.users
    exported = await users.export(USER, by=Actor(name="cli"))
    assert exported == await users.status(USER)
    [entry] = await entries(service)
    assert (entry["action"], entry["by"], entry["user_id"], entry["request_id"]) == ("export", "cli", USER, None)
    await Tables(service).change("ALTER TABLE audit RENAME TO taken_away")
    with pytest.raises(DatabaseUnavailable):
        await users.export(USER, by=Actor(name="cli"))


async def test_of_an_erased_user_the_audit_keeps_no_id_and_whoever_knows_it_still_finds_the_erasure(
    service: Service, clock: Clock
) -> None:
    await enrol(service, clock)
    await reset(service, USER, clock)
    clock.advance(seconds=1)
    await service.admin.delete(f"/v1/users/{USER}")

    found = await entries(service, user_id=USER)
    assert [(entry["action"], entry["user_id"]) for entry in found] == [("erase", None), ("reset", None)]
    assert await entries(service, user_id="auth0|somebody else") == []
    # Asking again, or resetting the user who is not there, brings the id back nowhere.
    await reset(service, USER, clock)
    rows = await Tables(service).rows("SELECT * FROM audit")
    assert len(rows) == 3
    assert all(USER not in map(str, row.values()) for row in rows)
    assert [entry["action"] for entry in await entries(service, user_id=USER)] == ["reset", "erase", "reset"]


async def test_the_audit_is_narrowed_and_paged(service: Service, clock: Clock) -> None:
    for user_id in (USER, OTHER):
        await service.start(user_id)
        await reset(service, user_id, clock)
    await service.admin.delete(f"/v1/users/{USER}")
    middle = clock.now.isoformat()

    assert [entry["action"] for entry in await entries(service, action="erase")] == ["erase"]
    assert [entry["user_id"] for entry in await entries(service, user_id=OTHER)] == [OTHER]
    assert [entry["user_id"] for entry in await entries(service, until=middle)] == [None]
    assert len(await entries(service, since=middle)) == 2
    first = (await service.admin.get("/v1/audit", params={"limit": 2})).json()
    second = (await service.admin.get("/v1/audit", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert second["next_cursor"] is None
    assert len({entry["id"] for entry in first["items"] + second["items"]}) == 3
    problem(await service.admin.get("/v1/audit", params={"action": "login"}), 422, "validation_error")


async def test_an_act_of_a_newer_version_is_told_in_its_own_word(service: Service, clock: Clock) -> None:
    await reset(service, USER, clock)
    await Tables(service).change("UPDATE audit SET action = 'merge'")

    assert [entry["action"] for entry in await entries(service)] == ["merge"]
    assert [entry["action"] for entry in await entries(service, user_id=USER)] == ["merge"]


async def test_an_identity_provider_does_not_read_the_audit(service: Service) -> None:
    problem(await service.idp.get("/v1/audit"), 403, "forbidden")
    async with service.client(f"{ADMIN_KEY}x") as stranger:
        problem(await stranger.get("/v1/audit"), 401, "unauthorized")
