"""The only place that wires things; the lifespan owns what must be closed."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import structlog
from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp

from app.api import audit, browser, callback, ops, users, verifications
from app.api.cookies import BindingCookies
from app.api.deps import Services
from app.api.middleware import RequestBounds, RequestRecord, SecurityHeaders
from app.api.pages import Pages
from app.api.problems import handle_problems
from app.api.reference import description, docs
from app.api.reference.document import complete_document
from app.core.domain import Clock, Reason, utc_now
from app.core.errors import Problem
from app.core.failures import CATALOGUE
from app.flows.answers import Answers
from app.flows.audit import Audit
from app.flows.authorization import AuthorizationRequests
from app.flows.exchange import Exchange
from app.flows.finish import RelayFlow
from app.flows.hosted import HostedFlow, PageKind
from app.flows.housekeeping import Housekeeping
from app.flows.session_token import SessionTokens
from app.flows.signed_state import StateSigner
from app.flows.start import Starting
from app.flows.users import Users
from app.hooks import entra, hydra, okta, supabase, wso2, zitadel
from app.hooks.authenticators import by_api_key, by_hmac, by_standard_webhook, by_tenant_token
from app.hooks.hook import Authenticate, Provider, Terms
from app.oidc import RelyingParty, TokenVerifier
from app.settings import Settings, load_settings
from app.storage.audit import AuditLog
from app.storage.database import Database
from app.storage.encryption import Cipher
from app.storage.health import look_at
from app.storage.keeping import Keeper
from app.storage.sealed import Seals
from app.storage.store import Store
from app.telemetry.logs import configure_logging
from app.telemetry.metrics import FOLDER, Metrics
from app.telemetry.tracing import Tracing

VERSION = version("idv-gateway")
MAX_BODY_BYTES = 64 * 1024
# A hook gives back what it was sent: the claims of a token, which vendors let grow to 200 KB.
MAX_HOOK_BODY_BYTES = 256 * 1024
BODY_SECONDS = 10.0
HOUSEKEEPING_SECONDS = 60.0
STOPPING_SECONDS = 3.0
# Whatever a decision or a callback may be counted by.
COUNTED = {*Reason, *CATALOGUE, *PageKind, *(problem.code for problem in Problem.__subclasses__()), "returned"}
# Without "@": what a caller sends is logged, and an e-mail address must not be.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:-]{1,128}")

_log = structlog.stdlib.get_logger("app.start")


def create_app(
    settings: Settings,
    *,
    clock: Clock = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
    environment: Mapping[str, str] | None = None,
    body_seconds: float = BODY_SECONDS,
    housekeeping_seconds: float = HOUSEKEEPING_SECONDS,
    entra_url: str = "https://login.microsoftonline.com",
) -> FastAPI:
    """The service for these settings. `clock` gives the time in UTC, `monotonic` seconds for ages and deadlines.

    A request's body must begin within `body_seconds`, and have come whole `body_seconds` after its first byte. House is
    kept every `housekeeping_seconds`.

    `environment` may name a folder for the metrics of many processes, and where traces go. Entra's keys come from
    `entra_url`.
    """
    given = environment or {}
    metrics, tracing = Metrics(given.get(FOLDER), words=COUNTED), Tracing.of(given)
    tenant = _tenant(settings, entra_url, clock, monotonic)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings, metrics, tracing, clock=clock, monotonic=monotonic) as services:
            app.state.services = services
            keep_house = partial(services.housekeeping.run, housekeeping_seconds)
            async with (
                _in_the_background(partial(_tell_of, services.database), ends=True),
                _in_the_background(keep_house if settings.housekeeping else None, ends=True),
                _in_the_background(tenant.keep_keys if tenant else None),
            ):
                try:
                    yield
                finally:
                    services.housekeeping.stop()
        await asyncio.to_thread(tracing.close)

    app = _Gateway(
        title="IDV Gateway",
        version=VERSION,
        summary="Identity verification at login, for any identity provider",
        description=description.TEXT,
        license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        servers=[
            {"url": urlsplit(settings.public_url).path or "/", "description": "The service that this page comes from"}
        ],
        openapi_tags=description.TAGS,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Its spans and logs would hold addresses and messages, and ours hold users' ids and codes.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.hooks = _hooks(settings, tenant, clock)
    handle_problems(app)
    complete_document(app)
    for router in (
        # A request's path is compared with each in turn: what is asked at every login comes first.
        users.router,
        verifications.router,
        callback.router,
        *(each.router for each in (hydra, supabase, okta, entra, zitadel, wso2)),
        browser.router,
        verifications.audit_router,
        users.admin_router,
        audit.router,
        ops.router,
        ops.metrics_router,
        docs.router,
    ):
        # Not included: a router within the router would look at each request once more.
        app.router.routes.extend(router.routes)
    # The last one added is the outermost.
    app.add_middleware(
        RequestBounds,
        max_bytes=MAX_BODY_BYTES,
        max_hook_bytes=MAX_HOOK_BODY_BYTES,
        seconds=body_seconds,
        monotonic=monotonic,
    )
    app.add_middleware(RequestRecord, metrics=metrics, tracing=tracing)
    app.add_middleware(SecurityHeaders, strict_transport=settings.public_url.startswith("https:"))
    app.add_middleware(CorrelationIdMiddleware, validator=lambda value: bool(_REQUEST_ID.fullmatch(value)))
    return app


class _Gateway(FastAPI):
    """FastAPI without three layers of its own that have nothing to do here.

    `RequestRecord` answers what nobody caught, `RequestBounds` bounds bodies, and its telemetry is off.
    """

    def build_middleware_stack(self) -> ASGIApp:
        """The layers that each request goes through."""
        app: ASGIApp = ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers=self.exception_handlers)
        for layer in reversed(self.user_middleware):
            app = layer.cls(app, *layer.args, **layer.kwargs)
        return app


async def _tell_of(database: Database) -> None:
    """Write into the log, at the start, why the database cannot be used.

    The service starts, and goes on once it can.
    """
    if cause := (await look_at(database)).cause:
        _log.warning("database_unavailable", cause=cause.code, meaning=cause.words, remedy=cause.remedy)


@asynccontextmanager
async def open_services(
    settings: Settings,
    metrics: Metrics,
    tracing: Tracing,
    *,
    clock: Clock = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Services]:
    """The use-cases, ready to be called, while the block runs.

    Nothing is asked of the database or the provider before.
    """

    def observe(endpoint: str, status: int | None, seconds: float) -> None:
        metrics.provider_call(endpoint, status, seconds)
        tracing.provider_call(endpoint, status, seconds)

    database = Database(settings.database_url.get_secret_value(), on_connection=metrics.connection)
    provider = RelyingParty(
        settings.provider,
        now=lambda: clock().timestamp(),
        monotonic=monotonic,
        observe=observe,
        on_key_refetch=metrics.key_refetch,
    )
    try:
        yield _services(settings, database, provider, metrics, clock)
    finally:
        await database.close()


def from_environment() -> FastAPI:
    """The service for the environment's settings. Raises SettingsInvalid."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    return create_app(settings, environment=os.environ)


@asynccontextmanager
async def _in_the_background(
    work: Callable[[], Coroutine[Any, Any, None]] | None, *, ends: bool = False
) -> AsyncIterator[None]:
    """Let `work` go on while the block runs, and no longer.

    What `ends` by itself is cancelled only where it takes its time.
    """
    task = asyncio.create_task(work()) if work else None
    try:
        yield
    finally:
        if task:
            if ends:
                # To break off a statement would leave the connection, and SQLite's thread, in the middle of it.
                await asyncio.wait({task}, timeout=STOPPING_SECONDS)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _services(
    settings: Settings, database: Database, provider: RelyingParty, metrics: Metrics, clock: Clock
) -> Services:
    cipher = Cipher(settings.fernet_keys)
    seals = Seals(cipher)
    store = Store(database, seals)
    signer = StateSigner(settings.redirect_secrets)
    requests = AuthorizationRequests(provider, signer)
    exchange = Exchange(provider, signer, keep_tokens=settings.store_tokens)
    answers = Answers(store, settings.rules, clock)
    return Services(
        starting=Starting(
            store=store,
            requests=requests,
            rules=settings.rules,
            addresses=settings.addresses,
            hosted=browser.hosted_addresses(settings.public_url),
            lifetime=settings.lifetime,
            clock=clock,
            adopts=settings.adopt_app_metadata,
        ),
        relay=RelayFlow(store=store, exchange=exchange, answers=answers, clock=clock),
        hosted=HostedFlow(
            store=store,
            requests=requests,
            exchange=exchange,
            answers=answers,
            signer=signer,
            session_tokens=SessionTokens(settings.redirect_secrets, settings.public_url),
            clock=clock,
        ),
        users=Users(store, settings.rules, clock),
        audit=Audit(store, AuditLog(database, seals), clock),
        housekeeping=Housekeeping(
            Keeper(database, cipher), retention=timedelta(days=settings.retention_days), clock=clock
        ),
        cookies=BindingCookies(settings.public_url, settings.lifetime),
        pages=Pages(product_name=settings.product_name, product_color=settings.product_color),
        database=database,
        metrics=metrics,
        api_keys=settings.keys,
        store_tokens=settings.store_tokens,
    )


def _tenant(settings: Settings, entra_url: str, clock: Clock, monotonic: Callable[[], float]) -> TokenVerifier | None:
    """What verifies the tokens of the Entra tenant, where there is one."""
    if settings.entra_tenant_id is None:
        return None
    return TokenVerifier(
        f"{entra_url}/{settings.entra_tenant_id}/discovery/v2.0/keys",
        algorithms=frozenset({"RS256"}),
        leeway_seconds=settings.clock_skew_seconds,
        request_seconds=settings.http_timeout_seconds,
        patience=entra.KEYS_SECONDS,
        now=lambda: clock().timestamp(),
        monotonic=monotonic,
    )


def _hooks(settings: Settings, tenant: TokenVerifier | None, clock: Clock) -> dict[Provider, Terms]:
    """The hooks that the operator has turned on, and on which terms."""

    def terms(authenticate: Authenticate, claim_name: str | None, without_database: str) -> Terms:
        return Terms(
            authenticate=authenticate,
            claim_name=claim_name or settings.claim_namespace,
            without_database=without_database == "continue",
            return_urls=settings.addresses.return_urls,
        )

    hooks: dict[Provider, Terms] = {}
    by_key = by_api_key(settings.keys)
    if settings.hydra_hook:
        hooks[Provider.HYDRA] = terms(by_key, settings.hydra_claim_name, settings.hydra_without_database)
    if settings.okta_hook:
        hooks[Provider.OKTA] = terms(by_key, settings.okta_claim_name, settings.okta_without_database)
    if settings.wso2_hook:
        hooks[Provider.WSO2] = terms(by_key, settings.wso2_claim_name, settings.wso2_without_database)
    if secrets := settings.webhook_secrets:
        by_webhook = by_standard_webhook(secrets, name=Provider.SUPABASE)
        hooks[Provider.SUPABASE] = terms(by_webhook, settings.supabase_claim_name, settings.supabase_without_database)
    if secret := settings.zitadel_hook_secret.get_secret_value():
        by_signature = by_hmac(
            secret, header=zitadel.SIGNATURE_HEADER, name=Provider.ZITADEL, now=lambda: clock().timestamp()
        )
        hooks[Provider.ZITADEL] = terms(by_signature, settings.zitadel_claim_name, settings.zitadel_without_database)
    if tenant and settings.entra_tenant_id and settings.entra_audience:
        by_token = by_tenant_token(
            tenant, tenant=settings.entra_tenant_id, audience=settings.entra_audience, name=Provider.ENTRA
        )
        hooks[Provider.ENTRA] = terms(by_token, settings.entra_claim_name, settings.entra_without_database)
    return hooks
