from __future__ import annotations

import base64
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr, ValidationError

from app.core.domain import Role, Rules
from app.oidc.client_auth import ClientAuthMethod
from app.settings import GivenSettings, Settings, SettingsInvalid, load_settings

KEY = "a-key-of-more-than-thirty-two-characters"
ADMIN_KEY = "an-admin-key-of-more-than-thirty-two-characters"
SECRET = "a-secret-of-more-than-thirty-two-characters"
REQUIRED = {
    "INCODE_CLIENT_ID": "the client",
    "INCODE_CLIENT_SECRET": "the client secret",
    "REDIRECT_SECRET": SECRET,
    "ENCRYPTION_KEYS": base64.urlsafe_b64encode(bytes(range(32))).decode(),
    "API_KEYS": f"acme={KEY}",
}
BEYOND = "http://idv.example"

Load = Callable[..., Settings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """The settings of an environment that holds the required values, the given ones, and nothing else."""
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)

    def loaded(required: dict[str, str] = REQUIRED, **given: str | None) -> Settings:
        for name, value in {**required, **given}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return load_settings()

    return loaded


def lines(load: Load, required: dict[str, str] = REQUIRED, /, **given: str | None) -> list[str]:
    with pytest.raises(SettingsInvalid) as refused:
        load(required, **given)
    assert str(refused.value) == "; ".join(refused.value.lines)
    return refused.value.lines


# The table «Settings» of the contract: what holds where nothing is set.
DEFAULTS = {
    "incode_server_url": "https://auth.demo.incode.com",
    "incode_issuer": None,
    "auth0_domain": None,
    "reverification_hours": 720.0,
    "scopes": "openid",
    "block_on_failure": False,
    "admin_api_keys": SecretStr(""),
    "public_url": "http://127.0.0.1:8000",
    "redirect_uri": None,
    "database_url": SecretStr("sqlite+aiosqlite:///./idv.db"),
    "client_auth_method": ClientAuthMethod.POST,
    "id_token_algorithms": {"RS256"},
    "clock_skew_seconds": 60.0,
    "verification_ttl_seconds": 3600,
    "accepted_statuses": {"OK"},
    "require_status": False,
    "allow_identity_change": False,
    "claim_namespace": "https://incode.com/idv",
    "claim_include_pii": True,
    "store_tokens": False,
    "attempt_limit": 10,
    "attempt_window_hours": 24.0,
    "retention_days": 90,
    "http_timeout_seconds": 3.0,
    "allow_http": False,
    "log_level": "info",
    "log_format": "json",
}


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_the_defaults_are_those_of_the_contract(load: Load, name: str, value: object) -> None:
    assert getattr(load(), name) == value


def test_every_setting_of_the_contract_is_there_and_no_other() -> None:
    documented = {*DEFAULTS, *(name.lower() for name in REQUIRED), "return_urls"}
    assert set(Settings.model_fields) == documented


def test_the_defaults_are_handed_on(load: Load) -> None:
    settings = load()
    assert settings.rules == Rules()
    assert settings.lifetime == timedelta(hours=1)
    assert settings.provider.server_url == settings.provider.issuer == "https://auth.demo.incode.com"
    assert settings.provider.credentials.client_secret == "the client secret"
    assert settings.addresses.redirect_uri is None
    assert [(key.holder.name, key.holder.role) for key in settings.keys] == [("acme", Role.IDP)]


ACCEPTED: list[tuple[str, str, Any]] = [
    ("INCODE_SERVER_URL", "https://auth.incode.com/", "https://auth.incode.com"),
    ("INCODE_SERVER_URL", "http://127.9.9.9:9000", "http://127.9.9.9:9000"),
    ("INCODE_ISSUER", "https://issuer.example/", "https://issuer.example/"),
    ("PUBLIC_URL", "https://idv.example/base/", "https://idv.example/base"),
    ("REDIRECT_URI", "http://localhost/continue", "http://localhost/continue"),
    ("REVERIFICATION_HOURS", "0", 0.0),
    ("REVERIFICATION_HOURS", "0.5", 0.5),
    ("REVERIFICATION_HOURS", "1e300", 1e300),
    ("SCOPES", " profile  openid\temail ", "profile openid email"),
    ("BLOCK_ON_FAILURE", "true", True),
    ("BLOCK_ON_FAILURE", "False", False),
    ("CLIENT_AUTH_METHOD", "client_secret_jwt", ClientAuthMethod.JWT),
    ("CLIENT_AUTH_METHOD", "client_secret_basic", ClientAuthMethod.BASIC),
    ("ID_TOKEN_ALGORITHMS", "RS256, ES256 ,ES512", {"RS256", "ES256", "ES512"}),
    ("ID_TOKEN_ALGORITHMS", "RS256,RS384,RS512,ES256,ES384,ES512", {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}),
    ("ACCEPTED_STATUSES", "OK,WARN", {"OK", "WARN"}),
    ("CLOCK_SKEW_SECONDS", "0", 0.0),
    ("ATTEMPT_LIMIT", "0", 0),
    ("CLAIM_NAMESPACE", "urn:acme:idv", "urn:acme:idv"),
    ("DATABASE_URL", "postgresql+asyncpg://u:p@db:5432/idv", SecretStr("postgresql+asyncpg://u:p@db:5432/idv")),
    ("LOG_LEVEL", "DEBUG", "debug"),
    ("LOG_FORMAT", "Console", "console"),
    ("AUTH0_DOMAIN", "tenant.us.auth0.com", "tenant.us.auth0.com"),
]


@pytest.mark.parametrize(("name", "text", "value"), ACCEPTED)
def test_what_a_setting_takes(load: Load, name: str, text: str, value: object) -> None:
    assert getattr(load(**{name: text}), name.lower()) == value


NUMBERS = ["abc", "-1", "nan", "NaN", "inf", "-inf", "Infinity", "1,5", "12h", "0x10"]
REFUSED: dict[str, list[str]] = {
    "INCODE_CLIENT_ID": ["  "],
    "INCODE_SERVER_URL": ["auth.incode.com", BEYOND, "https://a@b.example", "https://b.example/#x", "ftp://b.example", "x y"],
    "PUBLIC_URL": ["idv.example", BEYOND, "https://a:b@b.example", "https://b.example/#", "javascript:alert(1)"],
    "REDIRECT_URI": ["tenant.example/continue", BEYOND, "https://a@b.example/", "https://b.example/#x", "https://"],
    "AUTH0_DOMAIN": ["https://tenant.us.auth0.com", "tenant.us.auth0.com/", "tenant", "a..b", "a b.c", "tenant.com:443", "u@b.c"],
    "REVERIFICATION_HOURS": NUMBERS,
    "CLOCK_SKEW_SECONDS": NUMBERS,
    "ATTEMPT_WINDOW_HOURS": [*NUMBERS, "0", "1e300"],
    "HTTP_TIMEOUT_SECONDS": [*NUMBERS, "0", "8"],
    "ATTEMPT_LIMIT": [*NUMBERS, "1.5", "1e300"],
    "VERIFICATION_TTL_SECONDS": [*NUMBERS, "0", "1e300"],
    "RETENTION_DAYS": ["abc", "-1", "nan"],
    "SCOPES": ["profile", "open id", "OPENID", "openid,profile", 'openid "x"', "openid \\", "openid ñ"],
    "BLOCK_ON_FAILURE": ["maybe", "2", "tru"],
    "REQUIRE_STATUS": ["maybe"],
    "ALLOW_IDENTITY_CHANGE": ["maybe"],
    "CLAIM_INCLUDE_PII": ["maybe"],
    "STORE_TOKENS": ["maybe"],
    "ALLOW_HTTP": ["maybe"],
    "CLIENT_AUTH_METHOD": ["none", "private_key_jwt", "post"],
    "ID_TOKEN_ALGORITHMS": ["HS256", "none", "RS256,HS256", "RS256,none", "rs256", "PS256", ","],
    "ACCEPTED_STATUSES": [",", " , "],
    "CLAIM_NAMESPACE": ["idv", "https://", "https://a b", "auth.incode.com/idv"],
    "LOG_LEVEL": ["loud", "trace"],
    "LOG_FORMAT": ["xml"],
    "RETURN_URLS": ["tenant.example/continue", BEYOND, "https://b.example/#x", "https://b.example/?state=x"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in REFUSED.items() for text in texts])
def test_a_wrong_value_is_one_line_that_names_the_setting(load: Load, name: str, text: str) -> None:
    [line] = lines(load, **{name: text})
    assert line.startswith(f"{name}: ")
    assert "\n" not in line


SECRETS: dict[str, list[str]] = {
    "REDIRECT_SECRET": [
        "MARKER",
        "MARKER" + "x" * 25,
        ",",
        f"{SECRET},MARKER",
        f"MARKER,{SECRET}",
        f"{SECRET},{SECRET}2,MARKER-a-third-of-more-than-thirty-two-characters",
    ],
    "ENCRYPTION_KEYS": ["MARKER", "MARKER" * 8, "ñMARKER", ",", f"{REQUIRED['ENCRYPTION_KEYS']},MARKER"],
    "API_KEYS": [
        "MARKER",
        "acme=MARKER",
        "acme=sha256:MARKER",
        f"acme={KEY},MARKER",
        f"acme={KEY},acme=MARKER-of-more-than-thirty-two-characters",
        "MARKERa2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V=",
    ],
    "ADMIN_API_KEYS": ["MARKER", "root=MARKER", "root=MARKER with a space and more than thirty-two characters"],
    "INCODE_CLIENT_SECRET": ["  "],
    "DATABASE_URL": [
        "MARKER",
        "mysql://u:MARKER@db/idv",
        "postgresql://u:MARKER@db/idv",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///",
        "sqlite+aiosqlite:///:memory:",
        "postgresql+asyncpg://u:MARKER@db:port/idv",
    ],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in SECRETS.items() for text in texts])
def test_a_wrong_secret_is_one_line_without_its_value(load: Load, name: str, text: str) -> None:
    [line] = lines(load, **{name: text})
    assert line.startswith(f"{name}: ")
    assert not any(secret in line for secret in ("MARKER", KEY, SECRET))


def test_no_other_settings_mistake_prints_a_secret(load: Load) -> None:
    marked = {
        "INCODE_CLIENT_SECRET": "MARKER",
        "REDIRECT_SECRET": "MARKER" * 8,
        "API_KEYS": "acme=" + "MARKER" * 8,
        "ADMIN_API_KEYS": "root=MARKER" + "x" * 32,
        "DATABASE_URL": "postgresql+asyncpg://u:MARKER@db/idv",
    }
    assert "MARKER" not in repr(load(**marked)) + str(load(**marked))
    for mistake in ({"LOG_LEVEL": "loud"}, {"PUBLIC_URL": BEYOND}, {"ADMIN_API_KEYS": f"acme={ADMIN_KEY}"}):
        with pytest.raises(SettingsInvalid) as refused:
            load(**{**marked, **mistake})
        assert "MARKER" not in f"{refused.value!r} {refused.value.__cause__!r} {refused.value.lines}"


def test_the_models_own_error_prints_no_secret_either() -> None:
    values: dict[str, Any] = {name.lower(): value for name, value in {**REQUIRED, "REDIRECT_SECRET": "MARKER"}.items()}
    with pytest.raises(ValidationError) as refused:
        GivenSettings(**values)
    assert "redirect_secret" in str(refused.value)
    assert "MARKER" not in str(refused.value)


@pytest.mark.parametrize("name", sorted(REQUIRED))
@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_a_missing_setting_is_one_line(load: Load, name: str, value: str | None) -> None:
    [line] = lines(load, **{name: value})
    assert line.startswith(f"{name}: ")


def named(found: list[str]) -> list[str]:
    return sorted(line.partition(":")[0] for line in found)


def test_without_any_setting_each_that_is_required_has_its_line(load: Load) -> None:
    assert named(lines(load, {})) == sorted(REQUIRED)


def test_every_mistake_has_its_line(load: Load) -> None:
    mistakes: dict[str, str | None] = {
        "LOG_LEVEL": "loud",
        "PUBLIC_URL": BEYOND,
        "REVERIFICATION_HOURS": "abc",
        "API_KEYS": None,
        "REDIRECT_SECRET": None,
    }
    assert named(lines(load, **mistakes)) == sorted(mistakes)


@pytest.mark.parametrize("name", ["INCODE_SERVER_URL", "PUBLIC_URL", "REDIRECT_URI", "RETURN_URLS"])
def test_plain_http_beyond_loopback_needs_leave(load: Load, name: str) -> None:
    assert load(**{name: "http://127.0.0.1:8000/x"})
    assert load(**{name: BEYOND, "ALLOW_HTTP": "true"})
    [line] = lines(load, **{name: BEYOND, "ALLOW_HTTP": "false"})
    assert line.startswith(f"{name}: ")
    assert "ALLOW_HTTP" in line


def test_plain_http_in_several_settings_is_a_line_for_each(load: Load) -> None:
    wrong = {"INCODE_SERVER_URL": BEYOND, "PUBLIC_URL": BEYOND, "REDIRECT_URI": BEYOND}
    assert named(lines(load, **wrong)) == sorted(wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"AUTH0_DOMAIN": "tenant.us.auth0.com"}, "https://tenant.us.auth0.com/continue"),
        ({"REDIRECT_URI": "https://login.example/idv"}, "https://login.example/idv"),
        ({"AUTH0_DOMAIN": "tenant.us.auth0.com", "REDIRECT_URI": "https://login.example/idv"}, "https://login.example/idv"),
    ],
)
def test_where_the_relay_redirect_uri_comes_from(load: Load, given: dict[str, str], expected: str | None) -> None:
    assert load(**given).addresses.redirect_uri == expected


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("a" * 32, ["a" * 32]),
        (f"{'a' * 32},{'b' * 32}", ["a" * 32, "b" * 32]),
        (f" {'a' * 32} , {'b' * 32},", ["a" * 32, "b" * 32]),
    ],
)
def test_one_or_two_redirect_secrets_newest_first(load: Load, text: str, secrets: list[str]) -> None:
    assert load(REDIRECT_SECRET=text).redirect_secrets == secrets


def test_encryption_keys_are_listed_newest_first(load: Load) -> None:
    new, old = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    assert load(ENCRYPTION_KEYS=f"{new}, {old}").fernet_keys == [new, old]


@pytest.mark.parametrize(
    ("given", "roles"),
    [
        ({"API_KEYS": f"acme={KEY}"}, [Role.IDP]),
        ({"API_KEYS": "", "ADMIN_API_KEYS": f"root={ADMIN_KEY}"}, [Role.ADMIN]),
        ({"API_KEYS": f"acme={KEY}", "ADMIN_API_KEYS": f"root={ADMIN_KEY}"}, [Role.IDP, Role.ADMIN]),
    ],
)
def test_a_key_of_either_role_is_enough(load: Load, given: dict[str, str], roles: list[Role]) -> None:
    assert [key.holder.role for key in load(**given).keys] == roles


@pytest.mark.parametrize(
    "given",
    [
        {"API_KEYS": f"acme={KEY},acme={ADMIN_KEY}"},
        {"API_KEYS": f"acme={KEY},beta={KEY}"},
        {"ADMIN_API_KEYS": f"acme={ADMIN_KEY}"},
        {"ADMIN_API_KEYS": f"root={KEY}"},
    ],
    ids=["a name twice", "a key twice", "a name in both roles", "a key in both roles"],
)
def test_names_and_keys_are_used_once(load: Load, given: dict[str, str]) -> None:
    [line] = lines(load, **given)
    assert "API_KEYS: " in line
    assert KEY not in line
    assert ADMIN_KEY not in line


def test_names_are_read_in_any_case(load: Load) -> None:
    assert load(reverification_hours="5").reverification_hours == 5
    assert load(Block_On_Failure="true").block_on_failure is True


@pytest.mark.parametrize("name", sorted(name.upper() for name in DEFAULTS))
def test_an_empty_value_is_no_value(load: Load, name: str) -> None:
    assert load(**{name: ""}) == load(**{name: None})


def test_other_variables_are_none_of_ours(load: Load) -> None:
    assert load(REVERIFICATION_DAYS="abc", PATH_TO_NOWHERE="x") == load()


def dotenv(values: dict[str, str]) -> None:
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")


def test_the_env_file_of_the_working_directory_is_read(load: Load) -> None:
    dotenv({**REQUIRED, "INCODE_CLIENT_ID": "ñ", "REVERIFICATION_HOURS": "5", "ATTEMPT_LIMIT": "", "OTHER": "x"})
    settings = load(required={})
    assert (settings.incode_client_id, settings.reverification_hours, settings.attempt_limit) == ("ñ", 5, 10)


def test_the_environment_wins_over_the_env_file(load: Load) -> None:
    dotenv({"REVERIFICATION_HOURS": "5", "ATTEMPT_LIMIT": "5"})
    settings = load(ATTEMPT_LIMIT="7")
    assert (settings.reverification_hours, settings.attempt_limit) == (5, 7)


def test_a_mistake_in_the_env_file_is_a_line_without_the_value(load: Load) -> None:
    dotenv({"REDIRECT_SECRET": "MARKER", "REVERIFICATION_HOURS": "abc"})
    found = lines(load, {**REQUIRED, "REDIRECT_SECRET": ""})
    assert named(found) == ["REDIRECT_SECRET", "REVERIFICATION_HOURS"]
    assert "MARKER" not in str(found)


def test_settings_do_not_change(load: Load) -> None:
    with pytest.raises(ValidationError):
        load().block_on_failure = True  # type: ignore[misc]  # the plugin knows that it is frozen
