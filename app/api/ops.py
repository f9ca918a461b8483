"""What an operator's machinery asks: does it live, can it serve, what does its API look like."""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, HTMLResponse

from app.api.deps import CurrentServices
from app.api.schemas import HealthView, ReadinessView
from app.errors import DatabaseUnavailable
from app.migrate import current_revision

_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>IDV Gateway: API</title>
<link rel="icon" href="/docs/favicon.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_DOCS_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""

router = APIRouter(tags=["Operations"])
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


@docs_router.get("/docs")
async def docs() -> HTMLResponse:
    """The API in a browser, from assets of an installed package."""
    return HTMLResponse(_DOCS_PAGE, headers={"Content-Security-Policy": _DOCS_POLICY})


@docs_router.get("/docs/start.js")
async def docs_start() -> Response:
    """What starts Swagger UI; a file of its own, since the page's policy allows no inline script."""
    return Response(_DOCS_START, media_type="text/javascript")


@docs_router.get("/docs/swagger-ui-bundle.js")
async def docs_script() -> FileResponse:
    """Swagger UI's script."""
    return FileResponse(_ASSETS / "swagger-ui-bundle.js")


@docs_router.get("/docs/swagger-ui.css")
async def docs_style() -> FileResponse:
    """Swagger UI's style sheet."""
    return FileResponse(_ASSETS / "swagger-ui.css")


@docs_router.get("/docs/favicon.png")
async def docs_icon() -> FileResponse:
    """The icon."""
    return FileResponse(_ASSETS / "favicon.png")
