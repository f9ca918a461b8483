"""The service behind a real nginx, below a path that other applications share the address with."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from playwright.async_api import Browser, Request

from app.core.domain import utc_now
from app.sandbox import Client, Sandbox, SandboxConfig
from tests.harness.chromium import in_the_browsers_loop, visiting
from tests.harness.loopback import NO_TLS
from tests.harness.nginx import proxying
from tests.harness.programs import program_or_skip
from tests.harness.provider import CLIENT_ID, CLIENT_SECRET, ProviderHost
from tests.harness.service import Json, query_of
from tests.harness.tables import on_sqlite_only
from tests.harness.waiting import PATIENCE
from tests.system.processes import IDP_KEY, REPOSITORY, Workplace, answers, eventually, free_port, serving

RETURN_TO = "https://tenant.example/continue"
STOCK = "location /idv/ { proxy_pass http://127.0.0.1:8000/; }"
[DOCUMENTED] = re.findall(
    r"```nginx\n(.*?)```", (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8"), re.DOTALL
)
LONGEST = 2048

Behind = Callable[[str], str]
pytestmark = [on_sqlite_only]


@pytest.fixture
def behind(tmp_path: Path, work: Workplace, provider_host: ProviderHost, connected: dict[str, str]) -> Iterator[Behind]:
    """Starts the service behind nginx with this location; gives the address that browsers see."""
    nginx = program_or_skip("nginx")
    with ExitStack() as stack:

        def start(location: str) -> str:
            port = free_port()
            public_url = f"http://127.0.0.1:{port}/idv"
            client = Client(CLIENT_ID, CLIENT_SECRET, "The service under test", (f"{public_url}/v1/callback",))
            provider_host.app = Sandbox(SandboxConfig(provider_host.url, (client,)), utc_now, provider_host.key).app
            settings = {**connected, "PUBLIC_URL": public_url, "RETURN_URLS": RETURN_TO}
            _, url = stack.enter_context(serving(work, **settings))
            within = location.replace("http://127.0.0.1:8000", url)
            stack.enter_context(proxying(nginx, tmp_path / "nginx", port, within))
            eventually(lambda: answers(f"{public_url}/healthz", 200), "nginx")
            return public_url

        yield start


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=PATIENCE, verify=NO_TLS) as client:
        yield client


def start(public_url: str, user_id: str = "auth0|ana", **body: str) -> Json:
    headers = {"Authorization": f"Bearer {IDP_KEY}"}
    body = {"user_id": user_id, "flow": "hosted", **body}
    response = httpx.post(f"{public_url}/v1/verifications", json=body, headers=headers, timeout=PATIENCE, verify=NO_TLS)
    assert response.status_code == 200, response.text
    started: Json = response.json()
    return started


def goes_through(browser: httpx.Client, started: Json, **query: str) -> httpx.Response:
    """From the launch to the answer that sends the browser back to the caller."""
    launched = browser.get(started["redirect_url"], params=query)
    assert launched.status_code == 303, launched.text
    address = launched.headers["Location"]
    at_provider = browser.get(address.partition("?")[0], params={**query_of(address), "outcome": "verified"})
    return browser.get(at_provider.headers["Location"])


def test_every_link_stays_below_the_path(behind: Behind, browser: httpx.Client) -> None:
    public_url = behind(DOCUMENTED)
    started = start(public_url)
    assert started["redirect_url"].startswith(f"{public_url}/v1/verifications/")
    back = goes_through(browser, started)
    assert back.headers["Location"].startswith(f"{RETURN_TO}?session_token=")

    page = browser.get(f"{public_url}/v1/callback?code=x&state=forged")
    [clean] = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', page.text)
    again = browser.get(urljoin(str(page.url), clean))
    assert str(again.url).startswith(f"{public_url}/v1/callback/bad_link?")
    assert "<h1>This link does not work</h1>" in again.text

    entrance = browser.get(f"{public_url}/", follow_redirects=True)
    assert (str(entrance.url), entrance.status_code) == (f"{public_url}/docs", 200)
    assert browser.get(f"{public_url}/openapi.json").json()["servers"][0]["url"] == "/idv"


@in_the_browsers_loop
async def test_the_documents_are_whole_below_the_path(behind: Behind, chromium: Browser) -> None:
    public_url = behind(STOCK)
    for path, shows in (("docs", "#api .opblock"), ("redoc", "#api h2")):
        async with visiting(chromium) as visit:
            asked: list[str] = []

            def note(request: Request, asked: list[str] = asked) -> None:
                asked.append(request.url)

            visit.page.on("request", note)
            await visit.page.goto(f"{public_url}/{path}")
            await visit.page.locator(shows).first.wait_for()
            links = await visit.page.locator("#api a[href]").evaluate_all("links => links.map(link => link.href)")
        assert visit.complaints == []
        own = {urlsplit(url).path for url in (*asked, *links) if urlsplit(url).netloc == urlsplit(public_url).netloc}
        assert {found for found in own if not found.startswith("/idv/")} == set()


def test_more_than_a_hundred_logins_of_one_browser_pass_a_stock_nginx(behind: Behind, browser: httpx.Client) -> None:
    public_url = behind(STOCK)
    for number in range(120):
        started = start(public_url, f"user {number}")
        if number % 2:  # every other login is given up half-way
            assert browser.get(started["redirect_url"]).status_code == 303
        else:
            assert goes_through(browser, started, state="s" * 300).status_code == 303


def test_the_longest_state_and_return_address_pass_the_documented_nginx(behind: Behind, browser: httpx.Client) -> None:
    public_url = behind(DOCUMENTED)
    return_to = f"{RETURN_TO}?x=".ljust(LONGEST, "x")
    state = "%" * LONGEST  # each becomes three characters in an address
    back = goes_through(browser, start(public_url, return_to=return_to), state=state)
    assert back.status_code == 303, back.text
    assert back.headers["Location"].startswith(return_to)
    assert query_of(back.headers["Location"])["state"] == state


def test_states_as_auth0_makes_them_pass_a_stock_nginx(behind: Behind, browser: httpx.Client) -> None:
    back = goes_through(browser, start(behind(STOCK), return_to=f"{RETURN_TO}?x=".ljust(500, "x")), state="s" * 500)
    assert back.status_code == 303, back.text
