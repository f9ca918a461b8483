"""How a provider can go wrong, and how it may differ without being wrong: one row each.

The sandbox takes a persona on with `Sandbox.become`; no page offers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.sandbox import forgery
from app.sandbox.alterations import Alteration, Claims, changed, without
from app.sandbox.forgery import Jwk
from app.sandbox.persona import (
    HONEST,
    Persona,
    answer_with,
    answer_without,
    array,
    by_a_stranger,
    header,
    hs256_with,
    literal,
    mangled,
    member,
    minted,
    payload,
    raw_answer,
    raw_header,
    signed_userinfo,
    without_signature,
)

_DEEP: Final = b"[" * 100_000 + b"]" * 100_000
_LONG: Final = "x" * 700_000


def _shifted(name: str, seconds: int) -> Alteration:
    """Move a time; one that is not there is taken as `iat`."""
    return lambda claims: {**claims, name: int(str(claims.get(name, claims["iat"]))) + seconds}


def _floats(claims: Claims) -> Claims:
    return {**claims, **{name: float(str(claims[name])) + 0.5 for name in ("exp", "iat")}}


def _audience(*strangers: str) -> Alteration:
    return lambda claims: {**claims, "aud": [claims["aud"], *strangers]}


def _elliptic(own: Jwk) -> Jwk:
    return forgery.elliptic_jwk(forgery.elliptic_key(), str(own["kid"]))


def _strangers(own: Jwk, **changes: object) -> Jwk:
    return {**forgery.strangers_key().public_jwk(), "kid": own["kid"], **changes}


def _with_unusable_ones_before(own: Jwk) -> list[object]:
    kid = own["kid"]
    return [
        None,
        "a key",
        [],
        {},
        {"kty": "unheard-of", "kid": kid},
        {"kty": "RSA", "kid": kid},
        {**own, "n": "?"},
        own,
    ]


_ACCEPTABLE: Final = (
    Persona(
        "discovery-with-more",
        discovery=changed(
            something_new=[{"nested": None}],
            token_endpoint_auth_methods_supported=[],
            scopes_supported=[{}, None, "openid"],
        ),
    ),
    Persona("kid-absent-single-jwks", mint=header(kid=None)),
    Persona(
        "kid-absent-one-suitable-key", keys=lambda own: [_elliptic(own), {**own, "use": "sig"}], mint=header(kid=None)
    ),
    Persona("key-without-use-or-alg", keys=lambda own: [{name: own[name] for name in ("kty", "n", "e", "kid")}]),
    Persona("unusable-keys-before-the-good-one", keys=_with_unusable_ones_before),
    Persona("encryption-key-of-the-same-kid", keys=lambda own: [_strangers(own, use="enc"), own]),
    Persona(
        "sig-es256",
        keys=lambda own: [own, _elliptic(own)],
        id_token=without("at_hash"),
        mint=minted(lambda workshop: (workshop.header(alg="ES256"), forgery.es256(forgery.elliptic_key()))),
    ),
    Persona(
        "header-embeds-own-key", mint=lambda claims, workshop: header(jwk=workshop.key.public_jwk())(claims, workshop)
    ),
    Persona("header-without-typ", mint=header(typ=None)),
    Persona("no-athash", id_token=without("at_hash")),
    Persona("audience-is-a-list-of-us", id_token=_audience()),
    Persona("azp-is-us", id_token=lambda claims: {**claims, "azp": claims["aud"]}),
    Persona("times-are-floats", id_token=_floats),
    Persona("nbf-is-now", id_token=_shifted("nbf", 0)),
    Persona("claims-nobody-knows", id_token=changed(acr={"a": [1, None]}, amr=["face"], sid="s", auth_time=1)),
    Persona("id-token-of-a-megabyte", id_token=changed(padding=_LONG)),
    Persona("token-type-in-another-case", token_answer=answer_with(token_type="BEARER")),
    Persona("token-answer-with-more", token_answer=answer_with(refresh_token="r", scope=None, token_expires=[])),
    Persona("userinfo-signed", userinfo_answer=signed_userinfo()),
    Persona("userinfo-signed-for-several", userinfo_answer=signed_userinfo(_audience())),
)


_REFUSED_RESPONSES: Final = (
    Persona("response-iss-of-another", issuer=lambda _: "https://evil.example"),
    Persona("response-iss-with-a-slash", issuer=lambda issuer: issuer + "/"),
    Persona("response-iss-in-another-case", issuer=str.upper),
    Persona("response-iss-missing", issuer=lambda _: None),
)

_UNSTARTABLE: Final = (
    Persona("discovery-issuer-mismatch", discovery=changed(issuer="https://evil.example")),
    Persona(
        "discovery-issuer-with-a-slash", discovery=lambda document: {**document, "issuer": f"{document['issuer']}/"}
    ),
    Persona("discovery-without-issuer", discovery=without("issuer")),
    Persona("discovery-requires-par", discovery=changed(require_pushed_authorization_requests=True)),
    Persona("discovery-without-token-endpoint", discovery=without("token_endpoint")),
    Persona("discovery-without-jwks-uri", discovery=without("jwks_uri")),
    Persona("discovery-with-plain-http", discovery=changed(token_endpoint="http://provider.example/token")),
)

_STRANGE_TIMES: Final[Mapping[str, object]] = {
    "null": None,
    "string": "9999999999",
    "list": [9999999999],
    "object": {},
    "true": True,
    "false": False,
    "too-large-for-a-float": 10**400,
}

_CLAIMS: Final = (
    Persona("invalid-iss", id_token=changed(iss="https://evil.example")),
    Persona("iss-with-a-slash", id_token=lambda claims: {**claims, "iss": f"{claims['iss']}/"}),
    Persona("iss-is-a-list", id_token=lambda claims: {**claims, "iss": [claims["iss"]]}),
    Persona("missing-iss", id_token=without("iss")),
    Persona("invalid-aud", id_token=changed(aud="another-client")),
    Persona("missing-aud", id_token=without("aud")),
    Persona("null-aud", id_token=changed(aud=None)),
    Persona("empty-aud", id_token=changed(aud=[])),
    Persona("aud-with-strangers", id_token=_audience("another-client")),
    Persona("aud-with-null", id_token=lambda claims: {**claims, "aud": [claims["aud"], None]}),
    Persona("azp-of-another", id_token=changed(azp="another-client")),
    Persona("null-azp", id_token=changed(azp=None)),
    Persona("missing-sub", id_token=without("sub")),
    Persona("null-sub", id_token=changed(sub=None)),
    Persona("empty-sub", id_token=changed(sub="")),
    Persona("sub-is-a-number", id_token=changed(sub=7)),
    Persona("sub-of-256", id_token=changed(sub="x" * 256)),
    Persona("nonce-invalid", id_token=changed(nonce="another nonce")),
    Persona("missing-nonce", id_token=without("nonce")),
    Persona("null-nonce", id_token=changed(nonce=None)),
    Persona("nonce-is-a-list", id_token=lambda claims: {**claims, "nonce": [claims["nonce"]]}),
    Persona("invalid-athash", id_token=changed(at_hash="77QmUPtjPfzWtF2AnpK9RQ")),
    Persona("null-athash", id_token=changed(at_hash=None)),
    Persona("missing-iat", id_token=without("iat")),
    Persona("issued-in-the-future", id_token=_shifted("iat", 61)),
    Persona("iat-in-milliseconds", id_token=lambda claims: {**claims, "iat": int(str(claims["iat"])) * 1000}),
    Persona("missing-exp", id_token=without("exp")),
    Persona("expired", id_token=_shifted("exp", -361)),
    Persona("not-yet-valid", id_token=_shifted("nbf", 61)),
    *(
        Persona(f"{name}-{kind}", id_token=changed(**{name: value}))
        for name in ("exp", "iat", "nbf")
        for kind, value in _STRANGE_TIMES.items()
    ),
    Persona("identity-id-is-a-number", id_token=changed(identity_id=7)),
    Persona("identity-id-with-nul", id_token=changed(identity_id="a\0b")),
    Persona("identity-id-of-a-megabyte", id_token=changed(identity_id=_LONG)),
    Persona("interview-id-is-a-list", id_token=changed(interview_id=["i"])),
    Persona("score-is-an-object", id_token=changed(auth_overall_score={"a": 1})),
)

_TEXTS: Final = (
    Persona("payload-is-an-array", mint=payload(array)),
    Persona("payload-is-a-string", mint=payload(lambda _: b'"claims"')),
    Persona("payload-is-a-number", mint=payload(lambda _: b"7")),
    Persona("payload-is-null", mint=payload(lambda _: b"null")),
    Persona("payload-is-empty", mint=payload(lambda _: b"")),
    Persona("payload-is-cut-off", mint=payload(lambda payload: payload[:-1])),
    Persona("payload-is-not-utf-8", mint=payload(member(b'"a":"\xff"'))),
    Persona("payload-is-utf-16", mint=payload(lambda payload: payload.decode().encode("utf-16"))),
    Persona("payload-with-a-lone-surrogate", mint=payload(member(b'"a":"\\ud800"'))),
    Persona("payload-nested-100000-deep", mint=payload(member(b'"a":' + _DEEP))),
    *(
        Persona(f"duplicate-{name}", mint=payload(member(f'"{name}":"again"'.encode())))
        for name in ("iss", "aud", "sub", "nonce", "exp", "identity_id", "auth_overall_status")
    ),
    *(
        Persona(f"{name}-{kind}", mint=literal(name, text))
        for name in ("exp", "iat", "nbf")
        for kind, text in (("infinity", b"Infinity"), ("nan", b"NaN"), ("1e999", b"1e999"))
    ),
)

_HEADERS: Final = (
    Persona("alg-missing", mint=header(alg=None)),
    Persona("alg-is-a-list", mint=header(alg=["RS256"])),
    Persona("alg-in-lower-case", mint=header(alg="rs256")),
    Persona("alg-not-on-our-list", mint=header(alg="RS512")),
    *(Persona(f"sig-none-{alg}", mint=without_signature(alg=alg)) for alg in ("none", "None", "NONE", "nOnE")),
    Persona("sig-none-without-kid", mint=without_signature(alg="none", kid=None)),
    Persona("crit-unknown", mint=header(crit=["exp"], exp=1)),
    Persona("crit-empty", mint=header(crit=[])),
    Persona("crit-b64", mint=header(crit=["b64"], b64=False)),
    Persona("kid-is-a-number", mint=header(kid=7)),
    Persona("header-is-an-array", mint=raw_header(b'["RS256"]')),
    Persona("header-is-not-json", mint=raw_header(b"RS256")),
    Persona("header-with-alg-twice", mint=raw_header(b'{"alg":"none","alg":"RS256"}')),
    Persona("header-nested-100000-deep", mint=raw_header(b'{"alg":"RS256","a":' + _DEEP + b"}")),
)


_SIGNATURES: Final = (
    Persona("invalid-sig-rs256", mint=by_a_stranger),
    Persona(
        "invalid-sig-es256",
        keys=lambda own: [own, _elliptic(own)],
        id_token=without("at_hash"),
        mint=minted(lambda workshop: (workshop.header(alg="ES256"), forgery.es256(forgery.strangers_elliptic_key()))),
    ),
    Persona("invalid-sig-hs256", mint=hs256_with(lambda _: b"no secret of anybody's")),
    Persona("hs256-with-client-secret", mint=hs256_with(lambda workshop: workshop.client_secret.encode())),
    Persona("hs256-with-pem", mint=hs256_with(lambda workshop: forgery.public_pem(workshop.key))),
    Persona("hs256-with-modulus", mint=hs256_with(lambda workshop: forgery.modulus(workshop.key))),
    Persona("hs256-with-jwk-n", mint=hs256_with(lambda workshop: str(workshop.key.public_jwk()["n"]).encode())),
    Persona(
        "hs256-with-a-published-secret",
        keys=lambda own: [{"kty": "oct", "k": "c2VjcmV0", "kid": own["kid"]}],
        mint=hs256_with(lambda _: b"secret"),
    ),
    Persona(
        "rs256-with-hmac-by-pem",
        mint=minted(lambda workshop: (workshop.header(), forgery.hs256(forgery.public_pem(workshop.key)))),
    ),
    Persona("signature-stripped", mint=mangled(lambda token: token.rpartition(".")[0] + ".")),
    Persona("signature-cut-off", mint=mangled(lambda token: token[:-4])),
    Persona("signature-missing", mint=mangled(lambda token: token.rpartition(".")[0])),
    Persona("five-parts", mint=mangled(lambda token: token + ".a.b")),
    Persona("not-a-token", mint=mangled(lambda _: "not a token")),
    Persona("not-a-token-of-a-megabyte", mint=mangled(lambda _: "x" * 1_000_000)),
    Persona(
        "header-embeds-strangers-key",
        mint=minted(
            lambda workshop: (
                workshop.header(jwk=forgery.strangers_key().public_jwk()),
                forgery.rs256(forgery.strangers_key()),
            )
        ),
    ),
    Persona(
        "header-points-at-strangers-key",
        mint=minted(
            lambda workshop: (
                workshop.header(jku="https://evil.example/keys", x5u="https://evil.example/chain", x5c=["MIIB"]),
                forgery.rs256(forgery.strangers_key()),
            )
        ),
    ),
)

_KEYS: Final = (
    Persona("kid-absent-multiple-jwks", keys=lambda own: [own, _strangers(own, kid="b")], mint=header(kid=None)),
    Persona("kid-unknown", mint=header(kid="nobody's")),
    Persona("kid-is-a-path", mint=header(kid="../../../../dev/null")),
    Persona("two-keys-under-one-kid", keys=lambda own: [own, _strangers(own)]),
    Persona("the-same-key-twice", keys=lambda own: [own, own]),
    Persona("no-keys", keys=lambda _: []),
    Persona(
        "weak-rsa-key",
        keys=lambda own: [{**forgery.weak_key().public_jwk(), "kid": own["kid"]}],
        mint=minted(lambda workshop: (workshop.header(), forgery.rs256(forgery.weak_key()))),
    ),
    Persona("encryption-key", keys=lambda own: [{**own, "use": "enc"}]),
    Persona("key-for-encryption-operations", keys=lambda own: [{**own, "key_ops": ["encrypt"]}]),
    Persona("key-of-another-algorithm", keys=lambda own: [{**own, "alg": "RS512"}]),
    Persona("key-of-another-type", keys=lambda own: [_elliptic(own)]),
    Persona("key-without-modulus", keys=lambda own: [{name: own[name] for name in ("kty", "e", "kid")}]),
)

_KEY_SETS: Final = (
    Persona("key-set-is-an-object", keys=lambda own: own),
    Persona("key-set-is-null", keys=lambda _: None),
    Persona("key-set-is-a-text", keys=str),
)

_TOKEN_ANSWERS: Final = (
    Persona("token-type-is-mac", token_answer=answer_with(token_type="mac")),
    Persona("token-type-is-dpop", token_answer=answer_with(token_type="DPoP")),
    Persona("no-token-type", token_answer=answer_without("token_type")),
    Persona("no-access-token", token_answer=answer_without("access_token")),
    Persona("token-answer-nested-100000-deep", token_answer=raw_answer(member(b'"a":' + _DEEP))),
    Persona("token-answer-is-an-array", token_answer=raw_answer(array)),
    Persona("token-answer-with-a-name-twice", token_answer=raw_answer(member(b'"id_token":"a"'))),
    Persona("token-answer-over-1-mib", token_answer=answer_with(padding="x" * 1_100_000)),
)

_NO_ID_TOKENS: Final = (
    Persona("no-id-token", token_answer=answer_without("id_token")),
    Persona("null-id-token", token_answer=answer_with(id_token=None)),
    Persona("id-token-is-a-list", token_answer=answer_with(id_token=["a.b.c"])),
)

_USERINFO_OF_OTHERS: Final = (
    Persona("userinfo-invalid-sub", userinfo=changed(sub="somebody else")),
    Persona("userinfo-signed-invalid-sub", userinfo_answer=signed_userinfo(changed(sub="somebody else"))),
)

_UNUSABLE_USERINFO: Final = (
    Persona("userinfo-missing-sub", userinfo=without("sub")),
    Persona("userinfo-null-sub", userinfo=changed(sub=None)),
    Persona("userinfo-nested-100000-deep", userinfo_answer=raw_answer(member(b'"a":' + _DEEP))),
    Persona("userinfo-is-an-array", userinfo_answer=raw_answer(array)),
    Persona("userinfo-with-a-name-twice", userinfo_answer=raw_answer(member(b'"email":"a@example.com","email":"b"'))),
    Persona("userinfo-with-a-lone-surrogate", userinfo_answer=raw_answer(member(b'"name":"\\ud800"'))),
    Persona("userinfo-signed-by-a-stranger", userinfo_answer=signed_userinfo(mint=by_a_stranger)),
    Persona(
        "userinfo-signed-with-none",
        userinfo_answer=signed_userinfo(mint=without_signature(alg="none")),
    ),
    Persona("userinfo-signed-by-another-issuer", userinfo_answer=signed_userinfo(changed(iss="https://evil.example"))),
    Persona("userinfo-signed-for-another", userinfo_answer=signed_userinfo(changed(aud="another-client"))),
    Persona("userinfo-signed-for-nobody", userinfo_answer=signed_userinfo(without("aud", "iss"))),
    Persona("userinfo-signed-labelled-as-json", userinfo_answer=signed_userinfo(media_type="application/json")),
)


_STRANGE_TEXTS: Final = (
    Persona("userinfo-with-nul", userinfo=changed(given_name="A\0na", family_name="\0")),
    Persona("userinfo-with-a-megabyte", userinfo=changed(name=_LONG)),
    Persona("userinfo-with-a-large-picture", userinfo=changed(picture=_LONG)),
    Persona(
        "userinfo-with-strange-types", userinfo=changed(name=7, email=["a", None], address={"a": {"b": [1.5, True]}})
    ),
    Persona("userinfo-with-line-breaks", userinfo=changed(name="A\r\nSet-Cookie: a=b\u2028\u202e")),
    Persona("status-of-a-megabyte", id_token=changed(auth_overall_status=_LONG)),
    Persona("status-with-nul", id_token=changed(auth_overall_status="OK\0")),
    Persona("score-of-a-megabyte", id_token=changed(auth_overall_score=_LONG)),
    Persona("score-with-nul", id_token=changed(auth_overall_score="9\0")),
)

PERSONAS: Final = {
    persona.key: persona
    for persona in (
        HONEST,
        *_ACCEPTABLE,
        *_REFUSED_RESPONSES,
        *_UNSTARTABLE,
        *_CLAIMS,
        *_TEXTS,
        *_HEADERS,
        *_SIGNATURES,
        *_KEYS,
        *_KEY_SETS,
        *_TOKEN_ANSWERS,
        *_NO_ID_TOKENS,
        *_USERINFO_OF_OTHERS,
        *_UNUSABLE_USERINFO,
        *_STRANGE_TEXTS,
    )
}
