import secrets
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, expect

from app.demo import Demo
from tests.acme.visitor import ATTEMPT_LIMIT, Visitor
from tests.harness.chromium import Visit, in_the_browsers_loop

PHONE, DESKTOP = 360, 1280
HEIGHT = 800
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}

pytestmark = in_the_browsers_loop

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


class Person(Visit):
    """Somebody at a browser."""

    def __init__(self, page: Page, demo: Demo) -> None:
        super().__init__(page)
        self.demo = demo
        self.email = f"person-{secrets.token_hex(8)}@example.com"

    async def open(self, path: str = "/") -> None:
        await self.page.goto(self.demo.acme + path)

    async def heading(self) -> str:
        """Of a page that is there with its pictures: to leave it earlier would abort them."""
        await self.page.wait_for_load_state()
        return await self.page.locator("h1").inner_text()

    async def press(self, button: str) -> None:
        await self.page.get_by_role("button", name=button, exact=True).click()

    async def choose(self, outcome: str) -> None:
        await self.page.get_by_role("link", name=outcome).first.click()

    async def log_in(self, **chosen: str) -> None:
        """Fill in the form, with further choices by their names and values, and send it."""
        await self.page.get_by_label("E-mail address").fill(self.email)
        choices = self.page.locator("details.choices")
        if chosen and await choices.get_attribute("open") is None:
            await choices.locator("summary").click()
        for name, value in chosen.items():
            await self.page.locator(f"[name={name}][value={value}]").check()
        await self.press("Log in")

    async def check_page(self) -> None:
        """What every page owes, in the light and in the dark: axe finds nothing, nothing is wider than the window."""
        for scheme in SCHEMES:
            await self.page.emulate_media(color_scheme=scheme)
            assert await self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), self.page.url
            found = await Axe().run(self.page, options=RULES)
            assert found.violations_count == 0, (scheme, found.generate_report())

    async def check_page_at_both_widths(self) -> None:
        """On a desktop, and then on the phone that the person holds."""
        for width in (DESKTOP, PHONE):
            await self.page.set_viewport_size({"width": width, "height": HEIGHT})
            await self.check_page()


async def person_in(chromium: Browser, demo: Demo, width: int = DESKTOP) -> tuple[Person, BrowserContext]:
    context = await chromium.new_context(viewport={"width": width, "height": HEIGHT})
    return Person(await context.new_page(), demo), context


async def test_every_page_can_be_used_by_everybody(chromium: Browser, demo: Demo) -> None:
    """One walk past each page: Acme's, the provider's and the gateway's."""
    person, context = await person_in(chromium, demo, PHONE)
    await person.open()
    await person.check_page_at_both_widths()
    await person.page.get_by_role("link", name="How to wire it in").first.click()
    assert await person.heading() == "How to wire it in"
    await person.check_page_at_both_widths()
    await person.page.get_by_role("link", name="Back to Acme").click()
    await person.log_in()
    assert await person.heading() == "Verify your identity"
    await person.check_page_at_both_widths()
    await person.choose("Verified")
    assert (await person.heading()).startswith("Welcome, ")
    for summary in await person.page.locator("summary").all():
        await summary.click()
    await person.check_page_at_both_widths()
    await person.press("Pay €500")
    await person.choose("Somebody else")
    assert await person.heading() == "The payment of €500 is refused"
    await person.check_page_at_both_widths()
    await person.press("Log out")
    await person.log_in(flow="hosted", on_failure="block", force="yes")
    await person.choose("Not verified")
    assert await person.heading() == "Acme does not log you in"
    await person.check_page_at_both_widths()
    assert person.complaints == []
    await person.page.get_by_role("link", name="Back to the login").click()
    await person.page.get_by_label("E-mail address").fill("noor")
    await person.press("Log in")
    assert await person.page.title() == "Error: Log in – Acme"
    await person.check_page_at_both_widths()
    await person.open("/continue?code=c&state=s&iss=i")
    assert await person.heading() == "No verification is under way here"
    await person.check_page_at_both_widths()
    await person.page.goto(f"{demo.sandbox}/nowhere")
    await person.check_page_at_both_widths()
    await person.page.get_by_role("link", name="What this sandbox is").click()
    assert await person.heading() == "A stand-in for Incode"
    await person.check_page_at_both_widths()
    await person.page.goto(f"{demo.service}/v1/callback?state=forged&code=forged")
    assert await person.heading() == "This link does not work"
    await person.check_page_at_both_widths()
    assert {host.partition(":")[0] for host in person.hosts} == {"127.0.0.1"}
    await context.close()


@pytest.mark.parametrize("flow", ["relay", "hosted"])
async def test_somebody_with_a_keyboard_alone_gets_through(chromium: Browser, demo: Demo, flow: str) -> None:
    person, context = await person_in(chromium, demo)
    page, keyboard = person.page, person.page.keyboard

    async def tab_to(words: str) -> None:
        for _ in range(40):
            await keyboard.press("Tab")
            if words in await page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).innerText"):
                outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline == "solid", f"one cannot see that {words} has the focus"
                return
        pytest.fail(f"never reached {words}")

    async def enter(words: str, heading: str) -> None:
        await tab_to(words)
        await keyboard.press("Enter")
        await page.get_by_role("heading", level=1, name=heading).wait_for()
        await page.wait_for_load_state()

    await person.open()
    await tab_to("E-mail address")
    await keyboard.type("keyboard@example.com")
    await tab_to("Choose what you try")
    await keyboard.press("Enter")
    await tab_to("Relay")
    if flow == "hosted":
        await keyboard.press("ArrowDown")
    await tab_to("Let me in")
    await keyboard.press("ArrowDown")
    await tab_to("Verify me again")
    await keyboard.press("Space")
    await enter("Log in", "Verify your identity")
    await enter("Verified", "Welcome")
    assert f"keyboard@example.com, {flow} flow" in await page.locator("dl").inner_text()
    assert "BLOCK_ON_FAILURE=true, verification forced" in await page.locator("dl").inner_text()
    await tab_to("POST /v1/verifications")
    await keyboard.press("Enter")
    assert await page.locator("details[open]").count() == 1
    await enter("Forget the identity, too", "Your verification and your identity are forgotten")
    await enter("Back to Acme", "Log in to Acme")
    assert person.complaints == []
    assert {host.partition(":")[0] for host in person.hosts} == {"127.0.0.1"}
    await context.close()


async def test_a_source_that_is_wider_than_the_window_scrolls_with_the_keyboard(chromium: Browser, demo: Demo) -> None:
    person, context = await person_in(chromium, demo, width=PHONE)
    await person.open("/integration")
    source = person.page.get_by_role("region", name="All that Acme needs, in Python")
    await source.focus()
    await person.page.keyboard.press("ArrowRight")
    await expect(source).not_to_have_js_property("scrollLeft", 0)
    await expect(source).to_be_focused()
    await person.check_page()
    await context.close()


@pytest.mark.parametrize("flow", ["relay", "hosted"])
async def test_a_returning_user_another_person_and_a_failure_that_does_not_block(
    chromium: Browser, demo: Demo, flow: str
) -> None:
    person, context = await person_in(chromium, demo)
    await person.open()
    await person.log_in(flow=flow)
    await person.choose("Verified")
    assert (await person.heading()).startswith("Welcome, ")
    await person.press("Log out")
    await person.log_in(flow=flow)
    assert (await person.heading()).startswith("Welcome, ")
    assert "recently_verified" in await person.page.locator("dl").inner_text()
    endings = (
        ("Somebody else", "identity_mismatch", "Somebody else came back"),
        ("Not verified", "status_not_accepted", "You are logged in, but not verified"),
    )
    for outcome, reason, heading in endings:
        await person.press("Log out")
        await person.log_in(flow=flow, force="yes")
        await person.choose(outcome)
        assert await person.heading() == heading
        assert reason in await person.page.locator("dl").inner_text()
    assert person.complaints == []
    await context.close()


async def test_somebody_who_failed_too_often_is_told_so_and_can_start_over(chromium: Browser, demo: Demo) -> None:
    person, context = await person_in(chromium, demo, width=PHONE)
    elsewhere = Visitor(demo)
    elsewhere.email = person.email
    async with elsewhere.client:
        for _ in range(ATTEMPT_LIMIT - 1):
            assert (await elsewhere.log_in("denied", on_failure="block")).decision == ("deny", "access_denied")
    await person.open()
    await person.log_in(on_failure="block")
    assert await person.heading() == "Verify your identity"
    await person.choose("Refused")
    await person.page.get_by_role("link", name="Back to the login").click()
    await person.log_in(on_failure="block")
    assert "Too many verifications of this user failed" in await person.page.locator(".outcome").inner_text()
    await person.check_page()
    await person.page.get_by_role("button", name="Forget the verification").first.click()
    await person.page.get_by_role("link", name="Back to Acme").click()
    await person.log_in(on_failure="block")
    assert await person.heading() == "Verify your identity"
    await context.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
async def test_the_button_that_logs_in_needs_no_scrolling(
    chromium: Browser, demo: Demo, width: int, height: int
) -> None:
    context = await chromium.new_context(viewport={"width": width, "height": height})
    person = Person(await context.new_page(), demo)
    await person.open()
    await expect(person.page.get_by_role("button", name="Log in", exact=True)).to_be_in_viewport(ratio=1)
    await context.close()


async def test_two_tabs_of_one_browser_both_come_to_their_end(chromium: Browser, demo: Demo) -> None:
    person, context = await person_in(chromium, demo)
    other = Person(await context.new_page(), demo)
    for tab, flow in ((person, "relay"), (other, "hosted")):
        await tab.open()
        await tab.log_in(flow=flow)
        assert await tab.heading() == "Verify your identity"
    for tab in (person, other):
        await tab.choose("Verified")
        assert (await tab.heading()).startswith("Welcome, ")
        assert tab.email in await tab.page.locator("dl").inner_text()
    await context.close()


async def test_what_is_there_to_be_copied_has_a_button(chromium: Browser, demo: Demo) -> None:
    person, context = await person_in(chromium, demo)
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await person.open("/integration")
    buttons = person.page.get_by_role("button", name="Copy")
    assert await buttons.count() == await person.page.locator("pre").count() == 5
    await buttons.nth(1).click()
    await expect(person.page.get_by_role("button", name="Copied")).to_have_count(1)
    copied = await person.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(
        f"curl -X POST {demo.service}/v1/verifications \
"
    )
    assert person.complaints == []
    await context.close()


async def test_the_gateways_page_reaches_a_browser_that_did_not_begin(chromium: Browser, demo: Demo) -> None:
    """A launch link that somebody passed on: the first browser has it, the second one is told what to do."""
    (person, one), (other, two) = await person_in(chromium, demo), await person_in(chromium, demo)
    await person.open()
    async with person.page.expect_request("**/launch") as launched:
        await person.log_in(flow="hosted")
    await other.page.goto((await launched.value).url)
    assert await other.heading() == "Please use the other browser"
    await other.check_page()
    await person.choose("Verified")
    assert (await person.heading()).startswith("Welcome")
    await one.close()
    await two.close()
