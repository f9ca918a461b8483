"""What routes need of the application, and who may call them."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from app.api.cookies import BindingCookies
from app.core.api_keys import ApiKey, holder_of
from app.core.domain import Caller, Decision, Role
from app.core.errors import Forbidden, Problem, Unauthorized
from app.flows.hosted import HostedFlow, PageNeeded
from app.flows.verification import Verifications
from app.oidc import strict_json
from app.storage.database import Database
from app.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Services:
    """What the lifespan has opened for the routes."""

    verifications: Verifications
    hosted: HostedFlow
    cookies: BindingCookies
    database: Database
    metrics: Metrics
    api_keys: Sequence[ApiKey]
    store_tokens: bool


_SCHEMES = {
    Role.IDP: HTTPBearer(
        auto_error=False,
        scheme_name="IdpKey",
        description="A key of `API_KEYS`, for an identity provider's backend: verify, and ask for a user's status.",
    ),
    Role.ADMIN: HTTPBearer(
        auto_error=False,
        scheme_name="AdminKey",
        description="A key of `ADMIN_API_KEYS`, for an administrator: what an identity provider may, and reset, erase, audit.",
    ),
}


# Coroutines, though they wait for nothing: the framework would call a plain function in a thread.
async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CurrentServices = Annotated[Services, Depends(_services)]
CurrentCaller = Annotated[Caller, Depends(_caller)]


async def _may_see_tokens(services: CurrentServices, caller: CurrentCaller) -> bool:
    return services.store_tokens and caller.role is Role.ADMIN


MaySeeTokens = Annotated[bool, Depends(_may_see_tokens)]


class _StrictRequest(Request):
    """Refuses JSON in which a name comes twice: what a proxy has checked must be what we read."""

    async def json(self) -> Any:
        return json.loads(await self.body(), object_pairs_hook=strict_json.object_without_duplicates)


def keyed_router(role: Role, **options: Any) -> APIRouter:
    """A router for callers with `role`. The key is checked before a body is read: a stranger learns nothing from our parser."""

    class KeyedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def check_key_then_handle(request: Request) -> Response:
                request.state.caller = _authenticated(request, await _services(request), role)
                structlog.contextvars.bind_contextvars(caller=request.state.caller.name)
                return await handle(_StrictRequest(request.scope, request.receive))

            return check_key_then_handle

    admitted = [Role.ADMIN] if role is Role.ADMIN else [Role.IDP, Role.ADMIN]
    return APIRouter(route_class=KeyedRoute, dependencies=[Depends(_SCHEMES[each]) for each in admitted], **options)


def _authenticated(request: Request, services: Services, role: Role) -> Caller:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    caller = holder_of(key.strip(" "), services.api_keys) if scheme.lower() == "bearer" else None
    if caller is None:
        raise Unauthorized
    if role is Role.ADMIN and caller.role is not Role.ADMIN:
        raise Forbidden
    return caller


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
