"""What every token hook is: a path, whoever may call it, what the vendor sends and what it takes back.

The vendor's user is waiting: a hook is answered from the record alone, and within the vendor's patience.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from inspect import signature
from typing import Annotated, Any, get_type_hints

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from starlette.types import Receive, Scope, Send

from app.api import fields
from app.api.deps import Services, services_of
from app.api.problems import responses
from app.core import errors
from app.core.domain import Caller, Json
from app.oidc import parse_object
from app.storage.faults import diagnose

_log = structlog.stdlib.get_logger("app.hooks")


class Provider(StrEnum):
    """The identity providers that have a hook; the values are words of settings and log lines."""

    HYDRA = "hydra"
    SUPABASE = "supabase"
    OKTA = "okta"
    ENTRA = "entra"
    ZITADEL = "zitadel"
    WSO2 = "wso2"


class HookOff(errors.NotFound):
    """The operator has not turned this hook on."""

    detail = "This hook is off: its settings are not there."
    hint = "Set what turns it on (`.env.example` lists the settings of each hook), and restart."


class Sent(BaseModel):
    """A part of a vendor's request, read as far as the answer depends on it. Vendors add members as they please."""

    # Its open end is said in the document, too, whose linter would take what a vendor adds for a mistake.
    model_config = ConfigDict(extra="ignore", json_schema_extra={"additionalProperties": True})


class CamelCased(Sent):
    """The same of a vendor whose names are in camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


Authenticate = Callable[[Request], Awaitable[Caller]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the operator has chosen for one provider: who may call, and how the claim is named.

    `without_database` lets tokens be minted without it while the database is away. `return_urls` are where browsers may
    go.
    """

    authenticate: Authenticate
    claim_name: str
    without_database: bool
    return_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Our claim on a provider's tokens. `value` is None where the verification does not stand, or nobody can tell."""

    name: str
    value: Mapping[str, Json] | None

    @property
    def flat(self) -> dict[str, Json]:
        """Its members as claims of their own, for tokens that hold no objects.

        Members of `pii` are told as if they were its own.
        """
        if self.value is None:
            return {}
        members = {**self.value, **self.value["pii"]}
        return {f"{self.name}_{name}": value for name, value in members.items() if name != "pii" and value is not None}

    def placed(self, beside: Mapping[str, Json] | None) -> dict[str, Json]:
        """The claims of a token with this one in its place.

        An older one of its name is left out where it does not stand.
        """
        others = {name: value for name, value in (beside or {}).items() if name != self.name}
        return others if self.value is None else {**others, self.name: self.value}


class Minting:
    """What a hook may do while its provider mints a token."""

    def __init__(self, services: Services, terms: Terms, caller: Caller, *, seconds: float) -> None:
        self.services = services
        self.caller = caller
        self.return_urls = terms.return_urls
        self._terms = terms
        self._seconds = seconds

    async def claim(self, user_id: str | None) -> Claim:
        """The claim of this user; a machine, which is nobody, has none.

        Raises DatabaseUnavailable unless that is passed over.
        """
        if user_id is None:
            return Claim(self._terms.claim_name, None)
        try:
            async with asyncio.timeout(self._seconds):
                status = await self.services.users.status(user_id)
        except TimeoutError:
            self.go_on_without_database(errors.DatabaseUnavailable())
        except errors.DatabaseUnavailable as away:
            self.go_on_without_database(away)
        else:
            structlog.contextvars.bind_contextvars(reason=status.reason)
            return Claim(self._terms.claim_name, next(iter(status.claims.values()), None))
        return Claim(self._terms.claim_name, None)

    def go_on_without_database(self, away: errors.DatabaseUnavailable) -> None:
        """Pass over that the database is away, where the operator has so chosen. Raises `away` otherwise."""
        if not self._terms.without_database:
            raise away
        _log.warning("minted_without_database", cause=diagnose(away).code)


async def _minting(request: Request) -> Minting:
    minting: Minting = request.state.minting
    return minting


CurrentMinting = Annotated[Minting, Depends(_minting)]


def answer(content: Json) -> Response:
    """The answer that a vendor's parser reads; some compare the content type to the letter."""
    return Response(_encoded(content), media_type="application/json")


def answer_within(limit: int, claim: Claim, render: Callable[[Claim], Json]) -> Response:
    """The answer with as much of the claim as fits into `limit` bytes.

    Personal data is left out first, then the claim.
    """
    for smaller in _ever_smaller(claim):
        encoded = _encoded(render(smaller))
        if len(encoded) <= limit:
            break
    if smaller.value != claim.value:
        _log.warning("claim_cut", whole=smaller.value is None)
    return Response(encoded, media_type="application/json")


def _encoded(content: Json) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _ever_smaller(claim: Claim) -> Iterator[Claim]:
    yield claim
    if claim.value is not None:
        yield replace(claim, value={**claim.value, "pii": {}})
        yield replace(claim, value=None)


def hook_router(provider: Provider, *schemes: Callable[..., Any], seconds: float) -> APIRouter:
    """Make a router for one provider's hooks, which must be answered within `seconds`.

    The caller is authenticated before anything is read of the body but its bytes: a stranger learns nothing from our
    parser.
    """

    class HookRoute(APIRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
            super().__init__(path, endpoint, **options)
            handle = self.get_route_handler()

            async def respond(scope: Scope, receive: Receive, send: Send) -> None:
                response = await handle(Request(scope, receive))
                await response(scope, receive, send)

            self.app = respond

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            endpoint, sent = self.endpoint, _body_of(self.endpoint)

            async def authenticate_then_answer(request: Request) -> Response:
                terms: Terms | None = request.app.state.hooks.get(provider)
                if terms is None:
                    raise HookOff
                caller = await terms.authenticate(request)
                structlog.contextvars.bind_contextvars(caller=caller.name)
                body = _read(await request.body(), sent)
                minting = Minting(services_of(request), terms, caller, seconds=seconds)
                response: Response = await endpoint(body, minting)
                return response

            return authenticate_then_answer

    documented = [Depends(scheme) for scheme in schemes]
    return APIRouter(route_class=HookRoute, prefix="/v1/hooks", tags=["Token hooks"], dependencies=documented)


def refusals(
    unauthorized: type[errors.Problem], *others: type[errors.Problem], field: str
) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI declaration of what a hook refuses; `field` is one that the vendor always sends."""
    return responses(
        unauthorized,
        HookOff,
        errors.PayloadTooLarge,
        errors.RequestTimeout,
        errors.RequestInvalid,
        errors.InternalError,
        errors.DatabaseUnavailable,
        *others,
        refused=(field, fields.MISSING),
    )


def _body_of(endpoint: Callable[..., Any]) -> TypeAdapter[Any]:
    first = next(iter(signature(endpoint).parameters))
    return TypeAdapter(get_type_hints(endpoint, include_extras=True)[first])


def _read(body: bytes, sent: TypeAdapter[Any]) -> Any:
    """The body as the hook reads it. Raises RequestInvalid."""
    try:
        return sent.validate_python(parse_object(body))
    except ValidationError as error:
        raise errors.RequestInvalid(fields.field_errors(error, ("body",))) from None
    except ValueError:
        raise errors.RequestInvalid([{"field": "body", "message": fields.NO_OBJECT}]) from None
