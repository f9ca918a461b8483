"""A stand-in for an identity provider's continue URL: it shows what arrived and how to relay it."""

from __future__ import annotations

import json
import secrets
import shlex
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

PATH = "/continue"
# Whom a person at this page plays: somebody whom the story has not verified.
VISITOR = {"user_id": "auth0|noor", "email": "noor@example.com"}

_templates = Jinja2Templates(Path(__file__).parent)


def _headers(nonce: str) -> dict[str, str]:
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": f"default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def curl(service: str, key: str, path: str, body: dict[str, str]) -> str:
    """A command that a person can paste."""
    return " ".join(
        (
            f"curl -s {service}{path}",
            f"-H {shlex.quote(f'Authorization: Bearer {key}')}",
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(json.dumps(body))}",
        )
    )


def create_app(service: str, key: str) -> Starlette:
    """The page, for a service and an API key of it."""

    async def show(request: Request) -> Response:
        arrived = dict(request.query_params)
        body = {"user_id": VISITOR["user_id"], **arrived}
        nonce = secrets.token_urlsafe(16)
        context = {"arrived": arrived, "command": curl(service, key, "/v1/callback", body), "nonce": nonce}
        return _templates.TemplateResponse(request, "relay.html", context, headers=_headers(nonce))

    return Starlette(routes=[Route(PATH, show)])
