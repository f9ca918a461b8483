"""The OpenID Foundation's conformance suite for a relying party, module by module (`oidcc-client-test…`).

Each case runs through the HTTP API: what is answered, what is stored, and what the provider was asked for it.
"""

from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.conformance.case import Asked, Case, assert_accepted, assert_not_started, assert_refused
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.provider import ProviderHost
from tests.harness.service import CLAIM, Service
from tests.harness.tables import on_sqlite_only
from tests.harness.tampering import TamperedProvider

pytestmark = on_sqlite_only

ACCEPTED = {
    "(plain)": Case("honest"),
    "idtoken-sig-rs256": Case("honest", settings={"id_token_algorithms": "RS256"}),
    "client-secret-basic": Case("honest", settings={"client_auth_method": "client_secret_basic"}),
    "kid-absent-single-jwks": Case("kid-absent-single-jwks"),
    "userinfo-signed": Case("userinfo-signed"),
}
# Where the header alone gives the token away, no key is asked for.
REFUSED: dict[str, tuple[Case, int]] = {
    "invalid-iss": (Case("invalid-iss", "iss"), 1),
    "invalid-aud": (Case("invalid-aud", "aud"), 1),
    "missing-aud": (Case("missing-aud", "aud"), 1),
    "missing-sub": (Case("missing-sub", "sub"), 1),
    "missing-iat": (Case("missing-iat", "iat"), 1),
    "nonce-invalid": (Case("nonce-invalid", "nonce"), 1),
    "kid-absent-multiple-jwks": (Case("kid-absent-multiple-jwks", "kid"), 1),
    "idtoken-sig-none": (Case("sig-none-none", "alg"), 0),
    "invalid-sig-rs256": (Case("invalid-sig-rs256", "signature"), 1),
    "invalid-sig-es256": (Case("invalid-sig-es256", "signature", {"id_token_algorithms": "RS256,ES256"}), 1),
    "invalid-sig-hs256": (Case("invalid-sig-hs256", "alg"), 0),
    "invalid-athash": (Case("invalid-athash", "at_hash"), 1),
}
PERSONAS = {
    *(case.persona for case in ACCEPTED.values()),
    *(case.persona for case, _ in REFUSED.values()),
    *("userinfo-invalid-sub", "discovery-issuer-mismatch"),
}
"""All that are run here, and need not be run elsewhere."""


@pytest.mark.parametrize("case", ACCEPTED.values(), ids=ACCEPTED)
async def test_it_accepts(make_service: MakeService, case: Case) -> None:
    await assert_accepted(await case.service(make_service), case.persona)


@pytest.mark.parametrize(("case", "keys"), REFUSED.values(), ids=REFUSED)
async def test_it_refuses(make_service: MakeService, clock: Clock, case: Case, keys: int) -> None:
    await assert_refused(await case.service(make_service), clock, case, Asked(token=1, jwks=keys))


async def test_scope_userinfo_claims(make_service: MakeService) -> None:
    service = await make_service(scopes="openid profile email phone address")

    pii = (await assert_accepted(service, "honest"))["claims"][CLAIM]["pii"]

    assert pii.keys() == {"name", "given_name", "family_name", "birthdate", "email", "phone_number", "address"}


async def test_userinfo_invalid_sub(service: Service, clock: Clock) -> None:
    case = Case("userinfo-invalid-sub")
    await assert_refused(service, clock, case, Asked(token=1, jwks=1, userinfo=1), "userinfo_sub_mismatch")


async def test_discovery_issuer_mismatch(service: Service, clock: Clock) -> None:
    await assert_not_started(service, clock, "discovery-issuer-mismatch", "issuer")


class Relocated:
    """The provider behind other paths: what is not listed here is nowhere."""

    def __init__(self, provider: ASGIApp, paths: dict[str, str]) -> None:
        self.provider = provider
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.provider({**scope, "path": self.paths.get(scope["path"], "/nowhere")}, receive, send)


DISCOVERY = "/.well-known/openid-configuration"
HOMES = {
    "authorization_endpoint": "/oauth2/authorize",
    "token_endpoint": "/oauth2/token",
    "userinfo_endpoint": "/userinfo",
    "jwks_uri": "/oauth2/jwks",
}


@pytest.mark.parametrize(
    ("module", "moved"), [("discovery-openid-config", [*HOMES]), ("discovery-jwks-uri-keys", ["jwks_uri"])]
)
async def test_endpoints_and_keys_come_from(
    service: Service, provider_host: ProviderHost, module: str, moved: list[str]
) -> None:
    paths = {name: f"/{module}/{name}" if name in moved else home for name, home in HOMES.items()}

    def relocated(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, **{name: provider_host.url + path for name, path in paths.items()}}

    provider = TamperedProvider(provider_host, service.sandbox)
    provider.alter("discovery", relocated)
    provider_host.app = Relocated(
        provider, {DISCOVERY: DISCOVERY} | {paths[name]: home for name, home in HOMES.items()}
    )

    await assert_accepted(service, "honest")


@pytest.mark.parametrize("when", ["signing-key-rotation", "signing-key-rotation-just-before-signing"])
async def test_keys_are_fetched_again_after(service: Service, when: str) -> None:
    await service.verify("auth0|bob")
    if when == "signing-key-rotation":
        service.sandbox.rotate_key()
    started = await service.start("auth0|ana")
    back = await service.visit(started)
    if when == "signing-key-rotation-just-before-signing":
        service.sandbox.rotate_key()
    service.sandbox.requests.clear()

    decision = await service.finish("auth0|ana", started, **back)

    assert (decision["action"], decision["reason"]) == ("continue", "verified")
    assert Asked.of(service) == Asked(token=1, jwks=1, userinfo=1)
