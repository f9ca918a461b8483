"""What `idv demo` does: bring everything up with fresh secrets, verify one user, and stay up for a browser."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet
from pydantic import ValidationError
from starlette.types import ASGIApp

from app.acme import CONTINUE, Gateway, Wire
from app.acme import create_app as create_acme
from app.api.reference.examples import RETURN_TO, USER_ID
from app.core import api_keys
from app.demo import story
from app.demo.listening import GATEWAY, SANDBOX, Listening
from app.demo.serving import address, listening_socket, serving
from app.demo.story import DemoFailed
from app.main import create_app
from app.sandbox import Client, Sandbox, SandboxConfig
from app.settings import Settings
from app.storage.database import Database
from app.storage.migrate import upgrade

_SCOPES = "openid profile email"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens; 0 is any free port, as is one that is busy."""

    acme: int = 7000
    service: int = 8000
    blocking_service: int = 8001
    sandbox: int = 9000


@dataclass(frozen=True, slots=True)
class Application:
    """An application of the person's own: where the hosted flow, and the relay flow, may send the browser back to."""

    return_to: str | None = None
    redirect_uri: str | None = None

    @property
    def is_there(self) -> bool:
        """Whether there is one."""
        return bool(self.return_to or self.redirect_uri)


@dataclass(frozen=True, slots=True)
class Demo:
    """Where everything is: the service twice, on one database, the second time with BLOCK_ON_FAILURE."""

    acme: str
    service: str
    blocking_service: str
    sandbox: str
    key: str = field(repr=False)
    admin_key: str = field(repr=False)

    @property
    def continue_url(self) -> str:
        """Where both flows end."""
        return self.acme + CONTINUE


def run_demo(own: Application, *, stay: bool) -> None:
    """Run the demo until it is done or, with `stay`, until Ctrl-C. Raises DemoFailed."""
    asyncio.run(_demo(own, stay=stay))


async def _demo(own: Application, *, stay: bool) -> None:
    told_to_end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    with tempfile.TemporaryDirectory(prefix="idv-demo-") as folder:
        # What is being brought up is never broken off: a file could come to the folder while it is removed.
        async with everything(Path(folder), Ports(), own) as demo:
            await _show_until(told_to_end, _show(demo, own, stay=stay))


async def _show_until(told_to_end: asyncio.Event, show: Coroutine[Any, Any, None]) -> None:
    showing = asyncio.create_task(show)
    ending = asyncio.create_task(told_to_end.wait())
    await asyncio.wait((showing, ending), return_when=asyncio.FIRST_COMPLETED)
    showing.cancel()
    ending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await showing


async def _show(demo: Demo, own: Application, *, stay: bool) -> None:
    async with httpx.AsyncClient() as client:
        await story.tell(client, demo.service, demo.key)
    if stay:
        story.invite(demo.acme, demo.service, demo.key, demo.admin_key, own=own.is_there)
        await asyncio.Event().wait()


@asynccontextmanager
async def everything(folder: Path, ports: Ports, own: Application | None = None) -> AsyncIterator[Demo]:
    """Serve Acme, the service and the sandbox provider while the block runs; the database is a file in `folder`.

    Raises DemoFailed where the service does not take an address of the person's own application.
    """
    async with AsyncExitStack() as stack:
        wanted = (ports.acme, ports.service, ports.blocking_service, ports.sandbox)
        sockets = [stack.enter_context(listening_socket(port)) for port in wanted]
        acme, service, blocking_service, sandbox = map(address, sockets)
        demo = Demo(acme, service, blocking_service, sandbox, api_keys.new_key(), api_keys.new_key())
        for app, listener in zip(await _apps(demo, folder, own or Application()), sockets, strict=True):
            await stack.enter_async_context(serving(app, listener))
        yield demo


async def _apps(demo: Demo, folder: Path, own: Application) -> tuple[ASGIApp, ...]:
    callbacks = (f"{service}/v1/callback" for service in (demo.service, demo.blocking_service))
    client = Client(
        client_id="idv-gateway-demo",
        client_secret=secrets.token_urlsafe(32),
        name="IDV Gateway",
        redirect_uris=(*_listed(demo.continue_url, own.redirect_uri), *callbacks),
    )
    lenient = _settings(demo, client, folder, own)
    blocking = lenient.model_copy(update={"public_url": demo.blocking_service, "block_on_failure": True})
    await _migrate(lenient)
    sandbox = Sandbox(SandboxConfig(issuer=demo.sandbox, clients=(client,)))
    wire = Wire()
    acme = create_acme(
        demo.acme,
        demo.sandbox,
        lenient=Gateway(demo.service, demo.key, demo.admin_key),
        blocking=Gateway(demo.blocking_service, demo.key, demo.admin_key),
        wire=wire,
        example_user=USER_ID,
    )
    gateways = (Listening(create_app(settings), GATEWAY, wire) for settings in (lenient, blocking))
    return acme, *gateways, Listening(sandbox.app, SANDBOX, wire)


def _settings(demo: Demo, client: Client, folder: Path, own: Application) -> Settings:
    try:
        return _settings_of(demo, client, folder, own)
    except ValidationError as error:
        wrong = error.errors(include_input=False)
        lines = (f"{each['loc'][0]}: {each['msg'].removeprefix('Value error, ')}" for each in wrong)
        raise DemoFailed("; ".join(lines)) from None


def _settings_of(demo: Demo, client: Client, folder: Path, own: Application) -> Settings:
    return Settings(
        incode_client_id=client.client_id,
        incode_client_secret=client.client_secret,
        incode_server_url=demo.sandbox,
        redirect_secret=secrets.token_urlsafe(32),
        encryption_keys=Fernet.generate_key().decode("ascii"),
        api_keys=f"acme={demo.key}",
        admin_api_keys=f"root={demo.admin_key}",
        redirect_uri=_listed(demo.continue_url, own.redirect_uri),
        return_urls=_listed(demo.continue_url, own.return_to, RETURN_TO),
        public_url=demo.service,
        database_url=f"sqlite+aiosqlite:///{folder / 'idv.db'}",
        scopes=_SCOPES,
    )


def _listed(*addresses: str | None) -> tuple[str, ...]:
    return tuple(address for address in addresses if address)


async def _migrate(settings: Settings) -> None:
    database = Database(settings.database_url.get_secret_value())
    await upgrade(database)
    await database.close()
