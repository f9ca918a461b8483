import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both event loops that the service may run on: what they raise, and when they close, differs."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
