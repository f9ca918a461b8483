"""The service's refusals and faults. Each is answered as a problem (RFC 9457); `api/problems.py` is where that is done.

Problem
├── 400..499  the request is refused and nothing was recorded
└── 500..599  a fault of our own infrastructure
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class Problem(Exception):
    """A refused request or a fault. `code` is stable; `detail` says what went wrong, without anything personal in it."""

    status: int
    code: str
    title: str
    detail: str
    headers: ClassVar[Mapping[str, str]] = {}


class SessionTokenInvalid(Problem):
    """The session token is not ours, is no session token, or came too late."""

    status, code, title = 400, "session_token_invalid", "Session token invalid"
    detail = "The session token is malformed, was not made by this service, or is older than 5 minutes."


class Unauthorized(Problem):
    """No API key, or an unknown one (RFC 6750 section 3)."""

    status, code, title = 401, "unauthorized", "Unauthorized"
    detail = "The API key is missing or unknown. Send it in the header «Authorization: Bearer …»."
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="idv"'}


class Forbidden(Problem):
    """A known API key without the role."""

    status, code, title = 403, "forbidden", "Forbidden"
    detail = "This route needs an administrator's API key."


class NotFound(Problem):
    """No such route."""

    status, code, title = 404, "not_found", "Not found"
    detail = "There is no such route. The routes are listed in /docs."


class MethodNotAllowed(Problem):
    """The route exists, but not for this method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"
    detail = "This route does not take this method; the header «Allow» names those that it takes."


class VerificationNotFound(Problem):
    """Unknown, erased, or none that this callback could belong to."""

    status, code, title = 404, "verification_not_found", "Verification not found"
    detail = "There is no such verification of this user. It may have been erased, or another one was finished already."


class VerificationMismatch(Problem):
    """User, flow or purpose of the callback are not the attempt's."""

    status, code, title = 409, "verification_mismatch", "Verification mismatch"
    detail = "The verification belongs to another user, or to another flow or purpose than this callback."


class VerificationAlreadyFinished(Problem):
    """Finished with other parameters, or too long ago to answer again."""

    status, code, title = 409, "verification_already_finished", "Verification already finished"
    detail = "This verification is finished. Only the same callback is answered again, and for 5 minutes only."


class CallbackInProgress(Problem):
    """Another callback of this attempt is exchanging the code."""

    status, code, title = 409, "callback_in_progress", "Callback in progress"
    detail = "Another callback of this verification is under way. Repeat this request after a moment."
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class StateInvalid(Problem):
    """The state is not the one that was made for this attempt (RFC 6749 section 10.12)."""

    status, code, title = 409, "state_invalid", "State invalid"
    detail = "The state was not made for this verification. Where your own redirect replaces our state, do not send one."


class ResponseIssuerMismatch(Problem):
    """The authorization response came from another issuer, or does not say from which (RFC 9207)."""

    status, code, title = 409, "issuer_mismatch", "Issuer mismatch"
    detail = "The response's «iss» is not the configured issuer, or is missing. Pass it on as it came."


class PayloadTooLarge(Problem):
    """A body over 64 KB."""

    status, code, title = 413, "payload_too_large", "Payload too large"
    detail = "A request body may hold 64 KB."


class RequestInvalid(Problem):
    """Missing, unknown or malformed fields. `errors` names each field and what is wrong with it, never its value."""

    status, code, title = 422, "validation_error", "Validation error"
    detail = "The request has fields that are missing, unknown or malformed."

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__()
        self.errors = errors


class InternalError(Problem):
    """A fault that nobody foresaw."""

    status, code, title = 500, "internal_error", "Internal error"
    detail = "The service failed. The operator finds the cause in the log under the request id."


class DatabaseUnavailable(Problem):
    """The database cannot be reached, is busy, or is not migrated."""

    status, code, title = 503, "database_unavailable", "Database unavailable"
    detail = "The database cannot be used at the moment. Nothing was recorded; repeat the request."
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class CommitInDoubt(DatabaseUnavailable):
    """The connection broke while the database was asked to record: it may have done so."""

    detail = "The connection to the database broke while it recorded. It may have been recorded or not; repeat the request."


class TracesRemain(DatabaseUnavailable):
    """The rows are deleted, but SQLite's file still holds traces of them: it could not be written anew."""

    detail = "The rows are deleted, but another process uses the database, whose file keeps traces of them. Repeat the request."
