"""The API in a browser: /docs and /redoc of the demo in Chromium."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, expect

from tests.harness.chromium import Visit, in_the_browsers_loop, visiting
from tests.harness.demo import running_demo

PHONE = 360
DARK = "rgb(20, 23, 27)"
CONTRAST = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}

pytestmark = in_the_browsers_loop


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of the demo's service, and an API key for each scheme of the dialog."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running.service, {"IdpKey": running.key, "AdminKey": running.admin_key}


def nothing_left_the_host(visit: Visit, service: str) -> None:
    assert visit.complaints == []
    assert visit.hosts == {urlsplit(service).netloc}


async def authorize(page: Page, scheme_name: str, key: str) -> None:
    await page.get_by_role("button", name="Authorize", exact=True).click()
    dialog = page.locator(".dialog-ux")
    first = dialog.locator(".auth-container").filter(has_text="IdpKey (http, Bearer)")
    await expect(first.get_by_role("textbox")).to_be_focused()
    scheme = dialog.locator(".auth-container").filter(has_text=f"{scheme_name} (http, Bearer)")
    await scheme.get_by_role("textbox").fill(key)
    await scheme.get_by_role("button", name="Apply credentials").click()
    await dialog.get_by_role("button", name="Close", exact=True).first.click()


async def is_in_the_dark(page: Page) -> bool:
    return "dark-mode" in await page.evaluate("document.documentElement.className")


async def opened(page: Page, operation: str) -> Locator:
    """The operation, ready to be tried out."""
    block = page.locator(f"[id$=-{operation}]")
    await block.locator(".opblock-summary-control").click()
    await block.get_by_role("button", name="Try it out").click()
    return block


async def execute(block: Locator) -> dict[str, object]:
    """The live answer, which is 200."""
    await block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table .response")
    assert (await live.locator(".response-col_status").inner_text()).split()[0] == "200"
    answer: dict[str, object] = json.loads(await live.locator("pre.microlight").first.inner_text())
    return answer


async def test_the_whole_flow_can_be_tried_out_in_the_docs(chromium: Browser, demo: tuple[str, dict[str, str]]) -> None:
    service, keys = demo
    async with visiting(chromium) as visit:
        page = visit.page
        await page.goto(f"{service}/docs")
        await authorize(page, "IdpKey", keys["IdpKey"])

        started = await execute(await opened(page, "startVerification"))
        assert (started["action"], started["reason"]) == ("redirect", "never_verified")

        provider = await page.context.new_page()
        await provider.goto(str(started["redirect_url"]))
        await provider.locator("a.choice.main").click()
        arrived = dict(parse_qsl(urlsplit(provider.url).query))
        await provider.close()

        finish = await opened(page, "finishVerification")
        example = finish.locator("textarea.body-param__text")
        body = json.loads(await example.input_value())
        assert body.keys() == {"user_id", "verification_id", *arrived}
        verification = started["verification"]
        assert isinstance(verification, dict)
        await example.fill(json.dumps({**body, "verification_id": verification["id"], **arrived}))
        finished = await execute(finish)
        assert (finished["action"], finished["reason"]) == ("continue", "verified")

        status = await opened(page, "getUserStatus")
        assert await status.get_by_placeholder("user_id").input_value() == body["user_id"]
        assert (await execute(status))["verified"] is True

        nothing_left_the_host(visit, service)


async def test_an_administrator_can_try_the_audit_out_in_a_light_system(
    chromium: Browser, demo: tuple[str, dict[str, str]]
) -> None:
    service, keys = demo
    async with visiting(chromium) as visit:
        await visit.page.emulate_media(color_scheme="light")
        await visit.page.goto(f"{service}/docs")
        await authorize(visit.page, "AdminKey", keys["AdminKey"])
        assert not await is_in_the_dark(visit.page)
        assert (await execute(await opened(visit.page, "listVerifications")))["next_cursor"] is None
        nothing_left_the_host(visit, service)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def dark_docs(chromium: Browser, demo: tuple[str, dict[str, str]]) -> AsyncIterator[Visit]:
    """`/docs` in a dark system, with an operation open: to load and draw it takes longer than to look at it."""
    service, _ = demo
    async with visiting(chromium) as visit:
        await visit.page.emulate_media(color_scheme="dark")
        await visit.page.goto(f"{service}/docs")
        await opened(visit.page, "startVerification")
        yield visit


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def redoc(chromium: Browser, demo: tuple[str, dict[str, str]]) -> AsyncIterator[Visit]:
    service, _ = demo
    async with visiting(chromium) as visit:
        await visit.page.emulate_media(color_scheme="light")
        await visit.page.goto(f"{service}/redoc")
        await visit.page.get_by_role("heading", name="IDV Gateway").wait_for()
        yield visit


@asynccontextmanager
async def phone(page: Page) -> AsyncIterator[None]:
    """The window of a phone, for as long as the block runs."""
    before = page.viewport_size
    assert before
    await page.set_viewport_size({"width": PHONE, "height": 800})
    yield
    await page.set_viewport_size(before)


async def background(page: Page) -> str:
    colour: str = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


async def assert_contrast(page: Page) -> None:
    found = await Axe().run(page, options=CONTRAST)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("shown", ["dark_docs", "redoc"])
async def test_on_a_phone_nothing_is_wider_than_the_screen(
    dark_docs: Visit, redoc: Visit, shown: Literal["dark_docs", "redoc"]
) -> None:
    page = (dark_docs if shown == "dark_docs" else redoc).page
    async with phone(page):
        assert await page.evaluate("document.scrollingElement.scrollWidth") <= PHONE


async def test_the_docs_follow_a_dark_system(dark_docs: Visit, demo: tuple[str, dict[str, str]]) -> None:
    service, _ = demo
    assert await is_in_the_dark(dark_docs.page)
    nothing_left_the_host(dark_docs, service)


async def test_the_docs_can_be_read_in_the_dark(dark_docs: Visit) -> None:
    await assert_contrast(dark_docs.page)


async def test_redoc_can_be_read_in_the_light(redoc: Visit) -> None:
    await assert_contrast(redoc.page)
    assert await background(redoc.page) != DARK


async def test_redoc_can_be_read_in_the_dark(chromium: Browser, demo: tuple[str, dict[str, str]]) -> None:
    service, _ = demo
    async with visiting(chromium) as visit:
        await visit.page.emulate_media(color_scheme="dark")
        await visit.page.goto(f"{service}/redoc")
        await visit.page.get_by_role("heading", name="IDV Gateway").wait_for()
        await assert_contrast(visit.page)
        assert await background(visit.page) == DARK


async def test_redoc_shows_every_operation_and_searches(redoc: Visit, demo: tuple[str, dict[str, str]]) -> None:
    service, _ = demo
    page = redoc.page
    shown = await page.locator("[data-section-id*='/operation/']").evaluate_all(
        "sections => sections.map(section => section.id.split('/').pop())"
    )
    assert {"startVerification", "finishVerification", "getUserStatus", "resetUser"} <= set(shown)
    await page.get_by_placeholder("Search").fill("step_up")
    await page.locator("[data-role='search:results'] li").first.wait_for()
    nothing_left_the_host(redoc, service)
