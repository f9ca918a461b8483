"""Ory Hydra, built once from its Go module, and run on a database of its own."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.harness.databases import named_database, on_postgres, postgres_or_skip
from tests.harness.kept import kept
from tests.harness.programs import program_or_skip
from tests.harness.waiting import PATIENCE
from tests.system.processes import answers, eventually, free_port

MODULE, VERSION = "github.com/ory/hydra/v2", "v2.3.0"
# Hydra's own go.mod has this, and Go takes it from the main module alone.
REPLACED = "github.com/gobuffalo/pop/v6=github.com/ory/pop/v6@v6.2.1-0.20241121111754-e5dfc0f3344b"
BUILD_SECONDS = 45 * 60
STEPS = (
    ("mod", "init", "built.example/hydra"),
    ("mod", "edit", f"-replace={REPLACED}"),
    ("get", "-tool", f"{MODULE}@{VERSION}"),
    ("build", "-o", "hydra", MODULE),
)


def hydra_or_skip() -> Path:
    """The program; the first time it is built, which takes minutes, and kept for the next run."""
    go = program_or_skip("go")
    postgres_or_skip()

    def build(folder: Path) -> None:
        for step in STEPS:
            # Without C: then nothing but Go is needed, and Hydra does without SQLite.
            environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-p=1"}
            subprocess.run([go, *step], cwd=folder, env=environment, check=True, timeout=BUILD_SECONDS)  # noqa: S603

    return kept(f"hydra-{VERSION}", json.dumps(STEPS), build) / "hydra"


@dataclass(frozen=True)
class Hydra:
    """Where a running Hydra answers applications and the login app."""

    public: str
    admin: str


@contextmanager
def migrated_database(program: Path, folder: Path) -> Iterator[str]:
    """The name of a database with Hydra's tables."""
    with named_database() as name:
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "DSN": _dsn(name)}
        command = [str(program), "migrate", "sql", "-e", "--yes"]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=10 * PATIENCE)  # noqa: S603
        yield name


@contextmanager
def running(program: Path, folder: Path, database: str, *, hook: str, key: str) -> Iterator[Hydra]:
    """Hydra, which asks `hook` with `key` whenever it mints a token."""
    public, admin = free_port(), free_port()
    config = folder / f"{public}.json"
    config.write_text(json.dumps(_config(database, public, admin, hook, key)))
    command = [str(program), "serve", "all", "--dev", "-c", str(config)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LOG_LEVEL": "error"}
    with (
        (folder / f"{public}.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,  # noqa: S603
    ):
        try:
            eventually(lambda: answers(f"http://127.0.0.1:{admin}/health/ready", 200), "Hydra")
            # It makes its keys when they are first asked for, and hangs up on who waits longer than it likes.
            eventually(lambda: answers(f"http://127.0.0.1:{public}/.well-known/jwks.json", 200), "Hydra's keys")
            yield Hydra(f"http://127.0.0.1:{public}", f"http://127.0.0.1:{admin}")
        finally:
            process.kill()


def _dsn(name: str) -> str:
    return on_postgres(name).replace("postgresql+asyncpg://", "postgres://") + "?sslmode=disable"


def _config(name: str, public: int, admin: int, hook: str, key: str) -> dict[str, object]:
    own = f"http://127.0.0.1:{public}"
    authorization = {"in": "header", "name": "Authorization", "value": f"Bearer {key}"}
    return {
        "dsn": _dsn(name),
        "serve": {"public": {"host": "127.0.0.1", "port": public}, "admin": {"host": "127.0.0.1", "port": admin}},
        "urls": {
            "self": {"issuer": own},
            "login": "http://login.example/login",
            "consent": "http://login.example/consent",
        },
        "secrets": {"system": ["a-secret-of-the-tests-0123456789"]},
        "oauth2": {"token_hook": {"url": hook, "auth": {"type": "api_key", "config": authorization}}},
    }


class Application:
    """An application behind Hydra, with the login and consent app that lets a person in."""

    redirect_uri = "http://shop.example/callback"

    def __init__(self, hydra: Hydra, *, client_id: str) -> None:
        self._hydra = hydra
        self._credentials = (client_id, "a-secret-of-the-application")
        created = httpx.post(
            f"{hydra.admin}/admin/clients",
            timeout=PATIENCE,
            json={
                "client_id": client_id,
                "client_secret": self._credentials[1],
                "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
                "response_types": ["code"],
                "scope": "openid offline",
                "redirect_uris": [self.redirect_uri],
            },
        )
        assert created.status_code == 201, created.text

    def log_in(self, subject: str, claims: Mapping[str, object]) -> httpx.Response:
        """The code flow of a person whom the login app knows; `claims` are the consent app's.

        The token endpoint's answer.
        """
        parameters = {
            "client_id": self._credentials[0],
            "response_type": "code",
            "scope": "openid offline",
            "redirect_uri": self.redirect_uri,
            "state": "a-state-of-the-application",
        }
        with httpx.Client(timeout=PATIENCE) as browser:
            to_login = browser.get(f"{self._hydra.public}/oauth2/auth", params=parameters)
            to_consent = browser.get(self._accept("login", to_login, {"subject": subject}))
            given = {"grant_scope": ["openid", "offline"], "session": {"id_token": claims, "access_token": claims}}
            back = browser.get(self._accept("consent", to_consent, given))
        code = httpx.URL(back.headers["Location"]).params["code"]
        return self.token(grant_type="authorization_code", code=code, redirect_uri=self.redirect_uri)

    def _accept(self, what: str, sent: httpx.Response, body: Mapping[str, object]) -> str:
        challenge = httpx.URL(sent.headers["Location"]).params[f"{what}_challenge"]
        url = f"{self._hydra.admin}/admin/oauth2/auth/requests/{what}/accept"
        accepted = httpx.put(url, params={f"{what}_challenge": challenge}, json=body, timeout=PATIENCE)
        assert accepted.status_code == 200, accepted.text
        location: str = accepted.json()["redirect_to"]
        return location

    def token(self, **form: str) -> httpx.Response:
        return httpx.post(f"{self._hydra.public}/oauth2/token", data=form, auth=self._credentials, timeout=PATIENCE)

    def introspected(self, access_token: str) -> dict[str, object]:
        """What an API learns of an access token, beyond the standard."""
        answer = httpx.post(
            f"{self._hydra.admin}/admin/oauth2/introspect", data={"token": access_token}, timeout=PATIENCE
        ).json()
        assert answer["active"] is True
        extra: dict[str, object] = answer.get("ext") or {}
        return extra
