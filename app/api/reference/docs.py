"""The API in a browser: from assets of an installed package and a few of ours, without any other host.

Every address is relative, so that the pages work below the path of a PUBLIC_URL, too.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import fastapi_offline
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.core.errors import NotFound

_PACKAGE: Final = Path(fastapi_offline.__file__).parent / "static"
_OURS: Final = Path(__file__).parent / "static"
_ASSETS: Final = {
    "swagger-ui-bundle.js": _PACKAGE,
    "swagger-ui.css": _PACKAGE,
    "redoc.standalone.js": _PACKAGE,
    "swagger-start.js": _OURS,
    "redoc-start.js": _OURS,
    "docs.css": _OURS,
    "icon.svg": _OURS,
}
_MEDIA_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# Redoc's page would fetch a picture of its maker's. Without one it shows the words alone.
_PICTURE_ELSEWHERE: Final = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src {style}; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>IDV Gateway: {title}</title>
<link rel="icon" href="docs/icon.svg">
{styles}</head>
<body>
<div id="api"></div>
<script src="docs/{script}"></script>
<script src="docs/{start}"></script>
</body>
</html>
"""

router = APIRouter(include_in_schema=False)


def _style(*names: str) -> str:
    return "".join(f'<link rel="stylesheet" href="docs/{name}">\n' for name in names)


@router.get("/")
async def entrance() -> RedirectResponse:
    """Whoever opens the service's bare address in a browser reads what it is."""
    return RedirectResponse("docs")


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The API, to be tried out."""
    html = _PAGE.format(
        title="try the API",
        styles=_style("swagger-ui.css", "docs.css"),
        script="swagger-ui-bundle.js",
        start="swagger-start.js",
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY.format(style="'self'")})


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """The API, to be read. Redoc makes its styles while it runs, and searches in a worker that it makes of a text."""
    html = _PAGE.format(
        title="the API",
        styles=_style("docs.css"),
        script="redoc.standalone.js",
        start="redoc-start.js",
    )
    policy = _POLICY.format(style="'self' 'unsafe-inline'")
    return HTMLResponse(html, headers={"Content-Security-Policy": f"{policy}; worker-src blob:"})


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    """A part of these pages. What starts them is a file of its own, since their policy allows no inline script."""
    if name not in _ASSETS:
        raise NotFound
    return Response(_content(name), media_type=_MEDIA_TYPES[Path(name).suffix])


@cache
def _content(name: str) -> bytes:
    return (_ASSETS[name] / name).read_bytes().replace(_PICTURE_ELSEWHERE, b"data:,")
