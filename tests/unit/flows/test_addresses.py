from __future__ import annotations

import pytest

from app.flows.addresses import is_allowed, site_of, with_answer
from tests.harness.ids import plain_id

LISTED = ["https://tenant.example/continue", "https://tenant.example:8443/back?client=1", "http://tenant.example/plain"]
LONGEST = "https://tenant.example/continue?a=" + "x" * (2048 - 34)


@pytest.mark.parametrize(
    "url",
    [
        *LISTED,
        "https://tenant.example/continue?",
        "https://tenant.example/continue?a=1&b=2&a=3",
        "https://tenant.example/continue?next=state&x=session_token",
        "https://tenant.example/continue?a=state=1",
        "https://tenant.example/continue?next=https://evil.example/?state=1",
        "https://tenant.example/continue??state=1",
        "https://tenant.example/continue?State=1&SESSION_TOKEN=2&states=3",
        "https://tenant.example/continue?state%2525=1",
        "https://tenant.example/continue?my+state=1",
        "https://tenant.example:8443/back",
        "https://tenant.example:8443/back?client=2",
        LONGEST,
    ],
    ids=plain_id,
)
def test_a_listed_address_is_allowed_with_any_query(url: str) -> None:
    assert is_allowed(url, LISTED)


@pytest.mark.parametrize(
    "url",
    [
        "https://tenant.example/",
        "https://tenant.example/continue/",
        "https://tenant.example/Continue",
        "https://evil.example/continue",
        "https://evil.example/?https://tenant.example/continue",
        "https://tenant.example/continue#fragment",
        "https://tenant.example/continue?a=1#fragment",
        "https://tenant.example/continue?a=\\",
        "https://tenant.example/continue?a= b",
        "https://tenant.example/continue?state=1",
        "https://tenant.example/continue?session_token=1",
        "https://tenant.example/continue?state",
        "https://tenant.example/continue?state=a=b",
        "https://tenant.example/continue?a=1&state=1",
        "https://tenant.example/continue?state=1&a=1",
        "https://tenant.example/continue?a=1;state=1",
        "https://tenant.example/continue?state=1;a=1",
        "https://tenant.example/continue?%73tate=1",
        "https://tenant.example/continue?session%5Ftoken=1",
        LONGEST + "x",
        "",
    ],
    ids=plain_id,
)
def test_no_other_address_is_allowed(url: str) -> None:
    assert not is_allowed(url, LISTED)


@pytest.mark.parametrize("allowed", [[], ["https://tenant.example/back"]])
def test_an_address_is_allowed_only_where_it_is_listed(allowed: list[str]) -> None:
    assert not is_allowed("https://tenant.example/continue", allowed)


@pytest.mark.parametrize(
    ("url", "state", "expected"),
    [
        ("https://a.example/b", None, "https://a.example/b?session_token=t.o.k"),
        ("https://a.example/b", "s", "https://a.example/b?state=s&session_token=t.o.k"),
        ("https://a.example/b", "", "https://a.example/b?state=&session_token=t.o.k"),
        ("https://a.example/b", "a&b=c d#?", "https://a.example/b?state=a%26b%3Dc+d%23%3F&session_token=t.o.k"),
        ("https://a.example/b?", None, "https://a.example/b?session_token=t.o.k"),
        ("https://a.example/b?x=1&y=&x=2", "s", "https://a.example/b?x=1&y=&x=2&state=s&session_token=t.o.k"),
        ("https://a.example/b?x=a?b", None, "https://a.example/b?x=a?b&session_token=t.o.k"),
    ],
)
def test_the_answer_is_added_to_the_query(url: str, state: str | None, expected: str) -> None:
    assert with_answer(url, state=state, session_token="t.o.k") == expected


@pytest.mark.parametrize(
    "query", ["x=%ff%E9", "x=%e9", "a;b=1", "flag", "b=%20&c=+", "x=/a/b:c", "=", "x==y&&z", "a=1&", "x=%zz", "a=[1]"]
)
def test_what_the_query_holds_already_is_not_touched(query: str) -> None:
    address = f"https://a.example/b?{query}"
    assert with_answer(address, state="s s", session_token=None) == f"{address}&state=s+s"


@pytest.mark.parametrize("url", ["https://a.example/b", "https://a.example/b?c=d", "https://a.example/b?c=%e9;d"])
def test_an_address_to_which_nothing_is_added_is_as_it_was(url: str) -> None:
    assert with_answer(url, state=None, session_token=None) == url


@pytest.mark.parametrize(
    "url", ["https://a.example:8443/b/c?d=e", "https://a.example:8443", "https://a.example:8443?f"]
)
def test_a_site_is_all_that_a_stranger_learns_of_an_address(url: str) -> None:
    assert site_of(url) == "https://a.example:8443/"
