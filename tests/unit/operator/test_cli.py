"""What the command line says of itself, and what it does not load for that."""

import subprocess
import sys
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from app.operator import cli

COMMANDS: dict[str, typer.core.TyperCommand] = typer.main.get_command(cli.main).commands  # type: ignore[attr-defined]
SLOW = {"alembic", "cryptography", "fastapi", "httpx", "jose", "opentelemetry", "pydantic", "sqlalchemy", "uvicorn"}


def help_of(*arguments: str) -> str:
    ran = CliRunner().invoke(cli.main, [*arguments, "--help"], env={"COLUMNS": "200"})
    assert ran.exit_code == 0
    return ran.output


def test_help_loads_nothing_that_only_commands_need() -> None:
    code = "import sys, app.operator.cli; print(*{name.partition('.')[0] for name in sys.modules}, *sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    loaded = set(ran.stdout.split())
    assert loaded & SLOW == set()
    ours = {name for name in loaded if name.startswith("app.")}
    assert {name.split(".")[1] for name in ours} == {"core", "operator"}


def test_it_tells_its_version() -> None:
    ran = CliRunner().invoke(cli.main, ["--version"])
    assert (ran.exit_code, ran.output) == (0, f"idv-gateway {version('idv-gateway')}\n")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_help_tells_the_exit_codes(command: str) -> None:
    assert "Ends with 0 " in help_of(command)


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in help_of()


@pytest.mark.parametrize("port", ["0", "65536", "70000", "-1", "http"])
def test_a_port_that_cannot_be_is_refused(port: str) -> None:
    ran = CliRunner().invoke(cli.main, ["serve", "--port", port])
    assert ran.exit_code == 2
    assert "--port" in ran.output


def test_an_interruption_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, cli._interruptible():
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "Interrupted. Run the command again, and it goes on.\n"
