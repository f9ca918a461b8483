"""What the database holds, and when it is held up."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.core.errors import DatabaseUnavailable
from app.sandbox import Sandbox
from app.sandbox.observation import Endpoint
from app.storage.database import Database
from app.storage.migrate import upgrade
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.provider import CLIENT_SECRET, ProviderHost
from tests.harness.queries import Queries
from tests.harness.service import ADMIN_KEY, IDP_KEY, REDIRECT_SECRET, Json, Service, query_of
from tests.harness.tables import Tables, on_sqlite_only
from tests.harness.tampering import TamperedProvider
from tests.harness.waiting import arrivals, until

USER = "auth0|ana"
EMAIL = "ana.torres@private.example"
ALL_SCOPES = "openid profile email phone address id_attestation identity_assurance"
PERSON: Json = {
    "name": "Ana Torres Private",
    "given_name": "Anaprivate",
    "family_name": "Torresprivate",
    "birthdate": "1990-02-28",
    "phone_number": "+34600555099",
    "address": {"street_address": "Calle Privada 1", "locality": "Sevillaprivate"},
    "id_attestation": {"document_number": "XPRIVATE12345"},
}


def sqlite_file(service: Service) -> Path:
    url = service.settings.database_url.get_secret_value()
    return Path(url.removeprefix("sqlite+aiosqlite:///"))


async def everything_in(service: Service) -> bytes:
    """Every byte of the database: of SQLite's files, or of every column of every table on PostgreSQL."""
    tables = Tables(service)
    if tables.is_sqlite:
        file = sqlite_file(service)
        return b"\n".join(part.read_bytes() for part in sorted(file.parent.glob(file.name + "*")))
    names = await tables.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    rows = [row for name in names for row in await tables.rows(f'SELECT * FROM "{name["table_name"]}"')]  # noqa: S608
    values = [value for row in rows for value in row.values()]
    return b"\n".join(
        bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode() for value in values
    )


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for part in value.values() for found in texts_in(part)]
    return [value] if isinstance(value, str) else []


async def test_nothing_personal_and_no_secret_is_in_the_database_in_the_clear(
    make_service: MakeService, provider_host: ProviderHost, sandbox: Sandbox, clock: Clock
) -> None:
    service = await make_service(scopes=ALL_SCOPES, store_tokens=True)
    provider = TamperedProvider(provider_host, sandbox)
    issued: list[Json] = []

    def remember(answer: Json) -> Json:
        issued.append(answer)
        return answer

    provider.alter("token", remember)
    provider.alter("userinfo", lambda claims: {**claims, **PERSON})

    done = await service.start(USER, email=EMAIL)
    back = await service.visit(done)
    finished = await service.finish(USER, done, **back)
    assert finished["reason"] == "verified"
    assert finished["app_metadata"]["incode_idv"]["pii"]["email"] == EMAIL
    clock.advance(minutes=1)
    failed = await service.start(USER, force=True, email=EMAIL)
    await service.finish(USER, failed, **await service.visit(failed, "another-person"))
    clock.advance(minutes=1)
    pending = await service.start(USER, force=True, email=EMAIL)
    stored = await everything_in(service)

    # The secrets of the attempt that was pending are known once it is finished.
    await service.finish(USER, pending, **await service.visit(pending))
    exchanges = [request.parameters for request in sandbox.requests if request.endpoint == "token"]
    assert len(exchanges) == len(issued) == 3
    secrets = {
        *(EMAIL, *texts_in(PERSON)),
        *(token for answer in issued for token in (answer["id_token"], answer["access_token"])),
        *(form[name] for form in exchanges for name in ("code", "code_verifier")),
        *(
            query_of(started["redirect_url"])[name]
            for started in (done, failed, pending)
            for name in ("nonce", "state")
        ),
        *(CLIENT_SECRET, REDIRECT_SECRET, ADMIN_KEY, IDP_KEY),
    }
    assert {secret for secret in secrets if secret.encode() in stored} == set()
    # That the search would have found them: these are there, in the clear.
    known = (USER, pending["verification"]["id"], finished["verification"]["identity_id"], "identity_mismatch")
    assert {value for value in known if value.encode() not in stored} == set()


@pytest.mark.parametrize("endpoint", ["discovery", "token", "jwks", "userinfo"])
async def test_no_transaction_is_open_while_the_provider_is_asked(
    make_service: MakeService, endpoint: Endpoint
) -> None:
    service = await make_service()
    if endpoint == "discovery":
        with service.sandbox.hold(endpoint) as gate:
            request: asyncio.Task[Json] = asyncio.create_task(service.start(USER))
            await arrivals(gate)
            await assert_that_nobody_is_in_a_transaction(service)
        assert (await request)["reason"] == "never_verified"
        return
    started = await service.start(USER)
    back = await service.visit(started)
    with service.sandbox.hold(endpoint) as gate:
        request = asyncio.create_task(service.finish(USER, started, **back))
        await arrivals(gate)
        await assert_that_nobody_is_in_a_transaction(service)
    assert (await request)["reason"] == "verified"


async def assert_that_nobody_is_in_a_transaction(service: Service) -> None:
    if Tables(service).is_sqlite:
        await asyncio.to_thread(_take_every_lock, sqlite_file(service))
        return
    others = await Tables(service).rows(
        "SELECT state, xact_start FROM pg_stat_activity WHERE datname = current_database() AND application_name = "
        "'idv-gateway'"
    )
    assert others, "the service has no connection at all: nothing was looked at"
    assert {(other["state"], other["xact_start"]) for other in others} == {("idle", None)}


def _take_every_lock(file: Path) -> None:
    """Fails at once while anybody writes (no second writer) or reads (the log cannot be emptied) the database."""
    with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0, "somebody reads"


@on_sqlite_only
async def test_sqlite_writes_ahead_and_waits_its_turn(service: Service) -> None:
    engine = service.app.state.services.database.engine
    async with engine.connect() as connection:
        settings = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "busy_timeout")
        }

    assert settings["journal_mode"] == "wal"
    assert 1000 <= settings["busy_timeout"] <= 8000


@on_sqlite_only
async def test_a_write_waits_while_somebody_else_writes(service: Service) -> None:
    await service.start(USER)
    queries = Queries(service.app.state.services.database)
    with closing(sqlite3.connect(sqlite_file(service), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.create_task(service.start("auth0|bob"))
        await until(lambda: any("INSERT INTO verifications" in asked for asked, _ in queries.asked))
        # Readers are not held up by either.
        assert (await service.status(USER))["reason"] == "never_verified"
        assert not write.done()
        other.execute("COMMIT")

    assert (await write)["reason"] == "never_verified"


@pytest.mark.parametrize("processes", [2])
async def test_two_services_on_one_database_both_write(make_service: MakeService, processes: int) -> None:
    services = [await make_service() for _ in range(processes)]
    users = [f"auth0|{n}" for n in range(10)]

    decisions = await asyncio.gather(*(services[n % processes].verify(user) for n, user in enumerate(users)))

    assert {decision["reason"] for decision in decisions} == {"verified"}
    for reader in services:
        statuses = [await reader.status(user) for user in users]
        assert [status["claims"] for status in statuses] == [decision["claims"] for decision in decisions]


@on_sqlite_only
async def test_the_file_and_its_log_are_the_owners_alone(service: Service, tmp_path: Path) -> None:
    await service.start(USER)
    assert modes(sqlite_file(service)) == [0o600] * 3
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'new.db'}")
    await upgrade(database)
    await database.read(text("SELECT 1"))
    assert modes(tmp_path / "new.db") == [0o600] * 3
    await database.close()


async def test_a_folder_in_the_files_place_keeps_its_modes(tmp_path: Path) -> None:
    folder = tmp_path / "idv.db"
    database = Database(f"sqlite+aiosqlite:///{folder}")
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(DatabaseUnavailable):
        await database.read(text("SELECT 1"))
    await database.close()
    assert folder.stat().st_mode & 0o777 == 0o755


def modes(file: Path) -> list[int]:
    """Of the file, its log and the log's index."""
    return [each.stat().st_mode & 0o777 for each in (file, *file.parent.glob(f"{file.name}-*"))]
