"""The pages of a browser that no redirect can help: what they say, what they hold back, and where they are found again."""

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser

import httpx
import pytest

from app.api import pages
from app.flows.hosted import PageKind
from app.sandbox import Sandbox
from app.telemetry.logs import configure_logging
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import Json, Service
from tests.harness.tables import Tables, on_sqlite_only

HOSTED = {"public_url": PUBLIC_URL, "return_urls": "https://tenant.example/continue", "verification_ttl_seconds": 7 * 86400}
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
        await self.browser.go_through(self.started)
        tables = Tables(self.service)
        await tables.change("UPDATE verifications SET status = 'completed', sealed_return = NULL")
        return await self.browser.launch(self.started)

    async def provider_down(self) -> httpx.Response:
        self.clock.advance(hours=25)
        self.sandbox.down.add("discovery")
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
    PageKind.UNAVAILABLE: Scene.unavailable,
}
WITHOUT_ATTEMPT = {PageKind.BAD_LINK, PageKind.UNAVAILABLE}


@pytest.mark.parametrize("kind", PROVOKED)
@on_sqlite_only
async def test_each_page_tells_a_person_what_to_do_and_an_attacker_nothing(
    make_service: MakeService, clock: Clock, sandbox: Sandbox, kind: PageKind, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("debug", "json")
    service = await make_service(**HOSTED)
    started = await service.start(USER, flow="hosted", email="mei@example.com", state="callers-own-state")
    async with Browser(service) as browser:
        response = await PROVOKED[kind](Scene(service, browser, started, clock, sandbox))
    words = pages.PAGES[kind]
    assert response.status_code == words.status
    assert_is_a_careful_page(response)
    assert f"<h1>{words.title}</h1>" in response.text
    for secret in (USER, "mei@example.com", "callers-own-state", "mark", "code"):
        assert secret not in response.text.partition("<style>")[0] + response.text.partition("</style>")[2], secret
    assert_is_found_again(response, started, kind, capsys.readouterr().out)


def assert_is_a_careful_page(response: httpx.Response) -> None:
    headers = response.headers
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    outline = Outline(response.text)
    assert ("html", {"lang": "en"}) in outline.tags
    assert (outline.count("h1"), outline.count("main"), outline.count("title")) == (1, 1, 1)
    for foreign in ("script", "img", "iframe", "link", "form", "object", "a"):
        assert outline.count(foreign) == 0
    style = response.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = headers["Content-Security-Policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def assert_is_found_again(response: httpx.Response, started: Json, kind: PageKind, log: str) -> None:
    """The reference is the attempt's id, or the request's where there is no attempt, and stands in the log."""
    [reference] = re.findall(r"<span>([^<]+)</span>", response.text)
    expected = response.headers["X-Request-ID"] if kind in WITHOUT_ATTEMPT else started["verification"]["id"]
    assert reference == expected
    events = [json.loads(line) for line in log.splitlines() if '"page"' in line]
    found = [event for event in events if event.get("page") == kind]
    assert found
    assert reference in {found[-1]["verification"], found[-1]["request_id"]}


async def test_the_code_does_not_stay_in_the_address_bar(make_service: MakeService) -> None:
    service = await make_service(**HOSTED)
    async with Browser(service) as browser:
        first = await browser.client.get("/v1/callback?code=the-secret-code&state=forged")
        [target] = [tag["content"] for name, tag in Outline(first.text).tags if tag.get("http-equiv") == "refresh" and name]
        reference = first.headers["X-Request-ID"]
        assert target == f"0; url=/v1/callback/bad_link?reference={reference}"
        then = await browser.client.get(target.removeprefix("0; url="))
    assert_is_a_careful_page(then)
    assert f"<span>{reference}</span>" in then.text
    assert "refresh" not in then.text
    assert "<h1>This link does not work</h1>" in then.text


@pytest.mark.parametrize(
    "query",
    ["?reference=<b>call+555</b>", "?reference=idv_" + "g" * 32, "?reference=" + "a" * 5000, "?reference=call-0800-555", ""],
)
@on_sqlite_only
async def test_nobody_can_put_words_of_his_own_on_a_page(service: Service, query: str) -> None:
    for kind in (*PageKind, "nothing", "%3Cb%3E"):
        response = await service.client(None).get(f"/v1/callback/{kind}{query}")
        assert_is_a_careful_page(response)
        [reference] = re.findall(r"<span>([^<]+)</span>", response.text)
        assert reference == response.headers["X-Request-ID"]


def test_every_page_has_its_words() -> None:
    assert set(pages.PAGES) == set(PageKind)
    assert set(PROVOKED) | {PageKind.IN_PROGRESS} == set(PageKind)
