"""The requests of identity providers that mint a token, written from the formats that they document."""

import copy
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx
from standardwebhooks import Webhook
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from app.api.reference import examples
from app.sandbox.signing import SigningKey
from tests.harness.clock import Clock
from tests.harness.service import IDP_KEY, Json, Service
from tests.integrations.documents import Exchange

WEBHOOK_SECRET = "v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_WEBHOOK_SECRET = "v1,whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
ZITADEL_SECRET = "zitadel-signing-key-0123456789"
TENANT = "11111111-2222-3333-4444-555555555555"
AUDIENCE = "api://idv.example/66666666-7777-8888-9999-000000000000"
ENTRAS_CALLER = "99045fe1-7639-4a75-9d4a-577b6ca3810f"
COMMONAUTH = "https://id.example/commonauth"
HOOKS: dict[str, Any] = {
    "hydra_hook": True,
    "okta_hook": True,
    "wso2_hook": True,
    "supabase_hook_secrets": f"{WEBHOOK_SECRET}|{OTHER_WEBHOOK_SECRET}",
    "zitadel_hook_secret": ZITADEL_SECRET,
    "entra_tenant_id": TENANT,
    "entra_audience": AUDIENCE,
    "return_urls": COMMONAUTH,
}
PATHS = ("hydra", "supabase", "okta", "entra", "zitadel", "wso2/token", "wso2/authentication")
BY_KEY = ("hydra", "okta", "wso2/token", "wso2/authentication")
REQUESTS: dict[str, Json] = {
    "hydra": examples.HYDRA_REQUESTS["login"]["value"],
    "supabase": examples.SUPABASE_REQUESTS["login"]["value"],
    "okta": examples.OKTA_REQUESTS["login"]["value"],
    "entra": examples.ENTRA_REQUESTS["login"]["value"],
    "zitadel": examples.ZITADEL_REQUESTS["login"]["value"],
    "wso2/token": examples.WSO2_TOKEN_REQUESTS["id_token"]["value"],
    "wso2/authentication": examples.WSO2_AUTHENTICATION_REQUESTS["first"]["value"],
}


def asked(path: str, user_id: str) -> Json:
    """The request of a login of this user."""
    text = json.dumps(REQUESTS[path]).replace(json.dumps(examples.USER_ID), json.dumps(user_id))
    request: Json = json.loads(text)
    return request


def changed(request: Json, **members: Any) -> Json:
    """The request with members replaced, each named by its place (`session__extra`); `...` takes one out."""
    result = copy.deepcopy(request)
    for place, value in members.items():
        *above, last = place.split("__")
        inner = result
        for name in above:
            inner = inner[name]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    return result


def by_webhook(body: bytes, *secrets: str, at: float | None = None, message: str = "msg_1") -> dict[str, str]:
    """The headers that Supabase sends: a signature for each secret. The library's clock is the machine's."""
    moment = datetime.fromtimestamp(int(time.time() if at is None else at), tz=UTC)
    signatures = [Webhook(secret.removeprefix("v1,")).sign(message, moment, body.decode()) for secret in secrets]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": ", ".join(signatures),
    }


def by_zitadel(body: bytes, *secrets: str, at: float) -> dict[str, str]:
    """The header that ZITADEL sends: a signature for each secret."""
    signatures = [
        hmac.new(secret.encode(), f"{int(at)}.".encode() + body, hashlib.sha256).hexdigest() for secret in secrets
    ]
    return {"ZITADEL-Signature": ",".join([f"t={int(at)}", *(f"v1={signature}" for signature in signatures)])}


def tenant_token(key: SigningKey, clock: Clock, **changes: Any) -> str:
    """A token that Entra sends; `...` takes a claim out."""
    now = int(clock().timestamp())
    claims: Json = {
        "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "aud": AUDIENCE,
        "azp": ENTRAS_CALLER,
        "tid": TENANT,
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        **changes,
    }
    return key.sign({name: value for name, value in claims.items() if value is not ...})


class Tenant:
    """The address of a tenant's keys, and `asked`: how often somebody came for them."""

    def __init__(self, url: str, key: SigningKey) -> None:
        self.url = url
        self.key = key
        self.keys = [key]
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"] == f"/{TENANT}/discovery/v2.0/keys"
        self.asked += 1
        await JSONResponse({"keys": [key.public_jwk() for key in self.keys]})(scope, receive, send)


class Vendors:
    """The identity providers in front of one service, each with what it proves itself by; `exchanges` is what was
    said.
    """

    def __init__(self, service: Service, key: SigningKey, clock: Clock) -> None:
        self.service = service
        self.key = key
        self.exchanges: list[Exchange] = []
        self._clock = clock

    def proof(self, path: str, body: bytes) -> dict[str, str]:
        match path:
            case "supabase":
                return by_webhook(body, WEBHOOK_SECRET)
            case "zitadel":
                return by_zitadel(body, ZITADEL_SECRET, at=self._clock().timestamp())
            case "entra":
                return {"Authorization": f"Bearer {tenant_token(self.key, self._clock)}"}
            case _:
                return {"Authorization": f"Bearer {IDP_KEY}"}

    async def send(self, path: str, body: bytes | Json, headers: dict[str, str] | None = None) -> httpx.Response:
        """The answer to a request; without `headers` the vendor proves itself."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        proof = self.proof(path, sent) if headers is None else headers
        return await self.service.client(None).post(
            f"/v1/hooks/{path}", content=sent, headers={"Content-Type": "application/json", **proof}
        )

    async def ask(self, path: str, body: Json) -> Json:
        response = await self.send(path, body)
        assert response.status_code == 200, response.text
        assert response.headers["Content-Type"] == "application/json"
        answer: Json = response.json()
        self.exchanges.append(Exchange("POST", f"/v1/hooks/{path}", body, response.status_code, answer))
        return answer
