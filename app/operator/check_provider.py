"""What `idv check` asks the provider: discovery, what it offers, the clock, the keys, and our registration there."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from app.core.failures import clean
from app.oidc import (
    AuthorizationGrant,
    Deadline,
    Endpoint,
    ProtocolError,
    ProviderConfig,
    ProviderUnavailable,
    Reason,
    RelyingParty,
    http,
    jwks,
    metadata,
    new_code_verifier,
)
from app.operator.finding import Finding

_CREDENTIALS = (
    "Look at INCODE_CLIENT_ID, INCODE_CLIENT_SECRET, CLIENT_AUTH_METHOD and whether they belong to INCODE_SERVER_URL."
)
_ADDRESS = "Look at INCODE_SERVER_URL: host, port, and http or https."
_WAY = "Look at this machine's network: may it reach the provider, or does it need a proxy (HTTPS_PROXY)?"
_PROXY = "Look at HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."
_TRUST = (
    "Whoever answers is not known to be the provider. Where a proxy reads along, name a file with its certificate in "
    "SSL_CERT_FILE; else look at INCODE_SERVER_URL."
)
_REPORT = "If it lasts, report it to Incode with the time."
_REMEDIES = {
    Reason.LATE: _WAY + " HTTP_TIMEOUT_SECONDS says how long is waited.",
    Reason.CONNECTION_LATE: "A firewall may drop what is sent. " + _WAY,
    Reason.NAME_UNKNOWN: "Look at the spelling of INCODE_SERVER_URL, and at this machine's name server.",
    Reason.REFUSED: "Nothing listens there. " + _ADDRESS,
    Reason.UNREACHABLE: _WAY,
    Reason.CLOSED: "Something on the way may have closed it. " + _WAY,
    Reason.NO_TLS: _ADDRESS,
    Reason.TLS_FAILED: "The provider, or a proxy on the way, offers no version of TLS that this machine accepts.",
    Reason.CERTIFICATE_UNTRUSTED: _TRUST,
    Reason.CERTIFICATE_EXPIRED: "Look at this machine's clock. If it is right, the certificate has to be renewed.",
    Reason.CERTIFICATE_OF_ANOTHER: (
        "Another server answers than INCODE_SERVER_URL names. Look at it, and at HTTPS_PROXY."
    ),
    Reason.TRUST_STORE: (
        "Look at SSL_CERT_FILE and SSL_CERT_DIR: they must name what exists and holds certificates (PEM)."
    ),
    Reason.PROXY_AWAY: _PROXY,
    Reason.PROXY_REFUSED: _PROXY + " The proxy must let this machine reach the provider.",
    Reason.PROXY_UNUSABLE: _PROXY + " An http address is taken, such as http://proxy.example:3128; SOCKS is not.",
    Reason.NOT_HTTP: _ADDRESS,
    Reason.STATUS: _ADDRESS,
    Reason.NOT_LABELLED: _ADDRESS,
    Reason.NOT_JSON: _ADDRESS,
    Reason.UNSAFE_ENDPOINT: "Report it to Incode; or set ALLOW_HTTP=true on a test network.",
}


async def check_provider(config: ProviderConfig, redirect_uri: str) -> AsyncIterator[Finding]:
    """Discovery, what it offers against what is configured, the clock, the keys, and our registration."""
    client = http.Client(request_seconds=config.request_seconds)
    try:
        answer = await client.get(config.server_url + metadata.WELL_KNOWN, Endpoint.DISCOVERY)
        document = answer.json_object()
        if document.get("issuer") != config.issuer:
            yield _other_issuer(document, config)
            return
        provider = metadata.parse(document, issuer=config.issuer, allow_http=config.allow_http)
    except ProviderUnavailable as error:
        yield _unavailable("discovery", error)
        return
    yield Finding("discovery", f"names the issuer {provider.issuer}")
    for finding in _offers(config, document):
        yield finding
    yield check_clock(answer.date, config.leeway_seconds, time.time())
    yield await _check_keys(client, config, provider.jwks_uri)
    yield await _check_registration(RelyingParty(config), redirect_uri, 3 * config.request_seconds)


def check_clock(date: str | None, leeway: float, now: float) -> Finding:
    """Whether this machine's clock agrees with a `Date` header.

    `now` is in seconds since 1970, and `leeway` seconds are nothing.
    """
    try:
        ahead = round(now - parsedate_to_datetime(date or "").timestamp())
    except ValueError:
        return Finding("clock", "cannot be compared: the provider's answer has no date")
    if abs(ahead) <= leeway:
        return Finding("clock", "agrees with the provider's")
    direction = "ahead of" if ahead > 0 else "behind"
    remedy = "Set this machine's clock (NTP): beyond CLOCK_SKEW_SECONDS every ID token is refused."
    return Finding("clock", f"is {abs(ahead)} s {direction} the provider's", remedy)


def _unavailable(subject: str, error: ProviderUnavailable) -> Finding:
    return Finding(subject, error.cause, _REMEDIES.get(error.reason, _REPORT))


def _other_issuer(document: Mapping[str, Any], config: ProviderConfig) -> Finding:
    named = clean(str(document.get("issuer")))
    remedy = "If that is Incode, set INCODE_ISSUER to it. If not, INCODE_SERVER_URL is another server's."
    return Finding("discovery", f"names the issuer {named}, not {config.issuer}", remedy)


def _offers(config: ProviderConfig, document: Mapping[str, Any]) -> list[Finding]:
    """What the provider says that it does not offer.

    What it does not speak of is taken as offered (Discovery section 3).
    """
    wanted = {
        "scopes_supported": (set(config.scope.split()), "SCOPES"),
        "token_endpoint_auth_methods_supported": ({str(config.credentials.method)}, "CLIENT_AUTH_METHOD"),
        "code_challenge_methods_supported": ({"S256"}, None),
    }
    found = []
    for name, (values, setting) in wanted.items():
        offered = document.get(name)
        missing = values - {each for each in offered if isinstance(each, str)} if isinstance(offered, list) else set()
        if missing:
            remedy = (
                f"Change {setting}, or ask Incode to enable it."
                if setting
                else "Ask Incode; the service always uses it."
            )
            found.append(Finding(name, f"does not list {', '.join(sorted(missing))}", remedy))
    return found


async def _check_keys(client: http.Client, config: ProviderConfig, url: str) -> Finding:
    try:
        keys = jwks.parse(await client.get_json(url, Endpoint.KEYS))
    except ProviderUnavailable as error:
        return _unavailable("keys", error)
    usable = sum(any(jwks.fits(key, algorithm, None) for algorithm in config.algorithms) for key in keys)
    if not usable:
        return Finding("keys", f"has {len(keys)} keys, none for ID_TOKEN_ALGORITHMS", "Look at ID_TOKEN_ALGORITHMS.")
    return Finding("keys", f"has {usable} usable of {len(keys)}")


async def _check_registration(provider: RelyingParty, redirect_uri: str, seconds: float) -> Finding:
    """Whether the token endpoint knows us: asked for a code that cannot exist, it complains of the code, or of us."""
    grant = AuthorizationGrant(
        code=f"idv-check-{secrets.token_urlsafe(16)}",
        code_verifier=new_code_verifier(),
        nonce=secrets.token_urlsafe(32),
        redirect_uri=redirect_uri,
    )
    try:
        async with provider.conversation() as conversation:
            await conversation.authenticate(grant, deadline=Deadline.after(seconds))
    except ProviderUnavailable as error:
        return _unavailable("client", error)
    except ProtocolError as error:
        if error.code == "invalid_grant":
            return Finding("client", "is accepted by the token endpoint")
        return Finding("client", f"is not accepted by the token endpoint: {error.code}", _CREDENTIALS)
    return Finding(
        "client", "was given tokens for a code that cannot exist", "Do not use this provider; report it to Incode."
    )
