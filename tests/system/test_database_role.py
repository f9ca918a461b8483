"""deploy/database-role.sh as PostgreSQL's image runs it: on a new server, through its socket, by its superuser."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.harness.containers import REPOSITORY
from tests.harness.postgres_server import own_server
from tests.harness.waiting import PATIENCE
from tests.system.processes import Workplace

PASSWORD = "pass'w\\ord\"$x"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """HOST:PORT of a server on which the script was run."""
    secret = tmp_path / "database_password"
    secret.write_text(PASSWORD)
    with own_server() as server:
        server.execute("ALTER ROLE postgres PASSWORD 'as the image has set it'")
        place = server.url.rpartition("@")[2].partition("/")[0]
        host, _, port = place.partition(":")
        environment = {
            "PATH": os.environ["PATH"],
            "PGHOST": host,
            "PGPORT": port,
            "POSTGRES_PASSWORD_FILE": str(secret),
        }
        ran = subprocess.run(  # noqa: S603  our own script
            [REPOSITORY / "deploy/database-role.sh"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert ran.returncode == 0, ran.stderr
        yield place


async def test_the_role_owns_one_database_and_nothing_else(address: str, work: Workplace) -> None:
    url = f"postgresql+asyncpg://idv@{address}/idv"
    assert work.run("migrate", settings={"DATABASE_URL": url}).returncode == 0
    service = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        for forbidden in (
            "COPY (SELECT 1) TO PROGRAM 'id'",
            "SELECT pg_read_file('/etc/passwd')",
            "CREATE ROLE another",
            "CREATE DATABASE another",
            "ALTER ROLE idv SUPERUSER",
            "SET SESSION AUTHORIZATION postgres",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(forbidden)
        assert (
            await service.fetchval("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'idv'")
            == "UTF8"
        )
    finally:
        await service.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(f"postgresql://idv@{address}/postgres")


async def test_the_service_s_password_is_set_and_the_superuser_has_none(address: str) -> None:
    superuser = await asyncpg.connect(f"postgresql://postgres@{address}/postgres")
    try:
        kept = dict(await superuser.fetch("SELECT rolname, rolpassword FROM pg_authid WHERE rolcanlogin"))
    finally:
        await superuser.close()
    assert kept.keys() == {"postgres", "idv"}
    assert kept["postgres"] is None
    assert kept["idv"].startswith("SCRAM-SHA-256$")
