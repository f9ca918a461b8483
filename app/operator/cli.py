"""The command line: `idv`. What a command needs is imported within it, so that it does not pay for what others need."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from app.core import api_keys
from app.core.domain import USER_ID, Actor, Attempt, AuditAction, AuditEntry, Reason, Status, UserStatus, utc_now
from app.operator.progress import progress

if TYPE_CHECKING:
    from app.api.deps import Services
    from app.api.schemas import UserStatusView, VerificationPage
    from app.core.errors import DatabaseUnavailable
    from app.operator.finding import Finding
    from app.settings import DatabaseSettings, Settings
    from app.storage.database import Database
    from app.storage.keeping import Keeper

OWNER_ONLY = 0o600
SHOWN_LINES = 20
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]
NEWEST = 5
CLI = Actor(name="cli")
INTERRUPTED = 130
TRACES_REMAIN = "SQLite's file keeps traces while another process holds it. Run the command again."
RESET = "reset. The next login verifies again."
NOTHING_TO_RESET = "nothing is on file, so the next login verifies anyway."
STILL_INVALID = (
    "not reset. The record does not hold: somebody without the keys has changed it, or ENCRYPTION_KEYS lacks the key "
    "that it was sealed with. Run `idv check --records`. If the keys are right, find out who has written to the "
    "database; then `idv reset USER --identity` lets the user enrol anew."
)
ENDS = "Ends with 0 when it is done, 1 when it is not, and 2 when arguments, settings or database are wrong."

T = TypeVar("T")


def _checked_id(value: str | None) -> str | None:
    if value is not None and not USER_ID.fullmatch(value):
        raise typer.BadParameter("an id has 1 to 255 characters, and no control characters.")
    return value


def _checked_cursor(cursor: str | None) -> str | None:
    if cursor is not None:
        from app.api.schemas import read_cursor

        try:
            read_cursor(cursor)
        except ValueError:
            raise typer.BadParameter("it is not the next_cursor of a page of this list.") from None
    return cursor


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"idv-gateway {version('idv-gateway')}")
        raise typer.Exit


UserArgument = Annotated[
    str, typer.Argument(metavar="USER", callback=_checked_id, help="The user's id at the identity provider.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

Since = Annotated[
    datetime | None, typer.Option(callback=_in_utc, formats=MOMENTS, help="Only from this time on, in UTC.")
]
Until = Annotated[
    datetime | None, typer.Option(callback=_in_utc, formats=MOMENTS, help="Only before this time, in UTC.")
]
Limit = Annotated[int, typer.Option(min=1, max=100, help="How many at most.")]
Cursor = Annotated[
    str | None, typer.Option(callback=_checked_cursor, help="Go on where the page before ended: its next_cursor.")
]

main = typer.Typer(
    name="idv",
    help="Identity verification at login, for any identity provider, over HTTP.",
    epilog="A command ends with 0 when it has done it, 1 when it has not, 2 when arguments, settings or database are "
    "wrong, "
    f"and {INTERRUPTED} when it was interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@main.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@main.command(epilog=ENDS)
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, envvar="WEB_CONCURRENCY", help="The number of processes.")] = 1,
) -> None:
    """Run the service. On SQLite it migrates the database first; on PostgreSQL, run `idv migrate` before."""
    settings = _settings()
    from app.operator import server
    from app.telemetry.logs import configure_logging

    configure_logging(settings.log_level, settings.log_format)
    if settings.database_url.get_secret_value().startswith("sqlite"):
        _migrate(settings)
    try:
        server.run(host, port, workers)
    except server.CannotServe as error:
        _fail(f"{error}.")


@main.command(epilog=ENDS)
def migrate() -> None:
    """Bring the database to the version that this service needs. It asks for no other setting than the database's."""
    from app.settings import load_database_settings

    settings = _loaded(load_database_settings)
    with _interruptible(), progress("Migrating"):
        _migrate(settings)
    print("The database is migrated.")


@main.command(epilog=ENDS)
def init(
    file: Annotated[Path, typer.Option(help="The file to write. One that is there is never overwritten.")] = Path(
        ".env"
    ),
    folder: Annotated[
        Path | None,
        typer.Option(
            "--secrets",
            help="For docker-compose.yml: write the secrets into files of this new folder, beside the file.",
        ),
    ] = None,
    with_sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Fill in docker-compose.yml's sandbox, not Incode.")
    ] = False,
    sandbox_url: Annotated[
        str | None, typer.Option(metavar="URL", help="With --sandbox: where it is, when Docker does not run it.")
    ] = None,
    redirect_uri: Annotated[
        str | None, typer.Option(metavar="URL", help="Fill in REDIRECT_URI, where the relay flow ends.")
    ] = None,
) -> None:
    """Write a .env file with fresh secrets, and say what is left to fill in."""
    from cryptography.fernet import Fernet

    from app.operator import env_file

    if sandbox_url and not with_sandbox:
        raise typer.BadParameter("it goes with --sandbox.", param_hint="--sandbox-url")
    idp_key, admin_key = api_keys.new_key(), api_keys.new_key()
    client_secret = secrets.token_urlsafe(32) if with_sandbox else ""
    values = {
        "REDIRECT_SECRET": secrets.token_urlsafe(32),
        "ENCRYPTION_KEYS": Fernet.generate_key().decode("ascii"),
        "API_KEYS": f"idp={api_keys.hashed(idp_key)}",
        "ADMIN_API_KEYS": f"admin={api_keys.hashed(admin_key)}",
        "INCODE_CLIENT_SECRET": client_secret,
        **(env_file.SANDBOX if with_sandbox else {}),
        **({"INCODE_SERVER_URL": sandbox_url} if sandbox_url else {}),
        **({"REDIRECT_URI": redirect_uri} if redirect_uri else {}),
    }
    if not with_sandbox and not redirect_uri:
        values["AUTH0_DOMAIN"] = ""
    try:
        if folder is None:
            _write_privately(file, env_file.render(values))
        else:
            _write_for_compose(file, folder, values, with_sandbox=with_sandbox)
    except FileExistsError as error:
        _fail(f"{error.filename} is there already, and is left as it is.")
    except OSError as error:
        _fail(f"{error.filename} cannot be written: {error.strerror}.")
    print(f"Wrote {file}, which only you can read{f', and {folder}, which only you can enter' if folder else ''}.\n")
    print("Keep these two keys; the file holds only their hashes:")
    print(f"  for your identity provider   {idp_key}")
    print(f"  for administrators           {admin_key}\n")
    if with_sandbox:
        print("Nothing is left to fill in. The sandbox verifies whoever asks: use this file for nothing else.")
        return
    print("Left to fill in:")
    print("  INCODE_CLIENT_ID, from your OIDC integration in the Incode Dashboard")
    print(f"  its secret, {folder / 'incode_client_secret' if folder else 'INCODE_CLIENT_SECRET'}")
    if not redirect_uri:
        print("  AUTH0_DOMAIN, or REDIRECT_URI for another identity provider")
    print("  INCODE_SERVER_URL, for production")
    if folder is None:
        print("\nThen: idv serve")


def _write_privately(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY), "w", encoding="utf-8") as stream:
        stream.write(text)


def _write_for_compose(file: Path, folder: Path, values: dict[str, str], *, with_sandbox: bool) -> None:
    """Write what is secret into the folder, and the rest into the file. Raises OSError, with nothing overwritten."""
    from app.operator import env_file, secret_files

    if file.exists():
        raise FileExistsError(None, None, str(file))
    password = secrets.token_urlsafe(32)
    in_files = {**values, "DATABASE_URL": env_file.COMPOSED_DATABASE.format(password=password)}
    secret_files.write(folder, {"DATABASE_PASSWORD": password, **{name: in_files[name] for name in env_file.IN_FILES}})
    text = env_file.render(values, without=env_file.IN_FILES)
    own = env_file.composition(file, folder, sandbox_secret=values["INCODE_CLIENT_SECRET"] if with_sandbox else None)
    _write_privately(file, text + own)


@main.command(epilog="Ends with 0 when all is well, 1 when something is wrong, and 2 when settings are wrong.")
def check(
    records: Annotated[
        bool,
        typer.Option("--records", help="Look at every user's record, not only at some, and at what each key opens."),
    ] = False,
) -> None:
    """Say what is wrong, and how to fix it.

    It looks at settings, addresses, discovery, keys, credentials, clock, database and some of the records.
    """
    settings = _settings()
    from app.operator.check import check_all
    from app.storage.encryption import Cipher
    from app.storage.keeping import Keeper

    async def run(database: Database) -> list[Finding]:
        keeper = Keeper(database, Cipher(settings.fernet_keys))
        place = (settings.provider, settings.addresses, database, keeper, os.environ)
        return await check_all(*place, every_record=records, show=show)

    with _interruptible(), progress("Looking at what is stored") as show:
        findings = _with_database(settings, run, log=("error", "console"))
    for finding in findings:
        print(f"{'WRONG' if finding.remedy else 'ok':<6}{finding.subject}: {finding.result}")
        if finding.remedy:
            print(f"      {finding.remedy}")
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


@main.command(epilog=ENDS)
def user(
    user_id: UserArgument,
    as_json: AsJson = False,
    personal: Annotated[bool, typer.Option("--personal", help="Show name, birth date and the like, too.")] = False,
) -> None:
    """Tell whether a user's verification stands now, and why, with the newest attempts.

    Nothing personal is shown unasked.
    """
    settings = _settings()
    from app.api.schemas import UserStatusView, VerificationPage
    from app.operator import report
    from app.storage.listing import AttemptFilter

    async def run(services: Services) -> tuple[UserStatusView, VerificationPage]:
        status = await services.users.status(user_id)
        newest = await services.audit.attempts(AttemptFilter(user_id=user_id, limit=NEWEST))
        return UserStatusView.of(status, with_tokens=False), VerificationPage.of(newest)

    status, newest = _with_services(settings, run)
    shown = status if personal else report.without_personal_data(status)
    if as_json:
        _print_json({**shown.model_dump(mode="json"), "verifications": newest.model_dump(mode="json")["items"]})
    else:
        report.show_user(shown, newest)


@main.command(epilog=ENDS)
def verifications(  # noqa: PLR0917  typer makes each parameter an option
    user_id: Annotated[
        str | None, typer.Option("--user", callback=_checked_id, help="Only this user's attempts, by the user's id.")
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only attempts with this status.")] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity",
            callback=_checked_id,
            help="Only attempts that this identity came back from: one face, several users.",
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List attempts, newest first: which key started and finished each one, when, and with which error."""
    settings = _settings()
    from app.api.schemas import VerificationPage, VerificationQuery
    from app.operator import report

    query = VerificationQuery(
        user_id=user_id, status=status, identity_id=identity, since=since, until=until, limit=limit, cursor=cursor
    )

    async def run(services: Services) -> VerificationPage:
        return VerificationPage.of(await services.audit.attempts(query.wanted()))

    page = _with_services(settings, run)
    if as_json:
        print(page.model_dump_json(indent=2))
    else:
        narrowed = any((user_id, status, identity, since, until))
        report.show_attempts(page, with_user=user_id is None, narrowed=narrowed)


@main.command(epilog=ENDS)
def audit(  # noqa: PLR0917  typer makes each parameter an option
    user_id: Annotated[
        str | None, typer.Option("--user", callback=_checked_id, help="Only acts on this user, the erasure included.")
    ] = None,
    action: Annotated[AuditAction | None, typer.Option(help="Only acts of this kind.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List what administrators did, newest first: who reset, erased, exported or imported whom, and when."""
    settings = _settings()
    from app.api.schemas import AuditEntryPage, AuditQuery
    from app.operator import report

    query = AuditQuery(user_id=user_id, action=action, since=since, until=until, limit=limit, cursor=cursor)

    async def run(services: Services) -> AuditEntryPage:
        return AuditEntryPage.of(await services.audit.entries(query.wanted()))

    page = _with_services(settings, run)
    if as_json:
        print(page.model_dump_json(indent=2))
    else:
        report.show_entries(page)


@main.command(epilog=ENDS)
def reset(
    user_id: UserArgument,
    identity: Annotated[
        bool, typer.Option("--identity", help="Forget the enrolled identity, too, so that another person can enrol.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a user's next login verify again. A verification that is under way no longer counts."""

    async def run(services: Services) -> UserStatus:
        return await services.users.reset(user_id, forget_identity=identity, by=CLI)

    settings = _settings()
    from app.api.schemas import UserStatusView

    status = _with_services(settings, run)
    if as_json:
        _print_json(UserStatusView.of(status, with_tokens=False).model_dump(mode="json"))
    if status.reason is Reason.RECORD_INVALID:
        _fail(f"{user_id}: {STILL_INVALID}", exit_code=1)
    if not as_json:
        forgotten = " The enrolled identity is forgotten." if identity else ""
        is_known = status.reason is not Reason.NEVER_VERIFIED
        print(f"{user_id}: {f'{RESET}{forgotten}' if is_known else NOTHING_TO_RESET}")


@main.command(epilog=ENDS)
def erase(
    user_id: UserArgument,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask first. Required where there is no terminal to ask in.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a user's record and every attempt, for good.

    On SQLite, the file is written anew. Meanwhile the service can only read: callbacks wait, for some seconds.
    """
    settings = _settings()
    if not yes:
        _confirm_erasure(user_id)
    from app.storage.listing import AttemptFilter

    async def run(services: Services) -> bool:
        status = await services.users.status(user_id)
        attempts = await services.audit.attempts(AttemptFilter(user_id=user_id, limit=1))
        await services.users.erase(user_id, by=CLI)
        return status.reason is not Reason.NEVER_VERIFIED or bool(attempts.attempts)

    erased = _with_services(settings, run)
    if as_json:
        _print_json({"user_id": user_id, "erased": erased})
    elif erased:
        print(f"{user_id}: erased, with every attempt.")
    else:
        print(f"{user_id}: nothing was on file.")


@main.command(epilog=ENDS)
def purge() -> None:
    """Do at once what housekeeping does in small steps: clear what has served its time, and remove old attempts.

    Answers, unconfirmed outcomes and secrets of requests are cleared once their time is over, and attempts that nobody
    finished expire. Attempts older than RETENTION_DAYS are removed. The users' records stay. On SQLite, the
    file is written anew. Meanwhile the service can only read: callbacks wait, for some seconds.
    """
    settings = _settings()
    now = utc_now()

    async def run(keeper: Keeper) -> int:
        return await keeper.purge(now - timedelta(days=settings.retention_days), now, show)

    with _interruptible(), progress("Removing attempts") as show:
        removed, traces_remain = _with_keeper(settings, run)
    print(f"Removed attempts: {removed}")
    if traces_remain:
        _fail(TRACES_REMAIN, exit_code=1)


@main.command(
    "import",
    epilog=(
        "Ends with 0 when every line was read, 1 when some were not, 2 when arguments, settings or database are wrong."
    ),
)
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="One user a line, as Auth0 exports them; or gzipped."
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what it would come to.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put users on file whom the Action has verified. Nobody who is on file is changed; it may be run again.

    A line is {"user_id": "…", "app_metadata": {…}}, with the members that the Action keeps.
    """
    settings = _settings()
    from app.operator import report
    from app.operator.importing import Import, Report
    from app.storage.encryption import Cipher, Unreadable
    from app.storage.importing import Importer
    from app.storage.sealed import Seals

    async def run(database: Database) -> Report:
        importer = Importer(database, Seals(Cipher(settings.fernet_keys)))
        return await Import(importer, settings.rules, utc_now(), CLI, dry_run).run(file, show)

    try:
        with _interruptible(), progress("Importing") as show:
            done = _with_database(settings, run, unhurried=True)
    except Unreadable:
        _fail(
            "Nobody more was put on file: none of ENCRYPTION_KEYS opens a key in the table keyring, so that nobody "
            "can tell who was erased. `idv check` names it. Put the missing key back, and run the command again."
        )
    for bad in done.bad_lines[:SHOWN_LINES]:
        typer.echo(f"Line {bad.number} {bad.fault}.", err=True)
    if len(done.bad_lines) > SHOWN_LINES:
        typer.echo(f"And {len(done.bad_lines) - SHOWN_LINES} more lines.", err=True)
    if as_json:
        _print_json(done.as_json())
    else:
        report.show_import(done, dry_run=dry_run)
    if done.fault:
        _fail(
            f"The file could not be read to its end: {done.fault}. Run the command again with the whole file.",
            exit_code=1,
        )
    if done.bad_lines:
        raise typer.Exit(1)


@main.command(epilog=ENDS)
def export(user_id: UserArgument) -> None:
    """Print all that is on file about a user as one JSON document, with what each field means.

    It is entered in the audit.
    """
    settings = _settings()
    from app.operator.exporting import document
    from app.storage.audit import AuditFilter
    from app.storage.listing import AttemptFilter

    async def run(services: Services) -> dict[str, Any]:
        status = await services.users.export(user_id, by=CLI)
        attempts, entries = list[Attempt](), list[AuditEntry]()
        page = await services.audit.attempts(AttemptFilter(user_id=user_id))
        attempts += page.attempts
        while page.next:
            page = await services.audit.attempts(AttemptFilter(user_id=user_id, after=page.next))
            attempts += page.attempts
        acts = await services.audit.entries(AuditFilter(user_id=user_id))
        entries += acts.entries
        while acts.next:
            acts = await services.audit.entries(AuditFilter(user_id=user_id, after=acts.next))
            entries += acts.entries
        return document(user_id, utc_now(), status, attempts, entries)

    _print_json(_with_services(settings, run))


@main.command(epilog=ENDS)
def copy(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL",
            envvar="COPY_TO",
            help="The address of an empty PostgreSQL database that is migrated.",
        ),
    ],
) -> None:
    """Copy a whole SQLite deployment, which DATABASE_URL names, into PostgreSQL. Stop the service before.

    Everything is copied and compared in one transaction. Sealed values stay as they are: keep ENCRYPTION_KEYS.
    """
    from app.settings import load_database_settings
    from app.storage.copying import CopyRefused, copy_all
    from app.storage.database import Database

    settings = _loaded(load_database_settings)
    try:
        target = Database(to, unhurried=True)
    except ValueError as error:
        _fail(f"--to: {error}.")

    async def run(source: Database) -> dict[str, int]:
        try:
            return await copy_all(source, target, show)
        finally:
            await target.close()

    try:
        with progress("Copying") as show:
            copied = _with_database(settings, run, unhurried=True)
    except CopyRefused as refused:
        _fail(f"Nothing was copied: {refused}.")
    except KeyboardInterrupt:
        _fail(
            "Interrupted, and nothing was copied. Run the command again: it begins from the start.",
            exit_code=INTERRUPTED,
        )
    for table, rows in copied.items():
        print(f"{table}: {rows} rows, copied and compared")
    print("Now set DATABASE_URL to the new address, with the same ENCRYPTION_KEYS, and start the service.")


@main.command("rotate-keys", epilog=ENDS)
def rotate_keys() -> None:
    """Encrypt everything again with the first of ENCRYPTION_KEYS; afterwards the others can go.

    Every process of the service must know that key by now. The service may run meanwhile. On SQLite, the file is
    written anew at the end. Until that is done, the service can only read: callbacks wait, for some seconds.
    """
    settings = _settings()
    with _interruptible(), progress("Encrypting again") as show:
        done, traces_remain = _with_keeper(settings, lambda keeper: keeper.reseal(show))
    print(f"Encrypted again with the newest key: {done.resealed}")
    lacking = f"Values that none of ENCRYPTION_KEYS opens: {done.unreadable}. Add the key that they were made with."
    faults = [*([lacking] if done.unreadable else []), *([TRACES_REMAIN] if traces_remain else [])]
    if faults:
        _fail("\n".join(faults), exit_code=2 if done.unreadable else 1)


@main.command("api-key", epilog=ENDS)
def api_key(name: Annotated[str, typer.Argument(help="Who will hold the key; it appears in the audit.")]) -> None:
    """Make an API key, and the entry for API_KEYS or ADMIN_API_KEYS that admits it."""
    try:
        api_keys.check_name(name)
    except ValueError as error:
        _fail(str(error))
    key = api_keys.new_key()
    print(f"The key, for the caller:  {key}")
    print(f"The entry, for API_KEYS or ADMIN_API_KEYS:  {name}={api_keys.hashed(key)}")


@main.command(epilog=ENDS)
def demo(
    once: Annotated[bool, typer.Option("--once", help="Verify one user and exit.")] = False,
    return_to: Annotated[
        str | None, typer.Option(help="Where the hosted flow may return to: your own application.")
    ] = None,
    redirect_uri: Annotated[
        str | None, typer.Option(help="A redirect URI of your own application, for the relay flow.")
    ] = None,
) -> None:
    """Run everything on this machine, with the sandbox provider: verify one user, then stay up to be tried."""
    from app.demo import Application, DemoFailed, run_demo
    from app.telemetry.logs import configure_logging

    configure_logging("warning", "console")
    try:
        run_demo(Application(return_to, redirect_uri), stay=not once)
    except DemoFailed as error:
        _fail(f"The demo failed: {error}")


@main.command(epilog=ENDS)
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
    from app.sandbox import Client, Sandbox, SandboxConfig
    from app.sandbox.server import serve as serve_sandbox

    client = Client(
        client_id=client_id, client_secret=client_secret, name="Your service", redirect_uris=tuple(redirect_uri)
    )
    config = SandboxConfig(issuer=issuer or f"http://{host}:{port}", clients=(client,))
    try:
        serve_sandbox(Sandbox(config), host, port, allow_public=allow_public)
    except ValueError as error:
        _fail(str(error))


def _settings() -> Settings:
    from app.settings import load_settings

    return _loaded(load_settings)


def _loaded(load: Callable[[], T]) -> T:
    from app.settings import SettingsInvalid

    try:
        return load()
    except SettingsInvalid as error:
        _fail("\n".join(error.lines))


def _migrate(settings: DatabaseSettings) -> None:
    _with_database(settings, _upgrade_where_needed, unhurried=True)


async def _upgrade_where_needed(database: Database) -> None:
    from app.storage.revisions import current_revision, is_migrated

    if is_migrated(await current_revision(database)):
        return
    # Alembic takes a while to load.
    from app.storage.migrate import upgrade

    await upgrade(database)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Long work goes on where it was interrupted.

    It is done in small transactions, or in one that leaves nothing behind.
    """
    try:
        yield
    except KeyboardInterrupt:
        _fail("Interrupted. Run the command again, and it goes on.", exit_code=INTERRUPTED)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _confirm_erasure(user_id: str) -> None:
    if not sys.stdin.isatty():
        _fail("Nothing was erased: without a terminal to ask in, give --yes.")
    if not typer.confirm(f"Erase {user_id} and every attempt? This cannot be undone.", err=True):
        _fail("Nothing was erased.", exit_code=1)


def _with_services(settings: Settings, use: Callable[[Services], Awaitable[T]]) -> T:
    from app.main import open_services
    from app.telemetry.logs import configure_logging
    from app.telemetry.metrics import Metrics
    from app.telemetry.tracing import Tracing

    async def run() -> T:
        async with open_services(settings, Metrics(), Tracing()) as services:
            return await use(services)

    configure_logging("error", "console")
    return _run(run())


def _run(work: Coroutine[Any, Any, T]) -> T:
    from app.core.errors import DatabaseUnavailable

    try:
        return asyncio.run(work)
    except DatabaseUnavailable as fault:
        _explain(fault)


def _explain(fault: DatabaseUnavailable) -> NoReturn:
    from app.core.errors import CommitInDoubt, TracesRemain
    from app.storage.faults import PASSING, diagnose

    if isinstance(fault, TracesRemain):
        _fail(f"Done, but {TRACES_REMAIN}", exit_code=1)
    cause = diagnose(fault)
    doubt = " What was asked for may have been done or not." if isinstance(fault, CommitInDoubt) else ""
    _fail(f"DATABASE_URL: the database {cause.words}.{doubt} {cause.remedy}", exit_code=1 if cause in PASSING else 2)


def _with_keeper(settings: Settings, use: Callable[[Keeper], Awaitable[T]]) -> tuple[T, bool]:
    """What was done, and whether SQLite's file keeps traces of what was there before."""
    from app.core.errors import TracesRemain
    from app.storage.encryption import Cipher
    from app.storage.keeping import Keeper

    async def run(database: Database) -> tuple[T, bool]:
        keeper = Keeper(database, Cipher(settings.fernet_keys))
        done = await use(keeper)
        try:
            await keeper.forget_deleted()
        except TracesRemain:
            return done, True
        return done, False

    return _with_database(settings, run)


def _with_database(
    settings: DatabaseSettings,
    use: Callable[[Database], Awaitable[T]],
    *,
    unhurried: bool = False,
    log: tuple[str, str] | None = None,
) -> T:
    from app.storage.database import Database
    from app.telemetry.logs import configure_logging

    async def run() -> T:
        database = Database(settings.database_url.get_secret_value(), unhurried=unhurried)
        try:
            return await use(database)
        finally:
            await database.close()

    configure_logging(*(log or (settings.log_level, settings.log_format)))
    return _run(run())


def _fail(message: str, exit_code: int = 2) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(exit_code)
