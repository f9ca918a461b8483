"""The environment as a frozen model that refuses what is missing or unsafe, before anything starts."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.core.api_keys import ApiKey, ambiguous_name, parse_api_keys
from app.core.domain import Addresses, Role, Rules
from app.flows.addresses import is_allowed
from app.oidc import ALGORITHMS, ClientAuthMethod, ClientCredentials, ProviderConfig, is_safe_url

MIN_SECRET_LENGTH = 32
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+", re.IGNORECASE)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3


_URL_WANTED = "takes an https address; plain http beyond this machine needs ALLOW_HTTP=true"


class SettingsInvalid(Exception):
    """Settings that are missing or wrong. `lines` has one for each, naming the setting and never a secret's value."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def _split(value: Any) -> Any:
    return [part for part in re.split(r"[,\s]+", value) if part] if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _is_safe(url: str, info: ValidationInfo) -> bool:
    return is_safe_url(url, allow_http=info.data.get("allow_http", False))


def _has_valid_port(url: str) -> bool:
    try:
        urlsplit(url).port  # noqa: B018  a bad port raises here
    except ValueError:
        return False
    return True


def _listed(secret: SecretStr) -> list[str]:
    return [part.strip() for part in secret.get_secret_value().split(",") if part.strip()]


_S = TypeVar("_S", bound=BaseSettings)
Words = Annotated[frozenset[str], NoDecode, BeforeValidator(_split)]
Text = Annotated[str, Field(min_length=1)]


class DatabaseSettings(BaseSettings):
    """The database and how to tell of it: all that a migration needs, which therefore sees no key and no secret else."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
        use_attribute_docstrings=True,
    )

    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///./idv.db")
    """The database. For more than one process: postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE"""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """debug, info, warning or error"""
    log_format: Annotated[Literal["json", "console"], BeforeValidator(_lower)] = "json"
    """json for machines, console for people"""

    @field_validator("database_url")
    @classmethod
    def _is_supported_database(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        on_file = url.startswith("sqlite+aiosqlite:///") and "memory" not in url and len(url) > len("sqlite+aiosqlite:///")
        if not on_file and not (url.startswith("postgresql+asyncpg://") and _has_valid_port(url)):
            raise ValueError("takes sqlite+aiosqlite:///FILE or postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE")
        return value


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
    """How the service proves itself at the token endpoint: client_secret_post, client_secret_basic, client_secret_jwt"""
    id_token_algorithms: Words = frozenset({"RS256"})
    """Accepted signatures of ID tokens: RS256, RS384, RS512, ES256, ES384, ES512, comma-separated"""
    scopes: str = "openid"
    """What is asked for, separated by spaces; openid must be one. The others must be enabled on the Incode client."""

    auth0_domain: str | None = None
    """Your Auth0 tenant's domain; gives REDIRECT_URI its default, https://AUTH0_DOMAIN/continue"""
    redirect_uri: str | None = None
    """Where the provider sends the browser in the relay flow: your identity provider's continue URL"""
    public_url: str = "http://127.0.0.1:8000"
    """Where browsers reach this service. The redirect URI of the hosted flow is PUBLIC_URL/v1/callback"""
    return_urls: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Where browsers may be sent back to in the hosted flow, comma-separated. Default: https://AUTH0_DOMAIN/continue"""

    admin_api_keys: SecretStr = SecretStr("")
    """Keys of administrators: name=key or name=sha256:<hex>, comma-separated. See: idv api-key NAME"""
    api_keys: Annotated[SecretStr, Field(validate_default=True)] = SecretStr("")
    """Keys of identity providers, in the same form. A key is required here or in ADMIN_API_KEYS."""
    redirect_secret: SecretStr
    """Signs the state of redirects: 32 characters or more. Two, separated by a comma, while it is rotated; the first signs."""
    encryption_keys: SecretStr
    """Fernet keys that encrypt personal data at rest, newest first, comma-separated"""

    reverification_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 720.0
    """How long a verification stands, in hours; 0 = for ever"""
    block_on_failure: bool = False
    """Deny a login whose verification failed, instead of going on without the claim"""
    accepted_statuses: Words = frozenset({"OK"})
    """The values of auth_overall_status that count, comma-separated"""
    require_status: bool = False
    """Refuse a verification without auth_overall_status"""
    allow_identity_change: bool = False
    """Let another person than the enrolled one verify this user, and enrol that person"""
    attempt_limit: Annotated[int, Field(ge=0)] = 10
    """How many verifications of a user may fail within ATTEMPT_WINDOW_HOURS; 0 = no limit"""
    attempt_window_hours: Annotated[float, Field(gt=0, le=87600)] = 24.0
    """The time in which failures are counted, in hours"""
    retention_days: Annotated[int, Field(ge=1, le=36500)] = 90
    """Attempts older than this are removed by: idv purge"""
    verification_ttl_seconds: Annotated[int, Field(ge=1, le=7 * 86400)] = 3600
    """How long a person may take, in seconds"""

    claim_namespace: str = "https://incode.com/idv"
    """The name of the claim"""
    claim_include_pii: bool = True
    """Put name, birth date and the like into the claim, where the scopes returned them"""
    store_tokens: bool = False
    """Keep the provider's tokens (encrypted; only administrators see them)"""

    clock_skew_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How far clocks may differ, in seconds"""
    http_timeout_seconds: Annotated[float, Field(gt=0, le=7)] = 3.0
    """How long one call to the provider may take, in seconds"""

    @field_validator("incode_server_url", "public_url")
    @classmethod
    def _is_base_url(cls, value: str, info: ValidationInfo) -> str:
        if "?" in value or not _is_safe(value, info):
            raise ValueError(_URL_WANTED)
        return value.rstrip("/")

    @field_validator("redirect_uri")
    @classmethod
    def _is_redirect_uri(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _is_safe(value, info):
            raise ValueError(_URL_WANTED)
        return value

    @field_validator("return_urls")
    @classmethod
    def _are_return_urls(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not all(_is_safe(url, info) and is_allowed(url, [url]) for url in value):
            raise ValueError(f"each {_URL_WANTED}; without «state» or «session_token» in its query")
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
                f"takes a secret of {MIN_SECRET_LENGTH} or more characters, or two separated by a comma while it is rotated"
            )
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _are_fernet_keys(cls, value: SecretStr) -> SecretStr:
        try:
            keys = [Fernet(key) for key in _listed(value)]
        except ValueError:
            keys = []
        if not keys:
            raise ValueError(
                "takes Fernet keys (32 bytes in URL-safe base64), newest first, comma-separated; «idv init» makes one"
            )
        return value

    @field_validator("admin_api_keys")
    @classmethod
    def _are_admin_keys(cls, value: SecretStr) -> SecretStr:
        parse_api_keys(value.get_secret_value(), Role.ADMIN)
        return value

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        keys = parse_api_keys(value.get_secret_value(), Role.IDP)
        if "admin_api_keys" not in info.data:
            return value
        keys += parse_api_keys(info.data["admin_api_keys"].get_secret_value(), Role.ADMIN)
        if not keys:
            raise ValueError("at least one key is needed here or in ADMIN_API_KEYS; «idv api-key NAME» makes one")
        if name := ambiguous_name(keys):
            raise ValueError(f"the name {name}, or its key, is used twice in API_KEYS and ADMIN_API_KEYS")
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
        """Every API key, of both roles."""
        idp = parse_api_keys(self.api_keys.get_secret_value(), Role.IDP)
        return (*idp, *parse_api_keys(self.admin_api_keys.get_secret_value(), Role.ADMIN))

    @property
    def addresses(self) -> Addresses:
        """Where browsers go: what is set, else what AUTH0_DOMAIN gives."""
        auth0 = f"https://{self.auth0_domain}/continue" if self.auth0_domain else None
        return Addresses(
            redirect_uri=self.redirect_uri or auth0,
            public_url=self.public_url,
            return_urls=self.return_urls or ((auth0,) if auth0 else ()),
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
            server_url=self.incode_server_url,
            issuer=self.incode_issuer or self.incode_server_url,
            credentials=ClientCredentials(client_id=self.incode_client_id, client_secret=secret, method=self.client_auth_method),
            scope=self.scopes,
            algorithms=self.id_token_algorithms,
            leeway_seconds=self.clock_skew_seconds,
            request_seconds=self.http_timeout_seconds,
            allow_http=self.allow_http,
        )


class GivenSettings(Settings):
    """Settings from nothing but what is handed in: for the demo, which must not depend on where it runs."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """No environment, no `.env`."""
        return (init_settings,)


def load_settings() -> Settings:
    """The settings of the environment and of `.env`. Raises SettingsInvalid."""
    return _loaded(Settings)


def load_database_settings() -> DatabaseSettings:
    """What a migration needs of them; the others may be missing. Raises SettingsInvalid."""
    return _loaded(DatabaseSettings)


def _loaded(kind: type[_S]) -> _S:
    try:
        return kind()
    except UnicodeDecodeError:
        raise SettingsInvalid([".env: is not a UTF-8 text"]) from None
    except ValidationError as error:
        raise SettingsInvalid([_line(problem) for problem in error.errors()]) from None


def _line(problem: Any) -> str:
    message = "is required" if problem["type"] == "missing" else str(problem["msg"]).removeprefix("Value error, ")
    return f"{str(problem['loc'][0]).upper()}: {message}"
