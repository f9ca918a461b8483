"""The contract's lists, held against the OpenAPI document, the code and the command line."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.core import errors
from app.core.domain import Reason, Status
from app.core.failures import CATALOGUE
from app.settings import Settings
from tests.harness.openapi import document_of
from tests.harness.service import Json, Service
from tests.harness.tables import on_sqlite_only
from tests.system.processes import REPOSITORY

ROUTES = {
    "POST /v1/verifications": {200, 401, 403, 422, 413},
    "GET /v1/verifications/{verification_id}/launch": {200, 303, 400},  # 200: a link preview
    "GET /v1/callback": {303, 400},
    "POST /v1/callback": {200, 400, 401, 403, 404, 409, 413, 422},
    "GET /v1/users/{user_id}": {200, 401, 403, 422},
    "POST /v1/users/{user_id}/reset": {200, 401, 403, 422},
    "DELETE /v1/users/{user_id}": {204, 401, 403, 422},
    "GET /v1/verifications/{verification_id}": {200, 401, 403, 404},
    "GET /v1/verifications": {200, 401, 403, 422},
    "GET /v1/audit": {200, 401, 403, 422},
    **{f"POST /v1/hooks/{path}": {200, 401, 403, 404} for path in ("okta", "wso2/token")},
    **{f"POST /v1/hooks/{path}": {200, 401, 404} for path in ("supabase", "entra", "zitadel")},
    "POST /v1/hooks/hydra": {200, 204, 401, 403, 404},
    "POST /v1/hooks/wso2/authentication": {200, 400, 401, 403, 404, 409},
    "GET /healthz": {200},
    "GET /readyz": {200, 503},
    "GET /metrics": {200, 401, 403},
}
PAGES = ["/docs", "/redoc", "/openapi.json"]
REASONS = {
    "never_verified", "not_verified", "reverification_due", "record_invalid", "forced", "step_up", "recently_verified",
    "verified",
}  # fmt: skip
STATUSES = ["pending", "exchanging", "returned", "completed", "failed", "expired"]
TAKES_AWAY = {
    "consent_required": True, "account_selection_required": True, "unmet_authentication_requirements": True,
    "unsupported_response_type": False, "invalid_request_uri": False, "invalid_request_object": False,
    "request_not_supported": False, "request_uri_not_supported": False, "registration_not_supported": False,
    "invalid_target": False, "unsupported_grant_type": False,
    "no_code_returned": True, "access_denied": True, "login_required": True, "interaction_required": True,
    "authorization_error": True, "invalid_scope": False, "invalid_request": False, "unauthorized_client": False,
    "server_error": False, "temporarily_unavailable": False, "invalid_grant": True, "token_exchange_failed": True,
    "invalid_client": False, "provider_unavailable": False, "id_token_invalid": True, "userinfo_sub_mismatch": True,
    "status_not_accepted": True, "status_missing": True, "identity_mismatch": True, "identity_not_established": False,
    "record_not_authentic": False, "verification_expired": False, "callback_interrupted": False,
    "too_many_attempts": False,
}  # fmt: skip
PROBLEMS = {
    "session_token_invalid": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404,
    "verification_not_found": 404,
    "verification_mismatch": 409, "verification_already_finished": 409, "callback_in_progress": 409,
    "state_invalid": 409,
    "issuer_mismatch": 409, "payload_too_large": 413, "validation_error": 422, "internal_error": 500,
    "database_unavailable": 503, "request_timeout": 408,
}  # fmt: skip
BEYOND_THE_CONTRACT = {"method_not_allowed": 405}
SETTINGS: dict[str, Any] = {
    "INCODE_CLIENT_ID": ..., "INCODE_CLIENT_SECRET": ..., "INCODE_SERVER_URL": "https://auth.demo.incode.com",
    "INCODE_ISSUER": None, "REDIRECT_SECRET": ..., "AUTH0_DOMAIN": None, "REVERIFICATION_HOURS": 720,
    "SCOPES": "openid",
    "BLOCK_ON_FAILURE": False, "API_KEYS": (), "ADMIN_API_KEYS": (), "SUPPORT_API_KEYS": (), "METRICS_API_KEYS": (),
    "PUBLIC_URL": "http://127.0.0.1:8000",
    "REDIRECT_URI": (), "RETURN_URLS": (), "DATABASE_URL": "sqlite+aiosqlite:///./idv.db", "ENCRYPTION_KEYS": ...,
    "CLIENT_AUTH_METHOD": "client_secret_post", "ID_TOKEN_ALGORITHMS": {"RS256"}, "CLOCK_SKEW_SECONDS": 60,
    "VERIFICATION_TTL_SECONDS": 3600, "ACCEPTED_STATUSES": {"OK"}, "REQUIRE_STATUS": False,
    "ALLOW_IDENTITY_CHANGE": False,
    "CLAIM_NAMESPACE": "https://incode.com/idv", "CLAIM_INCLUDE_PII": True, "STORE_TOKENS": False, "ATTEMPT_LIMIT": 20,
    "ATTEMPT_WINDOW_HOURS": 24, "RETENTION_DAYS": 90, "HTTP_TIMEOUT_SECONDS": 3, "ALLOW_HTTP": False,
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "json", "ADOPT_APP_METADATA": False, "HOUSEKEEPING": True, "PRODUCT_NAME": None,
    "PRODUCT_COLOR": None,
    "HYDRA_HOOK": False, "OKTA_HOOK": False, "WSO2_HOOK": False, "SUPABASE_HOOK_SECRETS": "", "ZITADEL_HOOK_SECRET": "",
    "ENTRA_TENANT_ID": None, "ENTRA_AUDIENCE": None,
    **{f"{provider}_CLAIM_NAME": None for provider in ("HYDRA", "SUPABASE", "ZITADEL", "WSO2")},
    **{f"{provider}_CLAIM_NAME": "incode_idv" for provider in ("OKTA", "ENTRA")},
    **{f"{provider}_WITHOUT_DATABASE": "fail" for provider in ("HYDRA", "SUPABASE", "OKTA", "ENTRA", "ZITADEL",
    "WSO2")},
}  # fmt: skip
COMMANDS = {
    "serve", "migrate", "init", "api-key", "check", "user", "verifications", "audit", "reset", "erase", "purge",
    "rotate-keys",
    "import", "export", "copy", "demo", "sandbox",
}  # fmt: skip


@pytest.fixture
def document() -> Json:
    return document_of()


def test_the_openapi_document_has_these_routes_and_declares_their_answers(document: Json) -> None:
    found = {
        f"{method.upper()} {path}": {int(status) for status in operation["responses"]}
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert found.keys() == ROUTES.keys()
    for route, statuses in ROUTES.items():
        assert statuses <= found[route], route
        assert found[route] <= statuses | {408, 413, 422, 500, 503}, route


@on_sqlite_only
async def test_the_pages_of_the_contract_are_there(service: Service) -> None:
    for path in PAGES:
        assert (await service.client(None).get(path)).status_code == 200, path


@on_sqlite_only
async def test_the_bare_address_leads_to_the_docs(service: Service) -> None:
    response = await service.client(None).get("/")
    assert (response.status_code, response.headers["Location"]) == (307, "docs")


def test_the_openapi_document_names_every_problem_of_the_contract(document: Json) -> None:
    text = str(document)
    assert {code for code in PROBLEMS if f"`{code}`" not in text} == set()
    for path, method, status, code in (
        ("/v1/callback", "post", "409", "callback_in_progress"),
        ("/v1/callback", "post", "400", "session_token_invalid"),
        ("/v1/verifications/{verification_id}", "get", "404", "verification_not_found"),
    ):
        assert f"`{code}`" in document["paths"][path][method]["responses"][status]["description"]


def test_the_openapi_document_names_every_reason_and_status(document: Json) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["Reason"]["enum"]) == REASONS
    assert schemas["Status"]["enum"] == STATUSES


def test_the_code_has_the_reasons_statuses_and_problems_of_the_contract() -> None:
    assert set(Reason) == REASONS
    assert list(Status) == STATUSES
    problems = {problem.code: problem.status for problem in errors.Problem.__subclasses__()}
    assert problems == PROBLEMS | BEYOND_THE_CONTRACT


def test_the_catalogue_says_which_failures_take_a_verification_away() -> None:
    assert {code.value: kind.about_the_person for code, kind in CATALOGUE.items()} == TAKES_AWAY
    assert all(kind.detail and kind.hint for kind in CATALOGUE.values())


def test_the_settings_are_those_of_the_contract_with_their_defaults() -> None:
    fields = Settings.model_fields
    assert {name.upper() for name in fields} == SETTINGS.keys()
    for name, default in SETTINGS.items():
        field = fields[name.lower()]
        shown = field.default.get_secret_value() if hasattr(field.default, "get_secret_value") else field.default
        assert field.is_required() if default is ... else shown == default, name


def test_the_command_line_is_that_of_the_contract() -> None:
    environment = {"COLUMNS": "200", "PYTHONPATH": str(REPOSITORY)}
    help_text = subprocess.run(  # noqa: S603  our own console script
        [Path(sys.executable).parent / "idv", "--help"], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert set(re.findall(r"^[│|]\s+([a-z][a-z-]+)\s{2,}\S", help_text, re.MULTILINE)) == COMMANDS


async def test_the_readmes_commands_are_those_of_the_command_line() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `idv ([a-z-]+)", readme, re.MULTILINE)) == COMMANDS
