import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
SECONDS = 60
# It holds nothing that must outlive a crash of the machine.
FASTER = "-c fsync=off -c listen_addresses=127.0.0.1 -c shared_buffers=16MB -c max_connections=40"


class PostgresServer:
    """A server of the test's own, which it may stop and start again."""

    def __init__(self, programs: Path, folder: Path) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as probe:
            self._port = probe.getsockname()[1]
        self._programs = programs
        self._folder = folder
        self._user = _user()
        self._options = ""
        if self._user:
            shutil.chown(folder, self._user)

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self._port}/postgres"

    @property
    def port(self) -> int:
        port: int = self._port
        return port

    def execute(self, *statements: str) -> None:
        """Run each statement by itself, as the superuser."""
        asyncio.run(self._execute(statements))

    def ask(self, statement: str) -> Any:
        """The first value of the first row, as the superuser."""
        return asyncio.run(self._ask(statement))

    async def _ask(self, statement: str) -> Any:
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""), timeout=SECONDS)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def _execute(self, statements: Sequence[str]) -> None:
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""), timeout=SECONDS)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def admit(self, *lines: str) -> None:
        """Let the superuser in from this machine, and beside it whom these lines of pg_hba.conf name."""
        (self._folder / "data" / "pg_hba.conf").write_text(
            "\n".join([*lines, "host all postgres 127.0.0.1/32 trust", ""])
        )
        self._run("pg_ctl", "reload")

    def show(self, certificate: bytes, key: bytes) -> None:
        """Offer TLS with this certificate from now on."""
        for name, content in {"server.crt": certificate, "server.key": key}.items():
            file = self._folder / "data" / name
            file.write_bytes(content)
            file.chmod(0o600)
            if self._user:
                shutil.chown(file, self._user)
        self.stop()
        self._options = "-c ssl=on"
        self.start()

    def create(self) -> None:
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--no-instructions")

    def follow(self, primary: "PostgresServer") -> None:
        """Be made as a copy of the primary, whose changes arrive for as long as it runs."""
        place = ("--host=127.0.0.1", f"--port={primary.port}", "--username=postgres")
        self._run("pg_basebackup", *place, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")

    def promote(self) -> None:
        """Become the primary."""
        self._run("pg_ctl", "promote", "--wait")

    def demote(self) -> None:
        """From the next start on be a copy that cannot be written."""
        signal = self._folder / "data" / "standby.signal"
        signal.touch()
        if self._user:
            shutil.chown(signal, self._user)

    def start(self) -> None:
        self._run(
            "pg_ctl",
            "start",
            "--wait",
            "--log",
            f"{self._folder}/log",
            f"-o -p {self._port} -k {self._folder} {FASTER} {self._options}",
        )

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "--wait", "--mode", mode)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # noqa: S603  the server's own programs
            [self._programs / program, "--pgdata", f"{self._folder}/data", *arguments],
            user=self._user,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=True,
        )


def _user() -> str | None:
    """Whom the server runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def own_server(primary: PostgresServer | None = None) -> Iterator[PostgresServer]:
    """A running server, which follows the primary if there is one; skips the test where PostgreSQL's programs are not
    installed.
    """
    if not PROGRAMS:
        pytest.skip("no PostgreSQL programs in /usr/lib/postgresql")
    # Not in the test's own folder, which the server's user may not enter.
    with tempfile.TemporaryDirectory(prefix="idv-postgres-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(PROGRAMS[-1], Path(folder))
        if primary:
            server.follow(primary)
        else:
            server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
