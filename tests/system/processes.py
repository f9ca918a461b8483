import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet

IDV = Path(sys.executable).parent / "idv"
REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 20.0

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


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Return once `condition` holds; a test that waits in vain fails here."""
    deadline = time.monotonic() + SECONDS
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
        return httpx.get(url).status_code == status
    except httpx.TransportError:
        return False


class Running:
    """A process of ours, and what it has written so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", stdout: Path, stderr: Path) -> None:
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

    def end(self, by: signal.Signals) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(by)
        return self.process.wait(SECONDS)


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
            "PYTHONPATH": str(REPOSITORY),  # the code beside these tests, wherever they were checked out
            **(settings or {}),
        }

    def run(
        self, *arguments: str, settings: Mapping[str, str] | None = None, program: Path = IDV
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(  # noqa: S603  our own console script
            [program, *arguments],
            cwd=self.folder,
            env=self._environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    @contextlib.contextmanager
    def running(
        self, *arguments: str, settings: Mapping[str, str] | None = None, ignoring: signal.Signals | None = None
    ) -> Iterator[Running]:
        """A command that stays up while the block runs. With `ignoring` it inherits that this signal is ignored."""
        stdout, stderr = (self._outputs / f"{len(list(self._outputs.iterdir()))}.{name}" for name in ("out", "err"))
        command: list[Any] = [IDV, *arguments]
        if ignoring:
            command = ["/bin/sh", "-c", f"trap '' {ignoring.value}; exec \"$@\"", "sh", *command]
        with (
            stdout.open("wb") as out,
            stderr.open("wb") as err,
            subprocess.Popen(  # noqa: S603  our own console script
                command,
                cwd=self.folder,
                env=self._environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield Running(process, stdout, stderr)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
