from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.oidc.errors import ProviderUnavailable
from app.oidc.metadata import ProviderMetadata, is_safe_url, parse

ISSUER = "https://auth.example"
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": ISSUER + "/oauth2/authorize",
    "token_endpoint": ISSUER + "/oauth2/token",
    "jwks_uri": ISSUER + "/oauth2/jwks",
    "userinfo_endpoint": ISSUER + "/userinfo",
    "authorization_response_iss_parameter_supported": True,
}
ENDPOINTS = ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"]

SAFE = [
    "https://auth.example",
    "https://auth.example/",
    "https://auth.example:8443/a/b;c?d=e&f=%20",
    "HTTPS://AUTH.EXAMPLE/",
    "https://10.0.0.1/",
    "https://[2001:db8::1]:443/",
    "https://xn--bcher-kva.example/",
    "http://localhost",
    "http://LOCALHOST:8000/",
    "http://127.0.0.1:8000/v1/callback",
    "http://127.9.9.9/",
    "http://[::1]/",
    "http://[::1]:8000/",
    "http://[0:0:0:0:0:0:0:1]/",
]
PLAIN_HTTP = [
    "http://auth.example",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://0.0.0.0/",
    "http://128.0.0.1/",
    "http://[2001:db8::1]/",
    "http://localhost.evil.example/",
    "http://127.0.0.1.evil.example/",
    "http://evil.example/?127.0.0.1",
    "HTTP://auth.example",
]
HOSTILE = [
    "",
    " ",
    "auth.example",
    "/path",
    "//auth.example/",
    "https:",
    "https:auth.example",
    "https:/auth.example",
    "https://",
    "https:///path",
    "https://?q",
    "https://:443/",
    "ftp://auth.example/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "data:text/html,x",
    "ws://localhost/",
    "httpss://auth.example/",
    "https://user@auth.example/",
    "https://user:password@auth.example/",
    "https://:password@auth.example/",
    "https://@auth.example/",
    "https://auth.example:@evil.example/",
    "http://localhost@evil.example/",
    "http://127.0.0.1:80@evil.example/",
    "https://auth.example/#fragment",
    "https://auth.example/#",
    "https://auth.example#@evil.example/",
    "https://auth.example\\@evil.example/",
    "https:\\\\auth.example\\",
    "http://localhost\\.evil.example/",
    "https://auth.example/a b",
    " https://auth.example/",
    "https://auth.example/ ",
    "https://auth.example/\n",
    "\nhttps://auth.example/",
    "https://auth.example/\r\nHost: evil.example",
    "https://auth\t.example/",
    "https://auth.example/\x00",
    "https://auth.example/\x7f",
    "https://áuth.example/",
    "https://auth.example/ñ",
    "https://auth。example/",
    "http://①②⑦.0.0.1/",
    "https://auth.example:port/",
    "https://auth.example:99999/",
    "https://auth.example:-1/",
    "https://auth.example:+443/",
    "https://auth.example:4_43/",
    "https://[::1/",
    "https://[::1]evil.example/",
    "https://[1.2.3.4]/",
    "https://999.1.1.1/",
    "https://[v1.a]/",
    "https://a..b/",
    "https://xn--/",
    "https://xn--a.example/",
    "https://./",
    f"https://{'a' * 64}.example/",
]


@pytest.mark.parametrize("url", SAFE)
@pytest.mark.parametrize("allow_http", [True, False])
def test_https_and_loopback_are_safe(url: str, allow_http: bool) -> None:
    assert is_safe_url(url, allow_http=allow_http)


@pytest.mark.parametrize("url", PLAIN_HTTP)
def test_plain_http_beyond_loopback_is_safe_only_where_it_is_allowed(url: str) -> None:
    assert not is_safe_url(url, allow_http=False)
    assert is_safe_url(url, allow_http=True)


@pytest.mark.parametrize("url", HOSTILE)
@pytest.mark.parametrize("allow_http", [True, False])
def test_no_other_address_is_safe(url: str, allow_http: bool) -> None:
    assert not is_safe_url(url, allow_http=allow_http)


@given(
    st.text(st.sampled_from("htps:/[]@#?%.-+_0129avé\\ ")).map("https://".__add__)
    | st.from_regex(r"https?://\S{1,20}/?"),
    st.booleans(),
)
@example("https://auth.example/" + "x" * 70_000, False)
@example("https://999.1.1.1/", False)
def test_the_client_reads_a_safe_address_as_we_do(url: str, allow_http: bool) -> None:
    if is_safe_url(url, allow_http=allow_http):
        read = httpx.URL(url)
        assert read.scheme in {"http", "https"}
        assert read.raw_host.decode().encode("idna")
        assert not read.userinfo
        assert not read.fragment


def read(**changes: Any) -> ProviderMetadata:
    document = {name: value for name, value in {**DOCUMENT, **changes}.items() if value is not ...}
    return parse(document, issuer=ISSUER, allow_http=False)


def test_what_is_used_of_the_document() -> None:
    assert read(scopes_supported=["openid"]) == ProviderMetadata(
        issuer=ISSUER,
        authorization_endpoint=ISSUER + "/oauth2/authorize",
        token_endpoint=ISSUER + "/oauth2/token",
        jwks_uri=ISSUER + "/oauth2/jwks",
        userinfo_endpoint=ISSUER + "/userinfo",
        issuer_in_response=True,
    )


@pytest.mark.parametrize("value", [..., None, ""])
def test_userinfo_may_be_missing(value: object) -> None:
    assert read(userinfo_endpoint=value).userinfo_endpoint is None


@pytest.mark.parametrize("value", [..., None, False, "true", 1, "false"])
def test_the_issuer_in_the_response_is_promised_by_true_alone(value: object) -> None:
    assert read(authorization_response_iss_parameter_supported=value).issuer_in_response is False


@pytest.mark.parametrize(
    "value", [..., None, "", ISSUER + "/", "https://AUTH.example", "http://auth.example", [ISSUER], 7]
)
def test_the_issuer_must_be_exactly_ours(value: object) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        read(issuer=value)
    assert refused.value.description == "discovery: another issuer than the configured one"


def test_a_provider_that_requires_pushed_requests_is_refused() -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        read(require_pushed_authorization_requests=True)
    described = "discovery: the provider requires pushed authorization requests, which are not supported"
    assert refused.value.description == described
    assert read(require_pushed_authorization_requests=False) == read()


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize(
    "value", [7, ["https://auth.example/"], {"a": 1}, "/token", "http://auth.example/", "https://a@b/"]
)
def test_an_endpoint_must_be_a_safe_address(name: str, value: object) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        read(**{name: value})
    assert refused.value.description == f"discovery: {name} is missing, or no address that this issuer may name"


@pytest.mark.parametrize("name", ENDPOINTS[:-1])
@pytest.mark.parametrize("value", [..., None, ""])
def test_an_endpoint_must_be_there(name: str, value: object) -> None:
    with pytest.raises(ProviderUnavailable, match=name):
        read(**{name: value})


def accepts(url: str, *, issuer: str = ISSUER, allow_http: bool = False) -> bool:
    """Whether the issuer's discovery may name `url`, as each of its endpoints."""
    accepted = set()
    for name in ENDPOINTS:
        document = {**DOCUMENT, "issuer": issuer, name: url}
        document |= {other: f"{issuer}/{other}" for other in ENDPOINTS if other != name}
        try:
            accepted.add(bool(getattr(parse(document, issuer=issuer, allow_http=allow_http), name) == url))
        except ProviderUnavailable:
            accepted.add(False)
    assert len(accepted) == 1
    return True in accepted


LOOPBACK = [
    "https://localhost/x", "https://LOCALHOST./x", "https://a.localhost/x", "https://127.0.0.1/x", "https://127.9.9.9/x",
    "https://[::1]/x", "https://[::ffff:127.0.0.1]/x", "https://0.0.0.0/x", "https://[::]/x",
]  # fmt: skip
NOBODYS = [
    "https://169.254.169.254/latest/", "https://[fe80::1]/x", "https://[::ffff:169.254.169.254]/x", "https://224.0.0.1/x",
    "https://127.1/x", "https://2130706433/x", "https://0x7f000001/x", "https://0x7f.1/x", "https://169.16689662/x",
]  # fmt: skip


@pytest.mark.parametrize(
    "url", ["https://auth.example/x", "https://other.example:8443/x", "https://10.0.0.1/x", "https://x1/"]
)
def test_an_https_issuer_names_https_endpoints(url: str) -> None:
    assert accepts(url)
    for allow_http in (True, False):
        assert not accepts(url.replace("https:", "http:"), allow_http=allow_http)


def test_an_issuer_on_plain_http_names_both_where_it_is_allowed() -> None:
    for url in ("http://auth.example/x", "https://auth.example/x"):
        assert accepts(url, issuer="http://auth.example", allow_http=True)


@pytest.mark.parametrize("url", LOOPBACK)
def test_this_machine_is_named_by_an_issuer_on_it_alone(url: str) -> None:
    assert not accepts(url)
    assert not accepts(url, issuer="http://auth.example", allow_http=True)
    for issuer in ("https://localhost", "http://127.0.0.1:8000", "http://[::1]:8000"):
        assert accepts(url, issuer=issuer)


@pytest.mark.parametrize("url", NOBODYS)
@pytest.mark.parametrize("issuer", [ISSUER, "https://localhost", "http://127.0.0.1:8000"])
def test_no_issuer_names_a_link_local_address_or_one_in_disguise(url: str, issuer: str) -> None:
    for allow_http in (True, False):
        assert not accepts(url, issuer=issuer, allow_http=allow_http)
