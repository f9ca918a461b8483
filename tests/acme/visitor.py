import json
import re
import secrets
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from app.demo import Demo
from tests.harness.loopback import NO_TLS
from tests.harness.waiting import PATIENCE

Json = dict[str, Any]
ATTEMPT_LIMIT = 20
AUTHORIZE = "/oauth2/authorize"


class Page:
    """What a person reads on one of Acme's pages."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.html = response.text
        self.path = response.url.path

    @property
    def title(self) -> str:
        [title] = re.findall(r"<h1>(.*?)</h1>", self.html)
        return unescape(title)

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.html)
        assert found
        return found[1]

    @property
    def can_pay(self) -> bool:
        return 'action="/pay"' in self.html

    @property
    def can_reset(self) -> bool:
        return 'action="/reset"' in self.html

    @property
    def text(self) -> str:
        return _text(self.html)

    @property
    def links(self) -> set[str]:
        return set(re.findall(r'<a\b[^>]* href="([^"]+)"', self.html))

    def block(self, section: str) -> Json | None:
        """The JSON of the token or the record, if there is any."""
        [html] = re.findall(rf'<section aria-labelledby="{section}">.*?</section>', self.html, re.DOTALL)
        found = re.search(r'<pre class="block">(.*?)</pre>', html, re.DOTALL)
        return json.loads(_text(found[1])) if found else None

    def fact(self, name: str) -> str | None:
        found = re.search(rf"<dt>{name}</dt><dd>(.*?)</dd>", self.html, re.DOTALL)
        return _text(found[1]) if found else None

    @property
    def decision(self) -> tuple[str | None, str | None]:
        return self.fact("Action"), self.fact("Reason")

    @property
    def requests(self) -> list[str]:
        """The steps of the exchange: who asked whom for what, and what came of it."""
        steps = re.findall(r"<summary>(.*?)</summary>", self.html, re.DOTALL)
        return [re.sub(r" ?\d+(\.\d)? m?s\b", "", " ".join(_text(step).replace("→", "").split())) for step in steps]

    @property
    def steps(self) -> list[str]:
        """Everything that stands in each step, open or not."""
        return [_text(step) for step in re.findall(r"<details>(.*?)</details>", self.html, re.DOTALL)]

    @property
    def depths(self) -> list[int]:
        """How far to the right each step stands."""
        return [int(depth) for depth in re.findall(r'<li class="depth-(\d)">', self.html)]


def _text(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", html))


class Visitor:
    """A browser of somebody new, who fills in Acme's forms and chooses how the verification ends."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.email = f"visitor-{secrets.token_hex(8)}@example.com"
        self.client = httpx.AsyncClient(timeout=PATIENCE, verify=NO_TLS)
        self.arrived: dict[str, str] = {}

    async def open(self, path: str, **query: str) -> Page:
        return Page(await self.client.get(self.demo.acme + path, params=query or None, follow_redirects=True))

    async def send(self, path: str, **form: str) -> httpx.Response:
        """Send a form with the token of the page that shows it."""
        page = await self.open("/")
        return await self.client.post(self.demo.acme + path, data={"csrf": page.csrf, **form})

    async def begin(self, **form: str) -> httpx.Response:
        response = await self.send("/login", **{"email": self.email, **form})
        assert response.status_code == 303, response.text
        return response

    async def log_in(self, outcome: str | None = None, **form: str) -> Page:
        """Log in; without an `outcome` the person must not be sent to the provider."""
        return await self.follow(await self.begin(**form), outcome)

    async def pay(self, outcome: str | None = None) -> Page:
        return await self.follow(await self.send("/pay"), outcome)

    async def follow(self, response: httpx.Response, outcome: str | None = None) -> Page:
        while response.status_code == 303:
            response = await self.client.get(self._next(response, outcome))
        return Page(response)

    async def leave_and_stop_short(self, response: httpx.Response, outcome: str = "verified") -> str:
        """Go as far as the provider and the gateway lead; returns the continue URL without opening it."""
        while not (address := self._next(response, outcome)).startswith(f"{self.demo.acme}/continue"):
            response = await self.client.get(address)
        return address

    def _next(self, response: httpx.Response, outcome: str | None) -> str:
        address = str(response.url.join(response.headers["Location"]))
        if urlsplit(address).path == AUTHORIZE:
            assert outcome, "was sent to the provider"
            address += f"&outcome={outcome}"
        if urlsplit(address).path == "/continue":
            self.arrived = dict(parse_qsl(urlsplit(address).query))
        return address
