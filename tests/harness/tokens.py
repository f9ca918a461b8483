import base64
import json
from typing import Any


def decoded(part: str) -> dict[str, Any]:
    """One part of a compact JWS."""
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return value


def payload(token: str) -> dict[str, Any]:
    """What a token claims, whoever signed it."""
    return decoded(token.split(".")[1])
