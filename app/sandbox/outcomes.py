"""How a verification can end: one row each, which the page offers and `outcome=<key>` chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from app.sandbox.alterations import Alteration, changed, unaltered, without


@dataclass(frozen=True)
class Outcome:
    """One ending: what the page says of it, and where it differs from an ordinary success.

    `instead_of_code` is the whole authorization response but for `state` and `iss`; `down` names the endpoints that
    answer 503 for this verification.
    """

    key: str
    label: str
    explanation: str
    instead_of_code: Mapping[str, str] | None = None
    code_lifetime: timedelta = timedelta(seconds=60)
    another_person: bool = False
    down: frozenset[str] = frozenset()
    id_token: Alteration = unaltered
    userinfo: Alteration = unaltered


OUTCOMES = {
    outcome.key: outcome
    for outcome in (
        Outcome("verified", "Verified", "The person is who they say they are."),
        Outcome(
            "failed",
            "Not verified",
            "The check was completed, and the result is FAIL.",
            id_token=changed(auth_overall_status="FAIL", auth_overall_score="12.5"),
        ),
        Outcome(
            "warn",
            "A warning",
            "The result is WARN, which counts as not verified, unless ACCEPTED_STATUSES of the gateway names it.",
            id_token=changed(auth_overall_status="WARN", auth_overall_score="71.3"),
        ),
        Outcome(
            "another-person",
            "Somebody else",
            "The check succeeds, but for another identity than the expected one.",
            another_person=True,
        ),
        Outcome(
            "denied",
            "Refused",
            "The person does not agree, or the provider says no.",
            instead_of_code={"error": "access_denied", "error_description": "The verification was refused"},
        ),
        Outcome(
            "abandoned",
            "Given up",
            "The person leaves: the answer has no result and no error.",
            instead_of_code={},
        ),
        Outcome(
            "expired",
            "Too late",
            "The answer has a code, but its time is already over.",
            code_lifetime=timedelta(),
        ),
        Outcome(
            "no-status",
            "No status",
            "The check succeeds, but the provider sends no status and no score.",
            id_token=without("auth_overall_status", "auth_overall_score"),
        ),
        Outcome(
            "no-identity",
            "No identity",
            "The check succeeds, but the provider does not say which identity it was.",
            id_token=without("identity_id"),
            userinfo=without("identity_id"),
        ),
        Outcome(
            "provider-down",
            "Provider down",
            "The answer has a code, but the provider cannot exchange it.",
            down=frozenset({"token"}),
        ),
        Outcome(
            "userinfo-down",
            "Userinfo down",
            "The check succeeds, but the personal details cannot be fetched.",
            down=frozenset({"userinfo"}),
        ),
    )
}
