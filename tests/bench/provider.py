"""A provider that has signed everything before it is asked, so that it is never what a callback waits for.

It checks the client, PKCE and the access token like any other. `POST /ahead` makes a code for each authorization
request that it is told of.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from app.sandbox.signing import SigningKey, at_hash, base64url
from tests.system.processes import SETTINGS

ISSUER = os.environ.get("ISSUER", "")
LIFETIME_SECONDS = 7200
Answer = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class _Grant:
    challenge: str
    answer: bytes


_key = SigningKey.generate()
_grants: dict[str, _Grant] = {}
_people: dict[str, bytes] = {}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        raise RuntimeError("nothing is to be done at the start")
    respond = _ENDPOINTS.get(scope["path"], _not_found)
    status, body = respond(scope, await _body(receive))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    return body + bytes(message["body"])


def _token(_scope: Scope, body: bytes) -> Answer:
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    known = (SETTINGS["INCODE_CLIENT_ID"], SETTINGS["INCODE_CLIENT_SECRET"])
    if (form.get("client_id"), form.get("client_secret")) != known:
        return 401, b'{"error":"invalid_client"}'
    grant = _grants.pop(form.get("code", ""), None)
    verifier = form.get("code_verifier", "").encode()
    if grant is None or base64url(hashlib.sha256(verifier).digest()) != grant.challenge:
        return 400, b'{"error":"invalid_grant"}'
    return 200, grant.answer


def _userinfo(scope: Scope, _body: bytes) -> Answer:
    authorization = dict(scope["headers"]).get(b"authorization", b"").decode()
    person = _people.get(authorization.removeprefix("Bearer "))
    return (200, person) if person else (401, b'{"error":"invalid_token"}')


def _ahead(_scope: Scope, body: bytes) -> Answer:
    return 200, json.dumps([_prepare(**wanted) for wanted in json.loads(body)]).encode()


def _prepare(nonce: str, code_challenge: str) -> str:
    """Sign for one authorization request, and return its code."""
    code, access_token, subject = (secrets.token_urlsafe(24) for _ in range(3))
    now = int(time.time())
    id_token = _key.sign(
        {
            "iss": ISSUER,
            "sub": subject,
            "aud": SETTINGS["INCODE_CLIENT_ID"],
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "nonce": nonce,
            "at_hash": at_hash(access_token),
            "interview_id": secrets.token_hex(6),
            "identity_id": secrets.token_hex(6),
            "auth_overall_score": "98.7",
            "auth_overall_status": "OK",
        }
    )
    tokens = {"access_token": access_token, "token_type": "Bearer", "expires_in": 3600, "id_token": id_token}
    _grants[code] = _Grant(code_challenge, json.dumps(tokens).encode())
    person = {"sub": subject, "name": "Ana Torres", "birthdate": "1990-05-17", "email": "ana@example.com"}
    _people[access_token] = json.dumps(person).encode()
    return code


def _jwks(_scope: Scope, _body: bytes) -> Answer:
    return 200, json.dumps({"keys": [_key.public_jwk()]}).encode()


def _discovery(_scope: Scope, _body: bytes) -> Answer:
    document: dict[str, Any] = {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "userinfo_endpoint": f"{ISSUER}/userinfo",
        "jwks_uri": f"{ISSUER}/jwks",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }
    return 200, json.dumps(document).encode()


def _not_found(_scope: Scope, _body: bytes) -> Answer:
    return 404, b"{}"


_ENDPOINTS: dict[str, Callable[[Scope, bytes], Answer]] = {
    "/token": _token,
    "/userinfo": _userinfo,
    "/ahead": _ahead,
    "/jwks": _jwks,
    "/.well-known/openid-configuration": _discovery,
}
