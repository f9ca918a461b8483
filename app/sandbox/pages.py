"""The HTML pages, and the headers that keep them harmless."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.sandbox.authorization import AuthorizationRequest
from app.sandbox.config import SandboxConfig
from app.sandbox.outcomes import OUTCOMES
from app.sandbox.people import is_identity_id
from app.sandbox.scopes import SCOPES

_TEMPLATES: Final = Path(__file__).parent / "templates"
_STYLE: Final = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_ENVIRONMENT: Final = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)

# The pages offer links, not forms: browsers apply form-action to every redirect after a form, and only the relying
# party knows where its own redirects lead.
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """ASGI middleware that puts the security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and watch for the start of the answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def index_page(config: SandboxConfig) -> HTMLResponse:
    """Say what this server is."""
    return _page("index.html", issuer=config.issuer)


def message_page(title: str, message: str, status: int) -> HTMLResponse:
    """Tell the person why this cannot go on."""
    return _page("message.html", status, title=title, message=message)


def not_found_page(config: SandboxConfig) -> HTMLResponse:
    """Say what there is, to who came to an address that does not exist."""
    return _page("not_found.html", 404, issuer=config.issuer)


def choice_page(request: AuthorizationRequest, parameters: dict[str, str]) -> HTMLResponse:
    """Let the person choose how the verification ends; each choice is the same request again, with an outcome."""
    verified, *others = [
        (outcome, "?" + urlencode({**parameters, "outcome": key})) for key, outcome in OUTCOMES.items()
    ]
    return _page(
        "choice.html",
        client=request.reply_address.client,
        host=urlsplit(request.reply_address.redirect_uri).netloc,
        scopes=[SCOPES[scope].words for scope in request.scopes],
        hint=request.hint,
        face_authentication=request.hint is not None and is_identity_id(request.hint),
        verified=verified,
        others=others,
    )


def _page(template: str, status: int = 200, **context: object) -> HTMLResponse:
    # Safe as markup: the style is a file of this package, and the policy names its hash.
    html = _ENVIRONMENT.get_template(template).render(style=Markup(_STYLE), **context)  # noqa: S704
    return HTMLResponse(html, status)
