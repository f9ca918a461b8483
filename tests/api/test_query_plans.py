"""How the databases carry out every query of the service, when there are many rows."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core import decisions
from app.core.domain import (
    Attempt,
    AuditAction,
    AuditEntry,
    Decision,
    Evidence,
    Flow,
    HostedSecrets,
    Purpose,
    RelaySecrets,
    Rules,
    Ruling,
    Status,
    UserRecord,
    Verdict,
    WayBack,
)
from app.storage import tables
from app.storage.audit import AuditFilter, AuditLog
from app.storage.database import Database
from app.storage.encryption import Cipher
from app.storage.keeping import Keeper
from app.storage.listing import AttemptFilter
from app.storage.sealed import Returned, Seals
from app.storage.store import NewAttempt, Store
from tests.harness.clock import Clock
from tests.harness.queries import Queries
from tests.harness.service import ENCRYPTION_KEY, Json

USERS = 5_000
ATTEMPTS_EACH = 6
TABLES = {"users", "verifications", "audit"}
ANSWER = b"as long as an answer that is sealed" * 20
RELAY = RelaySecrets(nonce="nonce", code_verifier="verifier", redirect_uri="https://tenant.example/continue")
HOSTED = HostedSecrets(nonce="nonce", code_verifier="verifier", redirect_uri="https://idv.example/v1/callback")
WAY_BACK = WayBack(return_to="https://tenant.example/continue")
VERDICT = Verdict(Evidence("int_1", "ana", "100.0", "OK", {}, {}))
# The audit's first page: without a user it goes along the attempts, newest first, and ends when the page is full.
FIRST_PAGE = "ORDER BY verifications.created_at DESC, verifications.id DESC"
MAY_WALK = (
    FIRST_PAGE,
    "ORDER BY audit.at DESC, audit.id DESC",
    # Along an index that holds the few rows alone which are only locks.
    "users.revision = 0",
)

Statement = tuple[str, Any]


class Noted:
    """Passes every call on, and notes which there were."""

    def __init__(self, target: object) -> None:
        self._target = target
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self._target, name)

    def offered(self) -> set[str]:
        return {name for name in vars(type(self._target)) if not name.startswith("_")}


async def fill(database: Database, clock: Clock) -> None:
    """Users with attempts of the last 90 days, most of them finished, as a service has that runs for long."""
    sealed = Cipher([ENCRYPTION_KEY]).seal("user\nuser-80", {})
    statuses = ["completed"] * 17 + ["failed", "expired", "pending"]
    users: list[Json] = [
        {"id": f"user-{n}", "at": clock.now, "sealed": sealed if n == 80 else None} for n in range(USERS)
    ]
    attempts: list[Json] = [
        {
            "id": f"idv_{n:032x}",
            "user_id": f"user-{n % USERS}",
            "identity_id": f"identity-{n % USERS}",
            "status": statuses[n % len(statuses)],
            "at": clock.now - timedelta(minutes=4 * n),
            "expires_at": clock.now - timedelta(minutes=4 * n - 60),
            "sealed": ANSWER,
        }
        for n in range(1, USERS * ATTEMPTS_EACH)
    ]
    moment = tables.UtcTimestamp()
    add_user = text(
        "INSERT INTO users (user_id, revision, completed, completed_at, sealed_record) VALUES (:id, 1, true, :at, "
        ":sealed)"
    )
    add_attempt = text(
        "INSERT INTO verifications (id, user_id, flow, purpose, status, started_by, created_at, expires_at, "
        "finished_at,"
        " identity_id, omit_state, counted, clear_at, sealed_answer) VALUES (:id, :user_id, 'relay', 'login', :status, "
        "'acme',"
        " :at, :expires_at, :at, :identity_id, false, false, NULL, :sealed)"
    )
    add_act = text("INSERT INTO audit (id, at, action, by, user_id) VALUES (:id, :at, 'reset', 'root', :user_id)")
    async with database.bulk() as connection:
        for row in [*users, *attempts]:
            row.update(
                {
                    name: moment.process_bind_param(row[name], connection.dialect)
                    for name in ("at", "expires_at")
                    if name in row
                }
            )
        await connection.execute(add_user, users)
        await connection.execute(add_attempt, attempts)
        acts = [{"id": f"aud_{n:032x}", "user_id": f"user-{n}", "at": users[n]["at"]} for n in range(USERS)]
        await connection.execute(add_act, acts)
        await connection.execute(text("ANALYZE"))


async def make_every_query(store: Any, audit: Any, keeper: Any, clock: Clock) -> None:
    """Everything that the storage does for the use-cases, on users in the midst of the others."""
    now = clock.now

    await store.user("user-77")
    await store.adopt("user-76", UserRecord())
    for flow in Flow:
        attempt = await begin(store, flow, clock)
        assert await store.attempt(attempt.id) == attempt
        if flow is Flow.HOSTED:
            assert await store.bind_browser(attempt, "1" * 64, HOSTED, WAY_BACK)
            attempt = replace(attempt, browser_digest="1" * 64)
        kept = await store.kept(attempt.id)
        assert kept.secrets == (HOSTED if flow is Flow.HOSTED else RELAY)
        assert kept.way_back == (WAY_BACK if flow is Flow.HOSTED else None)
        consumed = await store.consume_attempt(attempt, fingerprint="0" * 64, finished_by="acme", now=now)
        assert consumed
        attempt = consumed.attempt
        if flow is Flow.HOSTED:
            returned = Returned(outcome=VERDICT, token_digest="2" * 64)
            assert await store.keep_return(attempt, returned, "https://tenant.example/continue", now)
            attempt = replace(attempt, status=Status.RETURNED, returned_at=now)
            assert await store.return_location(attempt)
            assert await store.returned(attempt) == returned
        await finish(store, attempt, clock)
    await make_every_list(store, audit, clock)
    await administrate(store, clock)
    await keep_house(keeper, clock)


async def begin(store: Any, flow: Flow, clock: Clock) -> Attempt:
    attempt = new_attempt("user-77", flow, clock)
    new = NewAttempt(
        attempt=attempt,
        secrets=HOSTED if flow is Flow.HOSTED else RELAY,
        way_back=WAY_BACK if flow is Flow.HOSTED else None,
    )
    since = clock.now - timedelta(days=1)
    reading = await store.read_for_start(attempt.user_id, attempt.purpose, since=since, limit=20, now=clock.now)
    assert await store.begin_attempt(new, reading)
    return attempt


async def finish(store: Any, attempt: Attempt, clock: Clock) -> None:
    def decide(record: UserRecord | None) -> Ruling:
        return decisions.rule(VERDICT, attempt, None, clock.now, Rules())

    assert isinstance(await store.record_outcome(attempt, decide, clock.now, {}), Decision)
    assert await store.answer(attempt)


def entry(action: AuditAction, user_id: str, clock: Clock) -> AuditEntry:
    return AuditEntry(
        id=f"aud_{action}_{user_id}", at=clock.now, action=action, by="root", user_id=user_id, request_id=None
    )


async def administrate(store: Any, clock: Clock) -> None:
    for user_id in ("user-78", "somebody whom we have never met"):
        await store.reset_user(user_id, lambda record: record, entry(AuditAction.RESET, user_id, clock))
    await store.erase_user("user-79", entry(AuditAction.ERASE, "user-79", clock))
    await store.note("user-78", entry(AuditAction.EXPORT, "user-78", clock))


async def keep_house(keeper: Any, clock: Clock) -> None:
    assert await keeper.take_turn("somebody", clock.now)
    await keeper.clear_served(clock.now)
    assert await keeper.remove_old(clock.now - timedelta(days=70), clock.now) > 0
    await keeper.remove_idle_locks()
    assert await keeper.purge(clock.now - timedelta(days=60), clock.now) > 0
    assert (await keeper.reseal()).resealed > 0
    await keeper.forget_deleted()
    assert (await keeper.examine_records(10)).looked_at > 0
    await keeper.keys_in_use()
    assert await keeper.unreadable_digest_keys() == []


async def make_every_list(store: Any, audit: Any, clock: Clock) -> None:
    first = await store.attempts(AttemptFilter(), clock.now)
    narrowings: list[Json] = [{}, {"user_id": "user-77"}, {"identity_id": "identity-77"}]
    for narrowed in narrowings:
        for status in (None, *Status):
            for after in (None, first.next):
                await store.attempts(AttemptFilter(**narrowed, status=status, after=after), clock.now)
    since, until = clock.now - timedelta(days=2), clock.now - timedelta(days=1)
    await store.attempts(AttemptFilter(since=since, until=until), clock.now)
    for wanted in (AuditFilter(), AuditFilter(user_id="user-79"), AuditFilter(action=AuditAction.ERASE, since=since)):
        await audit.entries(wanted)


def new_attempt(user_id: str, flow: Flow, clock: Clock) -> Attempt:
    return Attempt(
        id=f"idv_{('a' if flow is Flow.RELAY else 'b') * 32}",
        user_id=user_id,
        flow=flow,
        purpose=Purpose.LOGIN,
        status=Status.PENDING,
        started_by="acme",
        created_at=clock.now,
        expires_at=clock.now + timedelta(hours=1),
    )


async def statements_of_the_storage(database: Database, clock: Clock) -> list[Statement]:
    queries = Queries(database)
    cipher = Cipher([Fernet.generate_key().decode(), ENCRYPTION_KEY])
    seals = Seals(cipher)
    store, audit, keeper = (
        Noted(Store(database, seals)),
        Noted(AuditLog(database, seals)),
        Noted(Keeper(database, cipher)),
    )
    await make_every_query(store, audit, keeper, clock)
    for noted in (store, audit, keeper):
        assert noted.called == noted.offered(), "a query that nobody has made here"
    made: dict[str, Any] = {}
    for statement, parameters in queries.asked:
        if any(table in statement for table in TABLES):
            made.setdefault(statement, parameters)
    return list(made.items())


def is_one_users_list_of_completed_attempts(statement: Statement) -> bool:
    query, parameters = statement
    narrowed = all(part in query for part in ("verifications.user_id = ", "verifications.status = ", "LIMIT"))
    return narrowed and ("= 'completed'" in query or "completed" in parameters)


async def accesses(connection: AsyncConnection, statement: Statement) -> list[str]:
    """How each table is read: `SCAN table` when row by row, `WALK table` when along an index, `SEARCH table` by a
    key.
    """
    if connection.dialect.name == "sqlite":
        read = [row for row in await _sqlite_plan(connection, statement) if row.startswith(("SCAN ", "SEARCH "))]
        return [_sqlite_access(detail) for detail in read if detail.split()[1] in TABLES]
    return [
        _postgres_access(node)
        for node in await _postgres_plan(connection, statement)
        if "Scan" in node["Node Type"] and "Relation Name" in node
    ]


async def keys(connection: AsyncConnection, statement: Statement) -> list[str]:
    """What indexes are searched for, in the database's words."""
    if connection.dialect.name == "sqlite":
        return [row.partition("(")[2] for row in await _sqlite_plan(connection, statement) if row.startswith("SEARCH ")]
    return [node["Index Cond"] for node in await _postgres_plan(connection, statement) if "Index Cond" in node]


async def _sqlite_plan(connection: AsyncConnection, statement: Statement) -> list[str]:
    query, parameters = statement
    return [row.detail for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", parameters)]


async def _postgres_plan(connection: AsyncConnection, statement: Statement) -> list[Json]:
    query, parameters = statement
    explained = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}", parameters)
    [plan] = explained.scalar_one()
    return list(_nodes(plan["Plan"]))


def _sqlite_access(detail: str) -> str:
    verb, table, *using = detail.split()
    return f"WALK {table}" if verb == "SCAN" and using else f"{verb} {table}"


def _postgres_access(node: Json) -> str:
    verb = "SCAN" if node["Node Type"] == "Seq Scan" else "SEARCH" if _is_bounded(node) else "WALK"
    return f"{verb} {node['Relation Name']}"


def _is_bounded(node: Json) -> bool:
    return "Index Cond" in node or "Recheck Cond" in node


def _nodes(node: Json) -> Iterator[Json]:
    yield node
    for part in node.get("Plans", ()):
        yield from _nodes(part)


async def test_no_query_reads_a_table_row_by_row(database_url: str, clock: Clock) -> None:
    database = Database(database_url, unhurried=True)
    await fill(database, clock)
    statements = await statements_of_the_storage(database, clock)
    found = {}
    async with database.engine.connect() as connection:
        for statement in statements:
            found[statement[0]] = await accesses(connection, statement)
        lists = [statement for statement in statements if is_one_users_list_of_completed_attempts(statement)]
        by_both = [await keys(connection, statement) for statement in lists]
    await database.close()

    read = {access for each in found.values() for access in each}
    assert {f"SEARCH {table}" for table in TABLES} <= read
    assert [query for query, each in found.items() if any(access.startswith("SCAN") for access in each)] == []
    walks = [query for query, each in found.items() if any(access.startswith("WALK") for access in each)]
    assert [query for query in walks if not any(part in query for part in MAY_WALK) or "created_at <" in query] == []
    # A list that goes through all attempts of a user, or of a status, is a search by a key, too.
    assert len(by_both) == 2
    assert all("user_id" in key and "status" in key for [key] in by_both)
