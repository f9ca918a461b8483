"""Where a browser may be sent back to: what is on the list, character by character, and nothing else."""

from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.flows.addresses import is_allowed
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import Service, problem
from tests.harness.tables import Tables, on_sqlite_only

LISTED = (
    "https://tenant.example/continue",
    "https://tenant.example:8443/back?client=1",
    "http://127.0.0.1:7000/continue",
)
USER = "auth0|ana"

HOSTILE = [
    "https://evil.example/continue",
    "https://tenant.example.evil.example/continue",
    "https://evil.tenant.example/continue",
    "https://tenant.exampl/continue",
    "https://tenant.example@evil.example/continue",
    "https://tenant.example:443@evil.example/continue",
    "https://user@tenant.example/continue",
    "https://user:password@tenant.example/continue",
    "https://tenant.example\\@evil.example/continue",
    "https://evil.example\\tenant.example/continue",
    "https:\\\\tenant.example\\continue",
    "//tenant.example/continue",
    "///tenant.example/continue",
    "/continue",
    "continue",
    "tenant.example/continue",
    "http://tenant.example/continue",
    "HTTPS://tenant.example/continue",
    "https://TENANT.example/continue",
    "https://tenant.example./continue",
    "https://tenant.example:443/continue",
    "https://tenant.example:8443/continue",
    "https://tenant.example:/continue",
    "https://tenant.example",
    "https://tenant.example/",
    "https://tenant.example/continue/",
    "https://tenant.example//continue",
    "https://tenant.example/Continue",
    "https://tenant.example/continue/more",
    "https://tenant.example/continue;x=1",
    "https://tenant.example/x/../continue",
    "https://tenant.example/%63ontinue",
    "https://tenant.example/continue%2f..%2fevil",
    "https://tenant.example/continue#",
    "https://tenant.example/continue#fragment",
    "https://tenant.example/continue?a=1#fragment",
    "https://tenant.example/continue?state=mine",
    "https://tenant.example/continue?a=1&state=mine",
    "https://tenant.example/continue?session_token=mine",
    "https://tenant.example/continue?%73tate=mine",
    "https://tenant.example/continue?session%5Ftoken=mine",
    "https://tenant.example/continue?a=1;state=mine",
    "https://tenant.example/continue?state",
    "https://tenant.example/continue ",
    " https://tenant.example/continue",
    "https://tenant.example/cont inue",
    "https://tenant.example/continue?a= b",
    "https://tenant.example%00.evil.example/continue",
    "https://tenant.example%2eevil.example/continue",
    "https://tenant。example/continue",  # an ideographic full stop
    "https://tenánt.example/continue",
    "https://tenant.example/continue?a=é",
    "https://tenant.example/continue?a=\\",
    "javascript:alert(1)//https://tenant.example/continue",
    "data:text/html,https://tenant.example/continue",
    "file:///continue",
    "https:tenant.example/continue",
    "https:/tenant.example/continue",
    "https:///tenant.example/continue",
    "https://[::1]/continue",
    "https://127.0.0.1:7000/continue",
    "http://127.0.0.1:7000/continue/..",
    "http://localhost:7000/continue",
    "http://127.1:7000/continue",
    "https://tenant.example/continue?a=" + "x" * 2020,
]
CONTROLS = ["\t", "\n", "\r", "\x00", "\x7f", "\u0085"]
GOOD = [
    *LISTED,
    "https://tenant.example/continue?",
    "https://tenant.example/continue?a=1&b=2&a=3",
    "https://tenant.example/continue?states=1&session=2",
    "https://tenant.example/continue?next=https://evil.example/?state=1",
    "https://tenant.example/continue??x",
    "https://tenant.example:8443/back",
]


@on_sqlite_only
async def test_a_hostile_address_is_refused_at_the_start_and_nothing_is_recorded(make_service: MakeService) -> None:
    service = await make_service(public_url=PUBLIC_URL, return_urls=",".join(LISTED))
    for address in (*HOSTILE, *(f"https://tenant.example/continue{control}" for control in CONTROLS)):
        response = await start(service, address)
        assert response.status_code == 422, address
        assert [error["field"] for error in problem(response, 422, "validation_error")["errors"]] == ["body.return_to"]
        assert "evil" not in response.text
    assert await Tables(service).attempts(USER) == []


@pytest.mark.parametrize("address", GOOD)
@on_sqlite_only
async def test_a_listed_address_is_taken_with_any_query(make_service: MakeService, address: str) -> None:
    service = await make_service(public_url=PUBLIC_URL, return_urls=",".join(LISTED))
    assert (await start(service, address)).status_code == 200


QUERY = "x=%ff%E9&a;b=1&flag&b=%20&c=+&d=/a/b:c&e=[{|}]^`~<\"'>&=&&f=%zz"


async def test_a_browser_comes_back_to_the_query_as_it_was_written(make_service: MakeService) -> None:
    service = await make_service(public_url=PUBLIC_URL, return_urls=",".join(LISTED))
    address = f"{LISTED[0]}?{QUERY}"
    started = await service.start(USER, flow="hosted", return_to=address, state="callers-state")
    async with Browser(service) as browser:
        back = await browser.come_back(await browser.at_provider(await browser.launch(started)))
        assert back.headers["Location"].startswith(f"{address}&state=callers-state&session_token=")
        ended = await service.start(USER, flow="hosted", return_to=address)
        await browser.launch(ended)
        await service.finish(USER, ended)
        assert (await browser.launch(ended)).headers["Location"] == address


async def start(service: Service, return_to: str) -> httpx.Response:
    body = {"user_id": USER, "flow": "hosted", "return_to": return_to}
    return await service.idp.post("/v1/verifications", json=body)


PIECES = st.sampled_from(
    [*"/:@?#&;=.\\%[]", "https", "http", "//", "tenant.example", "evil.example", "continue", "state", "x"]
)


@given(st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=60)), st.sampled_from(LISTED))
def test_whatever_is_allowed_is_a_listed_place(tail: str, listed: str) -> None:
    for candidate in (tail, listed + tail, f"https://{tail}/continue", f"https://tenant.example{tail}"):
        if is_allowed(candidate, LISTED):
            parts = urlsplit(candidate)
            places = {(p.scheme, p.netloc, p.path) for p in map(urlsplit, LISTED)}
            assert (parts.scheme, parts.netloc, parts.path) in places
            assert not parts.fragment
