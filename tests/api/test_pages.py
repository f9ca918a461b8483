"""The pages of a browser that no redirect can help: what they say, what they hold back, and where they are found
again.
"""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser

import httpx
import pytest
from asgi_correlation_id import correlation_id
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.api.browser import accepted_language
from app.api.page_words import LABELS, PAGES, PREVIEW
from app.api.pages import Pages
from app.core.messages import LANGUAGES, Language
from app.flows.hosted import PageKind
from app.sandbox import Sandbox
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import Json, Service
from tests.harness.tables import Tables, on_sqlite_only

HOSTED = {
    "public_url": PUBLIC_URL,
    "return_urls": "https://tenant.example/continue",
    "verification_ttl_seconds": 7 * 86400,
}
USER = "auth0|somebody-special"
MARK = "<script>mark</script>"


class Outline(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


class Scene:
    """A service, somebody's browser, and an attempt that was begun."""

    def __init__(self, service: Service, browser: Browser, started: Json, clock: Clock, sandbox: Sandbox) -> None:
        self.service, self.browser, self.started = service, browser, started
        self.clock, self.sandbox = clock, sandbox

    async def bad_link(self) -> httpx.Response:
        return await self.browser.client.get(f"/v1/callback?code={MARK}&state={MARK}")

    async def foreign_browser(self) -> httpx.Response:
        launched = await self.browser.launch(self.started)
        address = await self.browser.at_provider(launched)
        self.browser.client.cookies.clear()
        return await self.browser.come_back(address)

    async def expired(self) -> httpx.Response:
        self.clock.advance(days=7)
        return await self.browser.launch(self.started)

    async def finished(self) -> httpx.Response:
        await self.service.finish(USER, self.started)
        return await self.browser.launch(self.started)

    async def provider_down(self) -> httpx.Response:
        self.clock.advance(hours=25)
        self.sandbox.down.add("discovery")
        return await self.browser.launch(self.started)

    async def other_tab(self) -> httpx.Response:
        await self.browser.launch(self.started)
        async with Browser(self.service) as other:
            await other.launch(await self.service.start(USER, flow="hosted"))
            return await other.launch(self.started)

    async def unreadable(self) -> httpx.Response:
        await Tables(self.service).change("UPDATE verifications SET sealed_request = 'x'")
        return await self.browser.launch(self.started)

    async def unavailable(self) -> httpx.Response:
        await Tables(self.service).change("ALTER TABLE verifications RENAME TO gone")
        return await self.browser.launch(self.started)


PROVOKED: dict[PageKind, Callable[[Scene], Awaitable[httpx.Response]]] = {
    PageKind.BAD_LINK: Scene.bad_link,
    PageKind.FOREIGN_BROWSER: Scene.foreign_browser,
    PageKind.EXPIRED: Scene.expired,
    PageKind.FINISHED: Scene.finished,
    PageKind.PROVIDER_DOWN: Scene.provider_down,
    PageKind.OTHER_TAB: Scene.other_tab,
    PageKind.UNREADABLE: Scene.unreadable,
    PageKind.UNAVAILABLE: Scene.unavailable,
}
TRY_AGAIN = {PageKind.IN_PROGRESS, PageKind.PROVIDER_DOWN, PageKind.UNAVAILABLE}
WITH_STATE = "https://tenant.example/continue?state=callers-own-state"
# Nobody has launched where the provider is down, the request cannot be opened, or the attempt has ended: whoever holds
# the link may be the one who began.
WAYS_BACK = {
    PageKind.FOREIGN_BROWSER: ["https://tenant.example/"],
    PageKind.OTHER_TAB: ["https://tenant.example/"],
    PageKind.PROVIDER_DOWN: [WITH_STATE],
    PageKind.EXPIRED: [WITH_STATE],
    PageKind.FINISHED: [WITH_STATE],
    PageKind.UNREADABLE: [WITH_STATE],
}
WITHOUT_ATTEMPT = {PageKind.BAD_LINK, PageKind.UNAVAILABLE}


@pytest.mark.parametrize("kind", PROVOKED)
@on_sqlite_only
async def test_each_page_tells_a_person_what_to_do_and_an_attacker_nothing(
    make_service: MakeService, clock: Clock, sandbox: Sandbox, kind: PageKind
) -> None:
    service = await make_service(**HOSTED)
    started = await service.start(USER, flow="hosted", email="mei@example.com", state="callers-own-state")
    with capture_logs([merge_contextvars, with_the_requests_id]) as logged:
        async with Browser(service) as browser:
            response = await PROVOKED[kind](Scene(service, browser, started, clock, sandbox))
    words = PAGES[kind]["en"]
    assert response.status_code == (503 if kind in TRY_AGAIN else 400)
    assert_is_a_careful_page(response)
    assert links(response) == WAYS_BACK.get(kind, [])
    assert f"<h1>{words.title}</h1>" in response.text
    shown = response.text.replace(WITH_STATE, "")
    for secret in (USER, "mei@example.com", "callers-own-state", "mark", "code"):
        assert secret not in shown.partition("<style>")[0] + shown.partition("</style>")[2], secret
    assert_is_found_again(response, started, kind, logged)


def with_the_requests_id(_: object, __: str, event: EventDict) -> EventDict:
    return {**event, "request_id": correlation_id.get()}


def assert_is_a_careful_page(response: httpx.Response) -> None:
    headers = response.headers
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    outline = Outline(response.text)
    assert ("html", {"lang": "en"}) in outline.tags
    assert (outline.count("h1"), outline.count("main"), outline.count("title")) == (1, 1, 1)
    for foreign in ("script", "img", "iframe", "link", "form", "object"):
        assert outline.count(foreign) == 0
    style = response.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = headers["Content-Security-Policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def assert_is_found_again(response: httpx.Response, started: Json, kind: PageKind, logged: list[EventDict]) -> None:
    """The reference is the attempt's id, or the request's where there is no attempt, and stands in the log."""
    [reference] = re.findall(r"<span>([^<]+)</span>", response.text)
    expected = response.headers["X-Request-ID"] if kind in WITHOUT_ATTEMPT else started["verification"]["id"]
    assert reference == expected
    found = [event for event in logged if event.get("page") == kind]
    assert found
    assert reference in {found[-1].get("verification"), found[-1]["request_id"]}


async def test_the_code_does_not_stay_in_the_address_bar(make_service: MakeService) -> None:
    service = await make_service(**HOSTED)
    async with Browser(service) as browser:
        first = await browser.client.get("/v1/callback?code=the-secret-code&state=forged")
        [target] = [
            tag["content"] for name, tag in Outline(first.text).tags if tag.get("http-equiv") == "refresh" and name
        ]
        reference = first.headers["X-Request-ID"]
        assert target == f"0; url=callback/bad_link?reference={reference}"
        then = await browser.client.get(first.url.join(str(target).removeprefix("0; url=")))
    assert_is_a_careful_page(then)
    assert f"<span>{reference}</span>" in then.text
    assert "refresh" not in then.text
    assert "<h1>This link does not work</h1>" in then.text


@pytest.mark.parametrize(
    "query",
    [
        "?reference=<b>call+555</b>",
        "?reference=idv_" + "g" * 32,
        "?reference=" + "a" * 5000,
        "?reference=call-0800-555",
        "",
    ],
)
@on_sqlite_only
async def test_nobody_can_put_words_of_his_own_on_a_page(service: Service, query: str) -> None:
    for kind in (*PageKind, "nothing", "%3Cb%3E"):
        response = await service.client(None).get(f"/v1/callback/{kind}{query}")
        assert_is_a_careful_page(response)
        [reference] = re.findall(r"<span>([^<]+)</span>", response.text)
        assert reference == response.headers["X-Request-ID"]


def links(response: httpx.Response) -> list[str | None]:
    return [attributes["href"] for name, attributes in Outline(response.text).tags if name == "a"]


async def test_the_state_of_the_caller_leads_back_only_the_browser_that_began(make_service: MakeService) -> None:
    service = await make_service(**HOSTED)
    started = await service.start(
        USER, flow="hosted", state="callers-own-state", return_to="https://tenant.example/continue?x=1"
    )
    async with Browser(service) as browser, Browser(service) as stranger:
        address = await browser.at_provider(await browser.launch(started))
        changed = address.replace("iss=", "iss=https%3A%2F%2Fevil.example")
        own, foreign = await browser.come_back(changed), await stranger.come_back(changed)
        [target] = [tag["content"] for _, tag in Outline(own.text).tags if tag.get("http-equiv") == "refresh"]
        clean = own.url.join(str(target).removeprefix("0; url="))
        again, foreign_again = await browser.client.get(clean), await stranger.client.get(clean)
    for mine in (own, again):
        assert links(mine) == ["https://tenant.example/continue?x=1&state=callers-own-state"]
        assert ">Back to tenant.example</a>" in mine.text
    for other in (foreign, foreign_again):
        assert links(other) == ["https://tenant.example/"]
        assert "callers-own-state" not in other.text


async def test_the_state_of_the_launch_leads_back_as_well(
    make_service: MakeService, sandbox: Sandbox, clock: Clock
) -> None:
    service = await make_service(**HOSTED)
    started = await service.start(USER, flow="hosted")
    clock.advance(hours=25)
    sandbox.down.add("discovery")
    async with Browser(service) as browser:
        response = await browser.launch(started, state="auth0 & state")
    assert links(response) == ["https://tenant.example/continue?state=auth0+%26+state"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", PageKind)
def test_every_page_is_there_in_every_language(kind: PageKind, language: Language) -> None:
    html = bytes(Pages().page(kind, "a-reference", language=language).body).decode()
    words = PAGES[kind][language]
    assert f'<html lang="{language}">' in html
    assert f"<h1>{words.title}</h1>" in html
    for text in (words.happened, words.do_this, LABELS[language].reference):
        assert text in html


def test_no_two_languages_say_the_same() -> None:
    for page in (*PAGES.values(), PREVIEW):
        assert len({(words.title, words.do_this) for words in page.values()}) == len(LANGUAGES)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("es", "es"),
        ("pt-BR,pt;q=0.9,en;q=0.8", "pt"),
        ("fr-FR,es;q=0.5,en;q=0.9", "en"),
        ("fr, de", "en"),
        ("en;q=0, es", "es"),
        ("es;q=0.1,pt;q=0.2", "pt"),
        ("*;q=0.1,es;q=nan", "en"),
        ("es;q=-1,pt;q=1e9", "en"),
        (",;,;q=", "en"),
        ("a" * 100_000 + ",es", "en"),
    ],
)
def test_the_language_is_the_one_that_the_browser_likes_best(header: str, language: Language) -> None:
    assert accepted_language(header) == language


@on_sqlite_only
async def test_a_browser_reads_the_page_in_its_language(service: Service) -> None:
    response = await service.client(None).get(
        "/v1/callback?state=forged", headers={"Accept-Language": "es-MX,es;q=0.9"}
    )
    assert "<h1>Este enlace no funciona</h1>" in response.text
    assert (response.headers["Content-Language"], response.headers["Vary"]) == ("es", "Accept-Language")


def test_a_product_gives_its_name_and_colour_and_nothing_else() -> None:
    page = Pages(product_name="Acme <b> Pay", product_color="#ffd500").page(PageKind.BAD_LINK, None)
    html = bytes(page.body).decode()
    assert '<p class="product">Acme &lt;b&gt; Pay</p>' in html
    assert "--accent: #ffd500; --on-accent: #000;" in html
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "color", ["red", "#fff", "#1234567", "#12345g", "#000000; } body { background: url(x)", "#000000\n"]
)
def test_a_colour_is_nothing_else(color: str) -> None:
    with pytest.raises(ValueError, match="#rrggbb"):
        Pages(product_color=color)


@pytest.mark.parametrize(
    ("color", "on_it"), [("#1f5fbf", "#fff"), ("#ffffff", "#000"), ("#000000", "#fff"), ("#ffd500", "#000")]
)
def test_a_button_can_be_read_on_any_colour(color: str, on_it: str) -> None:
    assert f"--on-accent: {on_it};" in bytes(Pages(product_color=color).page(PageKind.BAD_LINK, None).body).decode()


def test_every_page_has_its_words() -> None:
    assert set(PAGES) == set(PageKind)
    assert set(PROVOKED) | {PageKind.IN_PROGRESS} == set(PageKind)
