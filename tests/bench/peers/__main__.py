"""Measures the peers in the same rounds as the service: what of them can be started here."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import asyncpg

from app.oidc.pkce import code_challenge, new_code_verifier
from tests.bench.load import Work
from tests.bench.operations import (
    OPERATIONS,
    VERIFIED,
    Operation,
    asked_for,
    codes,
    posted,
    repeated,
    starts_of_new_users,
)
from tests.bench.report import ROUNDS, SECONDS, needs_linux, tell
from tests.bench.rounds import Cell, cells, measure
from tests.bench.servers import LOOPBACK, POSTGRESQL, SERVERS_CORE, Bench, Provider, Server, Service, bench, wait_for
from tests.harness.databases import plain_url
from tests.system.processes import IDP_KEY, SETTINGS, free_port

HERE = Path(__file__).parent
BESIDE = {"status", "start-new", "callback", "callback-tls"}
WITHOUT = "none"
# Node compiles while it runs, and is slow until it has: a callback runs through more code, and comes less often.
FASTIFY_WARM_UP_SECONDS = 4.0
OPENID_CLIENT_WARM_UP_SECONDS = 12.0
TABLES = """
CREATE TABLE peer_users (user_id text PRIMARY KEY, completed boolean NOT NULL, completed_at timestamptz NOT NULL,
    interview_id text, identity_id text, error text, data text);
CREATE TABLE peer_verifications (id text PRIMARY KEY, user_id text NOT NULL, status text NOT NULL,
    created_at timestamptz NOT NULL, data text);
CREATE INDEX ON peer_verifications (user_id, created_at);
"""
USER = "INSERT INTO peer_users VALUES ($1, true, now(), '6641f0a2b7c9', '6641f0a2b7ca', NULL, repeat('x', 250))"
READ = partial(repeated, asked_for(VERIFIED), b'"completed":true')


def main() -> None:
    """Measure the service and its peers."""
    needs_linux()
    with bench() as started:
        ours = [operation for operation in OPERATIONS if operation.name in BESIDE]
        ours_and_theirs = [*cells(started, ours), *_peers(started)]
        measured = measure(started, ours_and_theirs, ROUNDS, SECONDS)
    tell("peers", measured, whole={cell.service.engine for cell in ours_and_theirs} >= {POSTGRESQL, WITHOUT})


def _peers(started: Bench) -> Iterator[Cell]:
    node = _node_programs(started.folder / "peers")
    if POSTGRESQL in started.engines:
        yield from _with_database(started, node)
    if node:
        for tls in (False, True):
            provider = started.provider(tls=tls)
            title = "openid-client: callback" + (", provider with TLS" if tls else "")
            yield Cell(
                Operation("peer", title, _callbacks, warm_up_seconds=OPENID_CLIENT_WARM_UP_SECONDS),
                Service(WITHOUT, _openid_client(started, node, provider), provider),
            )


def _with_database(started: Bench, node: Path | None) -> Iterator[Cell]:
    provider = started.provider()
    url = started.database(POSTGRESQL)
    asyncio.run(_prepare(plain_url(url)))
    usual = started.web_server("peers.usual", SERVERS_CORE, free_port(), DATABASE_URL=url, API_KEY=IDP_KEY)
    _wait_for(usual)
    yield Cell(Operation("peer", "FastAPI and ORM: read by key", READ), Service(POSTGRESQL, usual, provider))
    if node:
        fastify = _on_node(started, node / "fastify_pg.js", DATABASE_URL=plain_url(url), API_KEY=IDP_KEY)
        for title, work in (("read by key", READ), ("insert", starts_of_new_users)):
            yield Cell(
                Operation("peer", f"Fastify and pg: {title}", work, warm_up_seconds=FASTIFY_WARM_UP_SECONDS),
                Service(POSTGRESQL, fastify, provider),
            )


async def _prepare(url: str) -> None:
    """Make the peers' tables, and a user there."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(TABLES)
        await connection.execute(USER, VERIFIED)
    finally:
        await connection.close()


def _node_programs(folder: Path) -> Path | None:
    """The folder of the programs for Node, with what they need; None, said in a line, where they cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        print("Node and npm are not found: the peers that need them are left out.\n")
        return None
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if installed.returncode:
        print("npm cannot fetch what the peers need: they are left out.\n")
        return None
    return folder


def _on_node(started: Bench, program: Path, **environment: str) -> Server:
    port = free_port()
    command = [shutil.which("node") or "node", str(program)]
    server = started.program(command, SERVERS_CORE, port, program.parent, PORT=str(port), **environment)
    _wait_for(server)
    return server


def _wait_for(server: Server) -> None:
    wait_for(f"http://{LOOPBACK}:{server.port}/")


def _openid_client(started: Bench, node: Path, provider: Provider) -> Server:
    trust = {"NODE_EXTRA_CA_CERTS": str(provider.authority)} if provider.authority else {}
    client = {
        "ISSUER": provider.issuer,
        "CLIENT_ID": SETTINGS["INCODE_CLIENT_ID"],
        "CLIENT_SECRET": SETTINGS["INCODE_CLIENT_SECRET"],
        "REDIRECT_URI": SETTINGS["REDIRECT_URI"],
    }
    return _on_node(started, node / "openid_client.js", **client, **trust)


def _callbacks(service: Service, count: int) -> Work:
    """As many callbacks, each with what the program would have kept of its authorization request."""
    kept = [
        {"verifier": new_code_verifier(), "nonce": secrets.token_hex(16), "state": secrets.token_hex(16)}
        for _ in range(count)
    ]
    wanted = [{"nonce": each["nonce"], "code_challenge": code_challenge(each["verifier"])} for each in kept]
    bodies = [
        {**each, "code": code, "iss": service.provider.issuer}
        for each, code in zip(kept, codes(service.provider, wanted), strict=True)
    ]
    return Work(requests=[posted("/callback", body) for body in bodies], expected=b'"reason":"verified"')


if __name__ == "__main__":
    main()
