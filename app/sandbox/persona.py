"""What a provider may do otherwise than an honest one, and the ways to say it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import JSONResponse, Response

from app.sandbox import forgery
from app.sandbox.alterations import Alteration, Claims, unaltered, without
from app.sandbox.forgery import Header, Jwk, Sign, Workshop

Mint = Callable[[Claims, Workshop], str]
Answering = Callable[[Claims, Workshop], Response]
Encode = Callable[[bytes], bytes]


def honest_token(claims: Claims, workshop: Workshop) -> str:
    """An ID token as it should be."""
    return workshop.key.sign(claims)


def honest_answer(answer: Claims, _: Workshop) -> Response:
    """An answer as it should be."""
    return JSONResponse(dict(answer))


@dataclass(frozen=True)
class Persona:
    """One kind of provider, and where it differs from an honest one.

    `issuer` makes the `iss` of an authorization response (None leaves it out), `keys` the published key set out of the
    own key's JWK, `mint` an ID token; `token_answer` and `userinfo_answer` make whole answers.
    """

    key: str
    discovery: Alteration = unaltered
    issuer: Callable[[str], str | None] = str
    keys: Callable[[Jwk], object] = lambda own: [own]
    id_token: Alteration = unaltered
    mint: Mint = honest_token
    token_answer: Answering = honest_answer
    userinfo: Alteration = unaltered
    userinfo_answer: Answering = honest_answer


HONEST: Final = Persona("honest")


def minted(mint: Callable[[Workshop], tuple[Header | bytes, Sign]]) -> Mint:
    """Mint with another header or another signature."""

    def minting(claims: Claims, workshop: Workshop) -> str:
        header, sign = mint(workshop)
        return forgery.compact(header, claims, sign)

    return minting


def header(**changes: object) -> Mint:
    """Mint with a changed header and an honest signature over it; None leaves a member out."""
    return minted(lambda workshop: (workshop.header(**changes), forgery.rs256(workshop.key)))


def without_signature(**changes: object) -> Mint:
    """Mint with a changed header and no signature (RFC 7515 appendix A.5)."""
    return minted(lambda workshop: (workshop.header(**changes), forgery.unsigned))


def raw_header(text: bytes) -> Mint:
    """Mint with a header that is any text, and an honest signature over it."""
    return minted(lambda workshop: (text, forgery.rs256(workshop.key)))


def payload(encode: Encode) -> Mint:
    """Mint with an honest signature over whatever `encode` makes of the JSON of the claims."""

    def minting(claims: Claims, workshop: Workshop) -> str:
        text = encode(json.dumps(claims).encode())
        return forgery.compact(workshop.header(), text, forgery.rs256(workshop.key))

    return minting


def literal(name: str, text: bytes) -> Mint:
    """Mint with a claim of a value that only JSON text can say."""

    def minting(claims: Claims, workshop: Workshop) -> str:
        return payload(member(f'"{name}":'.encode() + text))(without(name)(claims), workshop)

    return minting


def member(text: bytes) -> Encode:
    """Put one more member at the end of a JSON object."""
    return lambda body: body[:-1] + b"," + text + b"}"


def array(body: bytes) -> bytes:
    """Put a JSON text into an array."""
    return b"[" + body + b"]"


def by_a_stranger(claims: Claims, workshop: Workshop) -> str:
    """Mint under the provider's `kid`, signed with a stranger's key."""
    return forgery.compact(workshop.header(), claims, forgery.rs256(forgery.strangers_key()))


def hs256_with(secret: Callable[[Workshop], bytes]) -> Mint:
    """Mint with HS256 under something that a verifier may take for a shared secret (RFC 8725 section 2.1)."""
    return minted(lambda workshop: (workshop.header(alg="HS256"), forgery.hs256(secret(workshop))))


def mangled(mangle: Callable[[str], str]) -> Mint:
    """Mint honestly, and change the finished token."""
    return lambda claims, workshop: mangle(honest_token(claims, workshop))


def answer_with(**changes: object) -> Answering:
    """Answer with members set."""
    return lambda answer, _: JSONResponse({**answer, **changes})


def answer_without(name: str) -> Answering:
    """Answer with a member left out."""
    return lambda answer, _: JSONResponse(dict(without(name)(answer)))


def raw_answer(encode: Encode) -> Answering:
    """Answer with whatever `encode` makes of the honest JSON."""
    return lambda answer, _: Response(encode(json.dumps(answer).encode()), media_type="application/json")


def signed_userinfo(
    alteration: Alteration = unaltered, mint: Mint = honest_token, media_type: str = "application/jwt"
) -> Answering:
    """Answer with a JWT (OpenID Connect Core 1.0 section 5.3.2); `alteration` is given `iss` and `aud`, too."""

    def answer(claims: Claims, workshop: Workshop) -> Response:
        names = {"iss": workshop.issuer, "aud": workshop.client_id}
        return Response(mint(alteration({**claims, **names}), workshop), media_type=media_type)

    return answer
