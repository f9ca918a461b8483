"""The service on a PostgreSQL database with millions of users and attempts, beside one with few, in the same rounds.

Then the lists, one after the other, and the index by which PostgreSQL finds each. `LARGE=100000 make bench-large` tries
it with fewer.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.domain import Purpose, Status
from app.storage.database import Database
from app.storage.encryption import Cipher
from app.storage.listing import AttemptFilter
from app.storage.sealed import Seals
from app.storage.store import Store
from tests.bench.figures import table
from tests.bench.load import Work, drive, request
from tests.bench.moving import exported, imported
from tests.bench.operations import OPERATIONS, Operation, asked_for, posted, starts_of_new_users
from tests.bench.report import ROUNDS, SECONDS, needs_linux, tell
from tests.bench.rounds import Cell, measure
from tests.bench.servers import POSTGRESQL, Bench, Service, bench
from tests.harness.databases import plain_url
from tests.harness.queries import Queries
from tests.system.processes import ADMIN_KEY, SETTINGS

LARGE = int(os.environ.get("LARGE", "10000000"))
REAL = 20_000
"""Users whose records are really sealed: those whom the measured requests are about."""
BATCH = 500_000
RARE = 1_000_000
"""One attempt in so many has failed."""
BUSY, BUSY_IDENTITY, BUSY_ATTEMPTS = "bench|busy", "busy-identity", 100_000
DAYS = 80
TIMES = 15
"""How often each list is asked for: less often than ATTEMPT_LIMIT, since one of them is a start."""
FILL_USERS = """
INSERT INTO users (user_id, revision, completed, completed_at, interview_id, identity_id, sealed_record)
    SELECT 'auth0|' || lpad(to_hex(n), 24, '0'), 1, true, now() - interval '1 day', 'interview-' || n, 'identity-' || n,
        $3::bytea
    FROM generate_series($1::bigint, $2::bigint) AS n
"""
FILL_ATTEMPTS = """
INSERT INTO verifications (id, user_id, flow, purpose, status, started_by, finished_by, created_at, expires_at,
        exchange_started_at, finished_at, omit_state, counted, callback_fingerprint, interview_id, identity_id,
        auth_overall_score, auth_overall_status)
    SELECT $3 || lpad(to_hex(n), 32 - length($3), '0'), coalesce($4, 'auth0|' || lpad(to_hex(n), 24, '0')), 'relay',
        'login', CASE WHEN n % $7 = 0 THEN 'failed' ELSE 'completed' END, 'acme', 'acme', at, at + interval '1 hour',
        at, at, false, false, repeat('f', 64), 'interview-' || n, coalesce($5, 'identity-' || n), '"98.7"', '"OK"'
    FROM generate_series($1::bigint, $2::bigint) AS n,
        LATERAL (SELECT now() - interval '1 day' * (1 + $8::int * (1 - n::float8 / $6::bigint)) AS at) AS moment
"""


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of attempts, as the service is asked for it."""

    title: str
    wanted: AttemptFilter

    @property
    def request(self) -> bytes:
        """The request for its first page."""
        members = {
            "user_id": self.wanted.user_id,
            "status": self.wanted.status,
            "identity_id": self.wanted.identity_id,
            "since": self.wanted.since and self.wanted.since.isoformat(),
            "until": self.wanted.until and self.wanted.until.isoformat(),
            "limit": self.wanted.limit,
        }
        query = urlencode({name: value for name, value in members.items() if value is not None})
        return request("GET", f"/v1/verifications?{query}", ADMIN_KEY)


def main() -> None:
    """Fill, measure, and ask for the lists."""
    needs_linux()
    with bench() as started:
        if POSTGRESQL not in started.engines:
            raise SystemExit("no PostgreSQL server at TEST_POSTGRES_URL")
        ids = [f"auth0|{number * max(1, LARGE // REAL):023x}-" for number in range(REAL)]
        few, many = _services(started, ids)
        cells = [
            Cell(replace(operation, goals={service.engine: operation.goals[POSTGRESQL]}), service)
            for operation in _operations(ids)
            for service in (few, many)
        ]
        measured = measure(started, cells, ROUNDS, SECONDS)
        lists = table([("", "p50 ms", "slowest ms", "found by"), *_listings(many)])
        sizes = asyncio.run(_sizes(plain_url(many.database_url)))
    tell("large", f"{measured}\n\n{lists}\n\n{sizes}")


def _services(started: Bench, ids: Sequence[str]) -> tuple[Service, Service]:
    provider = started.provider()
    export = exported(started.folder / "users.ndjson", ids)
    few, many = (started.service(POSTGRESQL, provider) for _ in range(2))
    for service in (few, many):
        imported(started, export, len(ids), service.database_url)
    asyncio.run(_fill(plain_url(many.database_url)))
    return (
        replace(few, engine=f"{REAL:,} users".replace(",", " ")),
        replace(many, engine=f"{LARGE:,} users".replace(",", " ")),
    )


async def _fill(url: str) -> None:
    """Put users and attempts on file whom nobody asks for: their records are copies of another's."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET synchronous_commit = off")
        sealed = await connection.fetchval("SELECT sealed_record FROM users LIMIT 1")
        for first in range(1, LARGE + 1, BATCH):
            last = min(first + BATCH - 1, LARGE)
            await connection.execute(FILL_USERS, first, last, sealed)
            await connection.execute(FILL_ATTEMPTS, first, last, "idv_a", None, None, LARGE, RARE, DAYS)
            print(f"{last} of {LARGE} users and attempts", file=sys.stderr)
        busy = ("idv_b", BUSY, BUSY_IDENTITY, BUSY_ATTEMPTS, RARE, DAYS)
        await connection.execute(FILL_ATTEMPTS, 1, BUSY_ATTEMPTS, *busy)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def _sizes(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        each = [
            await connection.fetchval(f"SELECT pg_total_relation_size('{name}')::float8 / count(*) FROM {name}")  # noqa: S608
            for name in ("users", "verifications")
        ]
    finally:
        await connection.close()
    user, attempt = (size / 1000 for size in each)
    return f"A user takes {user:.1f} kB, an attempt that is finished {attempt:.1f} kB, indices included."


def _operations(ids: Sequence[str]) -> Iterator[Operation]:
    """A status and a start of one of many users each time, and a start of a new one."""
    shuffled = random.Random(1).sample(ids, len(ids))  # noqa: S311  the same order in each run
    works: dict[str, Callable[[Service, int], Work]] = {
        "status": _in_turn([asked_for(user_id) for user_id in shuffled], b'"verified":true'),
        "start-window": _in_turn(
            [posted("/v1/verifications", {"user_id": user_id}) for user_id in shuffled], b'"reason":"recently_verified"'
        ),
        "start-new": starts_of_new_users,
    }
    for operation in OPERATIONS:
        if operation.name in works:
            yield replace(operation, work=works[operation.name])


def _in_turn(requests: Sequence[bytes], expected: bytes) -> Callable[[Service, int], Work]:
    return lambda _service, _count: Work(requests=itertools.cycle(requests), expected=expected)


def _listings(service: Service) -> Iterator[Sequence[str]]:
    now = datetime.now(UTC)
    middle = now - timedelta(days=DAYS / 2)
    listings = (
        Listing("attempts, newest first", AttemptFilter()),
        Listing("attempts that failed, one in a million", AttemptFilter(status=Status.FAILED)),
        Listing("attempts that wait for their confirmation, none", AttemptFilter(status=Status.RETURNED)),
        Listing("attempts of a user who has 100 000", AttemptFilter(user_id=BUSY)),
        Listing("attempts that failed, of that user", AttemptFilter(user_id=BUSY, status=Status.FAILED)),
        Listing("attempts of an identity that has 100 000", AttemptFilter(identity_id=BUSY_IDENTITY)),
        Listing("attempts of an hour", AttemptFilter(since=middle, until=middle + timedelta(hours=1))),
        Listing("attempts that failed, since 40 days", AttemptFilter(status=Status.FAILED, since=middle)),
    )
    for listing in listings:
        found_by = asyncio.run(_indexes(service.database_url, partial(_listed, wanted=listing.wanted, now=now)))
        yield listing.title, *_times(service, listing.request, b'"items":['), found_by
    start = posted("/v1/verifications", {"user_id": BUSY})
    found_by = asyncio.run(_indexes(service.database_url, partial(_begun, now=now)))
    yield "a start of that user", *_times(service, start, b'"action":"redirect"'), found_by


async def _listed(store: Store, *, wanted: AttemptFilter, now: datetime) -> None:
    await store.attempts(wanted, now)


async def _begun(store: Store, *, now: datetime) -> None:
    """What a start reads before it decides."""
    since = now - timedelta(days=1)
    await store.read_for_start(BUSY, Purpose.LOGIN, since=since, limit=TIMES, now=now)


def _times(service: Service, sent: bytes, expected: bytes) -> tuple[str, str]:
    work = Work(requests=itertools.repeat(sent, TIMES), expected=expected)
    outcome = drive(service.server.port, work, callers=1)
    return f"{outcome.ms(50):.1f}", f"{outcome.ms(100):.1f}"


async def _indexes(url: str, ask: Callable[[Store], Awaitable[None]]) -> str:
    """How PostgreSQL finds what is asked for: the last statement is the one that the service makes for it.

    It is planned for the values, the first times, and then perhaps once for whatever values may come.
    """
    database = Database(url, unhurried=True)
    queries = Queries(database)
    try:
        await ask(Store(database, Seals(Cipher([SETTINGS["ENCRYPTION_KEYS"]]))))
        await asyncio.sleep(0)  # the driver tells of a statement in the loop's next turn
        statement, parameters = queries.asked[-1]
        async with database.engine.connect() as connection:
            for_values = await _plan(connection, statement, parameters)
            await connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
            await connection.exec_driver_sql(f"PREPARE asked AS {statement}")
            nulls = ", ".join(["NULL"] * len(parameters))
            for_any = await _plan(connection, f"EXECUTE asked({nulls})")
    finally:
        await database.close()
    return for_values if for_any == for_values else f"{for_values}; or, once prepared, {for_any}"


async def _plan(connection: AsyncConnection, statement: str, parameters: Any = None) -> str:
    explained = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
    [plan] = explained.scalar_one()
    return ", ".join(sorted(set(_accesses(plan["Plan"]))))


def _accesses(node: dict[str, Any]) -> Iterator[str]:
    if "Index Name" in node:
        yield node["Index Name"]
    elif node["Node Type"].endswith("Seq Scan"):
        yield f"**all of {node['Relation Name']}**"
    for part in node.get("Plans", ()):
        yield from _accesses(part)


if __name__ == "__main__":
    main()
