import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.main import create_app
from tests.harness.service import Service


@asynccontextmanager
async def impatient(service: Service) -> AsyncIterator[Service]:
    """The same service, with no time at all for a body that is not there yet."""
    app = create_app(service.settings, body_seconds=0)
    async with app.router.lifespan_context(app):
        hurried = Service(app, service.sandbox, service.settings)
        yield hurried
        await hurried.close()


async def dripping() -> AsyncIterator[bytes]:
    """A body whose end does not come."""
    yield b'{"user_id":'
    await asyncio.Event().wait()
