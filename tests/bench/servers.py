"""Everything that is measured or needed for it, on loopback, each on its core."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from tests.bench import machine
from tests.harness.certificates import Authority, address
from tests.harness.databases import POSTGRES_URL, empty_database, is_postgres_reachable
from tests.harness.loopback import NO_TLS
from tests.harness.waiting import PATIENCE
from tests.system.processes import IDV, REPOSITORY, SETTINGS, eventually, free_port

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
    database_url: str = ""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended well: what it wrote, and its time on the wall and on processors, in seconds."""

    output: str
    seconds: float
    cpu: float


class Bench:
    """Starts what is to be measured; it stays up until the block of `bench` is left."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._authority = Authority(folder, "authority")
        self.engines = [POSTGRESQL, SQLITE] if is_postgres_reachable() else [SQLITE]

    def raw(self) -> Server:
        """The yardstick."""
        server = self.web_server("raw", SERVERS_CORE, free_port())
        wait_for(f"http://{LOOPBACK}:{server.port}/")
        return server

    def provider(self, *, tls: bool = False) -> Provider:
        """A provider on the core of all that is needed."""
        port = free_port()
        issuer = f"{'https' if tls else 'http'}://{LOOPBACK}:{port}"
        options = self._certificate() if tls else []
        provider = Provider(issuer, self._authority.file if tls else None)
        self.web_server("provider", OTHERS_CORE, port, *options, ISSUER=issuer)
        wait_for(f"{issuer}/jwks", provider.trust)
        return provider

    def database(self, engine: str) -> str:
        """The address of a new database, migrated."""
        if engine == POSTGRESQL:
            url = self._stack.enter_context(empty_database())
        else:
            url = f"sqlite+aiosqlite:///{tempfile.mkdtemp(dir=self.folder)}/idv.db"
        self.run("migrate", DATABASE_URL=url)
        return url

    def service(self, engine: str, provider: Provider, **settings: str) -> Service:
        """The service, as `idv serve` puts it to work, on a database of its own."""
        trust = {"SSL_CERT_FILE": str(provider.authority)} if provider.authority else {}
        url = self.database(engine)
        chosen = {"INCODE_SERVER_URL": provider.issuer, "DATABASE_URL": url, **trust, **settings}
        return Service(engine, self._stack.enter_context(self.serving(chosen)), provider, url)

    @contextmanager
    def serving(self, settings: Mapping[str, str], *, workers: int = 1) -> Iterator[Server]:
        """The service with these settings, once it is ready, while the block runs."""
        port = free_port()
        log = self.folder / f"{port}.log"
        with machine.on_cores(SERVERS_CORE), log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  our own console script
                [IDV, "serve", "--port", str(port), "--workers", str(workers)],
                cwd=self.folder,
                env=self._environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_for(f"http://{LOOPBACK}:{port}/readyz")
            yield Server(port, process.pid)
        except AssertionError:
            raise SystemExit(log.read_text()) from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def run(self, *arguments: str, **settings: str) -> Ran:
        """Run a command of ours to its end, on any core. Raises SystemExit where it does not end well."""
        before, began = _cpu_of_ended(), time.perf_counter()
        with machine.on_cores(*(CORES or ())):
            ended = subprocess.run(  # noqa: S603  our own console script
                [IDV, *arguments],
                cwd=self.folder,
                env=self._environment(settings),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        if ended.returncode:
            raise SystemExit(f"idv {arguments[0]}: {ended.stderr}")
        return Ran(ended.stdout, time.perf_counter() - began, _cpu_of_ended() - before)

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        around = {name: os.environ[name] for name in ("PATH", "PGSSLMODE")}
        return {**around, "HOME": str(self.folder), **SETTINGS, "INCODE_SERVER_URL": "http://127.0.0.1:9", **settings}

    def _certificate(self) -> list[str]:
        certificate, key = self._authority.certify(address(LOOPBACK))
        files = (self.folder / "certificate.pem", self.folder / "key.pem")
        for file, content in zip(files, (certificate, key), strict=True):
            file.write_bytes(content)
        return ["--ssl-certfile", str(files[0]), "--ssl-keyfile", str(files[1])]

    def web_server(self, module: str, core: int | None, port: int, *options: str, **environment: str) -> Server:
        """An application beside this module, on the service's web server."""
        served = ("--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log")
        command = [sys.executable, "-m", "uvicorn", f"tests.bench.{module}:app", *served, *options]
        return self.program([*command, "--log-level", "warning"], core, port, REPOSITORY, **environment)

    def program(self, command: Sequence[str], core: int | None, port: int, folder: Path, **environment: str) -> Server:
        """A program that listens at the port, sooner or later."""
        with machine.on_cores(core):
            process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment})  # noqa: S603  our own
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        return Server(port, process.pid)


def wait_for(url: str, trust: ssl.SSLContext | None = None) -> None:
    """Return once a server answers with anything but a fault of its own."""
    with httpx.Client(verify=trust or NO_TLS, timeout=PATIENCE) as client:

        def answers() -> bool:
            try:
                return not client.get(url).is_server_error
            except httpx.TransportError:
                return False

        eventually(answers, url)


def _cpu_of_ended() -> float:
    """What the commands that have ended took of the processors, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def bench() -> Iterator[Bench]:
    """What starts servers; all are ended when the block is left."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idv-bench-")))
        with machine.on_cores(OTHERS_CORE):
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
