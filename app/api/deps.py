"""What routes need of the application."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import structlog
from asgi_correlation_id import correlation_id
from fastapi import Depends, Request

from app.api.cookies import BindingCookies
from app.api.pages import Pages
from app.core.api_keys import ApiKey
from app.core.domain import Actor, Caller, Decision, Role
from app.core.errors import Problem
from app.flows.audit import Audit
from app.flows.finish import RelayFlow
from app.flows.hosted import HostedFlow, PageNeeded
from app.flows.housekeeping import Housekeeping
from app.flows.start import Starting
from app.flows.users import Users
from app.storage.database import Database
from app.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Services:
    """What the lifespan has opened for the routes."""

    starting: Starting
    relay: RelayFlow
    hosted: HostedFlow
    users: Users
    audit: Audit
    housekeeping: Housekeeping
    cookies: BindingCookies
    pages: Pages
    database: Database
    metrics: Metrics
    api_keys: Sequence[ApiKey]
    store_tokens: bool


def services_of(request: Request) -> Services:
    """What the lifespan has opened for the application that this request reached."""
    services: Services = request.app.state.services
    return services


def caller_of(request: Request) -> Caller:
    """Whose key the request brought."""
    caller: Caller = request.state.caller
    return caller


def may_see_tokens(request: Request) -> bool:
    """Whether the provider's tokens, where they are kept, are shown to the caller."""
    return services_of(request).store_tokens and caller_of(request).role is Role.ADMIN


# A coroutine, though it waits for nothing: the framework would call a plain function in a thread.
async def _services(request: Request) -> Services:
    return services_of(request)


CurrentServices = Annotated[Services, Depends(_services)]
CurrentCaller = Annotated[Caller, Depends(caller_of)]
MaySeeTokens = Annotated[bool, Depends(may_see_tokens)]


def actor_of(request: Request) -> Actor:
    """The caller as the audit names it."""
    return Actor(name=caller_of(request).name, request_id=correlation_id.get())


CurrentActor = Annotated[Actor, Depends(actor_of)]


def note_decision(services: Services, decision: Decision) -> None:
    """Count the decision and add it to the request's log line, with the attempt's id and nothing of the person's."""
    services.metrics.decision(decision.action, decision.reason)
    verification = decision.verification.id if decision.verification else None
    structlog.contextvars.bind_contextvars(action=decision.action, reason=decision.reason, verification=verification)


@contextmanager
def counted_callback(services: Services, step: str) -> Iterator[None]:
    """Count a callback that is refused, by the problem's code or the page's kind."""
    try:
        yield
    except Problem as problem:
        services.metrics.callback(step, problem.code)
        raise
    except PageNeeded as needed:
        services.metrics.callback(step, needed.kind)
        raise
