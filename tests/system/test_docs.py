"""The API in a browser: /docs and /redoc of the demo in Chromium."""

import json
from collections.abc import Iterator
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, expect

from tests.harness.chromium import Visit, in_the_browsers_loop, visiting
from tests.harness.demo import running_demo

PHONE = 360
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


async def test_an_administrator_can_try_the_audit_out(chromium: Browser, demo: tuple[str, dict[str, str]]) -> None:
    service, keys = demo
    async with visiting(chromium) as visit:
        await visit.page.goto(f"{service}/docs")
        await authorize(visit.page, "AdminKey", keys["AdminKey"])
        assert (await execute(await opened(visit.page, "listVerifications")))["next_cursor"] is None
        nothing_left_the_host(visit, service)


@pytest.mark.parametrize("path", ["docs", "redoc"])
async def test_on_a_phone_nothing_is_wider_than_the_screen(
    chromium: Browser, demo: tuple[str, dict[str, str]], path: str
) -> None:
    service, _ = demo
    async with visiting(chromium) as visit:
        page = visit.page
        await page.set_viewport_size({"width": PHONE, "height": 800})
        await page.goto(f"{service}/{path}")
        await page.get_by_role("heading", name="IDV Gateway").wait_for()
        if path == "docs":
            await opened(page, "startVerification")
        assert await page.evaluate("document.scrollingElement.scrollWidth") <= PHONE


async def test_the_docs_can_be_read_in_the_dark(chromium: Browser, demo: tuple[str, dict[str, str]]) -> None:
    service, _ = demo
    async with visiting(chromium) as visit:
        page = visit.page
        await page.emulate_media(color_scheme="dark")
        await page.goto(f"{service}/docs")
        await opened(page, "startVerification")
        found = await Axe().run(page, options=CONTRAST)
        assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_redoc_can_be_read_in_either_light(
    chromium: Browser, demo: tuple[str, dict[str, str]], scheme: Literal["light", "dark"]
) -> None:
    service, _ = demo
    async with visiting(chromium) as visit:
        page = visit.page
        await page.emulate_media(color_scheme=scheme)
        await page.goto(f"{service}/redoc")
        await page.get_by_role("heading", name="IDV Gateway").wait_for()
        found = await Axe().run(page, options=CONTRAST)
        assert found.violations_count == 0, found.generate_report()
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(20, 23, 27)") is (scheme == "dark")


async def test_the_docs_follow_a_dark_system(chromium: Browser, demo: tuple[str, dict[str, str]]) -> None:
    service, _ = demo
    async with visiting(chromium) as visit:
        for scheme, dark in (("dark", True), ("light", False)):
            await visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            await visit.page.goto(f"{service}/docs")
            await visit.page.get_by_role("heading", name="IDV Gateway").wait_for()
            classes = await visit.page.evaluate("document.documentElement.className")
            assert ("dark-mode" in classes) is dark
        nothing_left_the_host(visit, service)


async def test_redoc_shows_every_operation_and_searches(chromium: Browser, demo: tuple[str, dict[str, str]]) -> None:
    service, _ = demo
    async with visiting(chromium) as visit:
        page = visit.page
        await page.goto(f"{service}/redoc")
        await page.get_by_role("heading", name="IDV Gateway").wait_for()
        shown = await page.locator("[data-section-id*='/operation/']").evaluate_all(
            "sections => sections.map(section => section.id.split('/').pop())"
        )
        assert {"startVerification", "finishVerification", "getUserStatus", "resetUser"} <= set(shown)
        await page.get_by_placeholder("Search").fill("step_up")
        await page.locator("[data-role='search:results'] li").first.wait_for()
        nothing_left_the_host(visit, service)
