"""From a request to a route's answer, by the signature of its function (decision 0017).

The framework reads the same signature for the OpenAPI document. Its own solving of dependencies, and its second
validation of each answer, took most of a request's time.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any, get_args, get_type_hints

from fastapi import Request, Response
from fastapi.params import Body, Path, Query
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.api import fields
from app.api.deps import (
    CurrentActor,
    CurrentCaller,
    CurrentServices,
    MaySeeTokens,
    actor_of,
    caller_of,
    may_see_tokens,
    services_of,
)
from app.core.errors import RequestInvalid
from app.oidc import object_without_duplicates

Endpoint = Callable[..., Awaitable[BaseModel | Response | None]]
Answer = Callable[[Request], Awaitable[Response]]

_GIVEN: dict[Any, Callable[[Request], Any]] = {
    CurrentServices: services_of,
    CurrentActor: actor_of,
    CurrentCaller: caller_of,
    MaySeeTokens: may_see_tokens,
}


@dataclass(frozen=True, slots=True)
class _Sent:
    """An argument that the caller sends.

    It says where it is, its type, the names that it may have, and what stands in for it.
    """

    name: str
    place: tuple[str, ...]
    type: TypeAdapter[Any]
    known: tuple[str, ...]
    default: Any

    def read(self, value: Any) -> Any:
        """The argument. Raises RequestInvalid."""
        if value is None:
            if self.default is Parameter.empty:
                raise RequestInvalid([{"field": ".".join(self.place), "message": fields.MISSING}])
            return self.default
        try:
            return self.type.validate_python(value)
        except ValidationError as error:
            raise RequestInvalid(fields.field_errors(error, self.place, self.known)) from None


def answering(endpoint: Endpoint, status: int | None) -> Answer:
    """What answers a request by calling `endpoint` with its path, query, JSON body, and what `app/api/deps.py` gives.

    The answer raises RequestInvalid, and whatever the endpoint raises.
    """
    hints = get_type_hints(endpoint, include_extras=True)
    parameters = signature(endpoint).parameters.values()
    given = [(each.name, _GIVEN[hints[each.name]]) for each in parameters if hints[each.name] in _GIVEN]
    sent = [_sent(each, hints[each.name]) for each in parameters if hints[each.name] not in _GIVEN]

    async def answer(request: Request) -> Response:
        arguments = {name: give(request) for name, give in given}
        for each in sent:
            match each.place:
                case ("path", name):
                    value = request.path_params[name]
                case ("query",):
                    value = dict(request.query_params)
                case _:
                    value = await _json_body(request)
            arguments[each.name] = each.read(value)
        return _rendered(await endpoint(**arguments), status or 200)

    return answer


def _sent(parameter: Parameter, hint: Any) -> _Sent:
    source = next(each for each in hint.__metadata__ if isinstance(each, Path | Query | Body))
    place = (
        ("path", parameter.name) if isinstance(source, Path) else ("query" if isinstance(source, Query) else "body",)
    )
    models = [each for each in (hint.__origin__, *get_args(hint.__origin__)) if hasattr(each, "model_fields")]
    known = tuple(name for model in models for name in model.model_fields)
    return _Sent(parameter.name, place, TypeAdapter(hint), known, parameter.default)


async def _json_body(request: Request) -> Any:
    """The body as JSON, None where there is none, and its bytes where it does not say that it is JSON.

    JSON is UTF-8 without a byte order mark (RFC 8259 section 8.1), and no name comes twice: what a proxy has checked
    must be what we read. Raises RequestInvalid.
    """
    body = await request.body()
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not body or not (kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))):
        return body or None
    try:
        return json.loads(body.decode(), object_pairs_hook=object_without_duplicates)
    except (ValueError, RecursionError):
        raise RequestInvalid([{"field": "body", "message": fields.NOT_JSON}]) from None


def _rendered(view: BaseModel | Response | None, status: int) -> Response:
    if isinstance(view, Response):
        return view
    if view is None:
        return Response(status_code=status)
    return Response(view.model_dump_json(), status, media_type="application/json")
