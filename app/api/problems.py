"""The one place where refusals and faults become answers: problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from pydantic.config import JsonDict
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.api.reference.examples import ANSWERS, REQUEST_ID
from app.core import errors
from app.core.errors import Problem
from app.storage.faults import diagnose
from app.telemetry.logs import fault_location

MEDIA_TYPE = "application/problem+json"
_FRAMEWORK_PROBLEMS: dict[int, type[Problem]] = {
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
}

_log = structlog.stdlib.get_logger("app.problems")


_ONE_OF_THE_CODES: JsonDict = {"enum": [*sorted({problem.code for problem in Problem.__subclasses__()})]}


class FieldError(BaseModel):
    """One field that was refused."""

    field: str = Field(description="Where the field is, such as `body.user_id`.")
    message: str = Field(description="What is wrong with it. The value is never repeated.")


class ProblemDetails(BaseModel):
    """A refused request or a fault (RFC 9457).

    Cause and remedy of each `code`: `docs/troubleshooting.md` in the repository.
    """

    type: str = Field(description="A URN that names the kind of problem.")
    title: str = Field(description="The kind of problem, for a person to read.")
    status: int = Field(description="The answer's HTTP status.")
    detail: str = Field(description="What went wrong, for a person to read.")
    hint: str = Field(description="What to do about it, for a person to read.")
    code: str = Field(
        description="The kind of problem, for a program to read. Stable.",
        json_schema_extra=_ONE_OF_THE_CODES,
    )
    request_id: str | None = Field(description="The request's id; the operator finds it in the log.")
    errors: list[FieldError] | None = Field(default=None, description="With `validation_error`: the fields.")


def problem_response(problem: Problem) -> JSONResponse:
    """The answer that tells of `problem`."""
    content = _details(problem, correlation_id.get())
    if isinstance(problem, errors.RequestInvalid):
        content["errors"] = problem.errors
    return JSONResponse(content, problem.status, dict(problem.headers), media_type=MEDIA_TYPE)


def _details(problem: Problem | type[Problem], request_id: str | None) -> dict[str, Any]:
    return {
        "type": f"urn:idv:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "hint": problem.hint,
        "code": problem.code,
        "request_id": request_id,
    }


def declared_answer(description: str, key: str, media_type: str = "application/json") -> dict[str, Any]:
    """The OpenAPI declaration of a response and its examples, which are found in `ANSWERS` under the key."""
    return {"description": description, "content": {media_type: {"examples": _references(key, ANSWERS[key])}}}


def declared_pages(description: str, *names: str) -> dict[str, Any]:
    """The OpenAPI declaration of a response that is one of these pages of `ANSWERS`."""
    content = {"schema": {"type": "string"}, "examples": _references("page", names)}
    return {"description": description, "content": {"text/html": content}}


def _references(key: str, names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/examples/{key}.{name}"} for name in names}


def responses(*problems: type[Problem], refused: tuple[str, str] = ("", "")) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI declaration of the problems that a route answers with, each with an example.

    `refused` is a field that the route may refuse, and why.
    """
    declared: dict[int | str, dict[str, Any]] = {}
    for status in sorted({problem.status for problem in problems}):
        alike = [problem for problem in problems if problem.status == status]
        meanings = "\n".join(f"- `{problem.code}`: {problem.detail}" for problem in alike)
        declared[status] = {
            "description": meanings,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/ProblemDetails"},
                    "examples": {problem.code: _example(problem, *refused) for problem in alike},
                }
            },
            "headers": {
                name: header(name, example, required=all(name in problem.headers for problem in alike))
                for problem in alike
                for name, example in problem.headers.items()
            },
        }
    return declared


def _example(problem: type[Problem], field: str, message: str) -> dict[str, Any]:
    content = _details(problem, REQUEST_ID)
    if problem is errors.RequestInvalid:
        content["errors"] = [{"field": field, "message": message}]
    return {"summary": problem.title, "value": content}


_HEADERS = {
    "Location": "Where the browser goes on to.",
    "Retry-After": "After how many seconds to repeat the request.",
    "WWW-Authenticate": "Which credentials are wanted (RFC 6750).",
    "X-Request-ID": "The request's id, yours if you sent one: the operator finds it in the log.",
}


def header(name: str, example: str, *, required: bool = True) -> dict[str, Any]:
    """The OpenAPI declaration of a response's header."""
    return {"description": _HEADERS[name], "required": required, "schema": {"type": "string"}, "example": example}


def handle_problems(app: FastAPI) -> None:
    """Answer every refusal, ours or the framework's, as a problem."""

    @app.exception_handler(Problem)
    async def _(_request: Request, error: Problem) -> JSONResponse:
        if error.status >= 500 and error.__cause__:
            cause = {"cause": diagnose(error).code} if isinstance(error, errors.DatabaseUnavailable) else {}
            _log.error(error.code, **cause, **fault_location(error.__cause__))
        return problem_response(error)

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        problem = _FRAMEWORK_PROBLEMS[error.status_code]
        response = problem_response(problem())
        if problem is errors.MethodNotAllowed:
            response.headers["Allow"] = ", ".join(_allowed_methods(request))
        return response


def _allowed_methods(request: Request) -> list[str]:
    """The methods of every route at this path; the framework names those of one only (RFC 9110 section 15.5.6)."""
    scope = {"type": "http", "path": request.scope["path"], "root_path": "", "headers": []}
    routes = request.app.router.routes
    return [
        method
        for method in ("GET", "POST", "DELETE")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
