"""What the contract says of one user after another, in plain values: no HTTP, no database, and none of the service's
code.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

ATTEMPT_LASTS = timedelta(hours=1)
VERIFICATION_STANDS = timedelta(hours=12)
ANSWER_LASTS = timedelta(minutes=5)
TOKEN_LASTS = timedelta(minutes=5)
# A browser keeps the cookies of so many attempts, and forgets the oldest for a new one.
COOKIES_KEPT = 5
ATTEMPT_LIMIT = 2
ATTEMPT_WINDOW = timedelta(hours=24)

# What takes a standing verification away.
ABOUT_THE_PERSON = {
    "no_code_returned", "access_denied", "invalid_grant", "status_not_accepted", "status_missing", "identity_mismatch",
}  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """The settings of the same names."""

    block_on_failure: bool = False
    allow_identity_change: bool = False
    require_status: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the provider says of a person; `name` is None where userinfo gave nothing."""

    identity: str | None
    status: str | None
    name: str | None


@dataclass(frozen=True)
class Claim:
    identity: str | None
    status: str | None
    name: str | None
    completed_at: datetime


@dataclass(frozen=True)
class Decision:
    """The answer to a start or a callback. With an error, `reason` is its code."""

    action: str
    reason: str
    error: str | None = None
    claim: Claim | None = None


@dataclass(frozen=True)
class Refusal:
    """A refused request: nothing is recorded."""

    status: int
    code: str


@dataclass(frozen=True)
class UserStatus:
    verified: bool
    reason: str
    reverify_at: datetime | None
    claim: Claim | None
    on_record: bool = False
    completed: bool | None = None
    identity: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Record:
    completed: bool | None = None
    completed_at: datetime | None = None
    identity: str | None = None
    error: str | None = None
    evidence: Verdict | None = None


@dataclass
class Attempt:
    """`status` is what was recorded; time moves what is shown. `parameters` are those of the callback that finished it.

    `counted`: towards the limit of attempts that have not succeeded.
    """

    user: str
    flow: str
    purpose: str
    created_at: datetime
    expires_at: datetime
    status: str = "pending"
    error: str | None = None
    identity: str | None = None
    browser: str | None = None
    outcome: Verdict | str = ""
    returned_at: datetime | None = None
    finished_at: datetime | None = None
    parameters: Mapping[str, str] | None = None
    answer: Decision | None = None
    withdrawn: bool = False
    omit_state: bool = False
    counted: bool = True


Exchange = Callable[[str], Verdict | str]
"""What the provider makes of the code for an attempt: a verdict, or the code of a failure."""


@dataclass
class Model:
    """The users and their attempts.

    `now` is set from outside; `sent` counts how often each code went to the provider.
    """

    rules: Rules
    now: datetime
    users: dict[str, Record] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    cookies: dict[str, list[str]] = field(default_factory=dict)

    # What is asked and told.

    def status(self, user: str) -> UserStatus:
        record = self.users.get(user)
        reason = self._standing(record)
        if record is None:
            return UserStatus(verified=False, reason=reason, reverify_at=None, claim=None)
        verified = reason == "recently_verified"
        return UserStatus(
            verified=verified,
            reason=reason,
            reverify_at=record.completed_at + VERIFICATION_STANDS if verified and record.completed_at else None,
            claim=_claim(record) if verified else None,
            on_record=True,
            completed=record.completed,
            identity=record.identity,
            error=record.error,
        )

    def shown(self, attempt_id: str) -> tuple[str, str | None, str | None]:
        """The status, error and identity of an attempt as it stands now."""
        attempt = self.attempts[attempt_id]
        if self._is_late(attempt):
            return "expired", "verification_expired", None
        return attempt.status, attempt.error, attempt.identity

    # What a caller with a key does.

    def start(self, user: str, purpose: str, *, force: bool) -> Decision:
        record = self.users.get(user)
        reason = "step_up" if purpose == "step_up" else self._standing(record)
        if record and reason == "recently_verified":
            if not force:
                return Decision("continue", reason, claim=_claim(record))
            reason = "forced"
        if purpose == "step_up" and (record is None or record.identity is None):
            return self._failed("identity_not_established", purpose)
        if self._begun_without_success(user, purpose) >= ATTEMPT_LIMIT:
            return self._failed("too_many_attempts", purpose)
        return Decision("redirect", reason)

    def started(self, attempt_id: str, user: str, flow: str, purpose: str, *, omit_state: bool = False) -> None:
        ends = self.now + ATTEMPT_LASTS
        self.attempts[attempt_id] = Attempt(user, flow, purpose, self.now, ends, omit_state=omit_state)

    def finish(
        self, user: str, attempt_id: str, parameters: Mapping[str, str], state_of: str | None, exchange: Exchange
    ) -> Decision | Refusal:
        """A relay callback. `state_of` is the attempt that the state among the parameters was made for."""
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return Refusal(404, "verification_not_found")
        if attempt.user != user or attempt.flow != "relay":
            return Refusal(409, "verification_mismatch")
        if attempt.status != "pending":
            return self._again(attempt, parameters)
        named = state_of if "state" in parameters else None
        if named != (None if attempt.omit_state else attempt_id) or (attempt.omit_state and "state" in parameters):
            return Refusal(409, "state_invalid")
        if "iss" not in parameters and parameters.keys() & {"code", "error"}:
            return Refusal(409, "issuer_mismatch")
        outcome = self._outcome(attempt_id, parameters, exchange)
        return self._settle(attempt, outcome, parameters)

    def confirm(self, user: str, owner: str, attempt_id: str, token: str) -> Decision | Refusal:
        """The hosted flow's callback with the session token that was made for `owner`."""
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return Refusal(404, "verification_not_found")
        if user != owner:
            return Refusal(409, "verification_mismatch")
        parameters = {"session_token": token}
        if attempt.status != "returned":
            return self._again(attempt, parameters)
        if self._is_late(attempt):
            return Refusal(400, "session_token_invalid")
        return self._settle(attempt, attempt.outcome, parameters)

    def reset(self, user: str, *, identity: bool) -> None:
        """The next login verifies again, and what was begun or answered before no longer counts."""
        for attempt in self._of(user):
            attempt.answer, attempt.withdrawn, attempt.counted = None, True, False
            if attempt.status == "pending":
                attempt.expires_at = min(attempt.expires_at, self.now)
            if attempt.status == "returned":
                attempt.status, attempt.error = "expired", "verification_expired"
        if record := self.users.get(user):
            kept = Record(error=record.error) if identity else replace(record, completed=None, completed_at=None)
            self.users[user] = kept

    def erase(self, user: str) -> None:
        self.users.pop(user, None)
        self.attempts = {key: attempt for key, attempt in self.attempts.items() if attempt.user != user}

    # What a browser does in the hosted flow. It is sent to the provider or back to the caller, or is shown a page.

    def launch(self, attempt_id: str, browser: str) -> str:
        attempt = self.attempts.get(attempt_id)
        kept = self.cookies.setdefault(browser, [])
        if attempt is None or (attempt.browser is not None and not self._belongs(attempt_id, browser)):
            return "page"
        if attempt.status == "pending" and not self._is_late(attempt):
            if attempt.browser is None:
                attempt.browser = browser
                kept[:] = [*kept[1 - COOKIES_KEPT :], attempt_id]
            return "provider"
        return "page" if attempt.browser is None else _way_back(attempt)

    def come_back(self, attempt_id: str, browser: str, parameters: Mapping[str, str], exchange: Exchange) -> str:
        attempt = self.attempts.get(attempt_id)
        if attempt is None or not self._belongs(attempt_id, browser):
            return "page"
        if attempt.status == "pending":
            attempt.outcome = self._outcome(attempt_id, parameters, exchange)
            attempt.status, attempt.returned_at, attempt.withdrawn = "returned", self.now, False
            its_own = not isinstance(attempt.outcome, str) or _is_the_persons(attempt.outcome)
            attempt.counted = attempt.counted and its_own
        return _way_back(attempt)

    # The rules.

    def _belongs(self, attempt_id: str, browser: str) -> bool:
        return self.attempts[attempt_id].browser == browser and attempt_id in self.cookies.get(browser, [])

    def _standing(self, record: Record | None) -> str:
        if record is None:
            return "never_verified"
        if not record.completed or record.completed_at is None:
            return "not_verified"
        return "reverification_due" if self.now >= record.completed_at + VERIFICATION_STANDS else "recently_verified"

    def _is_late(self, attempt: Attempt) -> bool:
        if attempt.status == "pending":
            return self.now >= attempt.expires_at
        return (
            attempt.status == "returned"
            and attempt.returned_at is not None
            and self.now >= attempt.returned_at + TOKEN_LASTS
        )

    def _begun_without_success(self, user: str, purpose: str) -> int:
        """The attempts that were begun in the window and have not succeeded, since the last success and the last
        reset.
        """
        own = [attempt for attempt in self._of(user) if attempt.purpose == purpose]
        return sum(attempt.counted and attempt.created_at > self.now - ATTEMPT_WINDOW for attempt in own)

    def _outcome(self, attempt_id: str, parameters: Mapping[str, str], exchange: Exchange) -> Verdict | str:
        if self._is_late(self.attempts[attempt_id]):
            return "verification_expired"
        if "error" in parameters:
            return parameters["error"]
        if "code" not in parameters:
            return "no_code_returned"
        self.sent[parameters["code"]] += 1
        return exchange(attempt_id)

    def _settle(self, attempt: Attempt, outcome: Verdict | str, parameters: Mapping[str, str]) -> Decision:
        record = self.users.get(attempt.user)
        failure = outcome if isinstance(outcome, str) else self._objection(outcome, record, attempt.purpose)
        attempt.finished_at, attempt.parameters = self.now, parameters
        attempt.identity = None if isinstance(outcome, str) else outcome.identity
        if failure or isinstance(outcome, str):
            attempt.error = str(failure)
            attempt.status = "expired" if failure == "verification_expired" else "failed"
            if attempt.purpose == "login":
                self.users[attempt.user] = self._after_failure(record, attempt.error)
            attempt.counted = attempt.counted and _is_the_persons(attempt.error)
            attempt.answer = self._failed(attempt.error, attempt.purpose)
        else:
            attempt.status = "completed"
            for each in self._of(attempt.user):
                each.counted = each.counted and each.purpose != attempt.purpose
            verified = self._after_success(record, outcome)
            if attempt.purpose == "login":
                self.users[attempt.user] = verified
            attempt.answer = Decision("continue", "verified", claim=_claim(verified))
        return attempt.answer

    def _objection(self, verdict: Verdict, record: Record | None, purpose: str) -> str | None:
        """Why a verdict does not count: first the status, then the identity. A step-up takes no setting's leave."""
        enrolled, step_up = record.identity if record else None, purpose == "step_up"
        if verdict.status is None and (step_up or self.rules.require_status):
            return "status_missing"
        if verdict.status not in {None, "OK"}:
            return "status_not_accepted"
        if step_up and enrolled is None:
            return "identity_not_established"
        is_another = enrolled is not None and verdict.identity != enrolled
        return "identity_mismatch" if is_another and (step_up or not self.rules.allow_identity_change) else None

    def _after_success(self, record: Record | None, verdict: Verdict) -> Record:
        on_file = record.evidence if record else None
        if verdict.name is None and on_file and verdict.identity and on_file.identity == verdict.identity:
            verdict = replace(verdict, name=on_file.name)
        identity = verdict.identity or (record.identity if record else None)
        return Record(completed=True, completed_at=self.now, identity=identity, evidence=verdict)

    def _after_failure(self, record: Record | None, error: str) -> Record:
        stands = self._standing(record) == "recently_verified" and error not in ABOUT_THE_PERSON
        return replace(record or Record(), completed=stands, error=error)

    def _failed(self, error: str, purpose: str) -> Decision:
        return Decision("deny" if self.rules.block_on_failure or purpose == "step_up" else "continue", error, error)

    def _again(self, attempt: Attempt, parameters: Mapping[str, str]) -> Decision | Refusal:
        """The same parameters within 5 minutes get the same answer, unless the user was reset since."""
        in_time = attempt.finished_at is not None and self.now < attempt.finished_at + ANSWER_LASTS
        if attempt.parameters == parameters and in_time and attempt.answer:
            return attempt.answer
        return Refusal(409, "verification_already_finished")

    def _of(self, user: str) -> list[Attempt]:
        return [attempt for attempt in self.attempts.values() if attempt.user == user]


def _way_back(attempt: Attempt) -> str:
    return "caller" if attempt.returned_at and not attempt.withdrawn else "caller without a token"


def _is_the_persons(error: str) -> bool:
    """Whether a failure is the person's own to lose: one who comes too late has used up an attempt."""
    return error in ABOUT_THE_PERSON or error == "verification_expired"


def _claim(record: Record) -> Claim:
    assert record.evidence is not None
    assert record.completed_at is not None
    evidence = record.evidence
    return Claim(evidence.identity, evidence.status, evidence.name, record.completed_at)
