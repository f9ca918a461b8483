"""An environment of settings, and the lines with which it is refused."""

import base64
from collections.abc import Callable

import pytest

from app.settings import Settings, SettingsInvalid

KEY = "a-key-of-more-than-thirty-two-characters"
ADMIN_KEY = "an-admin-key-of-more-than-thirty-two-characters"
SECRET = "a-secret-of-more-than-thirty-two-characters"
REQUIRED = {
    "INCODE_CLIENT_ID": "the client",
    "INCODE_CLIENT_SECRET": "the client secret",
    "REDIRECT_SECRET": SECRET,
    "ENCRYPTION_KEYS": base64.urlsafe_b64encode(bytes(range(32))).decode(),
    "API_KEYS": f"acme={KEY}",
    "REDIRECT_URI": "https://login.example/continue",
}
BEYOND = "http://idv.example"

Load = Callable[..., Settings]


def lines(load: Load, required: dict[str, str] = REQUIRED, /, **given: str | None) -> list[str]:
    with pytest.raises(SettingsInvalid) as refused:
        load(required, **given)
    assert str(refused.value) == "; ".join(refused.value.lines)
    assert not any("\n" in line for line in refused.value.lines)
    return refused.value.lines


def names_of(found: list[str]) -> list[str]:
    return sorted(line.partition(":")[0] for line in found)
