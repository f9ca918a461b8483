"""The command line: `idv`."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
import uvicorn
from cryptography.fernet import Fernet
from pydantic import BaseModel

from app import api_keys, env_file
from app.api.deps import Services
from app.api.schemas import UserStatusView, VerificationPage
from app.check import Finding, check_database, check_provider
from app.db import Database
from app.demo import DemoFailed, run_demo
from app.domain import Status, utc_now
from app.encryption import Cipher
from app.errors import DatabaseUnavailable
from app.keeping import Keeper
from app.logs import configure_logging
from app.main import open_services
from app.metrics import Metrics
from app.migrate import upgrade
from app.sandbox import Client, Sandbox, SandboxConfig
from app.sandbox.server import serve as serve_sandbox
from app.settings import Settings, SettingsInvalid, load_settings
from app.store import AttemptFilter

GRACE_SECONDS = 10
OWNER_ONLY = 0o600

T = TypeVar("T")

main = typer.Typer(
    name="idv",
    help="Identity verification at login, for any identity provider, over HTTP.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@main.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="The number of processes.")] = 1,
) -> None:
    """Run the service. On SQLite it migrates the database first; on PostgreSQL, run «idv migrate» before."""
    settings = _settings()
    configure_logging(settings.log_level, settings.log_format)
    if settings.database_url.get_secret_value().startswith("sqlite"):
        _migrate(settings)
    # The server raises the signal again once it has ended well, which would make that look like a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        "app.main:from_environment",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


@main.command()
def migrate() -> None:
    """Bring the database to the version that this service needs."""
    _migrate(_settings())
    print("The database is migrated.")


@main.command()
def init(
    file: Annotated[Path, typer.Option(help="The file to write. One that is there is never overwritten.")] = Path(".env"),
) -> None:
    """Write a .env file with fresh secrets, and say what is left to fill in."""
    idp_key, admin_key = api_keys.new_key(), api_keys.new_key()
    text = env_file.render(
        {
            "REDIRECT_SECRET": secrets.token_urlsafe(32),
            "ENCRYPTION_KEYS": Fernet.generate_key().decode("ascii"),
            "API_KEYS": f"idp={api_keys.hashed(idp_key)}",
            "ADMIN_API_KEYS": f"admin={api_keys.hashed(admin_key)}",
            "AUTH0_DOMAIN": "",
        }
    )
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY)
    except FileExistsError:
        _fail(f"{file} is there already, and is left as it is.")
    except OSError as error:
        _fail(f"{file} cannot be written: {error.strerror}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    print(f"Wrote {file}, which only you can read.\n")
    print("Keep these two keys; the file holds only their hashes:")
    print(f"  for your identity provider   {idp_key}")
    print(f"  for administrators           {admin_key}\n")
    print("Left to fill in:")
    print("  INCODE_CLIENT_ID and INCODE_CLIENT_SECRET, from your OIDC integration in the Incode Dashboard")
    print("  AUTH0_DOMAIN, or REDIRECT_URI for another identity provider")
    print("  INCODE_SERVER_URL, for production\n")
    print("Then: idv serve")


@main.command()
def check() -> None:
    """Read the settings, discovery, keys and database, and say what is wrong and how to mend it."""
    settings = _settings()
    configure_logging("error", "console")
    findings = asyncio.run(_findings(settings))
    for finding in findings:
        print(f"{'WRONG' if finding.remedy else 'ok':<6}{finding.subject}: {finding.result}")
        if finding.remedy:
            print(f"      {finding.remedy}")
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


@main.command()
def user(user_id: Annotated[str, typer.Argument(help="The user's id at the identity provider.")]) -> None:
    """Tell whether a user's verification stands now, with the record, as JSON."""

    async def run(services: Services) -> BaseModel:
        return UserStatusView.of(await services.verifications.status(user_id), with_tokens=False)

    _print_json(run)


@main.command()
def verifications(
    user_id: Annotated[str | None, typer.Option("--user", help="Only this user's attempts.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only attempts that stand so.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 50,
) -> None:
    """List attempts, newest first, as JSON."""

    async def run(services: Services) -> BaseModel:
        return VerificationPage.of(await services.verifications.attempts(AttemptFilter(user_id, status, limit)))

    _print_json(run)


@main.command()
def purge() -> None:
    """Remove attempts that are older than RETENTION_DAYS. The users' records stay."""
    settings = _settings()
    now = utc_now()

    async def run(keeper: Keeper) -> int:
        return await keeper.purge_attempts(now - timedelta(days=settings.retention_days), now)

    print(f"Removed attempts: {_with_keeper(settings, run)}")


@main.command("rotate-keys")
def rotate_keys() -> None:
    """Encrypt everything again with the first of ENCRYPTION_KEYS; afterwards the others can go. The service may run meanwhile."""
    done = _with_keeper(_settings(), Keeper.reseal)
    print(f"Encrypted again with the newest key: {done.resealed}")
    if done.unreadable:
        _fail(f"Values that none of ENCRYPTION_KEYS opens: {done.unreadable}. Add the key that they were made with.")


@main.command("api-key")
def api_key(name: Annotated[str, typer.Argument(help="Who will hold the key; it appears in the audit.")]) -> None:
    """Make an API key, and the entry for API_KEYS or ADMIN_API_KEYS that admits it."""
    try:
        api_keys.check_name(name)
    except ValueError as error:
        _fail(str(error))
    key = api_keys.new_key()
    print(f"The key, for the caller:  {key}")
    print(f"The entry, for API_KEYS or ADMIN_API_KEYS:  {name}={api_keys.hashed(key)}")


@main.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Verify one user and exit.")] = False,
) -> None:
    """Run everything on this machine, with the sandbox provider: verify one user, then stay up to be tried."""
    configure_logging("warning", "console")
    try:
        run_demo(stay=not once)
    except DemoFailed as error:
        _fail(f"The demo failed: {error}")


@main.command()
def sandbox(  # noqa: PLR0917  typer makes each parameter an option
    client_id: Annotated[str, typer.Option(help="The client id that the service uses.")],
    client_secret: Annotated[str, typer.Option(help="Its secret.", envvar="SANDBOX_CLIENT_SECRET")],
    redirect_uri: Annotated[list[str], typer.Option(help="An allowed redirect URI; repeat it for more.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 9000,
    issuer: Annotated[str | None, typer.Option(help="The issuer, where it is not http://HOST:PORT.")] = None,
    allow_public: Annotated[bool, typer.Option("--allow-public", help="Listen beyond this machine.")] = False,
) -> None:
    """Run the sandbox provider alone. It verifies whoever asks: never point a real service at it."""
    client = Client(client_id=client_id, client_secret=client_secret, name="Your service", redirect_uris=tuple(redirect_uri))
    config = SandboxConfig(issuer=issuer or f"http://{host}:{port}", clients=(client,))
    try:
        serve_sandbox(Sandbox(config), host, port, allow_public=allow_public)
    except ValueError as error:
        _fail(str(error))


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsInvalid as error:
        _fail("\n".join(error.lines))


def _migrate(settings: Settings) -> None:
    _with_database(settings, upgrade)


def _print_json(ask: Callable[[Services], Awaitable[BaseModel]]) -> None:
    settings = _settings()
    configure_logging("error", "console")

    async def run() -> str:
        async with open_services(settings, Metrics()) as services:
            return (await ask(services)).model_dump_json(indent=2)

    print(_run(run))


def _with_keeper(settings: Settings, use: Callable[[Keeper], Awaitable[T]]) -> T:
    return _with_database(settings, lambda database: use(Keeper(database, Cipher(settings.fernet_keys))))


def _with_database(settings: Settings, use: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        database = Database(settings.database_url.get_secret_value())
        try:
            return await use(database)
        finally:
            await database.close()

    configure_logging(settings.log_level, settings.log_format)
    return _run(run)


def _run(use: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return asyncio.run(use())
    except DatabaseUnavailable:
        _fail("DATABASE_URL: the database cannot be reached or written, or is not migrated (idv migrate)")


async def _findings(settings: Settings) -> list[Finding]:
    database = Database(settings.database_url.get_secret_value())
    try:
        return [*[finding async for finding in check_provider(settings.provider)], await check_database(database)]
    finally:
        await database.close()


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
