"""The two routes of a browser in the hosted flow. They answer with a redirect, or with a page that says what to do."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlencode

import structlog
from asgi_correlation_id import correlation_id
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api.deps import CurrentServices, Services, counted_callback
from app.api.page_words import PAGES
from app.api.problems import declared_pages, header, responses
from app.api.reference import examples
from app.core.domain import ATTEMPT_ID, HostedAddresses
from app.core.errors import DatabaseUnavailable, InternalError
from app.core.messages import DEFAULT_LANGUAGE, LANGUAGES, Language, language_of
from app.flows.exchange import AuthorizationResponse
from app.flows.hosted import Origin, PageKind, PageNeeded, Return

MAX_STATE_LENGTH = 2048
_REFUSED = (
    PageKind.BAD_LINK,
    PageKind.EXPIRED,
    PageKind.FINISHED,
    PageKind.FOREIGN_BROWSER,
    PageKind.OTHER_TAB,
    PageKind.UNREADABLE,
)
_ENDED = frozenset({PageKind.EXPIRED, PageKind.FINISHED})
# Programs that fetch a link to show what is behind it. They follow no login, and must not take its place. They are
# known by how they name themselves (an address of their makers', a name with a version), since the name of a telephone
# may hold such a word.
_PREVIEW_AGENT = re.compile(
    r"\+https?:|\b[\w-]*(bot|crawler|spider|preview|externalhit|embedly)/\d"
    r"|^(whatsapp/|slackbot|telegrambot|facebookexternalhit|linkpreview)",
    re.IGNORECASE,
)
_MAX_LANGUAGES = 1000
_WEIGHT = re.compile(r"[01](\.\d{0,3})?")
# An attempt's id, or a request's in the form that we and most proxies make: none of them has room for words.
_REFERENCE = re.compile(rf"{ATTEMPT_ID.pattern}|[0-9a-f]{{32}}|[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")
_log = structlog.stdlib.get_logger("app.browser")

router = APIRouter(tags=["Hosted flow"], default_response_class=HTMLResponse)


def hosted_addresses(public_url: str) -> HostedAddresses:
    """Where browsers meet these routes, which are reached below `public_url`."""

    def launch_url(verification_id: str) -> str:
        return public_url + router.url_path_for(launch.__name__, verification_id=verification_id)

    return HostedAddresses(launch_url=launch_url, callback_url=public_url + router.url_path_for(receive.__name__))


def _query(description: str, example: str | None) -> Any:
    return Query(description=description, examples=[example])


def _pages(description: str, *kinds: PageKind) -> dict[str, Any]:
    meanings = "\n".join(f"- `{kind}`: {PAGES[kind][DEFAULT_LANGUAGE].happened}" for kind in kinds)
    return declared_pages(f"{description}\n\n{meanings}", *kinds)


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
        200: declared_pages(
            "A page for a program that only looks at the link, such as a preview. It binds nothing.", "preview"
        ),
        **_declared(examples.LAUNCHED_TO, PageKind.IN_PROGRESS, PageKind.PROVIDER_DOWN, PageKind.UNAVAILABLE),
    },
    openapi_extra={"security": []},
    response_class=RedirectResponse,
)
async def launch(
    request: Request,
    verification_id: Annotated[
        str,
        Path(
            description="`verification.id` of the answer that started it.", openapi_examples=examples.VERIFICATION_IDS
        ),
    ],
    services: CurrentServices,
    state: Annotated[
        str | None, _query("The identity provider's own state; at most 2048 characters.", examples.CALLER_STATE)
    ] = None,
    person: Annotated[str | None, Query(include_in_schema=False)] = None,
) -> Response:
    """Binds the browser to the attempt with a cookie and sends it to the provider. The first browser wins.

    Where the attempt has ended meanwhile, that browser goes back to `return_to`.
    """
    pages = _BrowserPages(request, services)
    if _names(request).count("state") > 1 or len(state or "") > MAX_STATE_LENGTH:
        return await pages.page(PageNeeded(PageKind.BAD_LINK))
    if _is_preview(request, says_a_person=person is not None):
        return pages.preview(state)
    cookies = services.cookies.read(request.cookies)
    try:
        launched = await services.hosted.launch(verification_id, cookies=cookies, caller_state=state or None)
    except PageNeeded as needed:
        return await pages.page(needed, caller_state=state or None)
    except DatabaseUnavailable:
        return await pages.page(PageNeeded(PageKind.UNAVAILABLE))
    response = _redirect(launched.location)
    if isinstance(launched, Return):
        services.cookies.release(response, launched.attempt_id, cookies)
    elif launched.cookie:
        services.cookies.bind(response, verification_id, launched.cookie, beside=cookies)
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
        str | None,
        _query("The provider's error. It wins over a `code`, which is then not sent.", examples.REFUSED.code),
    ] = None,
    error_description: Annotated[
        str | None, _query("The provider's words about the error.", examples.REFUSED.description)
    ] = None,
) -> Response:
    """Exchanges the code, keeps the outcome unconfirmed, and sends the browser back to `return_to`.

    The address has a `session_token`. The record changes only when the identity provider hands that token in at `POST
    /v1/callback`. An attempt that was ended without this browser, by that route or by a reset, has no token.
    """
    pages = _BrowserPages(request, services)
    if _is_any_repeated(_names(request)):
        return await pages.page(PageNeeded(PageKind.BAD_LINK))
    parameters = AuthorizationResponse(
        code=code or None,
        state=state or None,
        iss=iss or None,
        error=error or None,
        error_description=error_description or None,
    )
    cookies = services.cookies.read(request.cookies)
    try:
        with counted_callback(services, "return"):
            returned = await services.hosted.receive(parameters, cookies)
    except PageNeeded as needed:
        return await pages.page(needed, clean_address=True)
    except DatabaseUnavailable:
        # Without a clean address: the person loads this page again, and its parameters are still good.
        return await pages.page(PageNeeded(PageKind.UNAVAILABLE))
    services.metrics.callback("return", "returned")
    response = _redirect(returned.location)
    services.cookies.release(response, returned.attempt_id, cookies)
    return response


@router.get("/v1/callback/{kind}", include_in_schema=False)
async def explain(request: Request, services: CurrentServices, kind: str, reference: str = "") -> Response:
    """A page again, at an address without the provider's parameters. Nobody can put words of his own on it."""
    known = PageKind(kind) if kind in set(PageKind) else PageKind.BAD_LINK
    return await _BrowserPages(request, services).again(known, reference if _REFERENCE.fullmatch(reference) else None)


class _BrowserPages:
    """The pages for one request: in its person's language, with the way back that its cookies give a right to."""

    def __init__(self, request: Request, services: Services) -> None:
        self._services = services
        self._cookies = services.cookies.read(request.cookies)
        self._accepted = accepted_language(request.headers.get("Accept-Language", ""))

    def preview(self, state: str | None) -> Response:
        """The page for a program; a person who was taken for one follows its link, which says so."""
        onward = urlencode({**({"state": state} if state else {}), "person": "yes"})
        return self._services.pages.preview(f"?{onward}", language=self._accepted)

    async def page(
        self, needed: PageNeeded, *, caller_state: str | None = None, clean_address: bool = False
    ) -> Response:
        """The page that is needed, noted in the log. With a clean address, it moves to one without the parameters."""
        _log.info("page", page=needed.kind, verification=needed.reference)
        reference = needed.reference or correlation_id.get()
        target = f"callback/{needed.kind}?{urlencode({'reference': reference})}" if clean_address else None
        return await self._answer(needed.kind, reference, caller_state=caller_state, moves_to=target)

    async def again(self, kind: PageKind, reference: str | None) -> Response:
        """The page at its clean address."""
        return await self._answer(kind, reference)

    async def _answer(
        self, kind: PageKind, reference: str | None, *, caller_state: str | None = None, moves_to: str | None = None
    ) -> Response:
        origin = await self._origin(reference, caller_state)
        language = language_of(origin.locale) if origin.locale else self._accepted
        response = self._services.pages.page(kind, reference, language=language, origin=origin, moves_to=moves_to)
        if reference and kind in _ENDED:
            self._services.cookies.release(response, reference, self._cookies)
        return response

    async def _origin(self, reference: str | None, caller_state: str | None) -> Origin:
        if not reference or not ATTEMPT_ID.fullmatch(reference):
            return Origin()
        try:
            return await self._services.hosted.origin(reference, self._cookies, caller_state)
        except DatabaseUnavailable:
            return Origin()


def _redirect(location: str) -> Response:
    """Send the browser on to an address as it is. The framework's own redirect would write parts of it anew."""
    return Response(status_code=303, headers={"Location": location})


def accepted_language(header: str) -> Language:
    """The first of our languages by an Accept-Language header's weights (RFC 9110 section 12.5.4)."""
    weighted = [_weighted(entry) for entry in header[:_MAX_LANGUAGES].split(",")]
    ranked = sorted((each for each in weighted if each[0] > 0), key=lambda each: -each[0])
    tags = (tag.partition("-")[0].lower() for _, tag in ranked)
    return next((language for tag in tags for language in LANGUAGES if language == tag), DEFAULT_LANGUAGE)


def _weighted(entry: str) -> tuple[float, str]:
    tag, *parameters = (part.strip() for part in entry.split(";"))
    weight = next((part[2:] for part in parameters if part.lower().startswith("q=")), "1")
    return (float(weight) if _WEIGHT.fullmatch(weight) else 0.0), tag


def _names(request: Request) -> list[str]:
    return [name for name, _ in request.query_params.multi_items()]


def _is_any_repeated(names: list[str]) -> bool:
    """Whether a parameter came more than once: two readers could then read two requests (RFC 6749 section 3.1)."""
    return len(set(names)) < len(names)


def _is_preview(request: Request, *, says_a_person: bool) -> bool:
    """Whether this is no person's navigation, but a prefetch or a link preview.

    A person may say that the name misleads.
    """
    headers = request.headers
    purpose = headers.get("Sec-Purpose", "") + headers.get("Purpose", "") + headers.get("X-Moz", "")
    if "prefetch" in purpose.lower() or "preview" in purpose.lower():
        return True
    if headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        return True
    return not says_a_person and bool(_PREVIEW_AGENT.search(headers.get("User-Agent", "")))
