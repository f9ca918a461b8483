from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anyio.from_thread import start_blocking_portal

from app.demo import Demo, Ports, everything


@contextmanager
def running_demo(folder: Path) -> Iterator[Demo]:
    """Acme, the gateway twice, and the provider, each on a port that nobody else has, in a thread of their own."""
    with (
        start_blocking_portal(backend_options={"use_uvloop": True}) as portal,
        portal.wrap_async_context_manager(everything(folder, Ports(0, 0, 0, 0))) as running,
    ):
        yield running
