"""The OpenAPI document turned into requests, and the answers held against it.

What is left out of the checks says why.
"""

from collections import defaultdict
from typing import Any

import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.openapi.checks import (
    AllowHeaderMismatch,
    RejectedPositiveData,
    UndefinedStatusCode,
    UnsupportedMethodResponse,
)

from tests.fuzz.seeds import RETURN_TO, STANDING, Seeds
from tests.harness.service import Json

CHECKS = {
    # One deployment is one namespace of user ids: no key owns an object that another key may not see.
    "object_level_authorization": {"enabled": False},
}
OPERATIONS = [
    # A user whom the service has never met, or has erased, is answered with 200: he is not verified.
    {"include-operation-id": "getUserStatus", "checks": {"use_after_free": {"enabled": False}}},
    # What is withdrawn here is missed elsewhere: these two get users of their own.
    {
        "include-operation-id": "eraseUser",
        "parameters": {"path.user_id": {"dictionary": "spare_users", "probability": 0.6}},
    },
    {
        "include-operation-id": "resetUser",
        "parameters": {"path.user_id": {"dictionary": "spare_users", "probability": 0.6}},
    },
    # A finish names an attempt and whose it is: by chance alone the two never fit.
    {
        "include-operation-id": "finishVerification",
        "parameters": {
            "body.user_id": {"dictionary": "their_user", "probability": 0.9},
            "body.verification_id": {"dictionary": "open_attempts", "probability": 0.8},
        },
    },
    # Of all attempts few can be launched.
    {
        "include-operation-id": "launchVerification",
        "parameters": {"path.verification_id": {"dictionary": "hosted_attempts", "probability": 0.6}},
    },
    # Each hook is off here, and says so to everybody: 404 before 401.
    {"include-tag": "Token hooks", "checks": {"missing_required_header": {"enabled": False}}},
]
RESET = "/v1/users/{user_id}/reset"
BROWSER_ROUTES = {"GET /v1/verifications/{verification_id}/launch", "GET /v1/callback"}
# The rules that a schema cannot say, by operation and field: which settings and which other fields a field needs.
RULES_IN_WORDS = {
    "POST /v1/verifications": {
        ("body.return_to", "is not one of RETURN_URLS"),
        ("body.return_to", "belongs to the hosted flow"),
        ("body.state", "belongs to the hosted flow"),
        ("body.omit_state", "belongs to the relay flow"),
        ("body.redirect_uri", "is not one of REDIRECT_URI"),
        ("body.redirect_uri", "belongs to the relay flow"),
        ("body.app_metadata", "is taken over only with ADOPT_APP_METADATA=true"),
    },
    "POST /v1/callback": {
        ("body", "session_token stands alone: leave the provider's parameters out"),
        ("body", "response_parameters stand alone: leave the single parameters out"),
    },
    "GET /v1/verifications": {("query.cursor", "is not a cursor of this list")},
    "GET /v1/audit": {("query.cursor", "is not a cursor of this list")},
}


class Fuzzed:
    """The service, and what a fuzzer learned of it: the statuses of each method and path, and each failed check."""

    def __init__(self, app: FastAPI, seeds: Seeds) -> None:
        self.failures: list[str] = []
        self._app = app
        self._seeds = seeds
        self._statuses: dict[str, set[int]] = defaultdict(set)

    def run(self, key: str | None, *, drawn: int = 0) -> None:
        """Send what the document's examples and bounds give, and `drawn` cases at random for each operation."""
        config = SchemathesisConfig.from_dict(_config(self._seeds, key, drawn))
        schema = schemathesis.openapi.from_asgi("/openapi.json", self._app, config=config)
        schema.hook(filter_failure)
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                self._note(event)
            elif isinstance(event, events.NonFatalError):
                self.failures.append(f"{event.label}: {event.value}")
            elif isinstance(event, events.FatalError):
                raise event.exception

    def statuses(self, operation: str) -> set[int]:
        return self._statuses[operation]

    def _note(self, event: events.ScenarioFinished) -> None:
        recorder = event.recorder
        for case_id, interaction in recorder.interactions.items():
            case = recorder.cases[case_id].value
            assert interaction.response is not None, case.operation.label
            self._statuses[f"{case.method} {case.operation.path}"].add(interaction.response.status_code)
        for case_id, checks in recorder.checks.items():
            label = recorder.cases[case_id].value.operation.label
            for check in checks:
                if check.failure_info:
                    failed = check.failure_info
                    self.failures.append(f"{check.name} of {label}: {failed.failure.message}\n{failed.code_sample}")


def filter_failure(_context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failed check is a fault: not where the contract says in words what the document has no means to say."""
    match failure:
        case RejectedPositiveData():
            return not _is_refused_by_a_rule_in_words(case, response)
        # A user's id holds any character: `GET /v1/users/ana/reset` asks for the user "ana/reset".
        case UnsupportedMethodResponse():
            return case.operation.path != RESET or case.method not in {"GET", "DELETE"}
        case AllowHeaderMismatch():
            return case.operation.path != RESET or failure.undocumented_methods != ["DELETE", "GET"]
        case UndefinedStatusCode():
            # A path with a line break names no route, so its answer is none of an operation's.
            return not ("%0A" in response.request.url and response.json()["code"] == "not_found")
    return True


def _is_refused_by_a_rule_in_words(case: Any, response: Any) -> bool:
    operation, status = case.operation.label, response.status_code
    if operation in BROWSER_ROUTES:
        # Nobody but the browser that was launched, with the state that was made for it, is sent on.
        return bool(status == 400)
    answer: Json = response.json()
    if operation == "POST /v1/callback" and status == 400:
        # A signature is no matter of a schema.
        return bool(answer["code"] == "session_token_invalid")
    found = {(error["field"], error["message"]) for error in answer.get("errors", [])}
    return bool(status == 422 and found and found <= RULES_IN_WORDS.get(operation, set()))


def _config(seeds: Seeds, key: str | None, drawn: int) -> Json:
    """The fuzzer's settings: the same cases each time, nothing kept on disk, and ids that exist."""
    values = {
        "users": seeds.users,
        "spare_users": seeds.spare_users,
        "attempts": seeds.attempts,
        "codes": seeds.codes,
        "relay_states": seeds.relay_states,
        "hosted_states": seeds.hosted_states,
        "session_tokens": seeds.session_tokens,
        "hosted_attempts": seeds.hosted_attempts,
        "open_attempts": seeds.open_attempts,
        "their_user": [STANDING],
        "cursors": seeds.cursors,
        "return_urls": [RETURN_TO],
        "issuers": [seeds.issuer],
    }
    return {
        "seed": 1,
        "generation": {
            "deterministic": True,
            **({"max-examples": drawn} if drawn else {}),
            "database": "none",
            "with-security-parameters": key is not None,
        },
        "phases": {phase: {"enabled": drawn > 0} for phase in ("fuzzing", "stateful")},
        "suppress-health-check": ["all"],
        "continue-on-failure": True,
        "cache": {"enabled": False},
        "max-redirects": 0,
        "checks": CHECKS,
        "operations": [*OPERATIONS, {"include-tag": "Hosted flow", "headers": {"Cookie": seeds.cookie}}],
        "dictionaries": {name: {"values": known} for name, known in values.items()},
        "parameters": {
            "path.user_id": {"dictionary": "users", "probability": 0.6},
            "query.user_id": {"dictionary": "users", "probability": 0.6},
            "body.user_id": {"dictionary": "users", "probability": 0.8},
            "path.verification_id": {"dictionary": "attempts", "probability": 0.8},
            "body.verification_id": {"dictionary": "attempts", "probability": 0.4},
            "query.code": {"dictionary": "codes", "probability": 0.5},
            "body.code": {"dictionary": "codes", "probability": 0.3},
            "query.state": {"dictionary": "hosted_states", "probability": 0.6},
            "body.iss": {"dictionary": "issuers", "probability": 0.8},
            "query.iss": {"dictionary": "issuers", "probability": 0.8},
            "body.session_token": {"dictionary": "session_tokens", "probability": 0.2},
            "body.return_to": {"dictionary": "return_urls", "probability": 0.3},
            "query.cursor": {"dictionary": "cursors", "probability": 0.5},
        },
        **({"auth": {"openapi": {name: {"bearer": key} for name in ("IdpKey", "AdminKey")}}} if key else {}),
    }
