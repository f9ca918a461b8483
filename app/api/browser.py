"""The two routes of a browser in the hosted flow. They answer with a redirect, or with a page that says what to do."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlencode

import structlog
from asgi_correlation_id import correlation_id
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api import pages
from app.api.deps import CurrentServices, counted_callback
from app.api.problems import header, responses, shown
from app.api.reference import examples
from app.core.domain import ATTEMPT_ID
from app.core.errors import DatabaseUnavailable, InternalError
from app.flows.exchange import AuthorizationResponse
from app.flows.hosted import PageKind, PageNeeded

MAX_STATE_LENGTH = 2048
_RESPONSE_PARAMETERS = ("code", "state", "iss", "error", "error_description")
_REFUSED = (PageKind.BAD_LINK, PageKind.EXPIRED, PageKind.FINISHED, PageKind.FOREIGN_BROWSER)
# Programs that fetch a link to show what is behind it. They follow no login, and must not take its place.
_PREVIEW_AGENT = re.compile(r"bot\b|crawler|spider|preview|externalhit|whatsapp|embedly", re.IGNORECASE)
# An attempt's id, or a request's in the form that we and most proxies make: none of them has room for words.
_REFERENCE = re.compile(rf"{ATTEMPT_ID.pattern}|[0-9a-f]{{32}}|[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")
_log = structlog.stdlib.get_logger("app.browser")

router = APIRouter(tags=["Hosted flow"], default_response_class=HTMLResponse)


def _query(description: str, example: str | None) -> Any:
    return Query(description=description, examples=[example])


def _pages(description: str, *kinds: PageKind) -> dict[str, Any]:
    meanings = "\n".join(f"- `{kind}`: {pages.PAGES[kind].happened}" for kind in kinds)
    return shown(f"{description}\n\n{meanings}", *kinds)


def _declared(location: str, *try_again: PageKind) -> dict[int | str, dict[str, Any]]:
    """What both routes answer with: where the browser goes, and the pages that ask to try again, are a route's own."""
    return {
        303: {"description": "The browser goes on.", "headers": {"Location": header("Location", location)}},
        400: _pages("A page for the person. Nothing was recorded, and the attempt is as it was.", *_REFUSED),
        503: _pages("A page that asks to try again.", *try_again),
        **responses(InternalError),
    }


@router.get(
    "/v1/verifications/{verification_id}/launch",
    operation_id="launchVerification",
    summary="Send the browser on to the provider (hosted flow)",
    status_code=303,
    responses={
        200: shown("A page for a program that only looks at the link, such as a preview. It binds nothing.", "preview"),
        **_declared(examples.LAUNCHED_TO, PageKind.PROVIDER_DOWN, PageKind.UNAVAILABLE),
    },
    openapi_extra={"security": []},
    response_class=RedirectResponse,
)
async def launch(
    request: Request,
    verification_id: Annotated[
        str, Path(description="`verification.id` of the answer that started it.", openapi_examples=examples.VERIFICATION_IDS)
    ],
    services: CurrentServices,
    state: Annotated[
        str | None, _query("The identity provider's own state; at most 2048 characters.", examples.CALLER_STATE)
    ] = None,
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
    summary="Take the browser back from the provider (hosted flow)",
    status_code=303,
    responses=_declared(examples.RETURNED_TO, PageKind.IN_PROGRESS, PageKind.UNAVAILABLE),
    openapi_extra={"security": []},
    response_class=RedirectResponse,
)
async def receive(  # noqa: PLR0917  the parameters of the response
    request: Request,
    services: CurrentServices,
    code: Annotated[str | None, _query("The provider's code. It works once.", examples.CODE)] = None,
    state: Annotated[str | None, _query("Our own state: which verification this is about.", examples.STATE)] = None,
    iss: Annotated[str | None, _query("The provider's issuer (RFC 9207).", examples.ISSUER)] = None,
    error: Annotated[
        str | None, _query("The provider's error. It wins over a `code`, which is then not sent.", examples.REFUSED.code)
    ] = None,
    error_description: Annotated[
        str | None, _query("The provider's words about the error.", examples.REFUSED.description)
    ] = None,
) -> Response:
    """Exchanges the code, keeps the outcome unconfirmed, and sends the browser back to `return_to` with a `session_token`.

    The record changes only when the identity provider hands that token in at `POST /v1/callback`.
    """
    if _is_repeated(request, *_RESPONSE_PARAMETERS):
        return _page(PageNeeded(PageKind.BAD_LINK))
    response = AuthorizationResponse(code or None, state or None, iss or None, error or None, error_description or None)
    try:
        with counted_callback(services, "return"):
            location = await services.hosted.receive(response, services.cookies.read(request.cookies))
    except PageNeeded as needed:
        return _page(needed, clean_address=True)
    except DatabaseUnavailable:
        # Without a clean address: the person loads this page again, and its parameters are still good.
        return _page(PageNeeded(PageKind.UNAVAILABLE))
    services.metrics.callback("return", "returned")
    return RedirectResponse(location, 303)


@router.get("/v1/callback/{kind}", include_in_schema=False)
async def explain(kind: str, reference: str = "") -> Response:
    """A page again, at an address without the provider's parameters. Nobody can put words of his own on it."""
    words = pages.PAGES[PageKind(kind)] if kind in set(PageKind) else pages.PAGES[PageKind.BAD_LINK]
    return pages.page(words, reference if _REFERENCE.fullmatch(reference) else None)


def _page(needed: PageNeeded, *, clean_address: bool = False) -> Response:
    _log.info("page", page=needed.kind, verification=needed.reference)
    reference = needed.reference or correlation_id.get()
    target = f"/v1/callback/{needed.kind}?{urlencode({'reference': reference})}"
    return pages.page(pages.PAGES[needed.kind], reference, moves_to=target if clean_address else None)


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
