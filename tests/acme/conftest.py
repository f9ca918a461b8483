from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from anyio.from_thread import start_blocking_portal

from app.demo import Demo, Ports, everything
from tests.acme.visitor import Visitor

NewVisitor = Callable[[], Visitor]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Acme, the gateway twice, and the provider, each on a port that nobody else has, in a thread of their own."""
    folder = tmp_path_factory.mktemp("demo")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(everything(folder, Ports(0, 0, 0, 0))) as running,
    ):
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
