"""Moving in from the Action, moving up from SQLite, and looking up: `idv import`, `copy`, `export`, `audit`,
`check`.
"""

import gzip
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from app.main import create_app
from app.operator import exporting
from tests.harness.databases import empty_database, migrated_template, on_postgres, postgres_or_skip
from tests.harness.programs import program_or_skip
from tests.harness.provider import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, ProviderHost
from tests.harness.service import CLAIM, ENCRYPTION_KEY, USER, Json, Service, gist, settings_for
from tests.harness.tables import Tables, on_sqlite_only
from tests.harness.waiting import PATIENCE
from tests.system.processes import Workplace

ACTION = Path(__file__).parent / "action.mjs"
USERS = {
    "auth0|ana": "verified",
    "samlp|acme|http://b/en": "verified",
    "auth0|sub": "no-identity",
    "auth0|failed": "failed",
    "auth0|lost": "userinfo-down",
    "auth0|refused": "denied",
    "auth0|left": "abandoned",
    "auth0|new": None,
}

SLEEPING = "SELECT {} FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"


def export_of(folder: Path, issuer: str) -> tuple[Path, dict[str, Any]]:
    """Auth0's export of users whom the Action has verified, and what it holds of each."""
    file = folder / "users.ndjson.gz"
    node = program_or_skip("node")
    subprocess.run(  # noqa: S603  our own file
        [node, str(ACTION)],
        env={
            "ISSUER": issuer,
            "CLIENT_ID": CLIENT_ID,
            "CLIENT_SECRET": CLIENT_SECRET,
            "REDIRECT_URI": REDIRECT_URI,
            "EXPORT": str(file),
            "USERS": json.dumps(USERS),
        },
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=True,
    )
    users = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    return file, {user["user_id"]: user["app_metadata"] for user in users}


async def test_who_was_verified_by_the_action_logs_in_without_a_redirect_and_with_the_claim(
    work: Workplace, settings: dict[str, str], service: Service, tmp_path: Path, provider_host: ProviderHost
) -> None:
    file, kept = export_of(tmp_path, provider_host.url)
    tried = work.run("import", str(file), "--dry-run", "--json", settings=settings)
    assert tried.returncode == 0, tried.stderr
    assert (await service.status("auth0|ana"))["reason"] == "never_verified"
    done = work.run("import", str(file), "--json", settings=settings)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads(tried.stdout)
    assert (report["lines"], report["added"], report["without_record"], report["verified"]) == (8, 7, 1, 4)
    assert report["traps"] == {"identity_from_sub": 1, "status_not_accepted": 1, "tokens_left_out": 5}

    asked = len(service.sandbox.requests)
    for user_id in ("auth0|ana", "samlp|acme|http://b/en", "auth0|sub", "auth0|lost"):
        decision = await service.start(user_id)
        assert gist(decision) == ("continue", "recently_verified"), user_id
        claim, before = decision["claims"][CLAIM], kept[user_id]
        assert claim["completed_at"] == before["incode_idv_completed_at"]
        assert claim["interview_id"] == before["incode_interview_id"]
        assert claim["pii"] == before["incode_idv"]["pii"]
        assert (claim["auth_overall_status"], claim["completed"]) == ("OK", True)
        enrolled = None if user_id == "auth0|sub" else before["incode_identity_id"]
        assert (claim["identity_id"], decision["app_metadata"]["incode_identity_id"]) == (enrolled, enrolled)
    assert len(service.sandbox.requests) == asked

    for user_id, error in (
        ("auth0|failed", "status_not_accepted"),
        ("auth0|refused", "access_denied: The verification was refused"),
        ("auth0|left", "no_code_returned"),
    ):
        decision = await service.start(user_id)
        assert gist(decision) == ("redirect", "not_verified"), user_id
        assert decision["app_metadata"]["incode_idv_error"] == error
    assert gist(await service.start("auth0|new")) == ("redirect", "never_verified")

    again = json.loads(work.run("import", str(file), "--json", settings=settings).stdout)
    assert (again["added"], again["on_file"]) == (0, 7)
    entries = (await service.admin.get("/v1/audit")).json()["items"]
    assert [(entry["action"], entry["by"], entry["user_id"]) for entry in entries] == [("import", "cli", None)] * 2


def verified(user_id: str, *, name: str = "Ana Ruiz", **members: Any) -> str:
    """A line of a person's own list."""
    evidence = {"identity_id": f"id of {user_id}", "auth_overall_status": "OK", "pii": {"name": name}}
    kept = {"incode_idv_completed": True, "incode_idv_completed_at": "2026-04-01T12:00:00Z", "incode_idv": evidence}
    return json.dumps(
        {"user_id": user_id, "app_metadata": {**kept, "incode_identity_id": f"id of {user_id}", **members}}
    )


async def test_a_bad_line_is_named_by_its_number_and_the_rest_goes_on(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    enrolled = await service.verify(USER)
    await service.admin.post("/v1/users/reset%7Cbefore/reset")
    await service.start("began")  # only a lock is on file
    lines = [
        "\ufeff" + verified("first"),
        '{"user_id": "ana@private.example", ',
        "",
        '{"user_id": "a", "user_id": "b"}',
        "[]",
        verified("x" * 256),
        verified("a\nb"),
        '{"user_id": "odd", "app_metadata": "ana@private.example"}',
        verified("long", name="x" * 1_100_000),
        verified(USER, name="Eve"),
        verified("reset|before"),
        verified("began"),
        verified("first", name="Eve"),
        '{"user_id": "bare"}',
        verified("last"),
    ]
    (work.folder / "users.json").write_text("\n".join(lines))
    ran = work.run("import", "users.json", settings=settings)
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        "Line 2 is no JSON object.",
        "Line 4 is no JSON object.",
        "Line 5 is no JSON object.",
        "Line 6 has no user_id of 1 to 255 characters without control characters.",
        "Line 7 has no user_id of 1 to 255 characters without control characters.",
        "Line 8 has an app_metadata that is no object.",
        "Line 9 is longer than 1 MB.",
    ]
    assert "private.example" not in ran.stdout + ran.stderr
    numbers = [int(line.split()[0]) for line in ran.stdout.splitlines() if line[:9].strip().isdigit()]
    assert numbers == [15, 3, 1, 1, 1, 1, 7]
    for user_id in ("first", "began", "last"):
        assert (await service.status(user_id))["app_metadata"]["incode_identity_id"] == f"id of {user_id}"
    assert (await service.status("first"))["app_metadata"]["incode_idv"]["pii"] == {"name": "Ana Ruiz"}
    # Who is on file stays as he is, and a reset is not undone.
    assert (await service.status(USER))["app_metadata"] == enrolled["app_metadata"]
    assert (await service.status("reset%7Cbefore"))["reason"] == "never_verified"


async def test_while_nobody_can_tell_who_was_erased_nobody_is_imported(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    await service.admin.delete(f"/v1/users/{USER}")
    (work.folder / "users.json").write_text(f"{verified(USER)}\n{verified('another')}\n")
    lacking = {**settings, "ENCRYPTION_KEYS": Fernet.generate_key().decode()}
    for command in (("import", "users.json"), ("import", "--dry-run", "users.json")):
        ran = work.run(*command, settings=lacking)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "none of ENCRYPTION_KEYS opens a key in the table keyring" in ran.stderr
    checked = work.run("check", settings=lacking)
    assert checked.returncode == 1
    assert "WRONG keyring, audit: none of ENCRYPTION_KEYS opens it" in checked.stdout
    assert await Tables(service).rows("SELECT 1 FROM users") == []

    report = json.loads(work.run("import", "users.json", "--json", settings=settings).stdout)
    assert (report["added"], report["withdrawn"]) == (1, 1)
    assert (await service.status(USER))["reason"] == "never_verified"
    assert "keyring" not in work.run("check", settings=settings).stdout


@on_sqlite_only
def test_of_a_file_that_breaks_off_the_beginning_is_imported_and_the_end_is_asked_for(
    work: Workplace, settings: dict[str, str]
) -> None:
    whole = gzip.compress("".join(f"{verified(f'user {number}')}\n" for number in range(3000)).encode())
    (work.folder / "broken.gz").write_bytes(whole[: len(whole) // 2])
    ran = work.run("import", "broken.gz", "--json", settings=settings)
    assert ran.returncode == 1
    assert "could not be read to its end: it ends in the middle, after line" in ran.stderr
    report = json.loads(ran.stdout)
    assert 0 < report["added"] < 3000
    (work.folder / "whole.gz").write_bytes(whole)
    again = json.loads(work.run("import", "whole.gz", "--json", settings=settings).stdout)
    assert (again["added"], again["on_file"]) == (3000 - report["added"], report["added"])
    assert (
        work.run("check", "--records", settings=settings)
        .stdout.splitlines()[-1]
        .endswith("records: 3000, all of them, hold")
    )


@on_sqlite_only
def test_what_is_no_file_is_refused(work: Workplace, settings: dict[str, str]) -> None:
    ran = work.run("import", "nowhere.json", settings=settings)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "nowhere.json" in ran.stderr


# --- From SQLite to PostgreSQL ---


@pytest.fixture
def target() -> Iterator[str]:
    """An empty, migrated PostgreSQL database."""
    postgres_or_skip()
    with migrated_template() as name:
        yield on_postgres(name)


@pytest.fixture
def unmigrated() -> Iterator[str]:
    """A PostgreSQL database without any tables."""
    postgres_or_skip()
    with empty_database() as url:
        yield url


async def everything(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of each table that is copied, their times apart, which each driver writes in its own way."""
    tables = Tables(url)
    found: dict[str, list[tuple[Any, ...]]] = {}
    for table in ("users", "verifications", "audit", "keyring"):
        rows = await tables.rows(f"SELECT * FROM {table}")  # noqa: S608  our own names
        found[table] = sorted(
            tuple(str(row[name]) for name in sorted(row) if _is_text(name, row[name])) for row in rows
        )
    return found


def _is_text(name: str, value: Any) -> bool:
    return isinstance(value, str | bytes) and name.rpartition("_")[2] != "at"


@on_sqlite_only
async def test_a_whole_deployment_moves_to_postgresql(
    work: Workplace, settings: dict[str, str], service: Service, provider_host: ProviderHost, target: str
) -> None:
    decision = await service.verify(USER)
    pending = await service.start("pending", email="ana@example.com")
    await service.verify("gone")
    await service.admin.delete("/v1/users/gone")
    await service.admin.post("/v1/users/other/reset")

    ran = work.run("copy", "--to", target, settings=settings)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[:4] == [
        "users: 1 rows, copied and compared",
        "verifications: 2 rows, copied and compared",
        "audit: 2 rows, copied and compared",
        "keyring: 1 rows, copied and compared",
    ]
    assert await everything(target) == await everything(settings["DATABASE_URL"])

    moved = settings_for(provider_host.url, target)
    app = create_app(moved)
    async with app.router.lifespan_context(app):
        there = Service(app, service.sandbox, moved)
        answer = await there.start(USER)
        assert gist(answer) == ("continue", "recently_verified")
        assert answer["claims"] == decision["claims"]
        # What was begun there goes on here, and an erasure is still found by the user's id alone.
        assert gist(await there.finish("pending", pending, **await there.visit(pending))) == ("continue", "verified")
        erased = (await there.admin.get("/v1/audit", params={"user_id": "gone"})).json()["items"]
        assert [entry["action"] for entry in erased] == ["erase"]
        await there.close()

    again = work.run("copy", "--to", target, settings=settings)
    assert (again.returncode, again.stdout) == (2, "")
    assert "Nothing was copied: --to is not empty: the table users has rows" in again.stderr


@on_sqlite_only
async def test_what_cannot_be_copied_to_is_refused_and_stays_as_it_is(
    work: Workplace, settings: dict[str, str], service: Service, unmigrated: str
) -> None:
    await service.verify(USER)
    for to, says in (
        (settings["DATABASE_URL"], "from SQLite (DATABASE_URL) to PostgreSQL (--to) only"),
        ("nonsense", "--to: takes sqlite"),
        ("postgresql://u:hush@127.0.0.1:9/x", "does not listen there"),
    ):
        ran = work.run("copy", "--to", to, settings=settings)
        assert (ran.returncode, ran.stdout) == (2, ""), to
        assert says in ran.stderr, to
        assert "hush" not in ran.stderr
    ran = work.run("copy", settings={**settings, "COPY_TO": unmigrated})
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--to is not migrated" in ran.stderr


@on_sqlite_only
async def test_an_interrupted_copy_leaves_nothing_behind_and_says_how_to_begin_again(
    work: Workplace, settings: dict[str, str], service: Service, target: str
) -> None:
    lines = "".join(f"{verified(f'user {number}')}\n" for number in range(5000))
    (work.folder / "users.json").write_text(lines)
    assert work.run("import", "users.json", settings=settings).returncode == 0
    tables = Tables(target)
    await tables.change(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3600); RETURN NEW; END'"
    )
    await tables.change(
        "CREATE TRIGGER dawdle BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.user_id = 'user 3000') EXECUTE FUNCTION "
        "dawdle()"
    )
    with work.running("copy", "--to", target, settings=settings) as copying:
        while not await tables.rows(SLEEPING.format("1")):
            assert copying.process.poll() is None, copying.errors
        assert copying.end(signal.SIGINT) == 130
        assert "nothing was copied. Run the command again" in copying.errors
    # The server would notice that nobody waits any more when it has slept enough.
    await tables.rows(SLEEPING.format("pg_terminate_backend(pid)"))
    await tables.change("DROP TRIGGER dawdle ON users")
    assert await tables.rows("SELECT 1 FROM users") == []
    assert work.run("copy", "--to", target, settings=settings).returncode == 0
    assert len(await tables.rows("SELECT 1 FROM users")) == 5000


# --- Looking up ---


async def test_all_that_is_on_file_about_a_user_is_one_document_with_the_meaning_of_each_field(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    for _ in range(2):
        decision = await service.verify(USER, force=True, locale="es")
    await service.verify("somebody else")
    await service.admin.post(f"/v1/users/{USER}/reset")
    ran = work.run("export", USER, settings=settings)
    assert (ran.returncode, ran.stderr) == (0, "")
    document: Json = json.loads(ran.stdout)
    assert document["record"] == (await service.status(USER))["app_metadata"]
    assert document["record"]["incode_idv"]["pii"]
    assert [each["status"] for each in document["verifications"]] == ["completed"] * 2
    assert document["verifications"][0]["id"] == decision["verification"]["id"]
    assert document["verifications"][0]["locale"] == "es"
    assert [(entry["action"], entry["by"]) for entry in document["audit"]] == [("export", "cli"), ("reset", "root")]
    assert "somebody else" not in ran.stdout
    meaning = document["meaning"]
    assert document.keys() - {"meaning"} <= meaning.keys()
    for part, one in (("record", document["record"]), ("record.incode_idv", document["record"]["incode_idv"])):
        assert {f"{part}.{name}" for name in one} <= meaning.keys()
    for part in ("verifications", "audit"):
        assert {f"{part}.{name}" for name in document[part][0]} <= meaning.keys()
    assert all(meaning.values())
    assert set(exporting.RECORD) >= set(document["record"])


async def test_attempts_are_found_by_the_face_and_by_time(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    first = await service.verify("one", person="ana@example.com")
    second = await service.verify("two", person="ana@example.com")
    await service.verify("three", person="eve@example.com")
    identity = first["verification"]["identity_id"]
    assert second["verification"]["identity_id"] == identity

    def found(*options: str) -> list[str]:
        ran = work.run("verifications", "--json", *options, settings=settings)
        assert ran.returncode == 0, ran.stderr
        return [item["user_id"] for item in json.loads(ran.stdout)["items"]]

    assert found("--identity", identity) == ["two", "one"]
    assert found("--identity", identity, "--until", second["verification"]["created_at"]) == ["one"]
    assert found("--since", second["verification"]["created_at"]) == ["three", "two"]
    assert found("--since", "2999-01-01") == []
    refused = work.run("verifications", "--since", "yesterday", settings=settings)
    assert (refused.returncode, refused.stdout) == (2, "")


async def test_what_administrators_did_is_listed_and_narrowed(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    await service.start("ben")
    await service.admin.post(f"/v1/users/{USER}/reset")
    await service.admin.delete(f"/v1/users/{USER}")
    await service.admin.post("/v1/users/ben/reset", json={"identity": True})
    shown = work.run("audit", settings=settings)
    assert shown.returncode == 0
    assert [line.split()[3] for line in shown.stdout.splitlines()[1:]] == ["reset_identity", "erase", "reset"]
    assert USER not in shown.stdout
    page = json.loads(work.run("audit", "--user", USER, "--json", settings=settings).stdout)
    answer = await service.admin.get("/v1/audit", params={"user_id": USER})
    assert page == answer.json()
    assert [item["action"] for item in page["items"]] == ["erase", "reset"]
    one = work.run("audit", "--action", "reset_identity", "--limit", "1", settings=settings).stdout
    assert "ben" in one.splitlines()[1]
    assert "There are no such entries." in work.run("audit", "--since", "2999-01-01", settings=settings).stdout


async def test_records_that_do_not_hold_are_named_and_keys_that_open_nothing(
    work: Workplace, settings: dict[str, str], service: Service
) -> None:
    for user_id in (USER, "ben", "eve"):
        await service.verify(user_id)
    idle = Fernet.generate_key().decode()
    keys = {**settings, "ENCRYPTION_KEYS": f"{ENCRYPTION_KEY},{idle}"}
    well = work.run("check", "--records", settings=keys)
    assert well.returncode == 0, well.stdout
    assert "ok    records: 3, all of them, hold" in well.stdout
    assert "ok    ENCRYPTION_KEYS, number 2: opens nothing of what is stored" in well.stdout
    await Tables(service).change("UPDATE users SET identity_id = 'eve' WHERE user_id <> 'ben'")
    for command in (("check",), ("check", "--records")):
        ran = work.run(*command, settings=settings)
        assert ran.returncode == 1
        assert f"WRONG records: 2 of 3 do not hold: {USER}, eve" in ran.stdout
        assert "`idv reset USER --identity`" in ran.stdout
    lost = work.run("check", "--records", settings={**settings, "ENCRYPTION_KEYS": idle})
    assert lost.returncode == 1
    assert "that none of ENCRYPTION_KEYS opens" in lost.stdout
