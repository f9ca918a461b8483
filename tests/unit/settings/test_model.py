from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr, ValidationError

from app.core.api_keys import hashed
from app.core.domain import Role, Rules
from app.oidc.client_auth import ClientAuthMethod
from app.settings import Settings, SettingsInvalid
from tests.unit.settings.given import ADMIN_KEY, BEYOND, KEY, REQUIRED, SECRET, Load, lines, names_of

# The table of the contract's settings: what holds where nothing is set.
DEFAULTS = {
    "incode_server_url": "https://auth.demo.incode.com",
    "incode_issuer": None,
    "auth0_domain": None,
    "reverification_hours": 720.0,
    "scopes": "openid",
    "block_on_failure": False,
    "admin_api_keys": (),
    "support_api_keys": (),
    "metrics_api_keys": (),
    "public_url": "http://127.0.0.1:8000",
    "return_urls": (),
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
    "attempt_limit": 20,
    "attempt_window_hours": 24.0,
    "retention_days": 90,
    "housekeeping": True,
    "adopt_app_metadata": False,
    "hydra_hook": False,
    "okta_hook": False,
    "wso2_hook": False,
    "supabase_hook_secrets": SecretStr(""),
    "zitadel_hook_secret": SecretStr(""),
    "entra_tenant_id": None,
    "entra_audience": None,
    **{f"{name}_claim_name": None for name in ("hydra", "supabase", "zitadel", "wso2")},
    **{f"{name}_claim_name": "incode_idv" for name in ("okta", "entra")},
    **{f"{name}_without_database": "fail" for name in ("hydra", "supabase", "okta", "entra", "zitadel", "wso2")},
    "product_name": None,
    "product_color": None,
    "http_timeout_seconds": 3.0,
    "allow_http": False,
    "log_level": "info",
    "log_format": "json",
}


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_the_defaults_are_those_of_the_contract(load: Load, name: str, value: object) -> None:
    assert getattr(load(), name) == value


def test_every_setting_of_the_contract_is_there_and_no_other() -> None:
    documented = {*DEFAULTS, *(name.lower() for name in REQUIRED)}
    assert set(Settings.model_fields) == documented


def test_the_defaults_are_handed_on(load: Load) -> None:
    settings = load()
    assert settings.rules == Rules()
    assert settings.lifetime == timedelta(hours=1)
    assert settings.provider.server_url == settings.provider.issuer == "https://auth.demo.incode.com"
    assert settings.provider.credentials.client_secret == "the client secret"
    assert settings.addresses.redirect_uris == ("https://login.example/continue",)
    assert [(key.holder.name, key.holder.role) for key in settings.keys] == [("acme", Role.IDP)]


ACCEPTED: list[tuple[str, str, Any]] = [
    ("INCODE_SERVER_URL", "HTTPS://Auth.Incode.com", "https://auth.incode.com"),
    ("INCODE_SERVER_URL", "http://127.9.9.9:9000", "http://127.9.9.9:9000"),
    ("INCODE_ISSUER", "https://issuer.example/", "https://issuer.example/"),
    ("PUBLIC_URL", "https://idv.example/base/", "https://idv.example/base"),
    ("PUBLIC_URL", "HTTPS://IDV.Example:8443/Base", "https://idv.example:8443/Base"),
    ("REDIRECT_URI", "http://localhost/continue", ("http://localhost/continue",)),
    (
        "REDIRECT_URI",
        "https://b.example/x?tenant=1, https://a.example/",
        ("https://b.example/x?tenant=1", "https://a.example/"),
    ),
    ("REVERIFICATION_HOURS", "0", 0.0),
    ("REVERIFICATION_HOURS", "0.5", 0.5),
    ("REVERIFICATION_HOURS", "1e300", 1e300),
    ("SCOPES", " profile  openid\temail ", "profile openid email"),
    ("BLOCK_ON_FAILURE", "true", True),
    ("BLOCK_ON_FAILURE", "False", False),
    ("CLIENT_AUTH_METHOD", "client_secret_jwt", ClientAuthMethod.JWT),
    ("CLIENT_AUTH_METHOD", "client_secret_basic", ClientAuthMethod.BASIC),
    ("ID_TOKEN_ALGORITHMS", "RS256, ES256 ,ES512", {"RS256", "ES256", "ES512"}),
    (
        "ID_TOKEN_ALGORITHMS",
        "RS256,RS384,RS512,ES256,ES384,ES512",
        {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"},
    ),
    ("ACCEPTED_STATUSES", "OK,WARN", {"OK", "WARN"}),
    ("ACCEPTED_STATUSES", " OK , MANUAL OK ,", {"OK", "MANUAL OK"}),
    ("CLOCK_SKEW_SECONDS", "0", 0.0),
    ("ATTEMPT_LIMIT", "0", 0),
    ("CLAIM_NAMESPACE", "urn:acme:idv", "urn:acme:idv"),
    ("DATABASE_URL", "postgresql+asyncpg://u:p@db:5432/idv", SecretStr("postgresql+asyncpg://u:p@db:5432/idv")),
    ("DATABASE_URL", "postgres://u:p@db/idv?sslmode=require", SecretStr("postgres://u:p@db/idv?sslmode=require")),
    ("DATABASE_URL", "postgresql://u:p@db/idv", SecretStr("postgresql://u:p@db/idv")),
    (
        *("DATABASE_URL", "sqlite+aiosqlite:////srv/memory-lane/idv.db"),
        SecretStr("sqlite+aiosqlite:////srv/memory-lane/idv.db"),
    ),
    ("SUPABASE_HOOK_SECRETS", "v1,whsec_c2VjcmV0|v1,whsec_b3RoZXI=", SecretStr("v1,whsec_c2VjcmV0|v1,whsec_b3RoZXI=")),
    ("HYDRA_WITHOUT_DATABASE", "Continue", "continue"),
    ("PRODUCT_COLOR", "#0055ff", "#0055ff"),
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
    "INCODE_SERVER_URL": [
        "auth.incode.com",
        BEYOND,
        "https://a@b.example",
        "https://b.example/#x",
        "ftp://b.example",
        "x y",
        *("https://a..b", "https://.", "https://xn--a.example", f"https://{'a' * 64}.example"),
    ],
    "PUBLIC_URL": ["idv.example", BEYOND, "https://a:b@b.example", "https://b.example/#", "javascript:alert(1)"],
    "REDIRECT_URI": [
        *("tenant.example/continue", BEYOND, "https://a@b.example/", "https://b.example/#x", "https://"),
        *("https://a.example/,tenant.example", "https://a.example/,https://a.example/"),
        *(
            "https://a.example/?state=x",
            "https://a.example/?x=1&st%61te",
            "https://a.example/?x=1;state=2",
            "https://a.example/?code",
        ),
    ],
    "AUTH0_DOMAIN": [
        "https://tenant.us.auth0.com",
        "tenant.us.auth0.com/",
        "tenant",
        "a..b",
        "a b.c",
        "tenant.com:443",
        "u@b.c",
    ],
    "REVERIFICATION_HOURS": NUMBERS,
    "CLOCK_SKEW_SECONDS": NUMBERS,
    "ATTEMPT_WINDOW_HOURS": [*NUMBERS, "0", "1e300"],
    "HTTP_TIMEOUT_SECONDS": [*NUMBERS, "0", "8"],
    "ATTEMPT_LIMIT": [*NUMBERS, "1.5", "1e300", "1000001", "2147483649", "1" + "0" * 19],
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
    "ENTRA_TENANT_ID": ["contoso"],
    "ENTRA_AUDIENCE": ["api://idv.example/1"],
    "OKTA_WITHOUT_DATABASE": ["open"],
    **{f"{hook}_CLAIM_NAME": ["sub", "exp", "scope", "role"] for hook in ("HYDRA", "SUPABASE", "OKTA", "WSO2")},
    "ENTRA_CLAIM_NAME": ["email"],
    "ZITADEL_CLAIM_NAME": ["amr"],
    "PRODUCT_COLOR": ["blue", "#00f", "#0055ff;}"],
    "PRODUCT_NAME": ["x" * 61],
    "HOUSEKEEPING": ["sometimes"],
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
    "SUPPORT_API_KEYS": ["MARKER", "desk=MARKER"],
    "METRICS_API_KEYS": ["MARKER", "prometheus=MARKER"],
    "INCODE_CLIENT_SECRET": ["  "],
    "SUPABASE_HOOK_SECRETS": [
        *("MARKER", "whsec_MARKER", "v1,whsec_MARKER-", "v1,whsec_c2VjcmV0|MARKER"),
        # No number of bytes is written with so many characters.
        *("v1,whsec_x", "v1,whsec_MARKERMARKERM", "v1,whsec_c2VjcmV0|v1,whsec_MARKERMAR"),
        "|",
    ],
    "ZITADEL_HOOK_SECRET": ["MMMMMMMM", ",", " , "],
    "DATABASE_URL": [
        "MARKER",
        "mysql://u:MARKER@db/idv",
        "postgres://",
        "postgres://u:MARKER@db:port/idv",
        "postgresql://u:MARKER@db/idv?sslmode=MARKER",
        "postgresql://u:p?MARKER=MARKER@db/idv",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite:///file:MARKER?mode=memory&uri=true",
        "sqlite+aiosqlite:///idv.db?mode=memory",
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
        "REDIRECT_SECRET": "MARKER" * 9,
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
        Settings(**values)
    assert "redirect_secret" in str(refused.value)
    assert "MARKER" not in str(refused.value)


def test_values_that_are_handed_in_are_all_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("ATTEMPT_LIMIT=7\nFAVOURITE_FOOD=none\n")
    for name, value in {"REQUIRE_STATUS": "true", "LOG_LEVEL": "loud"}.items():
        monkeypatch.setenv(name, value)
    given: dict[str, Any] = {name.lower(): value for name, value in REQUIRED.items()}
    settings = Settings(**given)
    assert (settings.require_status, settings.log_level, settings.attempt_limit) == (False, "info", 20)


def test_the_settings_read_the_environment_and_the_env_file_themselves(load: Load) -> None:
    Path(".env").write_text("ATTEMPT_LIMIT=7\nFAVOURITE_FOOD=MARKER\n")
    with pytest.raises(SettingsInvalid):
        load()
    with pytest.raises(ValidationError, match="FAVOURITE_FOOD: is the name of no setting") as refused:
        Settings()
    assert "MARKER" not in str(refused.value)


@pytest.mark.parametrize("name", sorted(REQUIRED))
@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_a_missing_setting_is_one_line(load: Load, name: str, value: str | None) -> None:
    [line] = lines(load, **{name: value})
    assert line.startswith(f"{name}: ")


def test_without_any_setting_each_that_is_required_has_its_line(load: Load) -> None:
    assert names_of(lines(load, {})) == sorted(REQUIRED)


def test_every_mistake_has_its_line(load: Load) -> None:
    mistakes: dict[str, str | None] = {
        "LOG_LEVEL": "loud",
        "PUBLIC_URL": BEYOND,
        "REVERIFICATION_HOURS": "abc",
        "API_KEYS": None,
        "REDIRECT_SECRET": None,
    }
    assert names_of(lines(load, **mistakes)) == sorted(mistakes)


@pytest.mark.parametrize("name", ["INCODE_SERVER_URL", "PUBLIC_URL", "REDIRECT_URI", "RETURN_URLS"])
def test_plain_http_beyond_loopback_needs_leave(load: Load, name: str) -> None:
    assert load(**{name: "http://127.0.0.1:8000/x"})
    assert load(**{name: BEYOND, "ALLOW_HTTP": "true"})
    [line] = lines(load, **{name: BEYOND, "ALLOW_HTTP": "false"})
    assert line.startswith(f"{name}: ")
    assert "ALLOW_HTTP" in line


def test_plain_http_in_several_settings_is_a_line_for_each(load: Load) -> None:
    wrong = {"INCODE_SERVER_URL": BEYOND, "PUBLIC_URL": BEYOND, "REDIRECT_URI": BEYOND}
    assert names_of(lines(load, **wrong)) == sorted(wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"RETURN_URLS": "https://login.example/back"}, ()),
        ({"AUTH0_DOMAIN": "tenant.us.auth0.com"}, ("https://tenant.us.auth0.com/continue",)),
        ({"REDIRECT_URI": "https://login.example/idv"}, ("https://login.example/idv",)),
        (
            {"AUTH0_DOMAIN": "tenant.us.auth0.com", "REDIRECT_URI": "https://b.example/idv,https://a.example/idv"},
            ("https://b.example/idv", "https://a.example/idv"),
        ),
    ],
)
def test_where_the_relay_redirect_uris_come_from(load: Load, given: dict[str, str], expected: tuple[str, ...]) -> None:
    assert load(**{"REDIRECT_URI": None, **given}).addresses.redirect_uris == expected


def test_a_deployment_on_which_no_login_could_be_started_stops(load: Load) -> None:
    [line] = lines(load, REDIRECT_URI=None)
    assert line.startswith("REDIRECT_URI: this, AUTH0_DOMAIN or RETURN_URLS is required")


@pytest.mark.parametrize(
    ("server", "issuer", "named"),
    [
        ("https://auth.incode.com", None, "https://auth.incode.com"),
        ("https://auth.incode.com/", None, "https://auth.incode.com/"),
        ("https://auth.incode.com/realm/", "https://auth.incode.com", "https://auth.incode.com"),
    ],
)
def test_the_issuer_keeps_the_slash_at_the_servers_end(load: Load, server: str, issuer: str | None, named: str) -> None:
    provider = load(INCODE_SERVER_URL=server, INCODE_ISSUER=issuer).provider
    assert (provider.server_url, provider.issuer) == (server.rstrip("/"), named)


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("a1" * 16, ["a1" * 16]),
        (f"{'a1' * 16},{'b1' * 16}", ["a1" * 16, "b1" * 16]),
        (f" {'a1' * 16} , {'b1' * 16},", ["a1" * 16, "b1" * 16]),
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
        (
            {"SUPPORT_API_KEYS": f"desk={ADMIN_KEY}", "METRICS_API_KEYS": f"prometheus={ADMIN_KEY}2"},
            [Role.IDP, Role.SUPPORT, Role.METRICS],
        ),
    ],
)
def test_a_key_for_logins_is_enough(load: Load, given: dict[str, str], roles: list[Role]) -> None:
    assert [key.holder.role for key in load(**given).keys] == roles


@pytest.mark.parametrize(
    "given",
    [
        {"API_KEYS": f"acme={KEY},acme={ADMIN_KEY}"},
        {"API_KEYS": f"acme={KEY},beta={KEY}"},
        {"ADMIN_API_KEYS": f"acme={ADMIN_KEY}"},
        {"ADMIN_API_KEYS": f"root={KEY}"},
        {"SUPPORT_API_KEYS": f"desk={ADMIN_KEY}", "METRICS_API_KEYS": f"desk={ADMIN_KEY}2"},
        {"SUPPORT_API_KEYS": f"desk={KEY}"},
    ],
    ids=[
        "a name twice",
        "a key twice",
        "a name in both roles",
        "a key in both roles",
        "a name in others",
        "a key in others",
    ],
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


@pytest.mark.parametrize(
    "given",
    [
        {"REDIRECT_SECRET": "x" * 40},
        {"REDIRECT_SECRET": f"{SECRET},{'x' * 40}"},
        {"ENCRYPTION_KEYS": base64.urlsafe_b64encode(bytes(32)).decode()},
        {"ENCRYPTION_KEYS": base64.urlsafe_b64encode(b"\xff" * 32).decode()},
        {"API_KEYS": f"acme={'x' * 40}"},
        {"INCODE_CLIENT_SECRET": "xxxxxxxx"},
        {"ZITADEL_HOOK_SECRET": "xxxxxxxx"},
    ],
    ids=str,
)
def test_a_secret_that_is_one_character_throughout_stops_the_start(load: Load, given: dict[str, str]) -> None:
    [line] = lines(load, **given)
    assert line.startswith(f"{next(iter(given))}: ")
    assert "same character" in line
    assert "xxx" not in line


FERNET = REQUIRED["ENCRYPTION_KEYS"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"REDIRECT_SECRET": f"{SECRET},{SECRET}"}, "REDIRECT_SECRET"),
        ({"ENCRYPTION_KEYS": f"{FERNET},{FERNET}"}, "ENCRYPTION_KEYS"),
        ({"INCODE_CLIENT_SECRET": SECRET}, "REDIRECT_SECRET"),
        ({"API_KEYS": f"acme={SECRET}"}, "REDIRECT_SECRET"),
        ({"API_KEYS": f"acme={hashed(SECRET)}"}, "REDIRECT_SECRET"),
        ({"ADMIN_API_KEYS": f"root={FERNET}"}, "ENCRYPTION_KEYS"),
        ({"REDIRECT_SECRET": FERNET}, "ENCRYPTION_KEYS"),
        ({"REDIRECT_SECRET": f"{SECRET}2,{SECRET}", "ZITADEL_HOOK_SECRET": SECRET}, "ZITADEL_HOOK_SECRET"),
    ],
    ids=str,
)
def test_secrets_that_are_equal_to_one_another_stop_the_start(load: Load, given: dict[str, str], named: str) -> None:
    [line] = lines(load, **given)
    assert line.startswith(f"{named}: has the same value")
    assert SECRET not in line
    assert FERNET not in line


def test_entra_needs_its_tenant_and_its_audience(load: Load) -> None:
    tenant, audience = "9C1E9C7B-2C7A-4E3E-8D62-0F0E8A1B2C3D", "api://idv.example/1"
    assert load(ENTRA_TENANT_ID=tenant, ENTRA_AUDIENCE=audience).entra_tenant_id == tenant.lower()
    [line] = lines(load, ENTRA_TENANT_ID=tenant, ENTRA_AUDIENCE=None)
    assert line.startswith("ENTRA_AUDIENCE: ")


def test_settings_do_not_change(load: Load) -> None:
    with pytest.raises(ValidationError):
        load().block_on_failure = True  # type: ignore[misc]  # the plugin knows that it is frozen
