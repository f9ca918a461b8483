import json
import re
import signal
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.harness.databases import empty_database, on_postgres, postgres_or_skip
from tests.harness.loopback import NO_TLS
from tests.harness.service import query_of
from tests.harness.waiting import PATIENCE
from tests.system.processes import ADMIN_KEY, IDP_KEY, SETTINGS, Workplace, answers, free_port, serving

READY = {"status": "ready", "checks": {"database": "ok", "migrations": "ok"}}

# Each is wrong by itself.
WRONG = {
    "INCODE_CLIENT_SECRET": "",
    "CLIENT_AUTH_METHOD": "Marked-4711",
    "ID_TOKEN_ALGORITHMS": "HS256",
    "SCOPES": "profile",
    "AUTH0_DOMAIN": "https://tenant.example/Marked-4711",
    "API_KEYS": "acme=Marked-4711",
    "ADMIN_API_KEYS": "root=sha256:Marked-4711",
    "REDIRECT_SECRET": "Marked-4711",
    "ENCRYPTION_KEYS": "Marked-4711",
    "DATABASE_URL": "mysql://user:Marked-4711@127.0.0.1/idv",
    "REVERIFICATION_HOURS": "nan",
    "BLOCK_ON_FAILURE": "Marked-4711",
    "ATTEMPT_LIMIT": "-1",
    "VERIFICATION_TTL_SECONDS": "0",
    "CLAIM_NAMESPACE": "Marked-4711",
    "HTTP_TIMEOUT_SECONDS": "inf",
    "LOG_LEVEL": "Marked-4711",
}
# These are read together with others, once each is well formed.
CONFLICTING = {
    "INCODE_SERVER_URL": "http://provider.example",
    "PUBLIC_URL": "http://idv.example",
    "REDIRECT_URI": "http://tenant.example/continue",
    "API_KEYS": f"acme={IDP_KEY}, acme={ADMIN_KEY}",
}

# What a library would write down with this, a secret's value included, it writes at its finest level.
TALKATIVE = {"LOG_LEVEL": "debug", "PYDANTIC_SETTINGS_DEBUG": "1"}


def refusals(work: Workplace, *command: str, settings: dict[str, str]) -> dict[str, str]:
    """The settings that stop the start, with what is said of each."""
    refused = work.run(*(command or ("serve", "--port", str(free_port()))), settings=settings)
    assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
    assert "Traceback" not in refused.stderr
    for private in ("Marked", IDP_KEY, ADMIN_KEY, SETTINGS["REDIRECT_SECRET"], SETTINGS["INCODE_CLIENT_SECRET"]):
        assert private not in refused.stderr
    lines = [line.partition(": ") for line in refused.stderr.splitlines()]
    said = {name: text for name, _, text in lines}
    assert len(said) == len(lines), "one line for each"
    assert all(re.fullmatch(r"[A-Z0-9_]+", name) and text for name, text in said.items()), refused.stderr
    return said


def start(url: str, **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {IDP_KEY}"}
    return httpx.post(
        f"{url}/v1/verifications", headers=headers, json={"user_id": "ana", **body}, timeout=PATIENCE, verify=NO_TLS
    )


def test_missing_settings_stop_the_start_with_one_line_each(work: Workplace) -> None:
    said = refusals(work, settings={})
    assert set(said) == {
        "INCODE_CLIENT_ID",
        "INCODE_CLIENT_SECRET",
        "REDIRECT_SECRET",
        "ENCRYPTION_KEYS",
        "API_KEYS",
        "REDIRECT_URI",
    }
    assert list(work.folder.iterdir()) == []


@pytest.mark.parametrize("wrong", [WRONG, CONFLICTING], ids=["each by itself", "together"])
def test_wrong_settings_stop_the_start_with_one_line_each(work: Workplace, wrong: dict[str, str]) -> None:
    assert set(refusals(work, settings={**SETTINGS, **wrong})) == set(wrong)
    assert list(work.folder.iterdir()) == []


@pytest.mark.parametrize("command", ["serve", "migrate"])
@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:////nowhere/Marked-4711/idv.db",
        "postgresql+asyncpg://user:Marked-4711@127.0.0.1:port/idv",
        "postgresql+asyncpg://user:Marked-4711@127.0.0.1:99999/idv",
    ],
    ids=["a missing folder", "a port that is no number", "a port out of range"],
)
def test_a_database_url_that_cannot_work_stops_the_start(work: Workplace, command: str, url: str) -> None:
    arguments = [command] if command == "migrate" else [command, "--port", str(free_port())]
    assert set(refusals(work, *arguments, settings={**SETTINGS, "DATABASE_URL": url})) == {"DATABASE_URL"}


def test_migrating_a_database_that_is_not_there_says_so(work: Workplace) -> None:
    postgres_or_skip()
    missing = on_postgres("idv_marked_4711")
    assert set(refusals(work, "migrate", settings={**SETTINGS, "DATABASE_URL": missing})) == {"DATABASE_URL"}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_on_sqlite_it_migrates_by_itself_and_serves_until_it_is_told_to_end(work: Workplace, workers: str) -> None:
    with serving(work, "--workers", workers) as (service, url):
        response = httpx.get(f"{url}/readyz", timeout=PATIENCE, verify=NO_TLS)
        assert (response.status_code, response.json()) == (200, READY)
        assert "server" not in response.headers
        assert response.http_version == "HTTP/1.1"
        key = {"Authorization": f"Bearer {IDP_KEY}"}
        assert httpx.get(f"{url}/v1/users/ana", headers=key, timeout=PATIENCE, verify=NO_TLS).status_code == 200
        assert service.end(signal.SIGTERM) == 0
        assert service.errors == ""
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz", timeout=PATIENCE, verify=NO_TLS)
    assert "idv.db" in {path.name for path in work.folder.iterdir()}


def test_the_option_goes_before_the_environments_number_of_processes(work: Workplace) -> None:
    with serving(work, "--workers", "1", WEB_CONCURRENCY="2") as (service, _):
        assert service.workers() == set()
    with serving(work, WEB_CONCURRENCY="2") as (service, _):
        service.wait_until(lambda: len(service.workers()) == 2, "two processes")


def test_on_postgresql_a_migration_mends_the_service_while_it_runs(work: Workplace) -> None:
    postgres_or_skip()
    with empty_database() as database, serving(work, DATABASE_URL=database) as (_, url):
        response = httpx.get(f"{url}/readyz", timeout=PATIENCE, verify=NO_TLS)
        assert response.status_code == 503
        assert "idv migrate" in response.json()["checks"]["migrations"]
        assert start(url).status_code == 503

        for _ in range(2):
            migrated = work.run("migrate", settings={**SETTINGS, "DATABASE_URL": database})
            assert (migrated.returncode, migrated.stderr) == (0, "")

        assert httpx.get(f"{url}/readyz", timeout=PATIENCE, verify=NO_TLS).json() == READY
        assert start(url).json()["error"]["code"] == "provider_unavailable"


def test_the_log_names_routes_and_attempts_and_nothing_of_a_person(work: Workplace) -> None:
    provider = f"http://127.0.0.1:{free_port()}"
    secret = {"SANDBOX_CLIENT_SECRET": SETTINGS["INCODE_CLIENT_SECRET"]}
    options = ("--client-id", SETTINGS["INCODE_CLIENT_ID"], "--redirect-uri", SETTINGS["REDIRECT_URI"])
    with (
        work.running("sandbox", *options, "--port", provider.rpartition(":")[2], settings=secret) as sandbox,
        serving(work, INCODE_SERVER_URL=provider, SCOPES="openid profile email", **TALKATIVE) as (service, url),
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=PATIENCE, verify=NO_TLS
        ) as client,
    ):
        sandbox.wait_until(lambda: answers(f"{provider}/.well-known/openid-configuration", 200), "the sandbox")
        statuses, private = provoke(client, work)
        service.end(signal.SIGTERM)
        output, errors = service.output, service.errors

    assert errors == ""
    events = [json.loads(line) for line in output.splitlines()]
    assert all(event["event"] and event["level"] and event["timestamp"] for event in events)
    requests = [event for event in events if event["event"] == "request" and event["route"] != "/healthz"]
    assert [event["status"] for event in requests] == statuses
    assert {event["route"] for event in requests} == {
        *(
            "/v1/verifications",
            "/v1/callback",
            "/v1/users/{user_id}",
            "/v1/users/{user_id}/reset",
            "/v1/audit",
            "/readyz",
            None,
        ),
    }
    assert all(event["request_id"] and event["method"] and event["duration_ms"] >= 0 for event in requests)
    assert {event.get("caller") for event in requests} == {"root", None}
    assert any(event["level"] == "error" and event["request_id"] == requests[-1]["request_id"] for event in events)
    for value in private:
        assert value.lower() not in output.lower(), f"the log shows {value}"


def provoke(client: httpx.Client, work: Workplace) -> tuple[list[int], list[str]]:
    """Requests of every kind. Returns how they were answered, and what must not be in the log."""
    user_id, email = "auth0|marked-4711", "marked@person.example"
    address = "/v1/users/auth0%7Cmarked-4711"
    responses = [client.post("/v1/verifications", json={"user_id": user_id, "email": email})]
    started = responses[0].json()
    authorization = started["redirect_url"].partition("?")[0]
    came_back = httpx.get(
        authorization,
        params={**query_of(started["redirect_url"]), "outcome": "verified"},
        timeout=PATIENCE,
        verify=NO_TLS,
    )
    arrived = query_of(came_back.headers["Location"])
    callback = {"user_id": user_id, "verification_id": started["verification"]["id"], **arrived}
    responses += [
        client.post("/v1/callback", json={**callback, "state": "marked-4711"}),
        client.post("/v1/callback", json=callback),
        client.get(address, params={"marked": "marked-4711"}),
        client.post(f"{address}/reset", json={"identity": "marked-4711"}),
        client.post(f"{address}/reset"),
        client.get("/marked-4711"),
        client.post("/v1/verifications", content=b'{"user_id": "marked-4711'),
        client.post("/v1/verifications", content=b"marked-4711" * 10_000),
        client.get(address, headers={"Authorization": "Bearer marked-4711"}),
        client.get(
            "/readyz",
            headers={"X-Request-ID": "marked 4711", "User-Agent": "marked-4711", "Referer": "http://marked-4711"},
        ),
        client.request("PROPFIND", "/v1/callback?marked-4711"),
    ]
    with closing(sqlite3.connect(work.folder / "idv.db")) as database, database:
        database.execute("UPDATE verifications SET status = 'marked-4711'")
        database.execute("ALTER TABLE audit RENAME COLUMN action TO marked")
    responses += [client.post("/v1/callback", json=callback), client.get("/v1/audit")]
    statuses = [response.status_code for response in responses]
    assert statuses == [200, 409, 200, 200, 422, 200, 404, 422, 413, 401, 200, 405, 404, 503]
    claim = responses[2].json()["claims"]["https://incode.com/idv"]
    assert len(claim["pii"]) >= 4
    return statuses, [
        *("marked", email, arrived["code"], arrived["state"], query_of(started["redirect_url"])["nonce"]),
        *(str(value) for value in claim["pii"].values()),
        *(claim["identity_id"], claim["interview_id"], str(claim["auth_overall_score"])),
        *(SETTINGS[name] for name in ("INCODE_CLIENT_SECRET", "REDIRECT_SECRET", "ENCRYPTION_KEYS")),
        *(IDP_KEY, ADMIN_KEY),
    ]
