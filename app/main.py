"""The only place that wires things; the lifespan owns what must be closed."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

import httpx
from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI

from app.api import browser, callback, ops, users, verifications
from app.api.cookies import BindingCookies
from app.api.deps import Services
from app.api.problems import describe_problems, handle_problems
from app.db import Database
from app.domain import Clock, utc_now
from app.encryption import Cipher
from app.exchange import Exchange
from app.hosted import HostedFlow
from app.logs import configure_logging
from app.metrics import Metrics
from app.middleware import RequestBounds, RequestLog, SecurityHeaders
from app.migrate import newest_revision
from app.oidc.client import RelyingParty
from app.session_token import SessionTokens
from app.settings import Settings, load_settings
from app.state import StateSigner
from app.store import Store
from app.verification import Verifications

MAX_BODY_BYTES = 64 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
_DESCRIPTION = """Have a person's identity verified at login, and get the claim for the tokens that you mint."""


def create_app(settings: Settings, *, clock: Clock = utc_now, monotonic: Callable[[], float] = time.monotonic) -> FastAPI:
    """The service for these settings. `clock` gives the time in UTC, `monotonic` seconds for the ages of caches."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings, metrics, clock=clock, monotonic=monotonic) as services:
            app.state.services = services
            yield

    app = FastAPI(
        title="IDV Gateway",
        version=version("idv-gateway"),
        description=_DESCRIPTION,
        openapi_tags=[{"name": name} for name in ("Verify", "Hosted flow", "Users", "Audit", "Operations")],
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    handle_problems(app)
    describe_problems(app)
    for router in (
        verifications.router,
        browser.router,
        verifications.admin_router,
        callback.router,
        users.admin_router,
        users.router,
        ops.router,
        ops.metrics_router,
        ops.docs_router,
    ):
        app.include_router(router)
    # The last one added is the outermost.
    app.add_middleware(RequestBounds, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(RequestLog, metrics=metrics)
    app.add_middleware(SecurityHeaders, strict_transport=settings.public_url.startswith("https:"))
    app.add_middleware(CorrelationIdMiddleware, validator=lambda value: bool(_REQUEST_ID.fullmatch(value)))
    return app


@asynccontextmanager
async def open_services(
    settings: Settings,
    metrics: Metrics,
    *,
    clock: Clock = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Services]:
    """The use-cases, ready to be called, while the block runs. Nothing is asked of the database or the provider before."""
    database = Database(settings.database_url.get_secret_value())
    async with httpx.AsyncClient(follow_redirects=False, timeout=settings.http_timeout_seconds) as client:
        provider = RelyingParty(
            settings.provider,
            client,
            now=lambda: clock().timestamp(),
            monotonic=monotonic,
            observe=metrics.provider_call,
        )
        try:
            yield _services(settings, database, provider, metrics, clock)
        finally:
            await database.close()


def from_environment() -> FastAPI:
    """The service for the environment's settings: what each uvicorn worker calls. Raises SettingsInvalid."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    return create_app(settings)


def _services(settings: Settings, database: Database, provider: RelyingParty, metrics: Metrics, clock: Clock) -> Services:
    store = Store(database, Cipher(settings.fernet_keys))
    signer = StateSigner(settings.redirect_secrets)
    session_tokens = SessionTokens(settings.redirect_secrets, settings.public_url)
    exchange = Exchange(provider, signer, keep_tokens=settings.store_tokens)
    return Services(
        verifications=Verifications(
            store=store,
            provider=provider,
            exchange=exchange,
            signer=signer,
            session_tokens=session_tokens,
            rules=settings.rules,
            addresses=settings.addresses,
            lifetime=settings.lifetime,
            clock=clock,
        ),
        hosted=HostedFlow(
            store=store,
            provider=provider,
            exchange=exchange,
            signer=signer,
            session_tokens=session_tokens,
            clock=clock,
        ),
        cookies=BindingCookies(settings.public_url, settings.lifetime),
        database=database,
        metrics=metrics,
        newest_revision=newest_revision(),
        api_keys=settings.keys,
        store_tokens=settings.store_tokens,
    )
