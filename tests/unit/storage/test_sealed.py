"""Sealed values: they come out as they went in, read other versions of themselves, and open for their owner alone."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from app.core.domain import (
    Action,
    Attempt,
    Decision,
    Evidence,
    Failure,
    FailureCode,
    Flow,
    HostedSecrets,
    Purpose,
    Reason,
    RelaySecrets,
    Status,
    Tokens,
    UserRecord,
    Verdict,
    WayBack,
)
from app.storage.encryption import Cipher, Unreadable
from app.storage.sealed import NOT_AUTHENTIC, Returned, Seals

KEY = Fernet.generate_key().decode()
CIPHER = Cipher([KEY])
SEALS = Seals(CIPHER)
NOW = datetime(2026, 4, 7, 17, 28, 25, 150_000, tzinfo=UTC)
LATER = NOW + timedelta(milliseconds=1)

RELAY = Attempt(
    id="idv_6f1d2c3b4a5968778695a4b3c2d1e0f1",
    user_id="auth0|ana",
    flow=Flow.RELAY,
    purpose=Purpose.LOGIN,
    status=Status.COMPLETED,
    started_by="acme",
    created_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    locale="es",
    finished_at=NOW + timedelta(minutes=2),
    callback_fingerprint="f" * 64,
)
HOSTED = replace(RELAY, flow=Flow.HOSTED, browser_digest="b" * 64, returned_at=NOW + timedelta(minutes=1))
TOKENS = Tokens(id_token="an id token", access_token="an access token", token_type="Bearer", expires_in=3600)
EVIDENCE = Evidence(
    interview_id="interview",
    identity_id="identity",
    auth_overall_score=99.5,
    auth_overall_status="OK",
    pii={"name": "Ana Ñ.", "address": {"locality": "Sevilla"}},
    userinfo={"sub": "x", "list": [None, True, 0]},
    tokens=TOKENS,
)
DENIED = Failure(FailureCode.ACCESS_DENIED, "the person said no")
VERIFIED = Decision(
    Action.CONTINUE,
    Reason.VERIFIED,
    claims={"https://incode.com/idv": {"completed": True}},
    app_metadata={"incode_idv_completed": True},
    verification=RELAY,
    locale="es",
)
REFUSED = Decision(Action.DENY, DENIED.code, app_metadata={"x": None}, failure=DENIED, verification=RELAY, locale="es")

Seal = Callable[[Attempt, Any], bytes]
Open = Callable[[Attempt, bytes], Any]


@dataclass(frozen=True)
class Kind:
    """One kind of an attempt's sealed values. `bound_to`: the columns besides those that every kind is bound to."""

    seal: Seal
    open: Open
    attempt: Attempt
    values: tuple[Any, ...]
    bound_to: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()  # members that may be missing, and are None then


REQUEST = (SEALS.seal_request, SEALS.request)
KINDS = {
    "a relay request": Kind(
        *REQUEST,
        RELAY,
        (RelaySecrets(nonce="n", code_verifier="v", redirect_uri="https://tenant.example/continue"),),
        frozenset({"browser_digest"}),
    ),
    "a hosted request": Kind(
        *REQUEST,
        HOSTED,
        (
            HostedSecrets(
                nonce="n", code_verifier="v", redirect_uri="https://idv.example/v1/callback", login_hint="ana@x"
            ),
            HostedSecrets(nonce="n", code_verifier="v", redirect_uri="https://idv.example/v1/callback"),
        ),
        frozenset({"browser_digest"}),
        frozenset({"login_hint"}),
    ),
    "a way back": Kind(
        SEALS.seal_way_back,
        SEALS.way_back,
        HOSTED,
        (
            WayBack(return_to="https://tenant.example/back", caller_state="opaque"),
            WayBack(return_to="https://a.example/"),
        ),
        optional=frozenset({"caller_state"}),
    ),
    "an outcome": Kind(
        SEALS.seal_returned,
        SEALS.returned,
        HOSTED,
        (
            Returned(outcome=Verdict(EVIDENCE), token_digest="d" * 64),
            Returned(
                outcome=Verdict(replace(EVIDENCE, tokens=None, userinfo=None), userinfo_answered=False),
                token_digest="d",
            ),
            Returned(outcome=Verdict(Evidence()), token_digest="d"),
            Returned(outcome=DENIED, token_digest="d"),
            Returned(outcome=Failure(FailureCode.PROVIDER_UNAVAILABLE), token_digest="d"),
        ),
        frozenset({"returned_at"}),
    ),
    "a return address": Kind(
        SEALS.seal_return_location,
        SEALS.return_location,
        HOSTED,
        ("https://tenant.example/back?session_token=x",),
        frozenset({"browser_digest", "returned_at"}),
    ),
    "an answer": Kind(
        SEALS.seal_answer,
        SEALS.answer,
        RELAY,
        (VERIFIED, REFUSED, replace(VERIFIED, claims={}, app_metadata={})),
        frozenset({"status", "callback_fingerprint", "finished_at"}),
    ),
}
BOUND_TO = frozenset({"id", "user_id", "flow", "purpose", "omit_state", "created_at", "expires_at"})
OTHERWISE: dict[str, Any] = {
    "id": "idv_00000000000000000000000000000000",
    "user_id": "auth0|eve",
    "flow": None,  # the other one
    "purpose": Purpose.STEP_UP,
    "omit_state": True,
    "created_at": NOW + timedelta(milliseconds=1),
    "expires_at": NOW + timedelta(hours=1, milliseconds=1),
    "browser_digest": "c" * 64,
    "returned_at": NOW + timedelta(minutes=1, milliseconds=1),
    "status": Status.FAILED,
    "callback_fingerprint": "e" * 64,
    "finished_at": NOW + timedelta(minutes=2, milliseconds=1),
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def rewritten(sealed: bytes, change: Callable[[Any], Any]) -> bytes:
    """The sealed value as another version of the service would have sealed it, for the same owner."""
    owner, value = json.loads(Fernet(KEY).decrypt(sealed))
    return CIPHER.seal(owner, change(value))


@pytest.mark.parametrize("omit_state", [False, True])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("a relay request", "request"),
        ("a hosted request", "request"),
        ("a way back", "way back"),
        ("an outcome", "outcome"),
        ("a return address", "return"),
        ("an answer", "answer"),
    ],
)
def test_the_next_version_finds_the_owner_under_the_name_that_this_one_gives(
    kind: str, name: str, *, omit_state: bool
) -> None:
    """Two versions serve side by side, and each opens what the other has sealed."""
    of = KINDS[kind]
    attempt = replace(of.attempt, omit_state=omit_state)
    bound: dict[str, list[str | None]] = {
        "request": [attempt.browser_digest or ""],
        "outcome": ["2026-04-07T17:29:25.150Z"],
        "return": [attempt.browser_digest, "2026-04-07T17:29:25.150Z"],
        "answer": ["completed", attempt.callback_fingerprint, "2026-04-07T17:30:25.150Z"],
    }
    state = "omit_state" if omit_state else "state"
    told = [attempt.id, "auth0|ana", attempt.flow, "login", state, "2026-04-07T17:28:25.150Z"]
    owner, _ = json.loads(Fernet(KEY).decrypt(of.seal(attempt, of.values[0])))
    assert owner.split("\n") == [name, *told, "2026-04-07T18:28:25.150Z", *bound.get(name, [])]


def with_one_more(value: Any) -> Any:
    return {**value, "of a newer version": [1]} if isinstance(value, dict) else value


def otherwise(attempt: Attempt, column: str) -> Attempt:
    if column == "flow":
        return replace(attempt, flow=Flow.RELAY if attempt.flow is Flow.HOSTED else Flow.HOSTED)
    return replace(attempt, **{column: OTHERWISE[column]})


def is_open(kind: Kind, attempt: Attempt, sealed: bytes) -> bool:
    try:
        kind.open(attempt, sealed)
    except Unreadable:
        return False
    return True


@each_kind
def test_a_value_comes_out_as_it_went_in(kind: Kind) -> None:
    for value in kind.values:
        assert kind.open(kind.attempt, kind.seal(kind.attempt, value)) == value


@each_kind
def test_members_of_a_newer_version_are_ignored(kind: Kind) -> None:
    for value in kind.values:
        assert kind.open(kind.attempt, rewritten(kind.seal(kind.attempt, value), with_one_more)) == value


@each_kind
def test_a_value_opens_in_no_row_that_differs_in_what_it_is_bound_to(kind: Kind) -> None:
    sealed = kind.seal(kind.attempt, kind.values[0])
    opens = {column for column in BOUND_TO | kind.bound_to if is_open(kind, otherwise(kind.attempt, column), sealed)}
    assert opens == set()


@each_kind
def test_a_value_still_opens_when_the_attempt_goes_on(kind: Kind) -> None:
    sealed = kind.seal(kind.attempt, kind.values[0])
    others = OTHERWISE.keys() - BOUND_TO - kind.bound_to
    opens = {column for column in others if is_open(kind, otherwise(kind.attempt, column), sealed)}
    assert opens == others != set()


@each_kind
def test_a_value_of_one_kind_is_none_of_another(kind: Kind) -> None:
    sealed = kind.seal(kind.attempt, kind.values[0])
    for other in KINDS.values():
        if other.open != kind.open:
            with pytest.raises(Unreadable):
                other.open(kind.attempt, sealed)


@each_kind
def test_a_value_that_lacks_what_must_be_there_is_unreadable_and_what_may_be_missing_has_its_default(
    kind: Kind,
) -> None:
    value = kind.values[0]
    owner, members = json.loads(Fernet(KEY).decrypt(kind.seal(kind.attempt, value)))
    if not isinstance(members, dict):
        return
    for member in members:
        sealed = CIPHER.seal(owner, without(members, member))
        if member in kind.optional:
            assert kind.open(kind.attempt, sealed) == replace(value, **{member: None})
        else:
            assert is_open(kind, kind.attempt, sealed) is (member in MAY_BE_MISSING), member


MAY_BE_MISSING = {"failure", "evidence", "userinfo_answered"}  # of an outcome and an answer: tested below


def without(value: dict[str, Any], member: str) -> dict[str, Any]:
    return {name: held for name, held in value.items() if name != member}


def test_an_outcome_of_an_older_version_has_the_defaults_of_what_it_lacks() -> None:
    verdict = Verdict(EVIDENCE, userinfo_answered=False)
    sealed = SEALS.seal_returned(HOSTED, Returned(outcome=verdict, token_digest="d"))
    older = rewritten(sealed, lambda _: {"evidence": {"identity_id": "identity"}, "token_digest": "d"})
    expected = Verdict(Evidence(identity_id="identity"), userinfo_answered=True)
    assert SEALS.returned(HOSTED, older) == Returned(outcome=expected, token_digest="d")


@pytest.mark.parametrize(
    "value",
    [None, [], "text", 1, {"failure": 1, "token_digest": "d"}, {"evidence": [], "token_digest": "d"}, {"failure": {}}],
)
def test_an_outcome_of_no_form_is_unreadable(value: Any) -> None:
    sealed = rewritten(SEALS.seal_returned(HOSTED, Returned(outcome=DENIED, token_digest="d")), lambda _: value)
    with pytest.raises(Unreadable):
        SEALS.returned(HOSTED, sealed)


@pytest.mark.parametrize(
    "change",
    [{"action": "shrug"}, {"reason": "because"}, {"failure": {"description": "no code"}}, {"failure": "text"}],
    ids=repr,
)
def test_an_answer_of_no_form_is_unreadable(change: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        SEALS.answer(RELAY, rewritten(SEALS.seal_answer(RELAY, VERIFIED), lambda value: {**value, **change}))


def test_a_failure_that_only_a_newer_version_knows_is_still_a_failure() -> None:
    newer = {"code": "of_a_newer_version", "description": "new"}
    sealed = rewritten(
        SEALS.seal_answer(RELAY, REFUSED), lambda value: {**value, "reason": "of_a_newer_version", "failure": newer}
    )
    answer = SEALS.answer(RELAY, sealed)
    assert (answer.action, answer.reason) == (Action.DENY, FailureCode.AUTHORIZATION_ERROR)
    assert answer.failure == Failure(FailureCode.AUTHORIZATION_ERROR, "of_a_newer_version")


def test_a_key_of_the_services_own_opens_under_its_name_alone() -> None:
    sealed = SEALS.seal_key("audit", b"\x00\xff key")
    assert SEALS.key("audit", sealed) == b"\x00\xff key"
    with pytest.raises(Unreadable):
        SEALS.key("another", sealed)


# -- a user's record

RECORD = UserRecord(
    completed=True,
    completed_at=NOW,
    interview_id="interview",
    identity_id="identity",
    failure=DENIED,
    evidence=EVIDENCE,
)


def row(record: UserRecord = RECORD, sealed_at: int = 7, **changes: Any) -> SimpleNamespace:
    """A user's row, with some columns changed behind the service's back."""
    return SimpleNamespace(
        **{"user_id": "auth0|ana", **SEALS.record_columns("auth0|ana", record, sealed_at), **changes}
    )


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        UserRecord(),
        UserRecord(completed=False, failure=Failure(FailureCode.NO_CODE_RETURNED)),
        replace(RECORD, failure=None, evidence=replace(EVIDENCE, tokens=None)),
    ],
)
def test_a_record_comes_out_as_it_went_in(record: UserRecord) -> None:
    assert SEALS.record(row(record)) == record


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("user_id", "auth0|eve"),
        ("revision", 6),
        ("revision", 8),
        ("revision", 0),
        ("completed", False),
        ("completed", None),
        ("completed_at", LATER),
        ("completed_at", None),
        ("interview_id", "another"),
        ("interview_id", None),
        ("identity_id", "another"),
        ("identity_id", None),
        ("error", "access_denied"),
        ("error", None),
        ("sealed_record", None),
        ("sealed_record", b""),
        ("sealed_record", b"forged"),
        ("sealed_record", row(replace(RECORD, identity_id="another")).sealed_record),
        ("sealed_record", row(sealed_at=6).sealed_record),
        ("sealed_record", Cipher([Fernet.generate_key().decode()]).seal("user\nauth0|ana", {"revision": 7})),
    ],
)
def test_a_record_of_which_one_column_was_changed_is_not_authentic(column: str, value: Any) -> None:
    assert SEALS.record(row(**{column: value})) is NOT_AUTHENTIC


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("completed", True),
        ("completed_at", NOW),
        ("interview_id", "x"),
        ("identity_id", "x"),
        ("error", "access_denied"),
    ],
)
def test_a_record_to_which_somebody_has_added_is_not_authentic(column: str, value: Any) -> None:
    assert SEALS.record(row(UserRecord(), **{column: value})) is NOT_AUTHENTIC


def test_a_row_that_is_only_a_lock_is_no_record() -> None:
    lock = row(UserRecord(), revision=0, sealed_record=None)
    assert SEALS.record(lock) is None
    # Whatever else somebody writes into it.
    assert SEALS.record(row(RECORD, revision=0, sealed_record=None)) is None


def test_a_record_ignores_members_of_a_newer_version() -> None:
    sealed = rewritten(row().sealed_record, with_one_more)
    assert SEALS.record(row(sealed_record=sealed)) == RECORD


@pytest.mark.parametrize("member", ["completed", "completed_at", "interview_id", "identity_id", "failure", "evidence"])
def test_a_record_of_an_older_version_has_the_defaults_of_what_it_lacks(member: str) -> None:
    expected = replace(RECORD, **{member: getattr(UserRecord(), member)})
    sealed = rewritten(row().sealed_record, lambda value: without(value, member))
    assert SEALS.record(row(expected, sealed_record=sealed)) == expected


@pytest.mark.parametrize("member", ["interview_id", "identity_id", "auth_overall_score", "pii", "userinfo", "tokens"])
def test_evidence_of_an_older_version_has_the_defaults_of_what_it_lacks(member: str) -> None:
    sealed = rewritten(row().sealed_record, lambda value: {**value, "evidence": without(value["evidence"], member)})
    expected = replace(RECORD, evidence=replace(EVIDENCE, **{member: getattr(Evidence(), member)}))
    assert SEALS.record(row(sealed_record=sealed)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"completed_at": "yesterday"},
        {"completed_at": 1},
        {"failure": "access_denied"},
        {"failure": {}},
        {"evidence": []},
        {"evidence": {"tokens": {"id_token": "alone"}}},
    ],
    ids=repr,
)
def test_a_record_of_no_form_is_not_authentic(change: dict[str, Any]) -> None:
    sealed = rewritten(row().sealed_record, lambda value: {**value, **change})
    assert SEALS.record(row(sealed_record=sealed)) is NOT_AUTHENTIC


@pytest.mark.parametrize("value", [None, [], "text", 1])
def test_a_record_that_is_no_object_is_not_authentic(value: Any) -> None:
    assert SEALS.record(row(sealed_record=rewritten(row().sealed_record, lambda _: value))) is NOT_AUTHENTIC


def test_what_is_sealed_shows_nothing() -> None:
    shown = [kind.seal(kind.attempt, value) for kind in KINDS.values() for value in kind.values] + [row().sealed_record]
    # Chance writes three letters into eight thousand characters more often than one would think.
    for word in (b'"Ana ', b"Sevilla", b"tenant.example", b"opaque", b"an id token", b"auth0", b"access_denied"):
        assert not any(word in sealed for sealed in shown), word
