"""The provider's metadata: OpenID Connect Discovery 1.0."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.oidc.errors import Endpoint, ProviderUnavailable, Reason

WELL_KNOWN = "/.well-known/openid-configuration"
_LAST_LABEL_OF_AN_ADDRESS = re.compile(r"(^|\.)(\d+|0[xX][0-9a-fA-F]*)$")


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """What the relying party uses of the discovery document.

    `issuer_in_response` says that `iss` is promised (RFC 9207).
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    issuer_in_response: bool


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine: `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_safe_url(url: str, *, allow_http: bool) -> bool:
    """Whether `url` is absolute, without user info or fragment, and https.

    It may be http on loopback, or where that is allowed.
    """
    if not url.isascii() or not url.isprintable() or any(c in url for c in " \\"):
        return False
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  a bad port raises here
        read = httpx.URL(url)
        read.host  # noqa: B018  a label that no Punycode is raises here
        # A label that is empty, or over 63 characters: no resolver takes it (RFC 1035 section 2.3.4).
        read.raw_host.decode("ascii").encode("idna")
    except (ValueError, httpx.InvalidURL):
        return False
    if not parts.hostname or parts.username is not None or parts.password is not None or "#" in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and (allow_http or is_loopback(parts.hostname)))


def is_safe_endpoint(url: str, *, issuer: str, allow_http: bool) -> bool:
    """Whether an issuer's discovery may send us, and the secret, to `url`.

    An https issuer names https addresses only; only one on this machine names others on it; nobody names a link-local
    one, where clouds answer with credentials.
    """
    if not is_safe_url(url, allow_http=allow_http):
        return False
    named, own = urlsplit(url), urlsplit(issuer)
    if own.scheme == "https" and named.scheme != "https":
        return False
    host = (named.hostname or "").rstrip(".")
    address = _address(host)
    if address is None:
        # A last label of digits is an address in a spelling that resolvers read, and this does not (127.1, 0x7f000001).
        is_near = host == "localhost" or host.endswith(".localhost")
        return not _LAST_LABEL_OF_AN_ADDRESS.search(host) and (not is_near or is_loopback(own.hostname or ""))
    if address.is_link_local or address.is_multicast:
        return False
    return not (address.is_loopback or address.is_unspecified) or is_loopback(own.hostname or "")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse(document: Mapping[str, Any], *, issuer: str, allow_http: bool) -> ProviderMetadata:
    """The metadata in a discovery document; its issuer must be ours exactly (section 4.3).

    Raises ProviderUnavailable.
    """
    if document.get("issuer") != issuer:
        raise ProviderUnavailable(Endpoint.DISCOVERY, Reason.OTHER_ISSUER)
    if document.get("require_pushed_authorization_requests") is True:
        raise ProviderUnavailable(Endpoint.DISCOVERY, Reason.PUSHED_REQUESTS)

    def endpoint(name: str) -> str:
        url = document.get(name)
        if not isinstance(url, str) or not is_safe_endpoint(url, issuer=issuer, allow_http=allow_http):
            raise ProviderUnavailable(Endpoint.DISCOVERY, Reason.UNSAFE_ENDPOINT, name)
        return url

    return ProviderMetadata(
        issuer=issuer,
        authorization_endpoint=endpoint("authorization_endpoint"),
        token_endpoint=endpoint("token_endpoint"),
        jwks_uri=endpoint("jwks_uri"),
        userinfo_endpoint=endpoint("userinfo_endpoint") if document.get("userinfo_endpoint") else None,
        issuer_in_response=document.get("authorization_response_iss_parameter_supported") is True,
    )
