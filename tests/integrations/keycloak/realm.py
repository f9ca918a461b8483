"""The realm that Keycloak imports: a flow with the password, the verification, and a step-up for `acr=gold`."""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

APPLICATION = "app"
APPLICATION_SECRET = "secret-of-the-application"
PASSWORD = "right"
STEP_UP = "gold"


def realm(name: str, application: str, gateway: str, api_key: str, *, blocking: bool, people: Sequence[str]) -> Json:
    """Where failures block, they do so at the login and at the token."""
    verification = {"idv.url": gateway, "idv.api.key": api_key, "idv.block.on.failure": str(blocking).lower()}
    return {
        "realm": name,
        "enabled": True,
        "sslRequired": "none",
        "bruteForceProtected": True,
        "failureFactor": 1,
        "passwordPolicy": "hashIterations(1)",
        "attributes": {"acr.loa.map": f'{{"silver": "1", "{STEP_UP}": "2"}}'},
        "users": [_person(person) for person in people],
        "clients": [_client(application, verification)],
        "browserFlow": "verified browser",
        "authenticationFlows": [
            _flow(
                "verified browser", _step("auth-cookie", "ALTERNATIVE"), _sub_flow("levels", "ALTERNATIVE"), top=True
            ),
            _flow("levels", _sub_flow("password", "CONDITIONAL"), _sub_flow("step-up", "CONDITIONAL")),
            _flow(
                "password",
                _step("conditional-level-of-authentication", configured="level 1"),
                _step("auth-username-password-form"),
                _step("idv-verification", configured="login"),
            ),
            _flow(
                "step-up",
                _step("conditional-level-of-authentication", configured="level 2"),
                _step("idv-verification", configured="step-up"),
            ),
        ],
        "authenticatorConfig": [
            {"alias": "level 1", "config": {"loa-condition-level": "1", "loa-max-age": "36000"}},
            {"alias": "level 2", "config": {"loa-condition-level": "2", "loa-max-age": "0"}},
            {"alias": "login", "config": verification},
            {"alias": "step-up", "config": {**verification, "idv.purpose": "step_up"}},
        ],
    }


def _person(name: str) -> Json:
    return {
        "username": name,
        "email": f"{name}@example.com",
        "firstName": name,
        "lastName": "Example",
        "enabled": True,
        "emailVerified": True,
        "credentials": [{"type": "password", "value": PASSWORD}],
    }


def _client(application: str, verification: Json) -> Json:
    mapper = {
        "name": "identity verification",
        "protocol": "openid-connect",
        "protocolMapper": "idv-verification-claim",
        "config": {
            **verification,
            "id.token.claim": "true",
            "access.token.claim": "true",
            "userinfo.token.claim": "true",
        },
    }
    return {
        "clientId": APPLICATION,
        "secret": APPLICATION_SECRET,
        "redirectUris": [application],
        "standardFlowEnabled": True,
        "directAccessGrantsEnabled": True,
        "serviceAccountsEnabled": True,
        "protocolMappers": [mapper],
    }


def _flow(alias: str, *executions: Json, top: bool = False) -> Json:
    numbered = [{**execution, "priority": priority} for priority, execution in enumerate(executions, 1)]
    return {"alias": alias, "providerId": "basic-flow", "topLevel": top, "authenticationExecutions": numbered}


def _step(authenticator: str, requirement: str = "REQUIRED", configured: str | None = None) -> Json:
    return {"authenticator": authenticator, "requirement": requirement, "authenticatorConfig": configured}


def _sub_flow(alias: str, requirement: str) -> Json:
    return {"authenticatorFlow": True, "flowAlias": alias, "requirement": requirement}
