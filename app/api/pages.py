"""The pages for a person whom no redirect can help. All their words are here, so that they can be translated."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from asgi_correlation_id import correlation_id
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape

from app.flows.hosted import PageKind

LANGUAGE = "en"
REFERENCE_LABEL = "If you ask for help, give this reference:"


@dataclass(frozen=True, slots=True)
class Page:
    """A page's words and its HTTP status."""

    title: str
    happened: str
    do_this: str
    status: int = 400


_GO_BACK = "Go back to the website or app where you wanted to log in, and log in again."

PAGES = {
    PageKind.BAD_LINK: Page(
        "This link does not work",
        "The link is incomplete, was changed, or is not known here.",
        _GO_BACK,
    ),
    PageKind.EXPIRED: Page(
        "This took too long",
        "The time for this verification is over.",
        _GO_BACK,
    ),
    PageKind.FINISHED: Page(
        "This verification is finished",
        "Nothing more needs to be done here.",
        "Go back to the website or app where you wanted to log in.",
    ),
    PageKind.FOREIGN_BROWSER: Page(
        "Please use the other browser",
        "This verification was begun in another browser or on another device, or your browser does not keep cookies.",
        "Continue in the browser where you began. If you did not begin it yourself, close this page: somebody may have sent you "
        "a link that logs somebody else in.",
    ),
    PageKind.IN_PROGRESS: Page(
        "Still working",
        "Your verification is being checked.",
        "Wait a moment and load this page again.",
        503,
    ),
    PageKind.PROVIDER_DOWN: Page(
        "Verification is not available at the moment",
        "The verification service does not answer.",
        "Wait a few minutes, then load this page again.",
        503,
    ),
    PageKind.UNAVAILABLE: Page(
        "Please try again in a moment",
        "This service cannot be used at the moment.",
        "Wait a moment, then load this page again.",
        503,
    ),
}
PREVIEW = Page(
    "Continue your login",
    "This link continues a login.",
    "Open it in the browser in which you log in.",
    200,
)

_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_templates = Environment(loader=FileSystemLoader(_FOLDER), autoescape=select_autoescape())


def page(words: Page, reference: str | None, *, moves_to: str | None = None) -> HTMLResponse:
    """The page as an answer. `moves_to` is a clean address that the browser goes on to, so that no code stays in its bar."""
    html = _templates.get_template("page.html").render(
        language=LANGUAGE,
        words=words,
        style=_STYLE,
        reference_label=REFERENCE_LABEL,
        reference=reference or correlation_id.get(),
        moves_to=moves_to,
    )
    return HTMLResponse(html, words.status, {"Content-Security-Policy": _POLICY})
