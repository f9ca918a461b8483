"""Who may call a route: the key is checked before the body is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.types import Receive, Scope, Send

from app.api.answering import answering
from app.api.deps import services_of
from app.core.api_keys import ApiKey, holder_of
from app.core.domain import Caller, Role
from app.core.errors import Forbidden, Unauthorized

SCHEMES = {
    Role.IDP: HTTPBearer(
        auto_error=False,
        scheme_name="IdpKey",
        description="A key of `API_KEYS`, for an identity provider's backend: verify, and ask for a user's status.",
    ),
    Role.SUPPORT: HTTPBearer(
        auto_error=False,
        scheme_name="SupportKey",
        description="A key of `SUPPORT_API_KEYS`, for a help desk: reads users' status, attempts and the audit.",
    ),
    Role.METRICS: HTTPBearer(
        auto_error=False,
        scheme_name="MetricsKey",
        description="A key of `METRICS_API_KEYS`, for Prometheus: reads `/metrics`.",
    ),
    Role.ADMIN: HTTPBearer(
        auto_error=False,
        scheme_name="AdminKey",
        description="A key of `ADMIN_API_KEYS`, for an administrator: all that the others may, and reset and erase.",
    ),
}


def keyed_router(*roles: Role, **options: Any) -> APIRouter:
    """Make a router for callers with one of `roles`, and for administrators, who may use every route.

    The key is checked before a body is read: a stranger learns nothing from our parser.
    """
    admitted = tuple(dict.fromkeys((*roles, Role.ADMIN)))

    class KeyedRoute(APIRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
            super().__init__(path, endpoint, **options)
            handle = self.get_route_handler()

            async def respond(scope: Scope, receive: Receive, send: Send) -> None:
                response = await handle(Request(scope, receive))
                await response(scope, receive, send)

            self.app = respond

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = answering(self.endpoint, self.status_code)

            async def check_key_then_answer(request: Request) -> Response:
                request.state.caller = authenticated(_bearer(request), services_of(request).api_keys, admitted)
                structlog.contextvars.bind_contextvars(caller=request.state.caller.name)
                return await answer(request)

            return check_key_then_answer

    return APIRouter(route_class=KeyedRoute, dependencies=[Depends(SCHEMES[each]) for each in admitted], **options)


def authenticated(key: str | None, keys: Iterable[ApiKey], admitted: Collection[Role]) -> Caller:
    """Who holds the key that a request brought. Raises Unauthorized, and Forbidden where its role is not admitted."""
    caller = holder_of(key, keys) if key is not None else None
    if caller is None:
        raise Unauthorized
    if caller.role not in admitted:
        raise Forbidden
    return caller


def _bearer(request: Request) -> str | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip(" ") if scheme.lower() == "bearer" else None
