"""What the containers run, run on this machine: the compose file's commands and environments, with addresses of our
own.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from dotenv import dotenv_values

from tests.harness.containers import REPOSITORY, composition, filled_in, health_command, instructions, last, read
from tests.harness.databases import empty_database, postgres_or_skip
from tests.harness.loopback import NO_TLS
from tests.harness.waiting import PATIENCE
from tests.system.processes import SETTINGS, Running, Workplace, answers, free_port

IMAGE = instructions(read("Dockerfile"))


class Composition:
    """The compose file for one `.env`. Whatever it and its `.env` say of the addresses is replaced by ours.

    `secrets` is the folder in which its secrets lie.
    """

    def __init__(self, variables: Mapping[str, str], secrets: Path, replaced: Mapping[str, str]) -> None:
        self._replaced = {"/run/secrets": str(secrets), **replaced}
        self.variables = {name: self._here(value) for name, value in variables.items()}
        self._services = {
            name: filled_in(service, self.variables) for name, service in composition()["services"].items()
        }

    def command(self, service: str) -> list[str]:
        given = self._services[service].get("command") or json.loads(last(IMAGE, "CMD"))
        return [self._here(argument) for argument in given]

    def environment(self, service: str) -> dict[str, str]:
        from_file = self.variables if "env_file" in self._services[service] else {}
        given = {**from_file, **self._services[service].get("environment", {})}
        return {name: self._here(value) for name, value in given.items()}

    def _here(self, text: str) -> str:
        for address, ours in self._replaced.items():
            text = text.replace(address, ours)
        return text


@pytest.fixture
def database() -> Iterator[str]:
    postgres_or_skip()
    with empty_database() as url:
        yield url


PROBE = REPOSITORY / "deploy/probe"


def health(work: Workplace, port: int, path: str = "/healthz") -> int:
    """How the image's health check ends for a service on this port."""
    _, _, asked = health_command(last(IMAGE, "HEALTHCHECK"))
    assert asked == "/healthz"
    return work.run(str(port), path, program=PROBE).returncode


def verify_a_person(service: httpx.Client) -> dict[str, Any]:
    """What docs/docker.md says to do: two commands, and a browser in between."""
    started = service.post("/v1/verifications", json={"user_id": "ana", "email": "ana@example.com"}).json()
    with httpx.Client(timeout=PATIENCE, verify=NO_TLS) as browser:
        launched = browser.get(started["redirect_url"])
        choice = browser.get(launched.headers["Location"])
        [verified] = re.findall(r'class="choice main" href="([^"]+)"', choice.text)
        chosen = browser.get(httpx.URL(launched.headers["Location"]).join(unescape(verified)))
        back = browser.get(chosen.headers["Location"])
        at_the_end = browser.get(back.headers["Location"])
    assert (at_the_end.status_code, at_the_end.url.path) == (200, "/docs")
    in_hand = {
        "verification_id": started["verification"]["id"],
        "session_token": at_the_end.url.params["session_token"],
    }
    finished = service.post("/v1/callback", json={"user_id": "ana", **in_hand})
    answer: dict[str, Any] = finished.json()
    return answer


def test_the_sandbox_profile_verifies_a_made_up_person(work: Workplace, database: str) -> None:
    made = work.run("init", "--sandbox", "--file", ".env.sandbox", "--secrets", "secrets.sandbox")
    assert (made.returncode, made.stderr) == (0, "")
    [key] = re.findall(r"identity provider +(\S+)$", made.stdout, re.MULTILINE)
    variables = {name: value or "" for name, value in dotenv_values(work.folder / ".env.sandbox").items()}
    secrets = work.folder / "secrets.sandbox"
    written = (secrets / "database_url").read_text()
    (secrets / "database_url").write_text(database)
    assert written.startswith("postgresql+asyncpg://idv:")
    service_port, sandbox_port = free_port(), free_port()
    url, sandbox_url = f"http://127.0.0.1:{service_port}", f"http://127.0.0.1:{sandbox_port}"
    ours = Composition(
        {**variables, "PUBLIC_URL": url},
        secrets,
        {
            "http://127.0.0.1:8000": url,
            "http://sandbox.localhost:9000": sandbox_url,
            "0.0.0.0": "127.0.0.1",  # noqa: S104  replaced
        },
    )

    migrated = work.run(*ours.command("migrate"), settings=ours.environment("migrate"))
    assert (migrated.returncode, migrated.stderr) == (0, "")
    assert health(work, service_port) != 0
    with (
        running(work, ours, "sandbox", sandbox_port) as sandbox,
        running(work, ours, "idv", service_port) as service,
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE, verify=NO_TLS
        ) as client,
    ):
        sandbox.wait_until(lambda: answers(sandbox_url, 200), "the sandbox")
        service.wait_until(lambda: answers(f"{url}/readyz", 200), "the service")
        assert (
            health(work, service_port) == health(work, service_port, "/readyz") == health(work, sandbox_port, "/") == 0
        )
        assert health(work, service_port, "/v1/nowhere") != 0
        answer = verify_a_person(client)
        assert (answer["action"], answer["reason"]) == ("continue", "verified")
        assert answer["claims"]["https://incode.com/idv"]["pii"]["email"] == "ana@example.com"
    assert sorted(path.name for path in work.folder.iterdir()) == [".env.sandbox", "secrets.sandbox"]


@contextmanager
def running(work: Workplace, ours: Composition, service: str, port: int) -> Iterator[Running]:
    with work.running(*ours.command(service), "--port", str(port), settings=ours.environment(service)) as process:
        yield process


def test_the_health_check_fails_where_something_else_answers(work: Workplace) -> None:
    port = free_port()
    options = ("--client-id", "a", "--redirect-uri", "https://tenant.example/continue", "--port", str(port))
    secret = {"SANDBOX_CLIENT_SECRET": SETTINGS["INCODE_CLIENT_SECRET"]}
    with work.running("sandbox", *options, settings=secret) as sandbox:
        sandbox.wait_until(lambda: answers(f"http://127.0.0.1:{port}", 200), "the sandbox")
        assert health(work, port) != 0
