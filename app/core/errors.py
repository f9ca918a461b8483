"""The service's refusals and faults. Each is answered as a problem (RFC 9457), which `api/problems.py` does.

Problem
├── a request is refused, and nothing was recorded
│   ├── SessionTokenInvalid          400  session_token_invalid
│   ├── Unauthorized                 401  unauthorized
│   ├── Forbidden                    403  forbidden
│   ├── NotFound                     404  not_found
│   ├── MethodNotAllowed             405  method_not_allowed
│   ├── RequestTimeout               408  request_timeout
│   ├── VerificationNotFound         404  verification_not_found
│   ├── VerificationMismatch         409  verification_mismatch
│   ├── VerificationAlreadyFinished  409  verification_already_finished
│   ├── CallbackInProgress           409  callback_in_progress
│   ├── StateInvalid                 409  state_invalid
│   ├── ResponseIssuerMismatch       409  issuer_mismatch
│   ├── PayloadTooLarge              413  payload_too_large
│   └── RequestInvalid               422  validation_error
└── our own infrastructure failed
    ├── InternalError                500  internal_error
    └── DatabaseUnavailable          503  database_unavailable
        └── TracesRemain             503  database_unavailable
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class Problem(Exception):
    """A refused request or a fault. `code` is stable.

    `detail` says what went wrong and `hint` what to do about it, without anything personal in either.
    """

    status: int
    code: str
    title: str
    detail: str
    hint: str
    headers: ClassVar[Mapping[str, str]] = {}


class SessionTokenInvalid(Problem):
    """The session token is not ours, is no session token, or came too late."""

    status, code, title = 400, "session_token_invalid", "Session token invalid"
    detail = "The session token is malformed, was not made by this service, or is older than 5 minutes."
    hint = (
        "Hand in the `session_token` that came to `return_to`, whole and at once. Check that every process has the "
        "same `REDIRECT_SECRET` and `PUBLIC_URL`. Otherwise let the user log in again."
    )


class Unauthorized(Problem):
    """No API key, or an unknown one (RFC 6750 section 3)."""

    status, code, title = 401, "unauthorized", "Unauthorized"
    detail = "The API key is missing or unknown. Send it in the header `Authorization: Bearer …`."
    hint = (
        "Check that the key is sent whole and that its entry is among the API keys in the settings of the process "
        "that answers, which reads them at its start. `idv api-key NAME` makes a new one."
    )
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="idv"'}


class Forbidden(Problem):
    """A known API key without the role."""

    status, code, title = 403, "forbidden", "Forbidden"
    detail = "The API key is known, but its role may not use this route."
    hint = "Use a key of a role that may: `/docs` names the keys that each route takes."


class NotFound(Problem):
    """No such route."""

    status, code, title = 404, "not_found", "Not found"
    detail = "There is no such route. The routes are listed in /docs."
    hint = "Compare the address with `/docs`. A `/` in a user id is written as `%2F`; a line break is in no address."


class MethodNotAllowed(Problem):
    """The route exists, but not for this method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"
    detail = "This route does not take this method; the header `Allow` names those that it takes."
    hint = "Use a method that the answer's header `Allow` names, or compare the address with `/docs`."


class RequestTimeout(Problem):
    """A body that did not arrive whole in time (RFC 9110 section 15.5.9)."""

    status, code, title = 408, "request_timeout", "Request timeout"
    detail = "The request's body did not begin within 10 seconds, or was not whole within 10 more."
    hint = (
        "Send the body at once and all of it; compare `Content-Length` with what is sent, and look at the way between."
    )


class VerificationNotFound(Problem):
    """Unknown, erased, or none that this callback could belong to."""

    status, code, title = 404, "verification_not_found", "Verification not found"
    detail = "There is no such verification of this user. It may have been erased, or removed after RETENTION_DAYS."
    hint = "Send the `verification.id` of the start and the same `user_id`. Otherwise let the user log in again."


class VerificationMismatch(Problem):
    """User, flow or purpose of the callback are not the attempt's."""

    status, code, title = 409, "verification_mismatch", "Verification mismatch"
    detail = "The verification belongs to another user, or to another flow or purpose than this callback."
    hint = (
        "Take `user_id` and `verification_id` from the same session of your own, never from the URL. A hosted "
        "verification takes `session_token` alone, a relay one takes none. If they are right, somebody passed a "
        "link on: refuse the login."
    )


class VerificationAlreadyFinished(Problem):
    """Finished with other parameters, or too long ago to answer again."""

    status, code, title = 409, "verification_already_finished", "Verification already finished"
    detail = "This verification is finished. Only the same callback is answered again, and for 5 minutes only."
    hint = (
        "Send each callback once. To repeat a lost answer, send exactly the same parameters within 5 minutes. `GET "
        "/v1/verifications/{id}` tells how it ended."
    )


class CallbackInProgress(Problem):
    """Another callback of this attempt is exchanging the code."""

    status, code, title = 409, "callback_in_progress", "Callback in progress"
    detail = "Another callback of this verification is under way. Repeat this request after a moment."
    hint = (
        "Wait as long as `Retry-After` says and send the same callback again. A callback that was interrupted is "
        "given up after 20 seconds."
    )
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class StateInvalid(Problem):
    """The state is not the one that was made for this attempt (RFC 6749 section 10.12)."""

    status, code, title = 409, "state_invalid", "State invalid"
    detail = (
        "The state was not made for this verification. Where your own redirect replaces our state, do not send one."
    )
    hint = (
        "Pass `state` on as it came. Where your own redirect puts its own there (Auth0), start with `omit_state` "
        "and leave `state` out. Check that every process has the same `REDIRECT_SECRET`. If all this is right, "
        "treat it as an attack."
    )


class ResponseIssuerMismatch(Problem):
    """The authorization response came from another issuer, or does not say from which (RFC 9207)."""

    status, code, title = 409, "issuer_mismatch", "Issuer mismatch"
    detail = "The response's `iss` is not the configured issuer, or is missing. Pass it on as it came."
    hint = (
        "Pass `iss` on as it came. Compare it with `INCODE_ISSUER` (by default `INCODE_SERVER_URL`): demo and "
        "production differ. If all this is right, treat it as an attack."
    )


class PayloadTooLarge(Problem):
    """A body over 64 KB, or over 256 KB at a token hook."""

    status, code, title = 413, "payload_too_large", "Payload too large"
    detail = "A request body may hold 64 KB, that of a token hook 256 KB."
    hint = "Send the fields of the contract and nothing else. No request of an identity provider comes near this size."


class RequestInvalid(Problem):
    """Missing, unknown or malformed fields. `errors` names each field and what is wrong with it, never its value."""

    status, code, title = 422, "validation_error", "Validation error"
    detail = "The request has fields that are missing, unknown or malformed."
    hint = "Correct the fields that `errors` lists; `/docs` shows each request with examples."

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__()
        self.errors = errors

    def within(self, part: str) -> RequestInvalid:
        """The same, with each field named as a member of `part` of the request."""
        return RequestInvalid([{**error, "field": f"{part}.{error['field']}"} for error in self.errors])


class InternalError(Problem):
    """A fault that nobody foresaw."""

    status, code, title = 500, "internal_error", "Internal error"
    detail = "The service failed. The operator finds the cause in the log under the request id."
    hint = (
        "Look in the log for the `request_id`: the line `unexpected_error` names the place. Repeat the request "
        "once; if it fails again, report that line."
    )


class DatabaseUnavailable(Problem):
    """The database cannot be reached, is busy, or is not migrated."""

    status, code, title = 503, "database_unavailable", "Database unavailable"
    detail = "The database cannot be used at the moment. Nothing was recorded; repeat the request."
    hint = (
        "Ask `/readyz`: it says what is wrong. Check that the server of `DATABASE_URL` runs, has connections and "
        "room left, and that `idv migrate` was run. Then repeat the request."
    )
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class CommitInDoubt(DatabaseUnavailable):
    """The connection broke while the database was asked to record: it may have done so."""

    detail = (
        "The connection to the database broke while it recorded. It may have been recorded or not; repeat the request."
    )


class TracesRemain(DatabaseUnavailable):
    """The rows are deleted, but SQLite's file still holds traces of them: it could not be written anew."""

    detail = (
        "The rows are deleted, but another process uses the database, whose file keeps traces of them. Repeat the "
        "request."
    )
    hint = "Repeat the request until it succeeds, so that the file keeps no traces."
