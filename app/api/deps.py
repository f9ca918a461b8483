"""What routes need of the application, and who may call them."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from app.api.cookies import BindingCookies
from app.api_keys import ApiKey, holder_of
from app.db import Database
from app.domain import Caller, Decision, Role
from app.errors import Forbidden, Unauthorized
from app.hosted import HostedFlow
from app.metrics import Metrics
from app.oidc import strict_json
from app.verification import Verifications


@dataclass(frozen=True, slots=True)
class Services:
    """What the lifespan has opened for the routes."""

    verifications: Verifications
    hosted: HostedFlow
    cookies: BindingCookies
    database: Database
    newest_revision: str | None
    metrics: Metrics
    api_keys: Sequence[ApiKey]
    store_tokens: bool


_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="An API key of the settings: `Authorization: Bearer …`")


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _may_see_tokens(request: Request) -> bool:
    return _services(request).store_tokens and _caller(request).role is Role.ADMIN


CurrentServices = Annotated[Services, Depends(_services)]
CurrentCaller = Annotated[Caller, Depends(_caller)]
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
                request.state.caller = _authenticated(request, role)
                structlog.contextvars.bind_contextvars(caller=request.state.caller.name)
                return await handle(_StrictRequest(request.scope, request.receive))

            return check_key_then_handle

    return APIRouter(route_class=KeyedRoute, dependencies=[Depends(_bearer)], **options)


def _authenticated(request: Request, role: Role) -> Caller:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    caller = holder_of(key.strip(" "), _services(request).api_keys) if scheme.lower() == "bearer" else None
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
