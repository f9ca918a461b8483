"""Each command in a process that imports everything by itself: elsewhere it is forked from one that has done so."""

import pytest

from app.operator.cli import main
from tests.harness.databases import migrated_template, on_postgres, postgres_or_skip
from tests.harness.provider import REDIRECT_URI
from tests.harness.tables import on_sqlite_only
from tests.system.processes import SETTINGS, Workplace, after, answers, free_port, serving

ENDING = (
    ("api-key", "ana"),
    ("audit",),
    ("check",),
    ("demo", "--once"),
    ("erase", "ana", "--yes"),
    ("export", "ana"),
    ("import", "users.json"),
    ("init",),
    ("migrate",),
    ("purge",),
    ("reset", "ana"),
    ("rotate-keys",),
    ("user", "ana"),
    ("verifications",),
)
STAYING = ("sandbox", "serve")
LINE = '{"user_id": "ana", "app_metadata": {"incode_idv_completed": false}}'


@on_sqlite_only
@pytest.mark.parametrize("command", ENDING, ids=lambda command: command[0])
def test_a_command_does_its_work(work: Workplace, connected: dict[str, str], command: tuple[str, ...]) -> None:
    (work.folder / "users.json").write_text(LINE)
    ran = work.run(*command, settings={**SETTINGS, **connected}, afresh=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout


@on_sqlite_only
def test_a_deployment_is_copied(work: Workplace, connected: dict[str, str]) -> None:
    postgres_or_skip()
    with migrated_template() as name:
        ran = work.run("copy", "--to", on_postgres(name), settings={**SETTINGS, **connected}, afresh=True)
    assert (ran.returncode, ran.stderr) == (0, "")


@on_sqlite_only
def test_the_service_serves(work: Workplace, connected: dict[str, str]) -> None:
    with serving(work, through=after(":"), **connected) as (service, url):
        assert answers(f"{url}/readyz", 200)
        assert service.errors == ""


def test_the_sandbox_serves(work: Workplace) -> None:
    port = free_port()
    client = ("--client-id", "a", "--client-secret", "b", "--redirect-uri", REDIRECT_URI)
    with work.running("sandbox", "--port", str(port), *client, through=after(":")) as sandbox:
        sandbox.wait_until(lambda: answers(f"http://127.0.0.1:{port}/oauth2/jwks", 200), "the sandbox")


def test_no_command_is_left_out() -> None:
    names = [command.name or command.callback.__name__ for command in main.registered_commands if command.callback]
    assert sorted(names) == sorted([*(name for name, *_ in ENDING), *STAYING, "copy"])
