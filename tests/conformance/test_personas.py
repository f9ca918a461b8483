"""Beyond the Foundation's suite: every other persona of the sandbox, with the check that refuses it by name."""

from typing import Any

import pytest

from app.sandbox import PERSONAS
from tests.conformance.case import (
    Asked,
    Case,
    assert_accepted,
    assert_not_started,
    assert_refused,
    assert_response_refused,
    assert_unavailable,
)
from tests.conformance.test_openid_foundation import PERSONAS as FOUNDATION_PERSONAS
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.service import CLAIM, EMAIL, USER, Service
from tests.harness.tables import on_sqlite_only

TIMES = ("exp", "iat", "nbf")
NO_TIMES = ("null", "string", "list", "object", "true", "false", "too-large-for-a-float")

ACCEPTABLE = (
    "discovery-with-more",
    "kid-absent-one-suitable-key",
    "key-without-use-or-alg",
    "unusable-keys-before-the-good-one",
    "encryption-key-of-the-same-kid",
    "sig-es256",
    "header-embeds-own-key",
    "header-without-typ",
    "no-athash",
    "audience-is-a-list-of-us",
    "azp-is-us",
    "times-are-floats",
    "nbf-is-now",
    "claims-nobody-knows",
    "id-token-of-a-megabyte",
    "token-type-in-another-case",
    "token-answer-with-more",
    "userinfo-signed-for-several",
)
NOT_STARTED = {
    "discovery-issuer-with-a-slash": "issuer",
    "discovery-without-issuer": "issuer",
    "discovery-requires-par": "pushed authorization requests",
    "discovery-without-token-endpoint": "token_endpoint",
    "discovery-without-jwks-uri": "jwks_uri",
    "discovery-with-plain-http": "token_endpoint",
}
REFUSED_RESPONSES = (
    "response-iss-of-another",
    "response-iss-with-a-slash",
    "response-iss-in-another-case",
    "response-iss-missing",
)
BY_THE_HEADER = {
    "alg-missing": "alg",
    "alg-is-a-list": "alg",
    "alg-in-lower-case": "alg",
    "alg-not-on-our-list": "alg",
    "sig-none-None": "alg",
    "sig-none-NONE": "alg",
    "sig-none-nOnE": "alg",
    "sig-none-without-kid": "alg",
    "hs256-with-client-secret": "alg",
    "hs256-with-pem": "alg",
    "hs256-with-modulus": "alg",
    "hs256-with-jwk-n": "alg",
    "hs256-with-a-published-secret": "alg",
    "crit-unknown": "crit",
    "crit-empty": "crit",
    "crit-b64": "crit",
    "kid-is-a-number": "kid",
    "header-is-an-array": "structure",
    "header-is-not-json": "structure",
    "header-with-alg-twice": "structure",
    "header-nested-100000-deep": "structure",
    "not-a-token": "structure",
    "not-a-token-of-a-megabyte": "structure",
    "no-id-token": "missing",
    "null-id-token": "missing",
    "id-token-is-a-list": "missing",
}
BY_THE_SIGNATURE = {
    "rs256-with-hmac-by-pem": "signature",
    "signature-stripped": "signature",
    "signature-cut-off": "signature",
    "signature-missing": "signature",
    "five-parts": "signature",
    "header-embeds-strangers-key": "signature",
    "header-points-at-strangers-key": "signature",
    "two-keys-under-one-kid": "kid",
    "the-same-key-twice": "kid",
}
BY_NO_KEY = (
    "kid-unknown",
    "kid-is-a-path",
    "no-keys",
    "weak-rsa-key",
    "encryption-key",
    "key-for-encryption-operations",
    "key-of-another-algorithm",
    "key-of-another-type",
    "key-without-modulus",
)
BY_THE_PAYLOAD = {
    "iss-with-a-slash": "iss",
    "iss-is-a-list": "iss",
    "missing-iss": "iss",
    "null-aud": "aud",
    "empty-aud": "aud",
    "aud-with-strangers": "aud",
    "aud-with-null": "aud",
    "azp-of-another": "azp",
    "null-azp": "azp",
    "null-sub": "sub",
    "empty-sub": "sub",
    "sub-is-a-number": "sub",
    "sub-of-256": "sub",
    "missing-nonce": "nonce",
    "null-nonce": "nonce",
    "nonce-is-a-list": "nonce",
    "null-athash": "at_hash",
    "issued-in-the-future": "iat",
    "iat-in-milliseconds": "iat",
    "missing-exp": "exp",
    "expired": "exp",
    "not-yet-valid": "nbf",
    **{f"{name}-{kind}": name for name in TIMES for kind in NO_TIMES},
    "payload-is-an-array": "structure",
    "payload-is-a-string": "structure",
    "payload-is-a-number": "structure",
    "payload-is-null": "structure",
    "payload-is-empty": "structure",
    "payload-is-cut-off": "structure",
    "payload-is-not-utf-8": "structure",
    "payload-is-utf-16": "structure",
    "payload-with-a-lone-surrogate": "structure",
    "payload-nested-100000-deep": "structure",
    **{
        f"duplicate-{name}": "structure"
        for name in ("iss", "aud", "sub", "nonce", "exp", "identity_id", "auth_overall_status")
    },
    **{f"{name}-{kind}": "structure" for name in TIMES for kind in ("infinity", "nan", "1e999")},
}
BY_THE_IDS = {
    "identity-id-is-a-number": "identity_id",
    "identity-id-with-nul": "identity_id",
    "identity-id-of-a-megabyte": "identity_id",
    "interview-id-is-a-list": "interview_id",
    "score-is-an-object": "auth_overall_score",
}
NO_TOKEN_ANSWERS = (
    "token-type-is-mac",
    "token-type-is-dpop",
    "no-token-type",
    "no-access-token",
    "token-answer-nested-100000-deep",
    "token-answer-is-an-array",
    "token-answer-with-a-name-twice",
    "token-answer-over-1-mib",
)
NO_KEY_SETS = ("key-set-is-an-object", "key-set-is-null", "key-set-is-a-text")
USERINFO_OF_OTHERS = ("userinfo-signed-invalid-sub",)
UNUSABLE_USERINFO = (
    "userinfo-missing-sub",
    "userinfo-null-sub",
    "userinfo-nested-100000-deep",
    "userinfo-is-an-array",
    "userinfo-with-a-name-twice",
    "userinfo-with-a-lone-surrogate",
    "userinfo-signed-by-a-stranger",
    "userinfo-signed-with-none",
    "userinfo-signed-by-another-issuer",
    "userinfo-signed-for-another",
    "userinfo-signed-for-nobody",
    "userinfo-signed-labelled-as-json",
)
STRANGE_TEXTS = {
    "userinfo-with-nul": "verified",
    "userinfo-with-a-megabyte": "verified",
    "userinfo-with-a-large-picture": "verified",
    "userinfo-with-strange-types": "verified",
    "userinfo-with-line-breaks": "verified",
    "status-of-a-megabyte": "status_not_accepted",
    "status-with-nul": "status_not_accepted",
    "score-with-nul": "verified",
    "score-of-a-megabyte": "id_token_invalid",
}
# The algorithm that a case needs on our list; every other one runs with the default.
SETTINGS: dict[str, dict[str, Any]] = {"sig-es256": {"id_token_algorithms": "RS256,ES256"}}


def test_every_persona_is_in_one_of_the_tables() -> None:
    tables = (
        *(
            ACCEPTABLE,
            NOT_STARTED,
            REFUSED_RESPONSES,
            BY_THE_HEADER,
            BY_THE_SIGNATURE,
            BY_NO_KEY,
            BY_THE_PAYLOAD,
            BY_THE_IDS,
        ),
        *(NO_TOKEN_ANSWERS, NO_KEY_SETS, USERINFO_OF_OTHERS, UNUSABLE_USERINFO, STRANGE_TEXTS, FOUNDATION_PERSONAS),
    )
    assert sorted(name for table in tables for name in table) == sorted(PERSONAS)


@on_sqlite_only
@pytest.mark.parametrize("persona", ACCEPTABLE)
async def test_a_provider_may_be_like_this(make_service: MakeService, persona: str) -> None:
    await assert_accepted(await make_service(**SETTINGS.get(persona, {})), persona)


@on_sqlite_only
@pytest.mark.parametrize(("persona", "word"), NOT_STARTED.items())
async def test_no_browser_is_sent_to_it(service: Service, clock: Clock, persona: str, word: str) -> None:
    await assert_not_started(service, clock, persona, word)


@on_sqlite_only
@pytest.mark.parametrize("persona", REFUSED_RESPONSES)
async def test_its_code_is_not_used(service: Service, clock: Clock, persona: str) -> None:
    await assert_response_refused(service, clock, persona)


@on_sqlite_only
@pytest.mark.parametrize(("persona", "check"), BY_THE_HEADER.items())
async def test_the_header_is_enough_to_refuse_it(service: Service, clock: Clock, persona: str, check: str) -> None:
    await assert_refused(service, clock, Case(persona, check), Asked(token=1))


@on_sqlite_only
@pytest.mark.parametrize(("persona", "check"), {**BY_THE_SIGNATURE, **BY_THE_PAYLOAD}.items())
async def test_it_is_refused_by_its_check(service: Service, clock: Clock, persona: str, check: str) -> None:
    await assert_refused(service, clock, Case(persona, check), Asked(token=1, jwks=1))


@on_sqlite_only
@pytest.mark.parametrize("persona", BY_NO_KEY)
async def test_no_key_fits_and_they_are_fetched_once_more(service: Service, clock: Clock, persona: str) -> None:
    await assert_refused(service, clock, Case(persona, "kid"), Asked(token=1, jwks=2))


@on_sqlite_only
@pytest.mark.parametrize(("persona", "check"), BY_THE_IDS.items())
async def test_ids_that_no_provider_would_send(service: Service, clock: Clock, persona: str, check: str) -> None:
    await assert_refused(service, clock, Case(persona, check), Asked(token=1, jwks=1, userinfo=1))


@on_sqlite_only
@pytest.mark.parametrize("persona", NO_TOKEN_ANSWERS)
async def test_a_token_answer_that_is_none(service: Service, clock: Clock, persona: str) -> None:
    await assert_unavailable(service, clock, persona, Asked(token=1))


@on_sqlite_only
@pytest.mark.parametrize("persona", NO_KEY_SETS)
async def test_a_key_set_that_is_none(service: Service, clock: Clock, persona: str) -> None:
    # The good one from before is used for a day, as in an outage; later there is none.
    await service.verify("auth0|bob")
    clock.advance(minutes=6)
    service.sandbox.become(persona)
    assert (await service.verify("auth0|eve"))["reason"] == "verified"
    service.sandbox.become("honest")
    clock.advance(minutes=6)
    await service.verify(USER, email=EMAIL)
    before = await service.status(USER)
    clock.advance(hours=24)
    service.sandbox.become(persona)

    decision = await service.verify(USER, force=True)

    assert (decision["reason"], decision["claims"]) == ("provider_unavailable", {})
    assert "keys" in decision["error"]["detail"]
    assert (await service.status(USER))["claims"] == before["claims"]


@on_sqlite_only
@pytest.mark.parametrize("persona", USERINFO_OF_OTHERS)
async def test_userinfo_of_another_subject(service: Service, clock: Clock, persona: str) -> None:
    await assert_refused(service, clock, Case(persona), Asked(token=1, jwks=1, userinfo=1), "userinfo_sub_mismatch")


@on_sqlite_only
@pytest.mark.parametrize("persona", UNUSABLE_USERINFO)
async def test_userinfo_that_cannot_be_used_is_no_failure(service: Service, persona: str) -> None:
    decision = await assert_accepted(service, persona)

    assert decision["claims"][CLAIM]["pii"] == {}
    assert "userinfo" not in decision["app_metadata"]["incode_idv"]


@pytest.mark.parametrize(("persona", "reason"), STRANGE_TEXTS.items())
async def test_what_is_stored_of_strange_texts_can_be_read_back(service: Service, persona: str, reason: str) -> None:
    service.sandbox.become(persona)

    decision = await service.verify(USER, email=EMAIL)

    assert (decision["action"], decision["reason"]) == ("continue", reason)
    status = await service.status(USER)
    assert status["app_metadata"] == decision["app_metadata"]
    assert status["claims"] == decision["claims"]
    attempt = (await service.admin.get(f"/v1/verifications/{decision['verification']['id']}")).json()
    assert attempt == decision["verification"]
    assert len(str(status)) < 40_000
