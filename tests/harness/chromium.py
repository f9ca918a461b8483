from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from tests.harness.programs import program_or_skip
from tests.harness.waiting import PATIENCE

in_the_browsers_loop = pytest.mark.asyncio(loop_scope="session")
"""For a test that uses the browser of all tests, which is bound to one event loop."""

QUIETLY = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_or_skip() -> str:
    """Where Chromium is, best the one without windows, which takes a fifth less; without any the test is skipped."""
    return program_or_skip("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Visit:
    """A page in Chromium, with what its console says, but for hints to developers, and every host that it asked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)
        page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if not message.text.startswith("[DOM]"):
            self.complaints.append(message.text)

    def _failed(self, request: Request) -> None:
        # Whoever leaves a page early gives its icon up, which no state of the page waits for: that is not the page's
        # doing.
        if not (request.failure == "net::ERR_ABORTED" and urlsplit(request.url).path.endswith("/icon.svg")):
            self.complaints.append(f"failed: {request.url}")

    def _asked(self, request: Request) -> None:
        address = urlsplit(request.url.removeprefix("blob:"))
        if address.scheme != "data":
            self.hosts.add(address.netloc)


@asynccontextmanager
async def launched(chromium: str) -> AsyncIterator[Browser]:
    """A new browser with an empty profile."""
    expect.set_options(timeout=PATIENCE * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIETLY)
        yield browser
        await browser.close()


@asynccontextmanager
async def visiting(browser: Browser) -> AsyncIterator[Visit]:
    """A page in a profile of its own."""
    async with await browser.new_context() as context:
        yield Visit(await context.new_page())
