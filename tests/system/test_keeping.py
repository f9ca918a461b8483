"""`idv check`, `purge`, `rotate-keys`, `user` and `verifications`, run as an operator runs them."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography.fernet import Fernet

from tests.harness.clock import Clock
from tests.harness.provider import CLIENT_ID, CLIENT_SECRET, ProviderHost, new_sandbox
from tests.system.processes import SETTINGS, Workplace

SECRETS = ("client-secret-of-the-system-tests", CLIENT_SECRET, SETTINGS["REDIRECT_SECRET"], SETTINGS["ENCRYPTION_KEYS"])
COMMANDS = (("check",), ("purge",), ("rotate-keys",), ("user", "ana"), ("verifications",))

CLIENT = ("INCODE_CLIENT_ID, INCODE_CLIENT_SECRET, CLIENT_AUTH_METHOD",)


@pytest.fixture
def settings(provider_host: ProviderHost, database_url: str) -> dict[str, str]:
    """Settings for a running provider and a migrated database, on each engine in turn."""
    new_sandbox(provider_host, Clock())
    return {
        **SETTINGS,
        "INCODE_CLIENT_ID": CLIENT_ID,
        "INCODE_CLIENT_SECRET": CLIENT_SECRET,
        "INCODE_SERVER_URL": provider_host.url,
        "DATABASE_URL": database_url,
    }


def test_check_finds_nothing_wrong(work: Workplace, settings: dict[str, str]) -> None:
    ran = work.run("check", settings=settings)
    assert (ran.returncode, ran.stderr) == (0, "")
    subjects = ("discovery", "clock", "keys", "client", "PUBLIC_URL", "REDIRECT_URI", "database", "records")
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()] == [f"ok    {subject}" for subject in subjects]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"INCODE_ISSUER": "https://auth.incode.com"}, ["not https://auth.incode.com", "set INCODE_ISSUER to it"]),
        ({"INCODE_SERVER_URL": "http://127.0.0.1:9"}, ["the connection was refused", "Look at INCODE_SERVER_URL"]),
        ({"SCOPES": "openid telepathy"}, ["does not list telepathy", "SCOPES"]),
        ({"ID_TOKEN_ALGORITHMS": "ES256"}, ["1 keys, none for ID_TOKEN_ALGORITHMS", "Look at ID_TOKEN_ALGORITHMS"]),
        (
            {"INCODE_CLIENT_SECRET": "another-secret"},
            ["client: is not accepted by the token endpoint: invalid_client", *CLIENT],
        ),
        (
            {"INCODE_CLIENT_ID": "another-client"},
            ["client: is not accepted by the token endpoint: invalid_client", *CLIENT],
        ),
        ({"PUBLIC_URL": "http://idv.example", "ALLOW_HTTP": "true"}, ["PUBLIC_URL: is plain http", "Use https"]),
        ({"REDIRECT_URI": "http://idp.example/x", "ALLOW_HTTP": "true"}, ["REDIRECT_URI: is plain http", "Use https"]),
        (
            {"DATABASE_URL": "sqlite+aiosqlite:////nowhere/idv.db"},
            ["database: is a file that may not be opened", "DATABASE_URL"],
        ),
        (
            {"DATABASE_URL": "postgresql+asyncpg://u:hush@127.0.0.1:9/x"},
            ["database: does not listen there", "DATABASE_URL"],
        ),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_check_says_what_is_wrong_and_how_to_mend_it(
    work: Workplace, settings: dict[str, str], change: dict[str, str], says: list[str]
) -> None:
    ran = work.run("check", settings={**settings, **change})
    assert ran.returncode == 1
    assert "Traceback" not in ran.stdout + ran.stderr
    wrong = ran.stdout[ran.stdout.index("WRONG") :]
    for words in says:
        assert words in wrong
    for secret in (*SECRETS, "hush", "another-secret"):
        assert secret not in ran.stdout + ran.stderr


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_check_finds_nothing_wrong_with_a_file_that_the_service_will_make_and_does_not_make_it(
    work: Workplace, settings: dict[str, str]
) -> None:
    ran = work.run("check", settings={**settings, "DATABASE_URL": "sqlite+aiosqlite:///./new.db"})
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "database: is at no revision" in ran.stdout
    assert not (work.folder / "new.db").exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_check_reads_what_discovery_does_not_offer(
    work: Workplace, settings: dict[str, str], provider_host: ProviderHost
) -> None:
    new_sandbox(provider_host, Clock()).become("discovery-with-more")
    ran = work.run("check", settings=settings)
    assert ran.returncode == 1
    assert "token_endpoint_auth_methods_supported: does not list client_secret_post" in ran.stdout
    assert "scopes_supported" not in ran.stdout
    assert ran.stderr == ""


class HalfAnHourBehind(BaseHTTPRequestHandler):
    """A provider whose clock is half an hour behind ours."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) - 1800)

    def do_GET(self) -> None:
        host = f"http://{self.headers['Host']}"
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        body = json.dumps({"issuer": host, **{name: f"{host}/{name}" for name in names}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("skew", "verdict"), [("60", "WRONG clock: is 18"), ("1900", "ok    clock: agrees")])
def test_check_compares_the_clocks(work: Workplace, settings: dict[str, str], skew: str, verdict: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), HalfAnHourBehind) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        ran = work.run("check", settings={**settings, "INCODE_SERVER_URL": url, "CLOCK_SKEW_SECONDS": skew})
        server.shutdown()
    assert verdict in ran.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_settings_each_command_says_so_line_by_line(work: Workplace, command: tuple[str, ...]) -> None:
    ran = work.run(*command)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert len(ran.stderr.splitlines()) == 6
    assert all(": " in line and line.split(":")[0].isupper() for line in ran.stderr.splitlines())


@pytest.mark.parametrize("command", COMMANDS[1:], ids=" ".join)
def test_without_a_migrated_database_each_command_says_so(work: Workplace, command: tuple[str, ...]) -> None:
    ran = work.run(*command, settings={**SETTINGS, "DATABASE_URL": "sqlite+aiosqlite:///./empty.db"})
    assert ran.returncode == 2
    assert "idv migrate" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_empty_database_has_nothing_to_keep(work: Workplace, settings: dict[str, str]) -> None:
    assert work.run("purge", settings=settings).stdout == "Removed attempts: 0\n"
    new = {**settings, "ENCRYPTION_KEYS": f"{Fernet.generate_key().decode()},{settings['ENCRYPTION_KEYS']}"}
    assert work.run("rotate-keys", settings=new).stdout == "Encrypted again with the newest key: 0\n"
    assert json.loads(work.run("verifications", "--status", "failed", "--json", settings=settings).stdout) == {
        "items": [],
        "next_cursor": None,
    }


def test_a_user_and_the_attempts_are_shown_as_json(work: Workplace, settings: dict[str, str]) -> None:
    shown = json.loads(work.run("user", "samlp|tenant|http://x/y", "--json", settings=settings).stdout)
    assert (shown["user_id"], shown["reason"], shown["app_metadata"]) == (
        "samlp|tenant|http://x/y",
        "never_verified",
        {},
    )
    assert work.run("verifications", "--status", "lost", settings=settings).returncode == 2


def test_a_settings_file_that_is_no_text_is_told_of_in_a_line(work: Workplace) -> None:
    Path(work.folder / ".env").write_bytes(b"INCODE_CLIENT_ID=\xff\xfe")
    ran = work.run("check")
    assert (ran.returncode, ran.stderr.splitlines()[0]) == (2, ".env: is not a UTF-8 text")
    assert "Traceback" not in ran.stderr
