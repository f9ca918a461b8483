"""How fast one process of the service answers, by itself and when many call at once.

Run it with `make bench`; `SECONDS=30 make bench` measures for longer, `WORKERS=2 make bench` more processes. The
provider and the callers run on the same machine and take their share of it, so the figures are for comparison: before
and after a change, this machine and that one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import httpx

from tests.harness.service import Json, query_of
from tests.system.deployment import Deployment, deployed
from tests.system.processes import IDP_KEY

SECONDS = float(os.environ.get("SECONDS", "5"))
WORKERS = int(os.environ.get("WORKERS", "1"))
CALLERS = (1, 16)
VERIFIED = "bench|verified"

Call = Callable[[], Awaitable[object]]


class Bench:
    """An identity provider's backend, and the people whom it sends to the provider."""

    def __init__(self, deployment: Deployment) -> None:
        key = {"Authorization": f"Bearer {IDP_KEY}"}
        self._idp = httpx.AsyncClient(base_url=deployment.url, headers=key, timeout=30)
        self._browser = httpx.AsyncClient(timeout=30)
        self._names = (f"bench|{n}" for n in itertools.count())

    async def close(self) -> None:
        """Close every connection."""
        await self._idp.aclose()
        await self._browser.aclose()

    async def status(self) -> Json:
        """Whether a user's verification stands."""
        return _answer(await self._idp.get(f"/v1/users/{VERIFIED.replace('|', '%7C')}"))

    async def start(self, user_id: str) -> Json:
        """Ask at a login."""
        return _answer(await self._idp.post("/v1/verifications", json={"user_id": user_id}))

    async def start_new(self) -> Json:
        """Ask at the login of somebody who was never verified."""
        return await self.start(next(self._names))

    async def arrived(self, user_id: str) -> Json:
        """The callback of a person who was verified by the provider, and has come back."""
        started = await self.start(user_id)
        address = started["redirect_url"].partition("?")[0]
        back = await self._browser.get(address, params={**query_of(started["redirect_url"]), "outcome": "verified"})
        return {
            "user_id": user_id,
            "verification_id": started["verification"]["id"],
            **query_of(back.headers["Location"]),
        }

    async def finish(self, callback: Json) -> Json:
        """Hand a callback in."""
        decision = _answer(await self._idp.post("/v1/callback", json=callback))
        if decision["reason"] != "verified":
            raise SystemExit(f"a callback was answered with {decision['reason']}")
        return decision

    async def run(self) -> None:
        """Measure every operation with one caller, then with many."""
        await self.finish(await self.arrived(VERIFIED))
        for at_once in CALLERS:
            await _measure("status", at_once, itertools.repeat(self.status))
            await _measure("start, inside the window", at_once, itertools.repeat(partial(self.start, VERIFIED)))
            await _measure("start, to be verified", at_once, itertools.repeat(self.start_new))
            waiting = [await self.arrived(next(self._names)) for _ in range(int(20 * SECONDS))]
            await _measure("callback", at_once, (partial(self.finish, body) for body in waiting))


def _answer(response: httpx.Response) -> Json:
    if response.status_code != 200:
        raise SystemExit(f"{response.request.method}: {response.status_code} {response.text}")
    answer: Json = response.json()
    return answer


async def _measure(name: str, at_once: int, calls: Iterator[Call]) -> None:
    """So many callers, each without a pause, for some seconds or until there are no more calls."""
    took: list[float] = []
    began = time.perf_counter()

    async def caller() -> None:
        for call in calls:
            asked = time.perf_counter()
            await call()
            took.append(time.perf_counter() - asked)
            if time.perf_counter() - began > SECONDS:
                return

    await asyncio.gather(*(caller() for _ in range(at_once)))
    elapsed = time.perf_counter() - began
    median, late = statistics.median(took) * 1000, statistics.quantiles(took, n=20)[-1] * 1000
    print(f"{name:28} {at_once:8} {len(took) / elapsed:12.0f} {median:10.1f} {late:10.1f}")


async def _bench(deployment: Deployment) -> None:
    bench = Bench(deployment)
    try:
        await bench.run()
    finally:
        await bench.close()


def main() -> None:
    """Start everything, and print a line for each operation."""
    with deployed(WORKERS) as deployment:
        print(f"{WORKERS} process(es) on {deployment.database}")
        print(f"{'':28} {'callers':>8} {'a second':>12} {'median ms':>10} {'95 % ms':>10}")
        asyncio.run(_bench(deployment))


if __name__ == "__main__":
    main()
