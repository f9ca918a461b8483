"""The two routes of a browser in the hosted flow. They answer with a redirect, or with a page that says what to do."""

from __future__ import annotations

import re
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api import pages
from app.api.deps import CurrentServices
from app.domain import ATTEMPT_ID
from app.errors import DatabaseUnavailable
from app.exchange import AuthorizationResponse
from app.hosted import PageKind, PageNeeded

MAX_STATE_LENGTH = 2048
_RESPONSE_PARAMETERS = ("code", "state", "iss", "error", "error_description")
_PAGE: dict[str, Any] = {"content": {"text/html": {}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    303: {"description": "The browser goes on."},
    400: {"description": "A page for the person. Nothing was recorded, and the attempt is as it was.", **_PAGE},
    503: {"description": "The provider or the database cannot be reached: a page that asks to try again.", **_PAGE},
}
# Programs that fetch a link to show what is behind it. They follow no login, and must not take its place.
_PREVIEW_AGENT = re.compile(r"bot\b|crawler|spider|preview|externalhit|whatsapp|embedly", re.IGNORECASE)
_log = structlog.stdlib.get_logger("app.browser")

router = APIRouter(tags=["Hosted flow"], default_response_class=HTMLResponse)


@router.get(
    "/v1/verifications/{verification_id}/launch",
    operation_id="launchVerification",
    summary="The browser's way in",
    status_code=303,
    responses=_RESPONSES,
    response_class=RedirectResponse,
)
async def launch(
    request: Request,
    verification_id: str,
    services: CurrentServices,
    state: Annotated[str | None, Query(description="The identity provider's own state; at most 2048 characters.")] = None,
) -> Response:
    """Binds the browser to the attempt with a cookie and sends it to the provider. The first browser wins."""
    if _is_preview(request):
        return pages.page(pages.PREVIEW, None)
    if _is_repeated(request, "state") or len(state or "") > MAX_STATE_LENGTH:
        return _page(PageNeeded(PageKind.BAD_LINK))
    cookie = services.cookies.read(request.cookies).get(verification_id)
    try:
        launched = await services.hosted.launch(verification_id, cookie=cookie, caller_state=state or None)
    except PageNeeded as needed:
        return _page(needed)
    except DatabaseUnavailable:
        return _page(PageNeeded(PageKind.UNAVAILABLE))
    response = RedirectResponse(launched.location, 303)
    if launched.cookie:
        services.cookies.set(response, verification_id, launched.cookie)
    return response


@router.get(
    "/v1/callback",
    operation_id="receiveCallback",
    summary="The browser's way back from the provider",
    status_code=303,
    responses=_RESPONSES,
    response_class=RedirectResponse,
)
async def receive(  # noqa: PLR0917  the parameters of the response
    request: Request,
    services: CurrentServices,
    code: str | None = None,
    state: str | None = None,
    iss: str | None = None,
    error: str | None = None,
    error_description: str | None = None,
) -> Response:
    """Exchanges the code, keeps the outcome unconfirmed, and sends the browser back to `return_to` with a `session_token`.

    The record changes only when the identity provider hands that token in at `POST /v1/callback`.
    """
    if _is_repeated(request, *_RESPONSE_PARAMETERS):
        return _page(PageNeeded(PageKind.BAD_LINK))
    response = AuthorizationResponse(code or None, state or None, iss or None, error or None, error_description or None)
    try:
        location = await services.hosted.receive(response, services.cookies.read(request.cookies))
    except PageNeeded as needed:
        return _page(needed, clean_address=True)
    except DatabaseUnavailable:
        # Without a clean address: the person loads this page again, and its parameters are still good.
        return _page(PageNeeded(PageKind.UNAVAILABLE))
    return RedirectResponse(location, 303)


@router.get("/v1/callback/{kind}", include_in_schema=False)
async def explain(kind: str, reference: str = "") -> Response:
    """A page again, at an address without the provider's parameters. Nobody can put words of his own on it."""
    words = pages.PAGES[PageKind(kind)] if kind in set(PageKind) else pages.PAGES[PageKind.BAD_LINK]
    return pages.page(words, reference if ATTEMPT_ID.fullmatch(reference) else None)


def _page(needed: PageNeeded, *, clean_address: bool = False) -> Response:
    _log.info("page", page=needed.kind, verification=needed.reference)
    target = f"/v1/callback/{needed.kind}" + (f"?reference={needed.reference}" if needed.reference else "")
    return pages.page(pages.PAGES[needed.kind], needed.reference, moves_to=target if clean_address else None)


def _is_repeated(request: Request, *names: str) -> bool:
    """Whether a parameter came more than once: two readers could then read two requests (RFC 6749 section 3.1)."""
    given = [name for name, _ in request.query_params.multi_items()]
    return any(given.count(name) > 1 for name in names)


def _is_preview(request: Request) -> bool:
    """Whether this is no person's navigation, but a prefetch or a link preview."""
    headers = request.headers
    purpose = headers.get("Sec-Purpose", "") + headers.get("Purpose", "") + headers.get("X-Moz", "")
    if "prefetch" in purpose.lower() or "preview" in purpose.lower():
        return True
    if headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        return True
    return bool(_PREVIEW_AGENT.search(headers.get("User-Agent", "")))
