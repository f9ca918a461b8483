"""Acme's pages, and the headers that keep them harmless."""

from __future__ import annotations

import base64
import hashlib
import json
import keyword
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TEMPLATES: Final = Path(__file__).parent / "templates"
_STYLE: Final = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
ICON: Final = (_TEMPLATES / "icon.svg").read_bytes()
COPY: Final = (_TEMPLATES / "copy.js").read_bytes()
_JSON_TOKEN: Final = re.compile(r'(?P<name>"(?:\\.|[^"\\])*")(?=:)|(?P<text>"(?:\\.|[^"\\])*")|(?P<word>[\w.+-]+)')
_PYTHON_TOKEN: Final = re.compile(
    r'(?P<text>"""(?s:.*?)"""|f?"(?:\\.|[^"\\\n])*")|(?P<comment>#.*)|(?P<name>\b(?:'
    + "|".join(keyword.kwlist)
    + r")\b)"
)
_LONG_ID: Final = re.compile(r"[\w-]{24,}")


class SecurityHeaders:
    """ASGI middleware that puts the security headers on every answer.

    Browsers apply form-action to every redirect after a form, so it names where a login may lead: the gateway and the
    provider.
    """

    def __init__(self, app: ASGIApp, onward: Sequence[str]) -> None:
        self.app = app
        self._headers = {
            "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src 'self'; "
            f"script-src 'self'; form-action 'self' {' '.join(onward)}; base-uri 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and watch for the start of the answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def page(template: str, status: int = 200, **context: object) -> HTMLResponse:
    """A page as an answer."""
    # Safe as markup: the style is a file of this package, and the policy names its hash.
    html = _environment.get_template(template).render(style=Markup(_STYLE), **context)  # noqa: S704
    return HTMLResponse(html, status)


def _json(value: Any) -> Markup:
    return _highlighted(json.dumps(value, indent=2, ensure_ascii=False), _JSON_TOKEN)


def _python(source: str) -> Markup:
    return _highlighted(source, _PYTHON_TOKEN)


def _highlighted(text: str, tokens: re.Pattern[str]) -> Markup:
    """Text with an element around each token, named after its kind, so that a style can tell them apart."""
    parts, end = [], 0
    for token in tokens.finditer(text):
        parts += [
            escape(text[end : token.start()]),
            Markup('<span class="{}">{}</span>').format(token.lastgroup, token[0]),
        ]
        end = token.end()
    return Markup("").join([*parts, escape(text[end:])])


def _path(path: str) -> Markup:
    """A path that may wrap after each slash, with long ids shortened."""
    short = _LONG_ID.sub(lambda found: found[0][:10] + "…", path)
    return Markup("/<wbr>").join(short.split("/"))


def _duration(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
_environment.filters |= {"json": _json, "python": _python, "path": _path, "duration": _duration}
