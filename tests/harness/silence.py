import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Wire:
    """What lies between the service and a server: while it is cut, nothing arrives, and nobody is told."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._whole = asyncio.Event()
        self._whole.set()
        self._carried: set[asyncio.Task[None]] = set()
        self.port = 0

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def forget(self) -> None:
        """What is connected now stays silent for ever, as behind a firewall that has forgotten it; what comes is
        carried.
        """
        self._whole.clear()
        self._whole = asyncio.Event()
        self._whole.set()

    def snap(self) -> None:
        """What is connected now breaks, and what is on its way is lost; what comes is carried."""
        self.forget()
        for task in self._carried:
            task.cancel()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Wire"]:
        """Take connections at `port` while the block runs."""
        listener = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        async with listener:
            yield self
            for task in self._carried:
                task.cancel()
            await asyncio.gather(*self._carried, return_exceptions=True)

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._join(self._whole, reader, writer))
        self._carried.add(task)

    async def _join(self, whole: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._server)
        try:
            with suppress(OSError):
                await asyncio.gather(_carry(whole, reader, far_writer), _carry(whole, far_reader, writer))
        finally:
            for end in (writer, far_writer):
                end.transport.abort()


async def _carry(whole: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        await whole.wait()
        writer.write(part)
    writer.close()
    await writer.wait_closed()
