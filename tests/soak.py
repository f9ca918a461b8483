"""A bounded soak: many logins at once through a real service with two workers, while the provider misbehaves.

Run it with `make soak`; `SECONDS=600 make soak` takes longer. It ends with an error when a user's record does not agree
with the answers that were given, when a code was sent twice, when an answer was a fault, or when memory kept growing.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app.oidc.cache import FORCED_REFETCH_SECONDS
from app.sandbox import OUTCOMES, Endpoint
from tests.harness.service import Json, query_of
from tests.system.deployment import Deployment, deployed
from tests.system.processes import ADMIN_KEY, IDP_KEY

SECONDS = float(os.environ.get("SECONDS", "60"))
USERS = 40
WORKERS = 2
GROWTH_ALLOWED_MB = 25.0
KEY_SECONDS = 2 * FORCED_REFETCH_SECONDS
"""How long the provider keeps a key: the service looks for a new one once a minute, and this is about more than
that.
"""
CHANCE = random.Random()
PERSONAS = (
    "honest",
    "honest",
    "honest",
    "nonce-invalid",
    "expired",
    "userinfo-invalid-sub",
    "token-answer-is-an-array",
)

OUTAGES: tuple[tuple[Endpoint, ...], ...] = ((), (), (), ("token",), ("userinfo",), ("jwks", "discovery"))


@dataclass
class Login:
    """One user, and what the service last answered about him."""

    user_id: str
    record: Json = field(default_factory=dict)
    attempts: dict[str, str] = field(default_factory=dict)


class Soak:
    """The users at work. `wrong` collects what should not have happened."""

    def __init__(self, deployment: Deployment) -> None:
        url, self.sandbox = deployment.url, deployment.sandbox
        limits = httpx.Limits(max_connections=USERS)
        self.idp = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {IDP_KEY}"}, limits=limits, timeout=30
        )
        self.admin = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=30)
        self.browser = httpx.AsyncClient(timeout=30)
        self.logins = [Login(f"soak|{n}") for n in range(USERS)]
        self.counted: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.rotates_at = time.monotonic() + SECONDS / 2

    async def close(self) -> None:
        """Close every connection."""
        for client in (self.idp, self.admin, self.browser):
            await client.aclose()

    async def ask(self, method: str, path: str, **body: object) -> Json:
        """Ask the service; any other answer than 200 is wrong."""
        answer = await self.idp.request(method, path, json=body or None)
        if answer.status_code != 200:
            self.wrong.append(f"{method} {path.partition('soak')[0]}: {answer.status_code} {answer.text[:200]}")
            return {}
        result: Json = answer.json()
        return result

    async def log_in(self, login: Login) -> None:
        """One login, sometimes with a callback that is sent several times at once."""
        started = await self.ask("POST", "/v1/verifications", user_id=login.user_id, force=CHANCE.random() < 0.5)
        self.counted[started.get("reason", "fault")] += 1
        if started.get("action") != "redirect":
            return
        url = started["redirect_url"]
        outcome = CHANCE.choice([*OUTCOMES, *["verified"] * 10])
        visited = await self.browser.get(url.partition("?")[0], params={**query_of(url), "outcome": outcome})
        body = {"user_id": login.user_id, "verification_id": started["verification"]["id"]}
        body |= query_of(visited.headers["Location"])
        times = CHANCE.choice([1, 1, 1, 5])
        decisions = await asyncio.gather(*(self.ask("POST", "/v1/callback", **body) for _ in range(times)))
        if any(decision != decisions[0] for decision in decisions):
            self.wrong.append(f"{body['verification_id']}: {times} equal callbacks, different answers")
        self.counted[decisions[0].get("reason", "fault")] += 1
        login.record = decisions[0].get("app_metadata", {})
        login.attempts[body["verification_id"]] = decisions[0].get("verification", {}).get("status", "")

    async def keep_logging_in(self, login: Login, until: float) -> None:
        """Log in again and again, and ask for the status in between."""
        while time.monotonic() < until and not self.wrong:
            await self.log_in(login)
            await self.agrees(login)

    async def agrees(self, login: Login) -> None:
        """Assert that the user's record is what was last answered."""
        status = await self.ask("GET", f"/v1/users/{login.user_id.replace('|', '%7C')}")
        if status.get("app_metadata") != login.record:
            self.wrong.append(f"{login.user_id}: the record is not what was answered")
        if bool(status.get("claims")) != bool(status.get("verified")):
            self.wrong.append(f"{login.user_id}: a claim without a verification that stands, or the other way round")

    async def misbehave(self, until: float) -> None:
        """Let the provider change its behaviour every second."""
        while time.monotonic() < until and not self.wrong:
            self.sandbox.become(CHANCE.choice(PERSONAS))
            self.sandbox.down = set(CHANCE.choice(OUTAGES))
            if time.monotonic() >= self.rotates_at:
                self.sandbox.rotate_key()
                self.rotates_at = time.monotonic() + KEY_SECONDS
            await asyncio.sleep(1)

    async def run(self, seconds: float) -> None:
        """Everything at once for so many seconds, then a look at every record and every attempt."""
        until = time.monotonic() + seconds
        await asyncio.gather(self.misbehave(until), *(self.keep_logging_in(login, until) for login in self.logins))
        for login in self.logins:
            await self.agrees(login)
            for attempt, status in login.attempts.items():
                stored = (await self.admin.get(f"/v1/verifications/{attempt}")).json()
                if stored.get("status") != status:
                    self.wrong.append(f"{attempt}: is {stored.get('status')}, was answered as {status}")
        codes = Counter(one.parameters.get("code") for one in self.sandbox.requests if one.endpoint == "token")
        if any(times > 1 for times in codes.values()):
            self.wrong.append("a code was sent twice")


def memory_mb(parent: int) -> float:
    """The resident memory of a process and its children, in megabytes."""
    children = [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent(entry) == parent
    ]
    own = Path(f"/proc/{parent}/statm").read_text(encoding="ascii").split()[1]
    return int(own) * os.sysconf("SC_PAGE_SIZE") / 1e6 + sum(memory_mb(child) for child in children)


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return None


async def soak(deployment: Deployment) -> list[str]:
    """The soak proper: a third of the time to warm up, then the rest, with the memory before and after."""
    process = deployment.service.process.pid
    work = Soak(deployment)
    try:
        await work.run(SECONDS / 3)
        before = memory_mb(process)
        await work.run(SECONDS * 2 / 3)
        after = memory_mb(process)
    finally:
        await work.close()
    attempts = sum(len(login.attempts) for login in work.logins)
    print(
        f"{attempts} verifications of {USERS} users on {deployment.database}; memory {before:.0f} MB, then {after:.0f} "
        "MB"
    )
    for reason, times in work.counted.most_common():
        print(f"{times:8} {reason}")
    if after - before > GROWTH_ALLOWED_MB:
        work.wrong.append(f"memory grew by {after - before:.0f} MB")
    return work.wrong


def main() -> None:
    """Start everything, soak, and say what was wrong."""
    with deployed(WORKERS) as deployment:
        wrong = asyncio.run(soak(deployment))
        wrong += deployment.service.errors.splitlines()[-20:]
    if wrong:
        raise SystemExit("\n".join(wrong[:20]))


if __name__ == "__main__":
    main()
