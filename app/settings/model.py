"""The settings as a frozen model that refuses what is missing or unsafe, before anything starts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from datetime import timedelta
from itertools import chain
from typing import Annotated, Any, Literal
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from cryptography.fernet import Fernet
from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from standardwebhooks import Webhook

from app.core.api_keys import ApiKey, ambiguous_name, is_one_character, parse_api_keys
from app.core.domain import Addresses, Role, Rules
from app.core.lifetimes import ATTEMPT_LASTS_AT_MOST
from app.flows.addresses import is_allowed
from app.oidc import ALGORITHMS, ClientAuthMethod, ClientCredentials, ProviderConfig, is_safe_url
from app.settings.names import Names
from app.settings.sources import DotenvSource, EnvironmentSource
from app.storage.database_url import read_url

MIN_SECRET_LENGTH = 32
SECRETS = (
    "database_url",
    "incode_client_secret",
    "admin_api_keys",
    "support_api_keys",
    "metrics_api_keys",
    "api_keys",
    "redirect_secret",
    "encryption_keys",
    "supabase_hook_secrets",
    "zitadel_hook_secret",
)
"""The settings whose value may stand in a file that `NAME_FILE` names. Each is compared with those before it."""
_ROLES = {
    "admin_api_keys": Role.ADMIN,
    "support_api_keys": Role.SUPPORT,
    "metrics_api_keys": Role.METRICS,
    "api_keys": Role.IDP,
}
_HOOKS = ("hydra", "supabase", "okta", "entra", "zitadel", "wso2")
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+", re.IGNORECASE)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SUPABASE_SECRET = re.compile(r"v1,whsec_[A-Za-z0-9+/]+={0,2}")
# A repeated parameter is an error (RFC 6749 section 3.1): the provider adds these to the redirect URI.
_OF_THE_RESPONSE = frozenset({"code", "error", "error_description", "error_uri", "iss", "state"})
# A token's own members (RFC 7519, OpenID Connect Core, RFC 9068, and Supabase's): a claim of ours in such a place would
# say who the token is about, or what it allows.
_TAKEN_CLAIMS = frozenset(
    {
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "nonce", "auth_time", "acr", "amr", "at_hash"),
        *("c_hash", "s_hash", "sid", "sub_jwk", "cnf", "act", "may_act", "scope", "scp", "client_id", "events"),
        *("role", "roles", "groups", "entitlements", "permissions", "aal", "session_id", "is_anonymous"),
        *("app_metadata", "user_metadata", "name", "given_name", "family_name", "middle_name", "nickname"),
        *("preferred_username", "profile", "picture", "website", "email", "email_verified", "gender", "birthdate"),
        *("zoneinfo", "locale", "phone", "phone_number", "phone_number_verified", "address", "updated_at"),
    }
)
_ONE_CHARACTER = "a secret is one and the same character throughout"
_URL_WANTED = "takes an https address; plain http beyond this machine needs ALLOW_HTTP=true"


def _split(value: Any) -> Any:
    return [part for part in re.split(r"[,\s]+", value) if part] if isinstance(value, str) else value


def _split_at_commas(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _parse_keys(value: Any, info: ValidationInfo) -> Any:
    return tuple(parse_api_keys(value, _ROLES[str(info.field_name)])) if isinstance(value, str) else value


def _is_safe(url: str, info: ValidationInfo) -> bool:
    return is_safe_url(url, allow_http=info.data.get("allow_http", False))


def _parameters(url: str) -> set[str]:
    """The names in a URL's query. Some servers also split it at semicolons."""
    return {unquote_plus(part.partition("=")[0]) for part in re.split("[&;]", urlsplit(url).query)}


def _listed(secret: SecretStr) -> list[str]:
    return [part.strip() for part in secret.get_secret_value().split(",") if part.strip()]


def _webhook_secrets(secret: SecretStr) -> list[str]:
    return [part.strip() for part in secret.get_secret_value().split("|") if part.strip()]


def _is_webhook_secret(text: str) -> bool:
    if not _SUPABASE_SECRET.fullmatch(text):
        return False
    try:
        Webhook(text.removeprefix("v1,"))
    except ValueError:
        return False
    return True


def _digests(value: object) -> Iterable[bytes]:
    """The SHA-256 of each secret in a setting: of API keys nothing else is known."""
    match value:
        case SecretStr():
            return [hashlib.sha256(part.encode()).digest() for part in _listed(value)]
        case tuple():
            return [key.digest for key in value]
        case _:
            return []


Words = Annotated[frozenset[str], BeforeValidator(_split)]
Urls = Annotated[tuple[str, ...], BeforeValidator(_split)]
Keys = Annotated[tuple[ApiKey, ...], BeforeValidator(_parse_keys)]
Text = Annotated[str, Field(min_length=1)]
WithoutDatabase = Annotated[Literal["fail", "continue"], BeforeValidator(_lower)]


class DatabaseSettings(BaseSettings):
    """The database and how to log: all that a migration needs, which therefore sees no other secret."""

    model_config = SettingsConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///./idv.db")
    """The database. For more than one process: postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE, or the address that
    a hosting company gives you, postgres://..."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """debug, info, warning or error"""
    log_format: Annotated[Literal["json", "console"], BeforeValidator(_lower)] = "json"
    """json for machines, console for people"""

    @field_validator("database_url")
    @classmethod
    def _is_supported_database(cls, value: SecretStr) -> SecretStr:
        read_url(value.get_secret_value())
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values that are handed in are all there are; without any, the environment and then `.env` are read."""
        if init_settings():
            return (init_settings,)
        return EnvironmentSource(settings_cls, NAMES), DotenvSource(settings_cls, NAMES)


class Settings(DatabaseSettings):
    """All settings, by their names in lower case. The Action's names are kept, so that its secrets can be pasted."""

    allow_http: bool = False
    """Allow plain http beyond this machine. Only for a test network."""
    incode_client_id: Text
    """The client id of your OIDC integration at Incode."""
    incode_client_secret: Annotated[SecretStr, Field(min_length=1)]
    """The client secret of the same integration."""
    incode_server_url: Text = "https://auth.demo.incode.com"
    """The Incode server; its endpoints come from its discovery document. Production: https://auth.incode.com"""
    incode_issuer: Text | None = None
    """The exact issuer that discovery, ID tokens and iss parameters must name. Default: INCODE_SERVER_URL"""
    client_auth_method: ClientAuthMethod = ClientAuthMethod.POST
    """How the service proves itself at the token endpoint: client_secret_post, client_secret_basic,
    client_secret_jwt"""
    id_token_algorithms: Words = frozenset({"RS256"})
    """Accepted signatures of ID tokens: RS256, RS384, RS512, ES256, ES384, ES512, comma-separated"""
    scopes: str = "openid"
    """What is asked for, separated by spaces; openid must be one. The others must be enabled on the Incode client."""

    auth0_domain: str | None = None
    """Your Auth0 tenant's domain; gives REDIRECT_URI and RETURN_URLS their defaults, https://AUTH0_DOMAIN/continue"""
    public_url: str = "http://127.0.0.1:8000"
    """Where browsers reach this service. The redirect URI of the hosted flow is PUBLIC_URL/v1/callback"""
    return_urls: Urls = ()
    """Where browsers may be sent back to in the hosted flow, comma-separated. Default: https://AUTH0_DOMAIN/continue"""
    redirect_uri: Urls = ()
    """Where the provider sends the browser in the relay flow: your identity provider's continue URL; several,
    comma-separated, where this service serves several identity providers (the first is the default)"""

    admin_api_keys: Keys = ()
    """Keys of administrators: name=key or name=sha256:<hex>, comma-separated. See: idv api-key NAME"""
    support_api_keys: Keys = ()
    """Keys that only read users' status, attempts and the audit, in the same form"""
    metrics_api_keys: Keys = ()
    """Keys that only read /metrics, in the same form"""
    api_keys: Keys = ()
    """Keys of identity providers, in the same form. A key is required here or in ADMIN_API_KEYS."""
    redirect_secret: SecretStr
    """Signs the state of redirects: 32 characters or more. Two, separated by a comma, while it is rotated; the first
    signs. With several processes the new one goes behind first: docs/operations.md, A new key in three steps."""
    encryption_keys: SecretStr
    """Fernet keys that encrypt personal data at rest, comma-separated; the first encrypts. With several processes a new
    one goes behind first, as above."""

    reverification_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 720.0
    """How long a verification stands, in hours; 0 = for ever"""
    block_on_failure: bool = False
    """Deny a login whose verification failed, instead of going on without the claim"""
    accepted_statuses: Annotated[frozenset[str], BeforeValidator(_split_at_commas)] = frozenset({"OK"})
    """The values of auth_overall_status that count, comma-separated"""
    require_status: bool = False
    """Refuse a verification without auth_overall_status"""
    allow_identity_change: bool = False
    """Let another person than the enrolled one verify this user, and enrol that person"""
    attempt_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    """How many verifications of a user may begin within ATTEMPT_WINDOW_HOURS without one that succeeds; 0 = no limit"""
    attempt_window_hours: Annotated[float, Field(gt=0, le=87600)] = 24.0
    """The time in which they are counted, in hours"""
    retention_days: Annotated[int, Field(ge=1, le=36500)] = 90
    """Attempts older than this are removed"""
    housekeeping: bool = True
    """Clear and remove what has served its time, every minute, in small steps; false leaves it to: idv purge"""
    verification_ttl_seconds: Annotated[int, Field(ge=1, le=ATTEMPT_LASTS_AT_MOST // timedelta(seconds=1))] = 3600
    """How long a person may take, in seconds"""

    claim_namespace: str = "https://incode.com/idv"
    """The name of the claim"""
    claim_include_pii: bool = True
    """Put name, birth date and the like into the claim, where the scopes returned them"""
    store_tokens: bool = False
    """Keep the provider's tokens (encrypted; only administrators see them)"""
    adopt_app_metadata: bool = False
    """Take over what a start brings as app_metadata, for users who were never met: while moving in from the Action"""

    hydra_hook: bool = False
    """Answer Ory Hydra's token hook"""
    hydra_claim_name: Text | None = None
    """The claim's name on Hydra's tokens. Default: CLAIM_NAMESPACE"""
    hydra_without_database: WithoutDatabase = "fail"
    """What the hook does while the database is away: fail (the vendor then does what it does), or continue without the
    claim"""
    supabase_hook_secrets: SecretStr = SecretStr("")
    """Secrets of Supabase's custom access token hook, v1,whsec_<base64>, several separated by |; they turn the hook
    on"""
    supabase_claim_name: Text | None = None
    """The claim's name on Supabase's tokens. Default: CLAIM_NAMESPACE"""
    supabase_without_database: WithoutDatabase = "fail"
    """While the database is away: fail or continue"""
    okta_hook: bool = False
    """Answer Okta's token inline hook"""
    okta_claim_name: Text = "incode_idv"
    """The claim's name on Okta's tokens"""
    okta_without_database: WithoutDatabase = "fail"
    """While the database is away: fail or continue"""
    entra_tenant_id: str | None = None
    """The id of the Microsoft Entra tenant whose custom claims provider this is; with ENTRA_AUDIENCE it turns the hook
    on"""
    entra_audience: Text | None = None
    """What Entra's token for this service must be meant for: the app registration, api://HOST/APP_ID or its id"""
    entra_claim_name: Text = "incode_idv"
    """How the names of the claims on Entra's tokens begin"""
    entra_without_database: WithoutDatabase = "fail"
    """While the database is away: fail or continue"""
    zitadel_hook_secret: SecretStr = SecretStr("")
    """The signing key of the ZITADEL target that calls this service; it turns the hook on"""
    zitadel_claim_name: Text | None = None
    """The claim's name on ZITADEL's tokens. Default: CLAIM_NAMESPACE"""
    zitadel_without_database: WithoutDatabase = "fail"
    """While the database is away: fail or continue"""
    wso2_hook: bool = False
    """Answer the service extensions of WSO2 Identity Server or Asgardeo: tokens and in-flow authentication"""
    wso2_claim_name: Text | None = None
    """The claim's name on WSO2's tokens. Default: CLAIM_NAMESPACE"""
    wso2_without_database: WithoutDatabase = "fail"
    """While the database is away: fail or continue"""

    product_name: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    """Your product's name, on our pages for browsers"""
    product_color: Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")] | None = None
    """Your product's colour on these pages: #rrggbb"""

    clock_skew_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How far clocks may differ, in seconds"""
    http_timeout_seconds: Annotated[float, Field(gt=0, le=7)] = 3.0
    """How long one call to the provider may take, in seconds"""

    @field_validator("incode_server_url", "public_url")
    @classmethod
    def _is_base_url(cls, value: str, info: ValidationInfo) -> str:
        if "?" in value or not _is_safe(value, info):
            raise ValueError(_URL_WANTED)
        # Every address of ours is built on these, and HSTS, cookies and Secure depend on how they begin.
        parts = urlsplit(value)
        return urlunsplit(parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower()))

    @field_validator("public_url")
    @classmethod
    def _is_joined_with_a_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("return_urls")
    @classmethod
    def _are_return_urls(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not all(_is_safe(url, info) and is_allowed(url, [url]) for url in value):
            raise ValueError(f"each {_URL_WANTED}; without state or session_token in its query")
        return value

    @field_validator("redirect_uri")
    @classmethod
    def _are_redirect_uris(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not all(_is_safe(url, info) for url in value):
            raise ValueError(f"each {_URL_WANTED}")
        names = {name for url in value for name in _parameters(url)}
        if taken := names & _OF_THE_RESPONSE:
            raise ValueError(
                f"has {min(taken)} in its query, which the provider adds itself; take it out here and at the provider"
            )
        if len(set(value)) < len(value):
            raise ValueError("has the same address twice")
        others = [info.data[name] for name in ("auth0_domain", "return_urls") if name in info.data]
        if len(others) == 2 and not any((value, *others)):
            raise ValueError("this, AUTH0_DOMAIN or RETURN_URLS is required: without one no login could be started")
        return value

    @field_validator("auth0_domain")
    @classmethod
    def _is_host(cls, value: str | None) -> str | None:
        if value is not None and not _HOST.fullmatch(value):
            raise ValueError("takes a host name only, such as your-tenant.us.auth0.com")
        return value

    @field_validator("scopes")
    @classmethod
    def _has_openid(cls, value: str) -> str:
        scopes = value.split()
        if "openid" not in scopes or not all(_SCOPE.fullmatch(scope) for scope in scopes):
            raise ValueError("takes scopes separated by spaces; openid must be one of them")
        return " ".join(scopes)

    @field_validator("redirect_secret")
    @classmethod
    def _is_long(cls, value: SecretStr) -> SecretStr:
        secrets = _listed(value)
        if not 1 <= len(secrets) <= 2 or any(len(secret) < MIN_SECRET_LENGTH for secret in secrets):
            raise ValueError(
                f"takes a secret of {MIN_SECRET_LENGTH} or more characters, or two separated by a comma while it is "
                "rotated"
            )
        return value

    @field_validator("incode_client_secret", "redirect_secret", "zitadel_hook_secret")
    @classmethod
    def _is_no_placeholder(cls, value: SecretStr) -> SecretStr:
        if any(is_one_character(secret) for secret in _listed(value) or [value.get_secret_value()]):
            raise ValueError(f"{_ONE_CHARACTER}; it takes a random one (idv init makes them)")
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _are_fernet_keys(cls, value: SecretStr) -> SecretStr:
        keys = _listed(value)
        try:
            for key in keys:
                Fernet(key)
        except ValueError:
            keys = []
        if not keys:
            raise ValueError(
                "takes Fernet keys (32 bytes in URL-safe base64), newest first, comma-separated; idv init makes one"
            )
        raw = [base64.urlsafe_b64decode(key) for key in keys]
        if any(len(set(key)) == 1 for key in raw):
            raise ValueError(f"{_ONE_CHARACTER}; idv init makes a random one")
        return value

    @field_validator("api_keys")
    @classmethod
    def _are_told_apart(cls, value: tuple[ApiKey, ...], info: ValidationInfo) -> tuple[ApiKey, ...]:
        others = {name: info.data[name] for name in _ROLES if name in info.data}
        if len(others) + 1 < len(_ROLES):
            return value
        if not value and not others["admin_api_keys"]:
            raise ValueError("at least one key is needed here or in ADMIN_API_KEYS; idv api-key NAME makes one")
        if name := ambiguous_name([*value, *chain.from_iterable(others.values())]):
            raise ValueError(f"the name {name}, or its key, is used twice in the settings that end with API_KEYS")
        return value

    @field_validator("incode_client_secret", *_ROLES, "redirect_secret", "encryption_keys", "zitadel_hook_secret")
    @classmethod
    def _is_used_once(
        cls, value: SecretStr | tuple[ApiKey, ...], info: ValidationInfo
    ) -> SecretStr | tuple[ApiKey, ...]:
        # Who holds one secret must not hold two: the tenant that knows REDIRECT_SECRET has no business with stored
        # data.
        own, field = list(_digests(value)), str(info.field_name)
        if field not in _ROLES and len(set(own)) < len(own):
            raise ValueError("has the same value twice")
        for name in SECRETS[: SECRETS.index(field)]:
            if not {name, field} <= _ROLES.keys() and not set(own).isdisjoint(_digests(info.data.get(name))):
                raise ValueError(f"has the same value as {name.upper()}; each secret needs one of its own")
        return value

    @field_validator(*(f"{provider}_claim_name" for provider in _HOOKS))
    @classmethod
    def _is_no_claim_of_the_token(cls, value: str | None) -> str | None:
        if value in _TAKEN_CLAIMS:
            raise ValueError("names a claim that tokens have a meaning for already; take another, such as incode_idv")
        return value

    @field_validator("supabase_hook_secrets")
    @classmethod
    def _are_webhook_secrets(cls, value: SecretStr) -> SecretStr:
        secrets = _webhook_secrets(value)
        if not all(map(_is_webhook_secret, secrets)) or (value and not secrets):
            raise ValueError("takes v1,whsec_<base64> as Supabase shows it, several separated by |")
        return value

    @field_validator("entra_tenant_id")
    @classmethod
    def _is_tenant(cls, value: str | None) -> str | None:
        if value is not None and not _GUID.fullmatch(value.lower()):
            raise ValueError("takes the tenant's id, such as 11111111-2222-3333-4444-555555555555")
        return value.lower() if value else value

    @field_validator("entra_audience")
    @classmethod
    def _has_a_tenant(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "entra_tenant_id" in info.data and (value is None) != (info.data["entra_tenant_id"] is None):
            raise ValueError("is needed where ENTRA_TENANT_ID is set, and ENTRA_TENANT_ID where this is")
        return value

    @field_validator("id_token_algorithms")
    @classmethod
    def _are_asymmetric(cls, value: frozenset[str]) -> frozenset[str]:
        if not value or not value <= ALGORITHMS:
            raise ValueError(f"takes some of {', '.join(sorted(ALGORITHMS))}")
        return value

    @field_validator("accepted_statuses")
    @classmethod
    def _is_not_empty(cls, value: frozenset[str]) -> frozenset[str]:
        if not value:
            raise ValueError("takes one or more statuses, comma-separated")
        return value

    @field_validator("claim_namespace")
    @classmethod
    def _is_collision_resistant(cls, value: str) -> str:
        if not re.fullmatch(r"(https?://|urn:)\S+", value):
            raise ValueError("takes an http(s) URL or a URN, which no other claim is called by")
        return value

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """Every API key, of all roles."""
        return (*self.api_keys, *self.support_api_keys, *self.metrics_api_keys, *self.admin_api_keys)

    @property
    def addresses(self) -> Addresses:
        """Where browsers go: what is set, else what AUTH0_DOMAIN gives."""
        auth0 = (f"https://{self.auth0_domain}/continue",) if self.auth0_domain else ()
        return Addresses(
            redirect_uris=self.redirect_uri or auth0,
            public_url=self.public_url,
            return_urls=self.return_urls or auth0,
        )

    @property
    def redirect_secrets(self) -> list[str]:
        """The secrets that sign, newest first."""
        return _listed(self.redirect_secret)

    @property
    def fernet_keys(self) -> list[str]:
        """The keys that encrypt, newest first."""
        return _listed(self.encryption_keys)

    @property
    def webhook_secrets(self) -> list[str]:
        """The secrets of Supabase's hook, as Supabase shows them."""
        return _webhook_secrets(self.supabase_hook_secrets)

    @property
    def lifetime(self) -> timedelta:
        """How long an attempt may take."""
        return timedelta(seconds=self.verification_ttl_seconds)

    @property
    def rules(self) -> Rules:
        """What decisions depend on."""
        return Rules(
            reverification_hours=self.reverification_hours,
            block_on_failure=self.block_on_failure,
            accepted_statuses=self.accepted_statuses,
            require_status=self.require_status,
            allow_identity_change=self.allow_identity_change,
            clock_skew_seconds=self.clock_skew_seconds,
            attempt_limit=self.attempt_limit,
            attempt_window_hours=self.attempt_window_hours,
            claim_namespace=self.claim_namespace,
            claim_include_pii=self.claim_include_pii,
            store_tokens=self.store_tokens,
        )

    @property
    def provider(self) -> ProviderConfig:
        """The provider, and our registration there."""
        secret = self.incode_client_secret.get_secret_value()
        return ProviderConfig(
            server_url=self.incode_server_url.rstrip("/"),
            # An issuer is compared exactly, its slash at the end included (OpenID Connect Discovery section 4.3).
            issuer=self.incode_issuer or self.incode_server_url,
            credentials=ClientCredentials(
                client_id=self.incode_client_id, client_secret=secret, method=self.client_auth_method
            ),
            scope=self.scopes,
            algorithms=self.id_token_algorithms,
            leeway_seconds=self.clock_skew_seconds,
            request_seconds=self.http_timeout_seconds,
            allow_http=self.allow_http,
        )


NAMES = Names(Settings.model_fields, SECRETS)
"""What `.env` may hold, whichever of the settings are read from it."""
