"""Starting a verification: whether one is needed now and, if so, where the browser goes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from app.core import claims, decisions, imports, policy
from app.core.domain import (
    Addresses,
    Attempt,
    Clock,
    Decision,
    Failure,
    FailureCode,
    Flow,
    HostedAddresses,
    Json,
    Purpose,
    Reason,
    RequestSecrets,
    Rules,
    Status,
    UserRecord,
    WayBack,
)
from app.core.errors import DatabaseUnavailable, RequestInvalid
from app.flows.addresses import is_allowed
from app.flows.authorization import AuthorizationRequests, hosted_secrets, relay_secrets
from app.flows.exchange import failure_of
from app.oidc import ProviderUnavailable
from app.storage.encryption import Unreadable
from app.storage.store import TRIES, NewAttempt, Reading, Store

_log = structlog.stdlib.get_logger("app.start")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """What a caller asks for. `email` is the `login_hint` of a person's first verification.

    `app_metadata` is what the Action has kept of a user whom we may never have met.
    """

    user_id: str
    email: str | None = field(default=None, repr=False)
    purpose: Purpose = Purpose.LOGIN
    flow: Flow | None = None
    force: bool = False
    omit_state: bool = False
    redirect_uri: str | None = None
    return_to: str | None = None
    state: str | None = field(default=None, repr=False)
    locale: str | None = None
    app_metadata: Mapping[str, Json] | None = field(default=None, repr=False)


class Starting:
    """Starts verifications over one store and one provider. An attempt may take `lifetime`.

    `adopts`: what the caller has kept of a user whom we have never met is taken over.
    """

    def __init__(
        self,
        *,
        store: Store,
        requests: AuthorizationRequests,
        rules: Rules,
        addresses: Addresses,
        hosted: HostedAddresses,
        lifetime: timedelta,
        clock: Clock,
        adopts: bool,
    ) -> None:
        self._store = store
        self._requests = requests
        self._rules = rules
        self._addresses = addresses
        self._hosted = hosted
        self._lifetime = lifetime
        self._clock = clock
        self._adopts = adopts

    async def start(self, request: StartRequest, started_by: str) -> Decision:
        """Whether the user must be verified now and, if so, where to send the browser. Raises RequestInvalid."""
        flow = request.flow or (Flow.RELAY if self._addresses.redirect_uris else Flow.HOSTED)
        self._check_flow(request, flow)
        for _ in range(TRIES):
            reading = await self._read(request)
            if settled := self._without_redirect(request, reading.record):
                return settled
            try:
                begun = await self._begin(request, flow, started_by, reading)
            except ProviderUnavailable as error:
                return self._failed(failure_of(error), request, reading.record)
            if begun:
                return begun
        raise DatabaseUnavailable

    def _without_redirect(self, request: StartRequest, record: UserRecord | None) -> Decision | None:
        """The decision where nobody is sent anywhere: the verification stands, or something is in the way."""
        failure = policy.obstacle(record, request.purpose)
        if failure:
            return self._failed(failure, request, record)
        if self._reason(request, record) is None:
            return decisions.standing(record, self._rules)
        return None

    async def _begin(self, request: StartRequest, flow: Flow, started_by: str, reading: Reading) -> Decision | None:
        """Put an attempt on file, and say where the browser goes; None where the reading is no longer true.

        Then the user was reset, erased or verified meanwhile, or another attempt has begun. Raises ProviderUnavailable.
        """
        await self._requests.prepare()
        if locked := self._locked(request, reading):
            return locked
        record = reading.record
        login_hint = (record.identity_id if record else None) or request.email
        new = self._new_attempt(request, flow, started_by, login_hint)
        if not await self._store.begin_attempt(new, reading):
            return None
        reason = self._reason(request, record) or Reason.FORCED
        return decisions.redirect(reason, await self._url(new, login_hint), record, new.attempt)

    async def _read(self, request: StartRequest) -> Reading:
        """What is on file about the user, with what the caller has kept of one whom we have never met."""
        reading = await self._look(request)
        if reading.record is None and request.app_metadata is not None:
            kept = imports.read_app_metadata(request.app_metadata, self._clock(), self._rules).record
            if kept:
                await self._adopt(request.user_id, kept)
                return await self._look(request)
        return reading

    async def _adopt(self, user_id: str, kept: UserRecord) -> None:
        """Take over what the caller has kept, unless the user may be one who was erased: such a one verifies again."""
        try:
            await self._store.adopt(user_id, kept)
        except Unreadable:
            _log.warning("not_adopted", cause="keyring_unreadable")

    async def _look(self, request: StartRequest) -> Reading:
        now = self._clock()
        since = now - timedelta(hours=self._rules.attempt_window_hours)
        return await self._store.read_for_start(
            request.user_id, request.purpose, since=since, limit=self._rules.attempt_limit, now=now
        )

    async def _url(self, new: NewAttempt, login_hint: str | None) -> str:
        """Where the browser goes. Raises ProviderUnavailable."""
        if new.attempt.flow is Flow.HOSTED:
            return self._hosted.launch_url(new.attempt.id)
        return await self._requests.url(new.attempt, new.secrets, login_hint)

    def _new_attempt(self, request: StartRequest, flow: Flow, started_by: str, login_hint: str | None) -> NewAttempt:
        now = self._clock()
        attempt = Attempt(
            id=f"idv_{secrets.token_hex(16)}",
            user_id=request.user_id,
            flow=flow,
            purpose=request.purpose,
            status=Status.PENDING,
            started_by=started_by,
            created_at=now,
            expires_at=now + self._lifetime,
            omit_state=request.omit_state,
            locale=request.locale,
        )
        return NewAttempt(
            attempt=attempt,
            secrets=self._secrets(request, flow, login_hint),
            way_back=self._way_back(request) if flow is Flow.HOSTED else None,
        )

    def _secrets(self, request: StartRequest, flow: Flow, login_hint: str | None) -> RequestSecrets:
        if flow is Flow.HOSTED:
            return hosted_secrets(self._hosted.callback_url, login_hint)
        return relay_secrets(request.redirect_uri or self._addresses.redirect_uris[0])

    def _way_back(self, request: StartRequest) -> WayBack:
        return WayBack(return_to=request.return_to or self._addresses.return_urls[0], caller_state=request.state)

    def _reason(self, request: StartRequest, record: UserRecord | None) -> Reason | None:
        return policy.reason_to_verify(record, self._clock(), self._rules, purpose=request.purpose, force=request.force)

    def _locked(self, request: StartRequest, reading: Reading) -> Decision | None:
        until = policy.locked_until(reading.filled_at, self._clock(), self._rules)
        if until is None:
            return None
        failure = Failure(FailureCode.TOO_MANY_ATTEMPTS, f"try again after {claims.timestamp(until)}")
        return self._failed(failure, request, reading.record)

    def _failed(self, failure: Failure, request: StartRequest, record: UserRecord | None) -> Decision:
        return decisions.failed(failure, request.purpose, record, self._rules, request.locale)

    def _check_flow(self, request: StartRequest, flow: Flow) -> None:
        """Refuse what does not fit the flow, and a flow that is not configured. Raises RequestInvalid."""
        wrong = self._wrong_for_relay(request) if flow is Flow.RELAY else self._wrong_for_hosted(request)
        if request.app_metadata is not None and not self._adopts:
            wrong["app_metadata"] = "is taken over only with ADOPT_APP_METADATA=true"
        if wrong:
            raise RequestInvalid([{"field": name, "message": message} for name, message in wrong.items()])

    def _wrong_for_relay(self, request: StartRequest) -> dict[str, str]:
        wrong: dict[str, str] = {}
        if not self._addresses.redirect_uris:
            wrong["flow"] = "relay needs REDIRECT_URI or AUTH0_DOMAIN to be set"
        elif request.redirect_uri and request.redirect_uri not in self._addresses.redirect_uris:
            wrong["redirect_uri"] = "is not one of REDIRECT_URI"
        hosted_only = {"return_to": request.return_to, "state": request.state}
        return wrong | {name: "belongs to the hosted flow" for name, given in hosted_only.items() if given}

    def _wrong_for_hosted(self, request: StartRequest) -> dict[str, str]:
        wrong: dict[str, str] = {}
        if not self._addresses.return_urls:
            wrong["flow"] = "hosted needs RETURN_URLS or AUTH0_DOMAIN to be set"
        elif request.return_to and not is_allowed(request.return_to, self._addresses.return_urls):
            wrong["return_to"] = "is not one of RETURN_URLS"
        relay_only = {"omit_state": request.omit_state, "redirect_uri": request.redirect_uri}
        return wrong | {name: "belongs to the relay flow" for name, given in relay_only.items() if given}
