from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from app.oidc import Endpoint, ProviderUnavailable, Reason
from app.oidc.cache import Cached

DAY = 24 * 3600.0
MS = 0.001
AWAY = ProviderUnavailable(Endpoint.KEYS, Reason.LATE)


class Source:
    """A document as a test wants it: `answer` is handed out, or raised, once the gate is open."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.loads = 0
        self.answer: str | Exception = "first"
        self.gate = asyncio.Event()
        self.gate.set()
        self.loading = asyncio.Event()
        self.cached = Cached(self.load, lambda: self.now)

    async def load(self) -> str:
        self.loads += 1
        self.loading.set()
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def until_loading(self) -> None:
        await asyncio.wait_for(self.loading.wait(), timeout=5)

    async def get_after(self, seconds: float) -> str:
        self.now += seconds
        return await self.cached.get()

    async def refetch_after(self, seconds: float) -> str:
        self.now += seconds
        return await self.cached.refetch()


@pytest.fixture
async def source() -> Source:
    return Source()


async def test_nothing_is_loaded_before_it_is_asked_for(source: Source) -> None:
    assert source.loads == 0


@pytest.mark.parametrize(("age", "expected", "loads"), [(0, "first", 1), (300 - MS, "first", 1), (300, "second", 2)])
async def test_a_document_is_fresh_for_300_seconds(source: Source, age: float, expected: str, loads: int) -> None:
    await source.cached.get()
    source.answer = "second"
    assert await source.get_after(age) == expected
    assert source.loads == loads


async def test_a_document_is_as_old_as_its_arrival(source: Source) -> None:
    source.gate.clear()
    getting = asyncio.create_task(source.cached.get())
    await source.until_loading()
    source.now += 10
    source.gate.set()
    await getting
    await source.get_after(300 - MS)
    assert source.loads == 1
    await source.get_after(MS)
    assert source.loads == 2


async def test_a_failing_load_goes_unnoticed_while_the_document_can_be_used(source: Source) -> None:
    await source.cached.get()
    source.answer = AWAY
    assert await source.get_after(300) == "first"
    assert await source.get_after(DAY - 300 - MS) == "first"
    assert source.loads == 3
    with pytest.raises(ProviderUnavailable):
        await source.get_after(MS)


async def test_a_document_comes_back_after_an_outage(source: Source) -> None:
    await source.cached.get()
    source.answer = AWAY
    with pytest.raises(ProviderUnavailable):
        await source.get_after(DAY)
    source.answer = "second"
    assert await source.cached.get() == "second"


async def test_a_failing_load_is_not_repeated_within_five_seconds(source: Source) -> None:
    await source.cached.get()
    source.answer = AWAY
    await source.get_after(300)
    assert await source.get_after(5 - MS) == "first"
    assert source.loads == 2
    assert await source.get_after(MS) == "first"
    assert source.loads == 3


async def test_without_a_document_every_call_tries_again(source: Source) -> None:
    source.answer = AWAY
    for _ in range(3):
        with pytest.raises(ProviderUnavailable):
            await source.cached.get()
    assert source.loads == 3
    source.answer = "second"
    assert await source.cached.get() == "second"


async def test_a_fault_that_is_no_protocol_error_is_raised_and_over(source: Source) -> None:
    await source.cached.get()
    source.answer = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        await source.get_after(300)
    source.answer = "second"
    assert await source.get_after(5) == "second"


async def waiting(source: Source, callers: int) -> list[asyncio.Task[str]]:
    """Callers that all wait for the same load: each got its turn before the load did."""
    source.gate.clear()
    tasks = [asyncio.create_task(source.cached.get()) for _ in range(callers)]
    await source.until_loading()
    return tasks


async def test_many_callers_share_one_load(source: Source) -> None:
    tasks = await waiting(source, 50)
    source.gate.set()
    assert await asyncio.gather(*tasks) == ["first"] * 50
    assert source.loads == 1


async def test_many_callers_share_one_failure(source: Source) -> None:
    tasks = await waiting(source, 50)
    source.answer = AWAY
    source.gate.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [AWAY] * 50
    assert source.loads == 1


@pytest.mark.parametrize("gives_up", [0, 1, 2])
async def test_a_caller_who_gives_up_takes_the_document_from_nobody(source: Source, gives_up: int) -> None:
    tasks = await waiting(source, 3)
    tasks[gives_up].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[gives_up]
    source.gate.set()
    del tasks[gives_up]
    assert await asyncio.gather(*tasks) == ["first"] * 2
    assert source.loads == 1


async def test_a_document_that_nobody_waits_for_any_more_is_kept(source: Source) -> None:
    [task] = await waiting(source, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    source.gate.set()
    assert await source.cached.get() == "first"
    assert source.loads == 1


async def test_a_document_is_fetched_again_at_once_on_demand(source: Source) -> None:
    await source.cached.get()
    source.answer = "second"
    assert await source.cached.refetch() == "second"
    assert await source.cached.get() == "second"
    assert source.loads == 2


@pytest.mark.parametrize(("pause", "expected", "loads"), [(0, "first", 1), (60 - MS, "first", 1), (60, "second", 2)])
async def test_a_demand_is_met_once_a_minute(source: Source, pause: float, expected: str, loads: int) -> None:
    await source.cached.refetch()
    source.answer = "second"
    assert await source.refetch_after(pause) == expected
    assert source.loads == loads


async def test_a_demand_that_fails_is_no_way_to_the_next_one(source: Source) -> None:
    await source.cached.get()
    source.answer = AWAY
    with pytest.raises(ProviderUnavailable):
        await source.cached.refetch()
    assert await source.refetch_after(60 - MS) == "first"
    assert source.loads == 2
    with pytest.raises(ProviderUnavailable):
        await source.refetch_after(MS)
    assert source.loads == 3


async def test_a_failing_demand_leaves_the_document(source: Source) -> None:
    await source.cached.get()
    source.answer = AWAY
    with pytest.raises(ProviderUnavailable):
        await source.cached.refetch()
    assert await source.cached.get() == "first"


async def test_many_demands_are_one_load(source: Source) -> None:
    await source.cached.get()
    source.answer = "second"
    source.gate.clear()
    source.loading.clear()
    tasks = [asyncio.create_task(source.cached.refetch()) for _ in range(50)]
    await source.until_loading()
    source.gate.set()
    assert await asyncio.gather(*tasks) == ["second"] * 50
    assert source.loads == 2


async def test_a_demand_during_a_load_joins_it(source: Source) -> None:
    [getting] = await waiting(source, 1)
    demanding = asyncio.create_task(source.cached.refetch())
    source.gate.set()
    assert [await getting, await demanding] == ["first", "first"]
    assert source.loads == 1


async def test_a_silent_source_is_not_waited_for_while_the_document_can_be_used(source: Source) -> None:
    await source.cached.get()
    source.answer = "second"
    # The gate stays shut: only the cache's own patience can end the wait.
    source.gate.clear()
    assert await source.get_after(300) == "first"
    source.gate.set()
    assert await source.cached.refetch() == "second"
    assert source.loads == 2


async def test_a_failure_that_nobody_waits_for_any_more_is_not_reported_as_a_bug(source: Source) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    tasks = await waiting(source, 1)
    source.answer = AWAY
    tasks.pop().cancel()
    source.gate.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    gc.collect()
    assert reported == []
