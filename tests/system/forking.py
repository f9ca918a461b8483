"""Commands that need not import what they all import: each is forked from one process, which has done so.

A command so forked is a process of its own in all else: its folder, environment, arguments, files, session, and end.
This process forks one for each message at its standard input, a socket, and ends when that is closed.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

# What the commands import when they are at it. Nothing of it may look at the environment before the command does.
IMPORTED = (
    "aiosqlite",
    "alembic.command",
    "app.acme.site",
    "app.demo.run",
    "app.main",
    "app.operator.check",
    "app.operator.cli",
    "app.operator.exporting",
    "app.operator.importing",
    "app.operator.report",
    "app.operator.server",
    "app.sandbox.server",
    "asyncpg",
    "rich.progress",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "uvloop",
)
MOST_BYTES = 1 << 17


@dataclass(frozen=True)
class Command:
    """What is run, where, and with which environment; `leads` a session of its own."""

    program: str
    arguments: Sequence[str]
    folder: str
    environment: Mapping[str, str]
    leads: bool


class Forked:
    """A process that another one has forked for us, as `subprocess.Popen` shows one."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self.pid = int(told.recv(32))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        with contextlib.suppress(BlockingIOError):
            self._hear(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. Raises TimeoutExpired."""
        try:
            return self._hear(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired(f"the process {self.pid}", timeout or 0) from None

    def _hear(self, timeout: float | None) -> int:
        if self.returncode is None:
            self._told.settimeout(timeout)
            self.returncode = int(self._told.recv(32))
            self._told.close()
        return self.returncode

    def send_signal(self, which: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, which)

    def kill(self) -> None:
        """End it as a crash does."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that forks commands, which runs from the first on."""

    def __init__(self, repository: Path) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(repository)}
        self._process = subprocess.Popen(  # noqa: S603  this module
            [sys.executable, "-m", __name__],
            cwd=repository,
            env=environment,
            stdin=theirs.fileno(),
            start_new_session=True,
        )
        theirs.close()

    def fork(self, command: Command, *streams: int) -> Forked:
        """Run a command with these standard streams."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._ours, [json.dumps(asdict(command)).encode()], [*streams, theirs.fileno()])
        return Forked(ours)

    def close(self) -> None:
        """End it. What it has forked goes on."""
        self._ours.close()
        self._process.wait()


def _commands() -> Iterator[Command]:
    """The commands to run, each in a process that is to be one."""
    asked = socket.socket(fileno=os.dup(0))
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, MOST_BYTES, 4)
        if not message:
            return
        if os.fork() == 0:
            asked.close()
            command = Command(**json.loads(message))
            _fork_and_wait(command, socket.socket(fileno=descriptors.pop()))
            for number, stream in enumerate(descriptors):
                os.dup2(stream, number)
                os.close(stream)
            yield command
            return
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _fork_and_wait(command: Command, told: socket.socket) -> None:
    """Return in a process of its own, which has told its id; wait for its end, and tell of that, in this one."""
    pid = os.fork()
    if pid == 0:
        with told:
            if command.leads:
                os.setsid()
            told.send(str(os.getpid()).encode())
        return
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        told.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(command: Command) -> None:
    os.chdir(command.folder)
    os.environ.clear()
    os.environ.update(command.environment)
    sys.argv = [command.program, *command.arguments]
    sys.path[0] = str(Path(command.program).parent)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  they are the process's own
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    try:
        runpy.run_path(command.program, run_name="__main__")
    except SystemExit as end:
        _end(end)


def _end(end: SystemExit) -> NoReturn:
    """End as the interpreter does, but without clearing away what everybody has imported, which takes longest."""
    if isinstance(end.code, str):
        print(end.code, file=sys.stderr)  # noqa: T201  as the interpreter does
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as multiprocessing has it
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


def _main() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    # A shell without job control starts background commands with it ignored: a command must not depend on that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for command in _commands():
        _become(command)


if __name__ == "__main__":
    _main()
