"""Somebody who can write to the database, but holds no key, changes one column at a time, in every way we could think
of.

Eve writes the rows. She wants Ana verified, or herself for longer or as somebody else, or an attempt of Ana's to be
hers.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import String, Table, exc

from app.core.claims import timestamp
from app.core.domain import FailureCode, Flow, Purpose, Status
from app.operator.check_records import check_records
from app.storage.encryption import Cipher
from app.storage.keeping import Keeper, ignore
from app.storage.tables import audit, users, verifications
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import Json, Service, gist
from tests.harness.tables import Tables, on_sqlite_only

HOSTED = {"public_url": PUBLIC_URL, "return_urls": "https://tenant.example/continue"}
ANA, EVE = "auth0|ana", "auth0|eve"
NO_TEXT = b"\xff"


def other_values(own: Any, others: list[Any]) -> Iterator[Any]:
    """What may be written in the place of `own`, whatever its role: another row's, none, and one that was made up.

    SQLite takes any kind of value into any column.
    """
    yield from others
    yield None
    if isinstance(own, bool):
        yield not own
    elif isinstance(own, int):
        yield from (own ^ 1, own + 1, own - 1, 2**31 - 1, 2**63 - 1, 0, own + 1.5)
    elif isinstance(own, bytes):
        yield from (own[:-4] + own[-8:-4], own[::-1], own[: len(own) // 2], b"", 5, "é")
    elif isinstance(own, datetime):
        yield from (own + timedelta(days=1), own - timedelta(days=1), datetime.max.replace(tzinfo=UTC))
    elif isinstance(own, str):
        yield from (own + "x", own[:-1] or "x", "", NO_TEXT)
        yield from _moved(own)


def _moved(text: str) -> Iterator[str]:
    """A moment as SQLite keeps it, a day later and earlier, and at the end of the calendar."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return
    yield from ((moment + timedelta(days=days)).isoformat(timespec="microseconds") for days in (1, -1))
    yield "9999-12-31T23:59:59.999999-23:00"


async def written(tables: Tables, table: str, key: str, where: str, column: str, value: Any) -> bool:
    """Whether the database takes the value at all."""
    statement = f"UPDATE {table} SET {column} = :value WHERE {key} = :key"  # noqa: S608  names of our own tables
    try:
        return await tables.change(statement, value=value, key=where) == 1
    except (exc.DBAPIError, OverflowError):
        return False


# --- The users' records ---

# What is said of Ana where her row was changed. Her key leads nowhere when the row has another's.
# Another stamp decides nothing: a start that is under way looks again.
RECORDS = {column.name: "record_invalid" for column in users.columns if column.name != "stamp"} | {
    "user_id": "never_verified"
}


@pytest.mark.parametrize("stands", [True, False], ids=["verified", "not verified"])
@pytest.mark.parametrize("column", RECORDS)
async def test_a_record_that_was_changed_counts_for_nothing(
    make_service: MakeService, clock: Clock, column: str, *, stands: bool
) -> None:
    service = await make_service()
    tables = Tables(service)
    await service.verify(EVE, email="eve@example.com")
    older = await _a_record_with_a_past(service, clock, stands=stands)
    before, eves = await tables.user(ANA), await tables.user(EVE)
    assert before
    assert eves
    assert older
    status = await service.status(ANA)
    assert status["verified"] is stands

    tried = 0
    for value in other_values(before[column], [eves[column], older[column], True, "OK", "idy_anybody"]):
        if value == before[column] or not await written(tables, "users", "user_id", ANA, column, value):
            continue
        tried += 1
        changed = await service.status(ANA)
        assert (changed["reason"], changed["verified"], changed["claims"]) == (RECORDS[column], False, {}), value
        if column == "user_id":
            assert not value or (await service.status(str(value)))["verified"] is False
            await tables.change("UPDATE users SET user_id = :own WHERE user_id = :other", own=ANA, other=value)
        else:
            assert gist(await service.start(ANA)) == ("continue", "record_not_authentic")
            assert gist(await service.start(ANA, purpose="step_up")) == ("deny", "record_not_authentic")
            assert await written(tables, "users", "user_id", ANA, column, before[column])
        assert await service.status(ANA) == status
    assert tried >= 2


async def _a_record_with_a_past(service: Service, clock: Clock, *, stands: bool) -> Json | None:
    """Ana's record, which says now that she is verified or that she is not; returns the row that said the opposite."""
    started = await service.start(ANA, email="ana@example.com")
    await service.finish(ANA, started, **await service.visit(started, "verified" if not stands else "denied"))
    older = await Tables(service).user(ANA)
    clock.advance(minutes=10)
    again = await service.start(ANA, email="ana@example.com", force=True)
    await service.finish(ANA, again, **await service.visit(again, "verified" if stands else "denied"))
    return older


async def test_an_older_sealed_record_is_not_put_back_with_all_that_stands_beside_it(
    service: Service, clock: Clock
) -> None:
    """All but the count of the writes: that alone tells the two apart."""
    older = await _a_record_with_a_past(service, clock, stands=False)
    assert older
    tables = Tables(service)
    columns = [column.name for column in users.columns if column.name not in {"user_id", "revision"}]
    setting = ", ".join(f"{name} = :{name}" for name in columns)
    put_back = f"UPDATE users SET {setting} WHERE user_id = :user_id"  # noqa: S608  names of our own tables
    assert await tables.change(put_back, user_id=ANA, **{name: older[name] for name in columns}) == 1
    assert (await service.status(ANA))["reason"] == "record_invalid"


@pytest.mark.parametrize("action", ["reset", "erase"])
async def test_what_cannot_be_recorded_is_not_done(service: Service, action: str) -> None:
    """Whoever takes the audit away keeps administrators from acting unseen, and is seen by that."""
    await service.verify(ANA, email="ana@example.com")
    before = await service.status(ANA)
    tables = Tables(service)
    await tables.change("ALTER TABLE audit RENAME TO taken_away")
    act = (
        service.admin.post(f"/v1/users/{ANA}/reset") if action == "reset" else service.admin.delete(f"/v1/users/{ANA}")
    )
    assert (await act).status_code >= httpx.codes.INTERNAL_SERVER_ERROR
    assert await service.status(ANA) == before
    await tables.change("ALTER TABLE taken_away RENAME TO audit")


@pytest.mark.parametrize("count", [2**31 - 1, 2**63 - 1, -1, 2.5, NO_TEXT, "x"])
async def test_who_is_reset_after_the_count_of_the_writes_was_changed_verifies_again(
    service: Service, count: Any
) -> None:
    started = await service.start(ANA, force=True)
    back = await service.visit(started)
    await service.verify(ANA, email="ana@example.com")
    tables = Tables(service)
    if not await written(tables, "users", "user_id", ANA, "revision", count):
        assert not tables.is_sqlite
        return
    assert gist(await service.finish(ANA, started, **back)) == ("continue", "record_not_authentic")
    reset = await service.admin.post(f"/v1/users/{ANA}/reset", json={"identity": True})
    assert (reset.status_code, reset.json()["reason"]) == (httpx.codes.OK, "not_verified")
    assert gist(await service.verify(ANA, email="ana@example.com")) == ("continue", "verified")
    assert (await service.status(ANA))["verified"] is True


@on_sqlite_only
@pytest.mark.parametrize("table", [verifications, audit], ids=lambda table: table.name)
async def test_a_list_is_shown_without_the_row_that_nobody_can_read(service: Service, table: Table) -> None:
    for user_id in (ANA, EVE):
        await service.verify(user_id)
        await service.admin.post(f"/v1/users/{user_id}/reset")
    tables = Tables(service)
    [anas] = await tables.rows(f"SELECT rowid, * FROM {table} WHERE user_id = :ana", ana=ANA)  # noqa: S608  our own
    whole = (await service.admin.get(f"/v1/{table}")).json()["items"]
    of_eve = [item for item in whole if item["user_id"] == EVE]
    assert len(whole) == 2
    for column in (column for column in table.columns if isinstance(column.type, String) or column.name == "at"):
        change = f"UPDATE {table} SET {column.name} = {{}} WHERE rowid = :rowid"  # noqa: S608  names of our own tables
        for made_up in ("x'ff'", "CAST(x'ff' AS TEXT)"):
            await tables.change(change.format(made_up), rowid=anas["rowid"])
            shown = await service.admin.get(f"/v1/{table}")
            assert (shown.status_code, shown.json()["items"]) == (httpx.codes.OK, of_eve), column
        await tables.change(change.format(":own"), own=anas[column.name], rowid=anas["rowid"])
    assert (await service.admin.get(f"/v1/{table}")).json()["items"] == whole


@on_sqlite_only
async def test_a_record_whose_key_is_no_text_is_named_by_the_check(service: Service) -> None:
    await service.verify(ANA)
    assert await written(Tables(service), "users", "user_id", ANA, "user_id", NO_TEXT)
    keeper = Keeper(service.app.state.services.database, Cipher(service.settings.fernet_keys))
    records, *_ = await check_records(keeper, every=True, show=ignore)
    assert records.result == r"1 of 1 do not hold: b'\xff'"


# --- The attempts ---

STAGES = ("pending", "returned", "completed")
COUNTS = "verified"
GONE = "verification_not_found"
FORGED = "record_not_authentic"
OVER = "verification_already_finished"
OTHERS = "verification_mismatch"

# What Eve is answered who finishes her own attempt after a column of it was changed: while it waits for its code, after
# its browser has come back, and when it is asked for its answer again. Where it counts, the column is for people who
# look.
SHOWN = ({COUNTS}, {COUNTS}, {COUNTS})
ANSWERS: dict[str, tuple[set[str], set[str], set[str]]] = {
    "id": ({GONE, "state_invalid"}, {GONE, OTHERS}, {GONE, OVER}),
    "user_id": ({OTHERS}, {OTHERS}, {OTHERS}),
    "flow": ({GONE, OTHERS}, {GONE, OTHERS}, {GONE, OTHERS}),
    "purpose": ({GONE, FORGED}, {GONE, FORGED}, {GONE, OVER}),
    # An attempt that was ended by hand goes on within its time; one that a reset has ended has lost its secrets.
    "status": (
        {GONE, OVER, COUNTS, "callback_in_progress"},
        {GONE, OVER, "session_token_invalid", "callback_in_progress"},
        {GONE, OVER, "verification_expired", "callback_in_progress"},
    ),
    "started_by": SHOWN,
    "finished_by": SHOWN,
    "created_at": ({GONE, FORGED, "verification_expired"}, {GONE, FORGED}, {GONE, OVER}),
    "expires_at": ({GONE, FORGED, "verification_expired"}, {GONE, FORGED}, {GONE, OVER}),
    "exchange_started_at": ({COUNTS}, {COUNTS, OVER}, {COUNTS}),
    "returned_at": ({COUNTS}, {FORGED, "session_token_invalid"}, {COUNTS}),
    "finished_at": ({COUNTS}, {COUNTS}, {OVER}),
    "clear_at": SHOWN,
    "omit_state": ({"state_invalid"}, {FORGED}, {OVER}),
    "counted": SHOWN,
    "locale": SHOWN,
    "callback_fingerprint": ({COUNTS}, {COUNTS}, {OVER}),
    "browser_digest": ({FORGED}, {COUNTS}, {COUNTS}),
    "interview_id": SHOWN,
    "identity_id": SHOWN,
    "auth_overall_score": ({GONE, COUNTS}, {GONE, COUNTS}, {GONE, COUNTS}),
    "auth_overall_status": ({GONE, COUNTS}, {GONE, COUNTS}, {GONE, COUNTS}),
    "failure_code": ({GONE, COUNTS}, {GONE, COUNTS}, {GONE, COUNTS}),
    "failure_description": SHOWN,
    "sealed_request": ({FORGED, "verification_expired"}, {COUNTS}, {COUNTS}),
    "sealed_way_back": SHOWN,
    "sealed_outcome": ({COUNTS}, {FORGED, "verification_expired"}, {COUNTS}),
    "sealed_return": SHOWN,
    "sealed_answer": ({COUNTS}, {COUNTS}, {OVER}),
}
WORDS: dict[str, tuple[Any, ...]] = {
    "id": ("idv_" + 32 * "0",),
    "user_id": (ANA,),
    "flow": tuple(Flow),
    "purpose": tuple(Purpose),
    "status": tuple(Status),
    "failure_code": tuple(FailureCode)[:3],
    "auth_overall_score": ("100", "[]", "NaN", '"\\ud800"', "[" * 100_000),
    "auth_overall_status": ('"OK"', "5", '"\\ud800"', "[" * 100_000),
}


def test_the_table_has_every_column() -> None:
    assert list(ANSWERS) == [column.name for column in verifications.columns]


class Scene:
    """Attempts of Ana's and of many Eves at one stage, and what each has in hand to finish hers with."""

    def __init__(self, service: Service, stage: str) -> None:
        self.service = service
        self.stage = stage
        self.tables = Tables(service)
        self.eves = 0

    async def eve(self) -> tuple[str, Json, dict[str, str]]:
        """Let another Eve come as far: her user id, the row of her attempt, and what she has in hand."""
        self.eves += 1
        user_id = f"{EVE} {self.eves}"
        return user_id, *await self.come(user_id)

    async def come(self, user_id: str) -> tuple[Json, dict[str, str]]:
        """Let somebody come as far as the stage."""
        flow = "hosted" if self.stage == "returned" else "relay"
        started = await self.service.start(user_id, email=self.email(user_id), flow=flow)
        if self.stage == "returned":
            async with Browser(self.service) as browser:
                arrived = await browser.go_through(started)
            in_hand = {"session_token": arrived["session_token"]}
        else:
            in_hand = await self.service.visit(started)
        if self.stage == "completed":
            await self.service.finish(user_id, started, **in_hand)
        [row] = await self.tables.attempts(user_id)
        return row, in_hand

    def email(self, user_id: str) -> str:
        return f"{user_id.partition('|')[2].replace(' ', '')}@example.com"

    async def answer(self, user_id: str, attempt_id: str, in_hand: dict[str, str]) -> str:
        """The code of what a callback is answered with."""
        body = {"user_id": user_id, "verification_id": attempt_id, **in_hand}
        response = await self.service.idp.post("/v1/callback", json=body)
        assert response.status_code < httpx.codes.INTERNAL_SERVER_ERROR, response.text
        answer: Json = response.json()
        if response.status_code != httpx.codes.OK:
            return str(answer["code"])
        assert bool(answer["claims"]) is (answer["reason"] == COUNTS)
        return str(answer["reason"])


def candidates(column: str, row: Json, anas: Json) -> list[Any]:
    """What may be written into the column: Ana's value, every word that it takes, the row's other values of the
    kind.
    """
    others = [anas[column], *WORDS.get(column, ())]
    if row[column] is None:
        sealed = column.startswith("sealed_")
        others += [row["created_at"] if column.endswith("_at") else b"x" if sealed else "x", 5 if sealed else NO_TEXT]
    if column.startswith("sealed_"):
        others += [row[name] for name in row if name.startswith("sealed_") and row[name]]
    return list(other_values(row[column], others))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("column", ANSWERS)
async def test_an_attempt_that_was_changed_verifies_nobody_else_and_for_no_longer(
    make_service: MakeService, clock: Clock, column: str, stage: str
) -> None:
    service = await make_service(**HOSTED)
    scene = Scene(service, stage)
    anas, _ = await scene.come(ANA)
    before = await service.status(ANA)
    tried = 0
    user_id, row, in_hand = await scene.eve()
    for number in range(len(candidates(column, row, anas))):
        value, attempt = candidates(column, row, anas)[number], row["id"]
        if value == row[column] or not await written(scene.tables, "verifications", "id", attempt, column, value):
            continue  # nothing has happened to this Eve: she is the next one, too
        tried += 1
        for named in {attempt, str(value)} if column == "id" else {attempt}:
            await scene.answer(ANA, named, in_hand)
            answer = await scene.answer(user_id, named, in_hand)
            assert answer in ANSWERS[column][STAGES.index(stage)] | ({GONE} if value == NO_TEXT else set()), value
        assert gain(await service.status(ANA)) == gain(before)
        assert_is_eve(await service.status(user_id), scene.email(user_id), clock)
        for path in ("/v1/verifications", f"/v1/verifications/{attempt}"):
            assert (await service.admin.get(path)).status_code in {httpx.codes.OK, httpx.codes.NOT_FOUND}
        if answer == GONE and column != "id":
            assert await written(scene.tables, "verifications", "id", attempt, column, row[column])
            continue  # nor has anything to this one
        user_id, row, in_hand = await scene.eve()
    assert tried


def gain(status: Json) -> tuple[Any, ...]:
    """What somebody would have of another's attempt: all but the word that tells of it."""
    return status["verified"], status["claims"], status["app_metadata"].get("incode_identity_id")


def assert_is_eve(status: Json, email: str, clock: Clock) -> None:
    """Assert that she is verified as herself and as of now, if at all."""
    if status["verified"]:
        [claim] = status["claims"].values()
        assert (claim["completed_at"], claim["pii"]["email"]) == (timestamp(clock()), email)
