"""What `idv demo` does: bring everything up with fresh secrets, verify one user, and stay up."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.fernet import Fernet

from app import api_keys
from app.db import Database
from app.demo import relay, story
from app.demo.serving import address, listening_socket, serving
from app.main import create_app
from app.migrate import upgrade
from app.sandbox import Client, Sandbox, SandboxConfig
from app.settings import GivenSettings, Settings

SERVICE_PORT, SANDBOX_PORT, RELAY_PORT = 8000, 9000, 7000
_SCOPES = "openid profile email"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is."""

    service: str
    sandbox: str
    redirect_uri: str


def run_demo(*, stay: bool) -> None:
    """Run the demo until it is done or, with `stay`, until Ctrl-C. Raises DemoFailed."""
    asyncio.run(_demo(stay=stay))


async def _demo(*, stay: bool) -> None:
    showing = asyncio.create_task(_show(stay=stay))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, showing.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await showing


async def _show(*, stay: bool) -> None:
    key = api_keys.new_key()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="idv-demo-"))
        addresses = await _serve_everything(stack, Path(folder), key)
        client = await stack.enter_async_context(httpx.AsyncClient())
        await story.tell(client, addresses.service, key)
        if stay:
            story.invite(addresses.service, addresses.sandbox, key)
            await asyncio.Event().wait()


async def _serve_everything(stack: AsyncExitStack, folder: Path, key: str) -> Addresses:
    ports = (SERVICE_PORT, SANDBOX_PORT, RELAY_PORT)
    service, sandbox, relay_ = (stack.enter_context(listening_socket(port)) for port in ports)
    addresses = Addresses(address(service), address(sandbox), address(relay_) + relay.PATH)
    client = Client(
        client_id="idv-gateway-demo",
        client_secret=secrets.token_urlsafe(32),
        name="IDV Gateway",
        redirect_uris=(addresses.redirect_uri,),
    )
    settings = _settings(addresses, client, folder, key)
    await _migrate(settings)
    provider = Sandbox(SandboxConfig(issuer=addresses.sandbox, clients=(client,)))
    await stack.enter_async_context(serving(provider.app, sandbox))
    await stack.enter_async_context(serving(create_app(settings), service))
    await stack.enter_async_context(serving(relay.create_app(addresses.service, key), relay_))
    return addresses


def _settings(addresses: Addresses, client: Client, folder: Path, key: str) -> Settings:
    return GivenSettings(
        incode_client_id=client.client_id,
        incode_client_secret=client.client_secret,
        incode_server_url=addresses.sandbox,
        redirect_secret=secrets.token_urlsafe(32),
        encryption_keys=Fernet.generate_key().decode("ascii"),
        api_keys=f"demo={key}",
        redirect_uri=addresses.redirect_uri,
        public_url=addresses.service,
        database_url=f"sqlite+aiosqlite:///{folder / 'idv.db'}",
        scopes=_SCOPES,
    )


async def _migrate(settings: Settings) -> None:
    database = Database(settings.database_url.get_secret_value())
    await upgrade(database)
    await database.close()
