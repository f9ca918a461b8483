import atexit
import contextlib
import fcntl
import os
import pty
import resource
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import httpx
from cryptography.fernet import Fernet

from tests.harness.loopback import NO_TLS
from tests.harness.waiting import PATIENCE
from tests.system.forking import Command, Forked, Forks

IDV = Path(sys.executable).parent / "idv"
REPOSITORY = Path(__file__).resolve().parents[2]

IDP_KEY = "idp-key-of-the-system-tests-0123456789"
ADMIN_KEY = "admin-key-of-the-system-tests-0123456789"
SETTINGS = {
    "INCODE_CLIENT_ID": "system-tests",
    "INCODE_CLIENT_SECRET": "client-secret-of-the-system-tests",
    "REDIRECT_SECRET": "redirect-secret-of-the-system-tests-0123456789",
    "REDIRECT_URI": "https://tenant.example/continue",
    "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "API_KEYS": f"acme={IDP_KEY}",
    "ADMIN_API_KEYS": f"root={ADMIN_KEY}",
}


@cache
def forks() -> Forks:
    """Where the commands of this process's tests are forked."""
    forks = Forks(REPOSITORY)
    atexit.register(forks.close)
    return forks


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Return once `condition` holds; a test that waits in vain fails here."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str, status: int) -> bool:
    try:
        return httpx.get(url, timeout=PATIENCE, verify=NO_TLS).status_code == status
    except httpx.TransportError:
        return False


def _text(stream: BinaryIO) -> str:
    stream.seek(0)
    return stream.read().decode().replace("\r\n", "\n")


def after(preparation: str) -> tuple[str, ...]:
    """The command that prepares a process with a line of shell."""
    return ("/bin/sh", "-c", f'{preparation}; exec "$@"', "sh")


class Running:
    """A process of ours, and what it has written so far."""

    def __init__(self, process: "subprocess.Popen[bytes] | Forked", stdout: Path, stderr: Path) -> None:
        self.process = process
        self._stdout = stdout
        self._stderr = stderr

    @property
    def output(self) -> str:
        return self._stdout.read_text()

    @property
    def errors(self) -> str:
        return self._stderr.read_text()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.output}{self.errors}"
            return condition()

        eventually(holds, what)

    def workers(self) -> set[int]:
        """The processes that serve, where there are several."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()}

    def kill_workers(self) -> None:
        """End them as a crash does, and leave the process that looks after them."""
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)

    def limit_files(self, size: int | None) -> None:
        """Let no file that it writes grow beyond so many bytes; None lifts the limit."""
        _, most = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (most if size is None else size, most))

    def end(self, by: signal.Signals) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(by)
        return self.process.wait(PATIENCE)


class Workplace:
    """An empty folder and a clean environment, where the real console script runs as people run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.temporary = folder / "tmp"
        self._outputs = folder / "outputs"
        for made in (self.folder, self.temporary, self._outputs):
            made.mkdir()

    def _environment(self, settings: Mapping[str, str] | None) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TMPDIR": str(self.temporary),
            "PGSSLMODE": os.environ["PGSSLMODE"],
            "PYTHONPATH": str(REPOSITORY),  # the code beside these tests, wherever they were checked out
            **(settings or {}),
        }

    def _fork(
        self,
        arguments: Sequence[str],
        settings: Mapping[str, str] | None,
        streams: tuple[int, int, int],
        *,
        leads: bool = True,
    ) -> Forked:
        command = Command(str(IDV), arguments, str(self.folder), self._environment(settings), leads)
        return forks().fork(command, *streams)

    def run(
        self,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
        program: Path = IDV,
        afresh: bool = False,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; `afresh`, it imports everything by itself."""
        if program == IDV and not afresh:
            return self._run_forked(arguments, settings)
        return subprocess.run(  # noqa: S603  our own console script
            [program, *arguments],
            cwd=self.folder,
            env=self._environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def _run_forked(
        self, arguments: Sequence[str], settings: Mapping[str, str] | None
    ) -> "subprocess.CompletedProcess[str]":
        with open(os.devnull) as nothing, TemporaryFile() as out, TemporaryFile() as err:
            streams = (nothing.fileno(), out.fileno(), err.fileno())
            process = self._fork(arguments, settings, streams, leads=False)
            try:
                code = process.wait(PATIENCE)
            finally:
                process.kill()
            written = [_text(stream) for stream in (out, err)]
        return subprocess.CompletedProcess([str(IDV), *arguments], code, *written)

    def run_in_terminal(
        self, *arguments: str, settings: Mapping[str, str], typed: str = "", columns: int = 200
    ) -> tuple[int, str]:
        """Run a command in a terminal of its own, with what a person types there; its exit code and all that is
        shown.
        """
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        with open(ours, "r+b", buffering=0) as screen:
            environment = {"TERM": "xterm-256color", **(settings or {})}
            process = self._fork(arguments, environment, (theirs, theirs, theirs))
            os.close(theirs)
            screen.write(typed.encode())
            watchdog = threading.Timer(PATIENCE, process.kill)
            watchdog.start()
            shown = b""
            with contextlib.suppress(OSError):  # EIO: the last one who had the terminal open is gone
                while piece := screen.read(65536):
                    shown += piece
            code = process.wait(PATIENCE)
            watchdog.cancel()
        return code, shown.decode().replace("\r\n", "\n")

    @contextlib.contextmanager
    def running(
        self, *arguments: str, settings: Mapping[str, str] | None = None, through: Sequence[str] = ()
    ) -> Iterator[Running]:
        """A command that stays up while the block runs; `through` is a command that prepares the process and becomes
        ours.
        """
        stdout, stderr = (self._outputs / f"{len(list(self._outputs.iterdir()))}.{name}" for name in ("out", "err"))
        with stdout.open("wb") as out, stderr.open("wb") as err, open(os.devnull) as nothing:
            process = (
                subprocess.Popen(  # noqa: S603  our own console script
                    [*through, IDV, *arguments],
                    cwd=self.folder,
                    env=self._environment(settings),
                    stdin=nothing,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
                if through
                else self._fork(arguments, settings, (nothing.fileno(), out.fileno(), err.fileno()))
            )
            try:
                yield Running(process, stdout, stderr)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE)


@contextlib.contextmanager
def serving(
    work: Workplace, *options: str, through: Sequence[str] = (), **settings: str
) -> Iterator[tuple[Running, str]]:
    """The service and its address, once it answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    chosen = {"INCODE_SERVER_URL": "http://127.0.0.1:9", **SETTINGS, **settings}
    with work.running("serve", "--port", str(port), *options, settings=chosen, through=through) as service:
        service.wait_until(lambda: answers(f"{url}/healthz", 200), "the service")
        yield service, url
