"""A real pgbouncer between the service and its database."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from app.storage.database import Database
from app.storage.faults import Cause, diagnose
from app.storage.health import look_at
from app.storage.migrate import upgrade
from tests.harness.postgres_server import PostgresServer, own_server
from tests.harness.waiting import PATIENCE
from tests.system.processes import eventually, free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
CALLS = 40
EACH = 10
CONFIGURATION = """
[databases]
idv = host=127.0.0.1 port={server} dbname=postgres user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
unix_socket_dir =
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with own_server() as server:
        yield server


@contextmanager
def pooler(server: PostgresServer, mode: str, size: int) -> Iterator[str]:
    """The address of a pgbouncer that lends so many of the server's connections, by session or by transaction."""
    if not PROGRAM:
        pytest.skip("pgbouncer is not installed")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="idv-pgbouncer-") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "pgbouncer.ini"
        file.write_text(CONFIGURATION.format(server=server.port, port=port, mode=mode, size=size))
        with subprocess.Popen([PROGRAM, "-q", file], user=nobody(), stderr=subprocess.DEVNULL) as process:  # noqa: S603
            try:
                eventually(lambda: listens(port), "pgbouncer")
                yield f"postgres://postgres@127.0.0.1:{port}/idv"
            finally:
                process.terminate()


def nobody() -> str | None:
    """Whom pgbouncer runs as: it refuses to run as root."""
    return pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def echo(database: Database, n: int) -> str:
    return str((await database.read(text("SELECT CAST(:n AS text)"), {"n": str(n)}))[0][0])


async def limit(database: Database) -> str:
    async with database.transaction() as connection:
        return str((await connection.rows(text("SELECT current_setting('lock_timeout')")))[0][0])


@pytest.mark.parametrize(("mode", "parameters", "size"), [("session", "", 10), ("transaction", "?pgbouncer=true", 3)])
async def test_it_works_by_session_and_by_transaction(
    server: PostgresServer, mode: str, parameters: str, size: int
) -> None:
    with pooler(server, mode, size) as address:
        migration = Database(address + parameters, unhurried=True)
        await upgrade(migration)
        await migration.close()
        database = Database(address + parameters)
        for _ in range(3):
            assert await asyncio.gather(*(echo(database, n) for n in range(EACH))) == [str(n) for n in range(EACH)]
            assert set(await asyncio.gather(*(limit(database) for _ in range(EACH)))) == {"2s"}
        assert (await look_at(database)).cause is None
        await database.close()


async def test_by_transaction_without_the_parameter_is_told_by_its_name(server: PostgresServer) -> None:
    with pooler(server, "transaction", 3) as address:
        database = Database(address)
        causes: set[Cause] = set()
        async with asyncio.timeout(PATIENCE):
            while not causes:
                work = [*(echo(database, n) for n in range(CALLS)), *(limit(database) for _ in range(CALLS))]
                faults = [
                    one for one in await asyncio.gather(*work, return_exceptions=True) if isinstance(one, Exception)
                ]
                causes = {diagnose(fault) for fault in faults}
        assert causes == {Cause.STATEMENT_LOST}
        assert "pgbouncer=true" in Cause.STATEMENT_LOST.remedy
        await database.close()


async def test_a_database_that_the_pooler_does_not_know_is_told_of(server: PostgresServer) -> None:
    with pooler(server, "session", 3) as address:
        database = Database(address.replace("/idv", "/nowhere"))
        assert (await look_at(database)).cause is Cause.POOLER_REFUSES
        await database.close()
