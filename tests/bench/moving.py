"""Moving in from the Action, and up from SQLite: how long many users take."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from app.core.claims import app_metadata
from app.core.domain import Evidence, UserRecord
from tests.bench.figures import yes_or_no
from tests.bench.limits import Line
from tests.bench.servers import POSTGRESQL, SQLITE, Bench, Ran

MILLION = 1_000_000
GOAL_SECONDS = 300


def moved(bench: Bench, users: int) -> Iterator[Line]:
    """An import into each database, and a copy from the one to the other."""
    ids = (f"auth0|{number:024x}" for number in range(users))
    export = exported(bench.folder / "users.ndjson", ids)
    databases = {engine: bench.database(engine) for engine in bench.engines}
    for engine, url in databases.items():
        yield _line("idv import", engine, users, imported(bench, export, users, url))
    if POSTGRESQL in databases:
        target = bench.database(POSTGRESQL)
        ran = bench.run("copy", DATABASE_URL=databases[SQLITE], COPY_TO=target)
        if f"users: {users} rows" not in ran.output:
            raise SystemExit(f"idv copy: {ran.output}")
        yield _line("idv copy", f"{SQLITE} → {POSTGRESQL}", users, ran)


def imported(bench: Bench, export: Path, users: int, url: str) -> Ran:
    """Take so many users over. Raises SystemExit unless all were."""
    ran = bench.run("import", "--json", str(export), DATABASE_URL=url)
    if json.loads(ran.output)["added"] != users:
        raise SystemExit(f"idv import: {ran.output}")
    return ran


def _line(command: str, engine: str, users: int, ran: Ran) -> Line:
    """The whole of it for a million users, scaled where they were fewer."""
    whole = ran.seconds * MILLION / users
    measured = f"{ran.seconds:.1f} s, CPU {ran.cpu:.1f} s"
    if users != MILLION:
        measured += f"; a million, scaled: {whole:.0f} s"
    return (
        f"`{command}` of {users:,} users".replace(",", " "),
        engine,
        measured,
        f"a million in {GOAL_SECONDS} s",
        yes_or_no(whole <= GOAL_SECONDS),
    )


def exported(file: Path, user_ids: Iterable[str]) -> Path:
    """What Auth0 would export of these users, whom the Action has verified."""
    metadata = app_metadata(
        UserRecord(
            completed=True,
            completed_at=datetime.now(UTC),
            interview_id="6641f0a2b7c9",
            identity_id="6641f0a2b7ca",
            evidence=Evidence(
                interview_id="6641f0a2b7c9",
                identity_id="6641f0a2b7ca",
                auth_overall_score="98.7",
                auth_overall_status="OK",
                pii={"name": "Ana Torres", "birthdate": "1990-05-17"},
                userinfo={"sub": "s-1", "name": "Ana Torres", "birthdate": "1990-05-17", "email": "ana@example.com"},
            ),
        )
    )
    rest = json.dumps(metadata)
    with file.open("w", encoding="utf-8") as lines:
        for user_id in user_ids:
            lines.write(f'{{"user_id":{json.dumps(user_id)},"app_metadata":{rest}}}\n')
    return file
