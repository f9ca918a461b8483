"""Each way in which a real PostgreSQL cannot be used, told by its own words."""

import asyncio
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from app.core.errors import DatabaseUnavailable
from app.operator.check_database import check_database
from app.storage.database import Database
from app.storage.faults import Cause, diagnose
from app.storage.health import look_at
from app.storage.migrate import upgrade
from tests.harness.certificates import Authority, address, host
from tests.harness.postgres_server import PostgresServer, own_server
from tests.system.processes import SETTINGS, Workplace, answers, serving


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with own_server() as server:
        server.execute(
            "CREATE ROLE ana LOGIN PASSWORD 'hush'",
            "CREATE DATABASE idv",
            "CREATE DATABASE rights",
            "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
            "CREATE DATABASE replica",
            "ALTER DATABASE replica SET default_transaction_read_only = on",
            "CREATE DATABASE full_up CONNECTION LIMIT 0",
        )
        server.admit(
            "hostssl all tls 127.0.0.1/32 trust",
            "host all ana 127.0.0.1/32 scram-sha-256",
            "host all ghost 127.0.0.1/32 trust",
        )
        yield server


# What a service needs that may take nothing out of the audit and the keyring.
NEEDED = {
    "users": "SELECT, INSERT, UPDATE, DELETE",
    "verifications": "SELECT, INSERT, UPDATE, DELETE",
    "keyring": "SELECT, INSERT, UPDATE",
    "audit": "SELECT, INSERT, UPDATE",
    "leases": "SELECT, INSERT, UPDATE",
    "alembic_version": "SELECT",
}


async def cause_at(url: str) -> Cause | None:
    database = Database(url)
    try:
        return (await look_at(database)).cause
    finally:
        await database.close()


CASES = {
    "postgres:x@{at}/nowhere": Cause.NO_SUCH_DATABASE,
    "ana:wrong@{at}/idv": Cause.WRONG_PASSWORD,
    "ghost@{at}/idv": Cause.NOT_ADMITTED,
    "bob:hush@{at}/idv": Cause.TLS_WANTED,
    "ana:hush@{at}/latin": Cause.NOT_UTF8,
    "ana:hush@{at}/replica": Cause.READ_ONLY,
    "ana:hush@{at}/full_up": Cause.TOO_MANY_CONNECTIONS,
    "ana:hush@{at}/idv": Cause.NOT_MIGRATED,
    "ana:hush@{at}/idv?sslmode=require": Cause.TLS_NOT_OFFERED,
    "ana:hush@nowhere.invalid/idv": Cause.UNKNOWN_HOST,
    "ana:hush@127.0.0.1:{closed}/idv": Cause.NOBODY_LISTENS,
    "ana:hush@127.0.0.1:{silent}/idv?connect_timeout=1": Cause.SILENT,
}


@pytest.mark.parametrize(
    ("url", "cause"), CASES.items(), ids=lambda value: value.code if isinstance(value, Cause) else ""
)
async def test_it_is_told_by_its_own_words(server: PostgresServer, url: str, cause: Cause) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ports = {"at": f"127.0.0.1:{server.port}", "silent": silent.getsockname()[1], "closed": closed.getsockname()[1]}
        assert await cause_at("postgres://" + url.format(**ports)) is cause


async def test_a_user_without_the_right_to_make_tables_is_told_which_right_is_missing(server: PostgresServer) -> None:
    database = Database(f"postgres://ana:hush@127.0.0.1:{server.port}/idv")
    with pytest.raises(DatabaseUnavailable) as refused:
        await upgrade(database)
    await database.close()
    assert diagnose(refused.value) is Cause.NO_RIGHTS
    assert "GRANT USAGE, CREATE ON SCHEMA public" in Cause.NO_RIGHTS.remedy


async def test_a_right_that_is_missing_is_told_with_its_table_and_how_it_is_given(server: PostgresServer) -> None:
    at = f"127.0.0.1:{server.port}/rights"
    owner, serving = Database(f"postgres://postgres@{at}"), Database(f"postgres://ana:hush@{at}")
    await upgrade(owner)
    await execute(owner, *(f"GRANT {needed} ON {table} TO ana" for table, needed in NEEDED.items()))
    assert (await check_database(serving)).remedy is None
    await execute(owner, "REVOKE INSERT, DELETE ON verifications FROM ana", "REVOKE SELECT ON audit FROM ana")

    found = await check_database(serving)
    assert found.result == "does not give this user SELECT on audit; INSERT, DELETE on verifications"
    assert found.remedy
    await execute(owner, *re.findall("GRANT .*? ON .*? TO", found.remedy), after=" ana")
    assert (await check_database(serving)).remedy is None
    for database in (owner, serving):
        await database.close()


async def execute(database: Database, *statements: str, after: str = "") -> None:
    async with database.bulk() as connection:
        for statement in statements:
            await connection.execute(text(statement + after))


@pytest.mark.parametrize("command", ["check", "migrate"])
@pytest.mark.parametrize(
    ("place", "cause"), [("ana:hush@{at}/latin", Cause.NOT_UTF8), ("ana:wrong-word@{at}/idv", Cause.WRONG_PASSWORD)]
)
def test_the_commands_say_it(server: PostgresServer, work: Workplace, command: str, place: str, cause: Cause) -> None:
    url = "postgres://" + place.format(at=f"127.0.0.1:{server.port}")
    ran = work.run(command, settings={**SETTINGS, "INCODE_SERVER_URL": "http://127.0.0.1:9", "DATABASE_URL": url})
    said = ran.stdout + ran.stderr
    assert ran.returncode != 0
    assert cause.words in said
    assert cause.remedy in said
    assert "hush" not in said
    assert "wrong-word" not in said


def test_a_service_that_starts_writes_it_into_its_log_and_says_it_when_asked(
    server: PostgresServer, work: Workplace
) -> None:
    at = f"127.0.0.1:{server.port}"
    with serving(work, DATABASE_URL=f"postgres://ana:wrong-word@{at}/idv") as (service, url):
        service.wait_until(lambda: '"cause":"wrong_password"' in service.output, "the cause in the log")
        assert answers(f"{url}/readyz", 503)
        assert "wrong-word" not in service.output + service.errors


def test_a_connection_over_tls_is_held_to_what_the_address_asks_for(tmp_path: Path) -> None:
    ours, foreign = Authority(tmp_path, "ours"), Authority(tmp_path, "foreign")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with own_server() as server:
        server.admit("hostssl all tls 127.0.0.1/32 trust")
        at = f"tls@127.0.0.1:{server.port}/postgres"
        server.execute("CREATE ROLE tls LOGIN")

        def cause(parameters: str) -> Cause | None:
            return asyncio.run(cause_at(f"postgres://{at}?{parameters}"))

        full = f"sslmode=verify-full&sslrootcert={ours.file}"
        server.show(*ours.certify(address("127.0.0.1")))
        assert cause(full) is Cause.NOT_MIGRATED
        assert cause("sslmode=require") is Cause.NOT_MIGRATED
        assert cause("sslmode=disable") is Cause.TLS_WANTED
        assert cause(f"sslmode=verify-full&sslrootcert={foreign.file}") is Cause.UNKNOWN_AUTHORITY
        assert cause("sslrootcert=system") is Cause.UNKNOWN_AUTHORITY
        assert asyncio.run(is_encrypted(f"postgres://{at}?{full}"))

        server.show(*ours.certify(host("db.example")))
        assert cause(full) is Cause.WRONG_NAME
        assert cause(f"sslmode=verify-ca&sslrootcert={ours.file}") is Cause.NOT_MIGRATED
        server.show(*ours.certify(address("127.0.0.1"), until=yesterday))
        assert cause(full) is Cause.CERTIFICATE_EXPIRED


async def is_encrypted(url: str) -> bool:
    database = Database(url)
    rows = await database.read(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    await database.close()
    return bool(rows[0][0])
