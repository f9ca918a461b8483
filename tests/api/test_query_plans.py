"""How the databases carry out every query of the service, when there are many rows."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import event, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core import decisions
from app.core.domain import Attempt, Decision, Evidence, Flow, Purpose, RequestSecrets, Rules, Ruling, Status, UserRecord, Verdict
from app.storage import tables
from app.storage.database import Database
from app.storage.encryption import Cipher
from app.storage.keeping import Keeper
from app.storage.store import AttemptFilter, Store
from tests.harness.clock import Clock
from tests.harness.service import ENCRYPTION_KEY, Json

USERS = 5_000
ATTEMPTS_EACH = 6
TABLES = {"users", "verifications"}
ANSWER = b"as long as an answer that is sealed" * 20
SECRETS = RequestSecrets("nonce", "verifier", "https://tenant.example/continue")
VERDICT = Verdict(Evidence("int_1", "ana", "100.0", "OK", {}, {}))
# The audit's first page: without a user it goes along the attempts, newest first, and ends when the page is full.
FIRST_PAGE = "ORDER BY verifications.created_at DESC, verifications.id DESC"

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
    sealed = Cipher([ENCRYPTION_KEY]).seal("user:user-80", None)
    statuses = ["completed"] * 17 + ["failed", "expired", "pending"]
    users: list[Json] = [{"id": f"user-{n}", "at": clock.now, "sealed": sealed if n == 80 else None} for n in range(USERS)]
    attempts: list[Json] = [
        {
            "id": f"idv_{n:032x}",
            "user_id": f"user-{n % USERS}",
            "status": statuses[n % len(statuses)],
            "at": clock.now - timedelta(minutes=4 * n),
            "expires_at": clock.now - timedelta(minutes=4 * n - 60),
            "sealed": ANSWER,
        }
        for n in range(1, USERS * ATTEMPTS_EACH)
    ]
    moment = tables.UtcTimestamp()
    add_user = text(
        "INSERT INTO users (user_id, revision, completed, completed_at, sealed_evidence) VALUES (:id, 1, true, :at, :sealed)"
    )
    add_attempt = text(
        "INSERT INTO verifications (id, user_id, flow, purpose, status, started_by, created_at, expires_at, finished_at,"
        " sealed_answer) VALUES (:id, :user_id, 'relay', 'login', :status, 'acme', :at, :expires_at, :at, :sealed)"
    )
    async with database.writing() as session:
        dialect = session.get_bind().dialect
        for row in [*users, *attempts]:
            row.update({name: moment.process_bind_param(row[name], dialect) for name in ("at", "expires_at") if name in row})
        await session.execute(add_user, users)
        await session.execute(add_attempt, attempts)
        await session.execute(text("ANALYZE"))


async def make_every_query(store: Any, keeper: Any, clock: Clock) -> None:
    """Everything that the storage does for the use-cases, on users in the midst of the others."""
    now, later = clock.now, clock.now + timedelta(seconds=60)

    def decide(record: UserRecord | None) -> Ruling:
        return decisions.rule(VERDICT, Purpose.LOGIN, record, now, Rules())

    await store.user("user-77")
    await store.failures_about_the_person("user-77", Purpose.LOGIN, now - timedelta(days=1), later)
    await store.newest_pending_relay_login("user-77", later)
    await store.relay_login_with_callback("user-77", "0" * 64)
    for flow in Flow:
        attempt = new_attempt("user-77", flow, clock)
        await store.add_attempt(attempt, SECRETS)
        assert await store.attempt(attempt.id) == attempt
        assert await store.bind_browser(attempt, "1" * 64, SECRETS)
        assert await store.secrets(attempt)
        consumed = await store.consume_attempt(attempt, fingerprint="0" * 64, finished_by="acme", now=now)
        assert consumed
        attempt = consumed.attempt
        if flow is Flow.HOSTED:
            assert await store.keep_return(attempt, VERDICT, "https://tenant.example/continue", now)
            attempt = replace(attempt, status=Status.RETURNED)
            assert await store.return_location(attempt)
            assert await store.unconfirmed_outcome(attempt) == VERDICT
        assert isinstance(await store.record_outcome(attempt, decide, now, {}), Decision)
        assert await store.answer(attempt)
    await make_every_list(store, clock)
    await store.reset_user("user-78", lambda record: replace(record, completed=None), now)
    await store.reset_user("somebody whom we have never met", lambda record: record, now)
    await store.erase_user("user-79")
    assert await keeper.purge_attempts(now - timedelta(days=60), now) > 0
    assert (await keeper.reseal()).resealed > 0


async def make_every_list(store: Any, clock: Clock) -> None:
    first = await store.attempts(AttemptFilter(), clock.now)
    for user_id in (None, "user-77"):
        for status in (None, *Status):
            for after in (None, first.next):
                await store.attempts(AttemptFilter(user_id, status, after=after), clock.now)


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
    made: dict[str, Any] = {}

    def note(_: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if any(table in statement for table in TABLES):
            made.setdefault(statement, parameters)

    cipher = Cipher([Fernet.generate_key().decode(), ENCRYPTION_KEY])
    store, keeper = Noted(Store(database, cipher)), Noted(Keeper(database, cipher))
    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    await make_every_query(store, keeper, clock)
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    for noted in (store, keeper):
        assert noted.called == noted.offered(), "a query that nobody has made here"
    return list(made.items())


async def accesses(connection: AsyncConnection, statement: Statement) -> list[str]:
    """How each table is read: `SCAN table` when row by row, `WALK table` when along an index, `SEARCH table` by a key."""
    query, parameters = statement
    if connection.dialect.name == "sqlite":
        explained = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", parameters)
        return [_sqlite_access(row.detail) for row in explained if row.detail.startswith(("SCAN ", "SEARCH "))]
    explained = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}", parameters)
    [plan] = explained.scalar_one()
    return [_postgres_access(node) for node in _nodes(plan["Plan"]) if "Scan" in node["Node Type"] and "Relation Name" in node]


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
    await database.close()

    read = {access for each in found.values() for access in each}
    assert {f"SEARCH {table}" for table in TABLES} <= read
    assert [query for query, each in found.items() if any(access.startswith("SCAN") for access in each)] == []
    walks = [query for query, each in found.items() if any(access.startswith("WALK") for access in each)]
    assert [query for query in walks if FIRST_PAGE not in query or "created_at <" in query] == []
