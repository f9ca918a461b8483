"""Everything that is measured or needed for it, on loopback, each on its core."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx

from tests.bench import machine
from tests.harness.certificates import Authority, address
from tests.harness.databases import POSTGRES_URL, empty_database, is_postgres_reachable
from tests.harness.loopback import NO_TLS
from tests.harness.waiting import PATIENCE
from tests.system.processes import REPOSITORY, SETTINGS, Workplace, eventually, free_port, serving

SQLITE = "SQLite"
POSTGRESQL = "PostgreSQL"
CORES = machine.cores()
SERVERS_CORE, OTHERS_CORE = CORES or (None, None)
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that was started on loopback, and the process at its top."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Provider:
    """The provider, and the certificate that makes it believed where it has one."""

    issuer: str
    authority: Path | None = None

    @property
    def trust(self) -> ssl.SSLContext:
        """How a client of it judges its certificate."""
        return ssl.create_default_context(cafile=self.authority)


@dataclass(frozen=True, slots=True)
class Service:
    """The service on one database, with its provider."""

    engine: str
    server: Server
    provider: Provider
    database_url: str
    work: Workplace = field(repr=False)
    settings: dict[str, str] = field(repr=False)


class Bench:
    """Starts what is to be measured; it stays up until the block of `bench` is left."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._authority = Authority(folder, "authority")
        self.engines = [POSTGRESQL, SQLITE] if is_postgres_reachable() else [SQLITE]

    def raw(self) -> Server:
        """The yardstick."""
        server = self._web_server("raw", SERVERS_CORE, free_port())
        _wait_for(f"http://{LOOPBACK}:{server.port}/")
        return server

    def provider(self, *, tls: bool = False) -> Provider:
        """A provider on the core of all that is needed."""
        port = free_port()
        issuer = f"{'https' if tls else 'http'}://{LOOPBACK}:{port}"
        options = self._certificate() if tls else []
        provider = Provider(issuer, self._authority.file if tls else None)
        self._web_server("provider", OTHERS_CORE, port, *options, ISSUER=issuer)
        _wait_for(f"{issuer}/jwks", provider.trust)
        return provider

    def service(self, engine: str, provider: Provider, *, workers: int = 1, **settings: str) -> Service:
        """The service, as `idv serve` puts it to work, on a database of its own."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        url = (
            self._stack.enter_context(empty_database()) if engine == POSTGRESQL else f"sqlite+aiosqlite:///{folder}/db"
        )
        trust = {"SSL_CERT_FILE": str(provider.authority)} if provider.authority else {}
        chosen = {**SETTINGS, "INCODE_SERVER_URL": provider.issuer, "DATABASE_URL": url, **trust, **settings}
        work = Workplace(folder)
        migrated = work.run("migrate", settings=chosen)
        if migrated.returncode:
            raise SystemExit(migrated.stderr)
        with machine.on_core(SERVERS_CORE):
            running, origin = self._stack.enter_context(serving(work, "--workers", str(workers), **chosen))
        _wait_for(f"{origin}/readyz")
        return Service(engine, Server(int(origin.rpartition(":")[2]), running.process.pid), provider, url, work, chosen)

    def _certificate(self) -> list[str]:
        certificate, key = self._authority.certify(address(LOOPBACK))
        files = (self._folder / "certificate.pem", self._folder / "key.pem")
        for file, content in zip(files, (certificate, key), strict=True):
            file.write_bytes(content)
        return ["--ssl-certfile", str(files[0]), "--ssl-keyfile", str(files[1])]

    def _web_server(self, module: str, core: int | None, port: int, *options: str, **environment: str) -> Server:
        """An application of ours on the service's web server."""
        chosen = ("--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log")
        command = [sys.executable, "-m", "uvicorn", f"tests.bench.{module}:app", *chosen, *options]
        with machine.on_core(core):
            process = subprocess.Popen(  # noqa: S603  our own application
                [*command, "--log-level", "warning", "--lifespan", "off"],
                cwd=REPOSITORY,
                env={**os.environ, **environment},
            )
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        return Server(port, process.pid)


def _wait_for(url: str, trust: ssl.SSLContext | None = None) -> None:
    with httpx.Client(verify=trust or NO_TLS, timeout=PATIENCE) as client:

        def answers() -> bool:
            try:
                return client.get(url).is_success
            except httpx.TransportError:
                return False

        eventually(answers, url)


@contextmanager
def bench() -> Iterator[Bench]:
    """What starts servers; all are ended when the block is left."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idv-bench-")))
        with machine.on_core(OTHERS_CORE):
            yield Bench(folder, stack)


def move_postgres_aside() -> None:
    """Let PostgreSQL's processes for our connections run on the core of all that is needed, where we may say so."""
    if OTHERS_CORE is None:
        return
    for pid in asyncio.run(_postgres_processes()):
        # Only on this machine, and only as its administrator.
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().startswith("postgres"):
                os.sched_setaffinity(pid, {OTHERS_CORE})


async def _postgres_processes() -> list[int]:
    connection = await asyncpg.connect(POSTGRES_URL, timeout=PATIENCE)
    try:
        rows = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE datname LIKE 'idv_test_%'")
        return [row["pid"] for row in rows]
    finally:
        await connection.close()
