from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from app.demo import Demo
from tests.acme.visitor import Visitor
from tests.harness.demo import running_demo

NewVisitor = Callable[[], Visitor]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest_asyncio.fixture
async def new_visitor(demo: Demo) -> AsyncIterator[NewVisitor]:
    async with AsyncExitStack() as stack:

        def new() -> Visitor:
            visitor = Visitor(demo)
            stack.push_async_callback(visitor.client.aclose)
            return visitor

        yield new


@pytest_asyncio.fixture
async def visitor(new_visitor: NewVisitor) -> Visitor:
    return new_visitor()
