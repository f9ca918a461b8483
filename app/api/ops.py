"""What an operator's machinery asks: does it live, can it serve, what does its API look like."""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, HTMLResponse

from app import errors
from app.api.deps import CurrentServices, keyed_router
from app.api.problems import responses
from app.api.schemas import HealthView, ReadinessView
from app.domain import Role
from app.errors import DatabaseUnavailable
from app.metrics import CONTENT_TYPE
from app.migrate import current_revision

_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# ReDoc searches in a worker that it makes of a text.
_REDOC_POLICY = f"{_POLICY}; worker-src blob:"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>IDV Gateway: API</title>
<link rel="icon" href="/docs/favicon.png">
{style}</head>
<body>
<div id="api"></div>
<script src="/docs/{script}"></script>
<script src="/docs/{start}"></script>
</body>
</html>
"""
_SWAGGER_STYLE = '<link rel="stylesheet" href="/docs/swagger-ui.css">\n'
_SWAGGER = _PAGE.format(style=_SWAGGER_STYLE, script="swagger-ui-bundle.js", start="start.js")
_REDOC = _PAGE.format(style="", script="redoc.standalone.js", start="redoc-start.js")
_STARTS = {
    # A key that is typed in stays in the page's memory, and an API description is sent to no validator.
    "start.js": (
        'SwaggerUIBundle({url: "/openapi.json", dom_id: "#api", deepLinking: true, '
        "persistAuthorization: false, validatorUrl: null});\n"
    ),
    "redoc-start.js": 'Redoc.init("/openapi.json", {hideDownloadButtons: true}, document.getElementById("api"));\n',
}
_FILES = frozenset({"swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png"})

router = APIRouter(tags=["Operations"])
metrics_router = keyed_router(Role.ADMIN, tags=["Operations"])
docs_router = APIRouter(include_in_schema=False)


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", operation_id="getHealth", summary="The process lives")
async def health() -> HealthView:
    """Says nothing about the database: a process that waits for its database must not be killed for it."""
    return HealthView()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="The database is reachable and migrated",
    responses={503: {"model": ReadinessView, "description": "Not ready; each check says what is wrong."}},
)
async def readiness(services: CurrentServices, response: Response) -> ReadinessView:
    """Each check by its name: `ok`, or what is wrong and how to mend it."""
    checks = await _checks(services)
    ready = set(checks.values()) == {"ok"}
    if not ready:
        response.status_code = 503
    return ReadinessView(status="ready" if ready else "not_ready", checks=checks)


async def _checks(services: CurrentServices) -> dict[str, str]:
    try:
        current = await current_revision(services.database)
    except DatabaseUnavailable:
        return {"database": "cannot be reached; look at DATABASE_URL", "migrations": "unknown"}
    if current != services.newest_revision:
        at = current or "no revision"
        wanted = f"the database is at {at}, this version needs {services.newest_revision}; run «idv migrate»"
        return {"database": "ok", "migrations": wanted}
    return {"database": "ok", "migrations": "ok"}


@metrics_router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}, "description": "Prometheus's text format."},
        **responses(errors.Unauthorized, errors.Forbidden, errors.InternalError),
    },
)
async def metrics(services: CurrentServices) -> Response:
    """Requests, decisions and calls to the provider, of this process."""
    return Response(services.metrics.render(), media_type=CONTENT_TYPE)


@docs_router.get("/docs")
async def docs() -> HTMLResponse:
    """The API in a browser, to be tried out; from assets of an installed package."""
    return HTMLResponse(_SWAGGER, headers={"Content-Security-Policy": _POLICY})


@docs_router.get("/redoc")
async def redoc() -> HTMLResponse:
    """The API in a browser, to be read."""
    return HTMLResponse(_REDOC, headers={"Content-Security-Policy": _REDOC_POLICY})


@docs_router.get("/docs/{name}")
async def docs_asset(name: str) -> Response:
    """A part of these pages. What starts them is a file of its own, since their policy allows no inline script."""
    if name in _STARTS:
        return Response(_STARTS[name], media_type="text/javascript")
    if name not in _FILES:
        raise errors.NotFound
    return FileResponse(_ASSETS / name)
