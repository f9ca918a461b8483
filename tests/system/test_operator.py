"""What an operator asks every day, in a terminal and in scripts: `idv user`, `verifications`, `reset` and `erase`."""

import json
import re
import sqlite3
import subprocess
from contextlib import closing
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.core.domain import FailureCode
from app.core.failures import CATALOGUE
from app.storage.encryption import Cipher
from tests.harness.service import ENCRYPTION_KEY, Service, query_of
from tests.harness.tables import Tables, on_postgresql_only, on_sqlite_only
from tests.harness.waiting import PATIENCE
from tests.system.callers import Caller
from tests.system.processes import SETTINGS, Workplace, serving

ID = re.compile(r"idv_[0-9a-f]{32}")
REFUSAL = {"error": "access_denied", "error_description": "ana.torres@private.example said no"}
USER = "auth0|66f1c0ffee"
REPORTED = {"purge": "Removed attempts: 0\n", "rotate-keys": "Encrypted again with the newest key: 0\n"}
TRACES = "Done, but SQLite's file keeps traces while another process holds it. Run the command again.\n"


@pytest.fixture
def store_tokens() -> bool:
    return True


def plain(shown: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def fields(shown: str) -> dict[str, str]:
    """The labelled lines of a record, each with its continuation."""
    record = re.sub(r"\n {15}", " ", plain(shown).partition("\n\n")[0])
    return {line[:15].strip(): line[15:] for line in record.splitlines()}


def clock_time(timestamp: str) -> str:
    return timestamp[:19].replace("T", " ")


def moment(timestamp: str) -> str:
    return f"{clock_time(timestamp)} UTC"


async def refuse(service: Service, user_id: str) -> str:
    """A login that the person refused; returns the attempt's id."""
    started = await service.start(user_id, force=True)
    state = query_of(started["redirect_url"])["state"]
    answer = await service.finish(user_id, started, **REFUSAL, state=state, iss=service.settings.provider.issuer)
    verification_id: str = answer["verification"]["id"]
    return verification_id


async def put_on_file(service: Service, *, error: str | None = None, **members: Any) -> None:
    """Make the record one that another version has sealed, which takes in what this one refuses."""
    value = {"revision": 1, "completed": False, **members}
    columns = {"revision": 1, "completed": False, "identity_id": members.get("identity_id"), "error": error}
    columns["sealed_record"] = Cipher([ENCRYPTION_KEY]).seal(f"user\n{USER}", value)
    insert = f"INSERT INTO users (user_id, {', '.join(columns)}) VALUES (:user_id, :{', :'.join(columns)})"  # noqa: S608
    assert await Tables(service).change(insert, user_id=USER, **columns) == 1


async def test_a_terminal_shows_that_a_user_is_verified_and_nothing_personal(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    decision = await service.verify(USER)
    code, shown = work.run_in_terminal("user", USER, settings=settings)
    status = await service.status(USER)
    assert code == 0
    assert fields(shown) == {
        "user": USER,
        "verified": "yes",
        "reason": "recently_verified (the last verification still stands)",
        "last verified": moment(status["app_metadata"]["incode_idv_completed_at"]),
        "valid until": moment(status["reverify_at"]),
        "identity": status["app_metadata"]["incode_identity_id"],
    }
    row = plain(shown).splitlines()[-1]
    assert row.split() == [
        decision["verification"]["id"],
        *clock_time(decision["verification"]["created_at"]).split(),
        *("relay", "login", "completed", "acme", "acme"),
    ]
    personal = [str(value) for value in next(iter(status["claims"].values()))["pii"].values()]
    assert personal
    assert [value for value in personal if value in shown] == []


async def test_a_terminal_shows_why_a_user_is_not_verified_and_what_to_do_but_not_what_others_wrote(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    ids = [await refuse(service, USER) for _ in range(6)]
    code, shown = work.run_in_terminal("user", USER, settings=settings)
    assert code == 0
    assert fields(shown) == {
        "user": USER,
        "verified": "no",
        "reason": "not_verified (the last verification failed, or was reset)",
        "last error": f"access_denied: {CATALOGUE[FailureCode.ACCESS_DENIED].detail}",
        "what to do": CATALOGUE[FailureCode.ACCESS_DENIED].hint,
    }
    assert ID.findall(shown) == ids[:0:-1]
    assert "private.example" not in shown


async def test_a_user_whom_nobody_has_met_is_simply_not_verified(work: Workplace, settings: dict[str, str]) -> None:
    code, shown = work.run_in_terminal("user", "nobody", settings=settings)
    assert (code, plain(shown).splitlines()) == (
        0,
        [
            "user           nobody",
            "verified       no",
            "reason         never_verified (no verification is on file)",
            "",
            "No attempts are on file.",
        ],
    )


@pytest.mark.parametrize(("hours", "until"), [("0", "no end is set"), ("0.000001", None)])
@on_sqlite_only
async def test_the_end_of_a_verification_follows_the_settings(
    work: Workplace, settings: dict[str, str], service: Service, hours: str, until: str | None
) -> None:
    await service.verify(USER)
    shown = fields(work.run_in_terminal("user", USER, settings={**settings, "REVERIFICATION_HOURS": hours})[1])
    assert shown.get("valid until") == until
    assert shown["verified"] == ("yes" if until else "no")
    assert "last verified" in shown


@on_sqlite_only
async def test_an_error_of_another_version_is_told_of_as_one(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    failure = {"code": "telepathy_failed", "description": "ana@private.example"}
    await put_on_file(service, failure=failure, error="telepathy_failed: ana@private.example")
    shown = fields(work.run_in_terminal("user", USER, settings=settings)[1])
    assert shown["last error"] == f"authorization_error: {CATALOGUE[FailureCode.AUTHORIZATION_ERROR].detail}"


@on_sqlite_only
async def test_what_a_provider_sent_cannot_command_the_terminal(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    await put_on_file(service, identity_id="\x1b[2Jid\u202e[red]x")
    shown = fields(work.run_in_terminal("user", USER, settings=settings)[1])
    assert shown["identity"] == r"\u001b[2Jid\u202e[red]x"


async def test_a_user_as_json_is_what_the_api_answers_and_the_newest_attempts(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    await service.verify(USER)
    ran = work.run("user", USER, "--json", "--personal", settings=settings)
    assert (ran.returncode, ran.stderr) == (0, "")
    attempts = (await service.admin.get("/v1/verifications", params={"user_id": USER})).json()["items"]
    assert json.loads(ran.stdout) == {**await service.status(USER), "verifications": attempts}
    assert "access_token" not in ran.stdout


async def test_nothing_personal_is_shown_unasked_in_any_form(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    await service.verify(USER)
    status = await service.status(USER)
    pii = next(iter(status["claims"].values()))["pii"]
    personal = [value for value in pii.values() if isinstance(value, str)]
    assert len(personal) >= 3
    for options in ((), ("--json",)):
        hidden = work.run("user", USER, *options, settings=settings).stdout
        assert [value for value in personal if value in hidden] == [], options
        shown = work.run("user", USER, *options, "--personal", settings=settings).stdout
        assert [value for value in personal if value not in shown] == [], options
        assert status["app_metadata"]["incode_identity_id"] in hidden
    hidden_claim = next(iter(json.loads(work.run("user", USER, "--json", settings=settings).stdout)["claims"].values()))
    assert hidden_claim["completed"]
    assert hidden_claim["pii"] == {}


@on_sqlite_only
async def test_a_pipe_gets_what_a_terminal_shows(work: Workplace, settings: dict[str, str], service: Service) -> None:
    await service.verify(USER)
    for command in (("user", USER), ("user", USER, "--personal"), ("verifications",)):
        table = work.run(*command, settings=settings).stdout
        assert table == plain(work.run_in_terminal(*command, settings=settings)[1])
        assert table.count("\x1b") == 0
        assert max(map(len, table.splitlines())) > 80
        written = work.run(*command, "--json", settings=settings).stdout
        assert work.run_in_terminal(*command, "--json", settings=settings) == (0, written)
        assert json.loads(written)


async def test_the_attempts_are_listed_newest_first(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    refused = await refuse(service, USER)
    begun = (await service.start("ben"))["verification"]
    code, shown = work.run_in_terminal("verifications", settings=settings)
    header, *rows = plain(shown).splitlines()
    assert (code, header.split()) == (
        0,
        ["id", "user", "began", "(UTC)", "flow", "purpose", "status", "error", "started", "by", "finished", "by"],
    )
    assert rows[0].split() == [
        begun["id"],
        "ben",
        *clock_time(begun["created_at"]).split(),
        "relay",
        "login",
        "pending",
        "acme",
    ]
    assert rows[1].split()[:2] == [refused, USER]
    assert rows[1].split()[-6:] == ["relay", "login", "failed", "access_denied", "acme", "acme"]
    assert len(rows) == 2


async def test_the_attempts_are_narrowed_by_user_and_status_and_number(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    ids = [await refuse(service, USER) for _ in range(3)]
    await refuse(service, "ben")
    await service.start(USER)
    asked = ("verifications", "--user", USER, "--status", "failed", "--limit")
    code, shown = work.run_in_terminal(*asked, "2", settings=settings)
    assert (code, ID.findall(shown)) == (0, ids[:0:-1])
    cursor = shown.splitlines()[-1].removeprefix("There are more: ").split()
    assert ID.findall(work.run_in_terminal(*asked, "2", *cursor, settings=settings)[1]) == ids[:1]
    assert USER not in shown
    assert "There are more" not in work.run_in_terminal(*asked, "3", settings=settings)[1]
    page = json.loads(work.run(*asked, "2", "--json", settings=settings).stdout)
    answer = await service.admin.get("/v1/verifications", params={"user_id": USER, "status": "failed", "limit": 2})
    assert page == answer.json()


@on_sqlite_only
@pytest.mark.parametrize("columns", [20, 60, 100])
async def test_a_narrow_terminal_cuts_no_id(
    work: Workplace, settings: dict[str, str], service: Service, columns: int
) -> None:
    user_id = "samlp|a-tenant-with-a-long-name|http://directory.example/people/ana"
    ids = [await refuse(service, user_id), (await service.verify(user_id, force=True))["verification"]["id"]]
    identity = (await service.status(user_id))["app_metadata"]["incode_identity_id"]
    listed = work.run_in_terminal("verifications", settings=settings, columns=columns)[1]
    assert ID.findall(listed) == ids[::-1]
    assert listed.count(user_id) == 2
    shown = work.run_in_terminal("user", user_id, settings=settings, columns=columns)[1]
    assert fields(shown)["user"] == user_id
    assert fields(shown)["identity"] == identity
    assert ID.findall(shown) == ids[::-1]
    assert "\u2026" not in listed + shown


@on_sqlite_only
@pytest.mark.parametrize(
    ("columns", "header", "left_out"),
    [
        (90, "id began (UTC) status error", "Not shown: started by, finished by, flow, purpose."),
        (100, "id began (UTC) flow purpose status error", "Not shown: started by, finished by."),
        (140, "id began (UTC) flow purpose status error started by finished by", None),
    ],
)
async def test_a_table_leaves_out_the_columns_that_a_terminal_has_no_room_for(
    work: Workplace, settings: dict[str, str], service: Service, columns: int, header: str, left_out: str | None
) -> None:
    ids = [(await service.verify(USER, force=True))["verification"]["id"], await refuse(service, USER)]
    code, shown = work.run_in_terminal("verifications", "--user", USER, settings=settings, columns=columns)
    lines = plain(shown).splitlines()
    assert (code, ID.findall(shown), " ".join(lines[0].split())) == (0, ids[::-1], header)
    assert max(map(len, lines)) <= columns
    assert lines[-1].startswith(left_out) if left_out else len(lines) == 3


@on_sqlite_only
async def test_an_attempt_whose_result_does_not_count_shows_the_result(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    await service.verify(USER, "warn")
    shown = plain(work.run_in_terminal("verifications", settings=settings)[1])
    assert "status_not_accepted (WARN)" in shown


@on_sqlite_only
async def test_no_color_is_respected(work: Workplace, settings: dict[str, str], service: Service) -> None:
    await service.verify(USER)
    for command in (("user", USER), ("verifications",)):
        assert "\x1b[32m" in work.run_in_terminal(*command, settings=settings)[1]
        assert "\x1b[3" not in work.run_in_terminal(*command, settings={**settings, "NO_COLOR": "1"})[1]


@on_sqlite_only
def test_without_an_attempt_that_fits_a_line_says_where_to_look(work: Workplace, settings: dict[str, str]) -> None:
    for narrowed in (("--status", "failed"), ("--user", USER), ()):
        code, shown = work.run_in_terminal("verifications", *narrowed, settings=settings)
        assert (code, len(shown.splitlines())) == (0, 1)
        assert ("without some of the options" in shown) == bool(narrowed)


@on_sqlite_only
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("verifications", "--status", "lost"), "completed"),
        (("verifications", "--limit", "101"), "100"),
        (("verifications", "--cursor", "bm9uZQ=="), "not the next_cursor"),
        (("verifications", "--user", ""), "1 to 255 characters"),
        (("user", "x" * 256), "1 to 255 characters"),
        (("reset", "ana\n"), "1 to 255 characters"),
        (("erase", "--yes", "ana\udcff"), "1 to 255 characters"),
        (("erase", "ana"), "--yes"),
    ],
    ids=["status", "limit", "cursor", "no user", "too long", "newline", "no text", "unconfirmed"],
)
def test_what_cannot_be_meant_is_refused_with_a_line_that_says_why(
    work: Workplace, settings: dict[str, str], command: tuple[str, ...], says: str
) -> None:
    ran = work.run(*command, settings=settings)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("command", "url", "says"),
    [
        (("user", USER), "sqlite+aiosqlite:///./empty.db", "Run: idv migrate"),
        (("verifications",), "sqlite+aiosqlite:////nowhere/idv.db", "may not be opened or written"),
        (("reset", USER), "postgresql+asyncpg://u:hush@127.0.0.1:9/x", "does not listen there"),
        (("erase", USER, "--yes"), "sqlite+aiosqlite:///./empty.db", "Run: idv migrate"),
    ],
    ids=["user", "verifications", "reset", "erase"],
)
def test_without_a_database_a_line_says_what_to_do(
    work: Workplace, command: tuple[str, ...], url: str, says: str
) -> None:
    ran = work.run(*command, settings={**SETTINGS, "DATABASE_URL": url})
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (2, "", 1)
    assert ran.stderr.startswith("DATABASE_URL: ")
    assert says in ran.stderr
    assert "hush" not in ran.stderr


@pytest.mark.parametrize("forget", [False, True], ids=["keep", "forget"])
async def test_a_reset_has_the_effects_of_the_apis(
    work: Workplace, settings: dict[str, str], service: Service, forget: bool
) -> None:
    for user_id in ("by-command", "by-api"):
        await service.verify(user_id, person="ana")
        await service.start(user_id, force=True)
    ran = work.run("reset", "by-command", *(["--identity"] if forget else []), settings=settings)
    await service.admin.post("/v1/users/by-api/reset", json={"identity": forget})
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        "by-command: reset. The next login verifies again."
        + (" The enrolled identity is forgotten.\n" if forget else "\n")
    )
    tables = Tables(service)
    ours, theirs = await tables.user("by-command"), await tables.user("by-api")
    assert ours
    assert theirs
    own = ("user_id", "sealed_record", "interview_id", "stamp")
    assert {name: ours[name] for name in ours if name not in own} == {
        name: theirs[name] for name in theirs if name not in own
    }
    assert (ours["identity_id"] is None, ours["completed"]) == (forget, None)
    for user_id in ("by-command", "by-api"):
        answer = await service.admin.get("/v1/verifications", params={"user_id": user_id})
        assert [item["status"] for item in answer.json()["items"]] == ["expired", "completed"]
        assert [row["sealed_answer"] for row in await tables.attempts(user_id)] == [None, None]


@on_sqlite_only
@pytest.mark.parametrize("why", ["changed by somebody", "sealed with a key that is missing"])
async def test_a_record_that_does_not_hold_is_said_not_to_be_reset_until_the_identity_is_forgotten(
    work: Workplace, settings: dict[str, str], service: Service, why: str
) -> None:
    await service.verify(USER)
    if why == "changed by somebody":
        await Tables(service).change("UPDATE users SET identity_id = 'eve'")
    else:
        settings = {**settings, "ENCRYPTION_KEYS": Fernet.generate_key().decode()}
    for options in ((), ("--json",)):
        ran = work.run("reset", USER, *options, settings=settings)
        assert (ran.returncode, ran.stdout == "") == (1, not options)
        assert ran.stderr.startswith(f"{USER}: not reset. The record does not hold")
        assert "`idv check --records`" in ran.stderr
        assert "`idv reset USER --identity`" in ran.stderr
    assert json.loads(ran.stdout)["reason"] == "record_invalid"
    ran = work.run("reset", USER, "--identity", settings=settings)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(work.run("user", USER, "--json", settings=settings).stdout)["reason"] == "not_verified"


@on_sqlite_only
async def test_what_was_done_can_be_had_as_json(work: Workplace, settings: dict[str, str], service: Service) -> None:
    await service.verify(USER)
    ran = work.run("reset", USER, "--json", settings=settings)
    assert json.loads(ran.stdout) == await service.status(USER)
    for erased in (True, False):
        ran = work.run("erase", USER, "--yes", "--json", settings=settings)
        assert json.loads(ran.stdout) == {"user_id": USER, "erased": erased}


async def test_nobody_is_reset_or_erased_without_being_told_so(work: Workplace, settings: dict[str, str]) -> None:
    assert (
        work.run("reset", "nobody", settings=settings).stdout
        == "nobody: nothing is on file, so the next login verifies anyway.\n"
    )
    assert work.run("erase", "nobody", "--yes", settings=settings).stdout == "nobody: nothing was on file.\n"


async def test_an_erasure_leaves_nothing_of_the_user_and_the_others_as_they_are(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    for user_id in (USER, "ben"):
        await service.verify(user_id)
        await service.start(user_id, force=True)
    ran = work.run("erase", USER, "--yes", settings=settings)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{USER}: erased, with every attempt.\n", "")
    tables = Tables(service)
    assert (await tables.user(USER), await tables.attempts(USER)) == (None, [])
    assert len(await tables.attempts("ben")) == 2
    assert (await service.status("ben"))["verified"]


async def test_attempts_without_a_record_are_something_to_erase(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    await service.start(USER)
    assert work.run("erase", USER, "--yes", settings=settings).stdout == f"{USER}: erased, with every attempt.\n"


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1)])
@on_sqlite_only
async def test_in_a_terminal_an_erasure_is_asked_about(
    work: Workplace, settings: dict[str, str], service: Service, typed: str, code: int
) -> None:
    await service.verify(USER)
    ended, shown = work.run_in_terminal("erase", USER, settings=settings, typed=typed)
    assert (ended, f"Erase {USER} and every attempt? This cannot be undone. [y/N]" in shown) == (code, True)
    assert (await Tables(service).user(USER) is None) == (code == 0)


def file_of(service: Service) -> str:
    return Tables(service).url.removeprefix("sqlite+aiosqlite:///")


def connection_to(service: Service) -> sqlite3.Connection:
    return sqlite3.connect(file_of(service), isolation_level=None)


def bytes_in(file: str) -> bytes:
    """Of the database and its log, read by another process: closing the file in this one would end SQLite's locks in
    it.
    """
    cat = ["/bin/sh", "-c", 'cat "$1"*', "sh", file]
    return subprocess.run(cat, capture_output=True, check=True, timeout=PATIENCE).stdout  # noqa: S603  our own file


@on_sqlite_only
@pytest.mark.parametrize("command", [("reset", USER), ("erase", USER, "--yes")], ids=lambda command: command[0])
async def test_while_another_process_writes_nothing_is_changed(
    work: Workplace, settings: dict[str, str], service: Service, command: tuple[str, ...]
) -> None:
    await service.verify(USER)
    with closing(connection_to(service)) as other:
        other.execute("BEGIN IMMEDIATE")
        ran = work.run(*command, settings=settings)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("DATABASE_URL: the database is held by another process. Repeat it.")
    assert (await service.status(USER))["verified"]


@on_sqlite_only
async def test_while_another_process_reads_an_erasure_says_that_traces_are_left_and_the_next_one_removes_them(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    await service.verify(USER)
    with closing(connection_to(service)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM users").fetchone() == (1,)
        ran = work.run("erase", USER, "--yes", settings=settings)
        assert USER.encode() in bytes_in(file_of(service))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == TRACES
    assert (await service.status(USER))["reason"] == "never_verified"
    assert work.run("erase", USER, "--yes", settings=settings).returncode == 0
    assert USER.encode() not in bytes_in(file_of(service))


@on_sqlite_only
@pytest.mark.parametrize("command", ["purge", "rotate-keys"])
async def test_while_another_process_reads_what_was_removed_is_said_to_leave_traces(
    work: Workplace, settings: dict[str, str], service: Service, command: str
) -> None:
    await service.verify(USER)
    with closing(connection_to(service)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM users").fetchone()
        ran = work.run(command, settings=settings)
        lacking = work.run(command, settings={**settings, "ENCRYPTION_KEYS": Fernet.generate_key().decode()})
    told, traces = REPORTED[command], TRACES.removeprefix("Done, but ")
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, told, traces)
    if command == "rotate-keys":
        faults = "Values that none of ENCRYPTION_KEYS opens: 2. Add the key that they were made with.\n"
        assert (lacking.returncode, lacking.stdout, lacking.stderr) == (2, told, faults + traces)


@on_postgresql_only
async def test_while_another_transaction_has_the_user_on_postgresql_nothing_is_changed(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    await service.verify(USER)
    async with create_async_engine(Tables(service).url, poolclass=NullPool).begin() as other:
        await other.execute(text("LOCK TABLE users IN SHARE MODE"))
        ran = work.run("erase", USER, "--yes", settings=settings)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("DATABASE_URL: the database is held by another process. Repeat it.")
    assert (await service.status(USER))["verified"]


async def test_a_running_service_sees_at_once_what_was_reset_and_erased(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    await service.verify(USER)
    with serving(work, **settings) as (_, url):
        caller = Caller(url)
        assert caller.status(USER).json()["verified"]
        assert work.run("reset", USER, settings=settings).returncode == 0
        assert caller.status(USER).json()["reason"] == "not_verified"
        assert work.run("erase", USER, "--yes", settings=settings).returncode == 0
        assert caller.status(USER).json()["reason"] == "never_verified"
        assert caller.start(USER).json()["reason"] == "never_verified"
