"""Starting a verification: whether one is needed now and, if so, where the browser goes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
from app.core.errors import RequestInvalid
from app.flows.addresses import is_allowed
from app.flows.authorization import AuthorizationRequests, hosted_secrets, relay_secrets
from app.flows.exchange import failure_of
from app.oidc import ProviderUnavailable
from app.storage.store import NewAttempt, Store


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
        adopts: bool = False,
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
        record = await self._store.user(request.user_id)
        adopted = self._adopted(request) if record is None else None
        settled = self._without_redirect(request, record or adopted)
        if settled and adopted is None:
            return settled
        try:
            if settled is None:
                await self._requests.prepare()
            return await self._begin(request, flow, started_by, adopted)
        except ProviderUnavailable as error:
            return self._failed(failure_of(error), request, record)

    def _adopted(self, request: StartRequest) -> UserRecord | None:
        """The record that the caller has kept of a user whom we have never met."""
        if request.app_metadata is None:
            return None
        return imports.read_app_metadata(request.app_metadata, self._clock(), self._rules).record

    def _without_redirect(self, request: StartRequest, record: UserRecord | None) -> Decision | None:
        """The decision where nobody is sent anywhere: the verification stands, or something is in the way."""
        failure = policy.obstacle(record, request.purpose)
        if failure:
            return self._failed(failure, request, record)
        if self._reason(request, record) is None:
            return decisions.standing(record, self._rules)
        return None

    async def _begin(self, request: StartRequest, flow: Flow, started_by: str, adopted: UserRecord | None) -> Decision:
        """Put an attempt on file, and say where the browser goes. Raises ProviderUnavailable."""
        now = self._clock()

        def plan(record: UserRecord | None, begun: Sequence[datetime]) -> NewAttempt | Decision:
            # The record is read again under its lock: the user may have been reset or erased since, and nothing of
            # before may be used.
            settled = self._without_redirect(request, record) or self._locked(request, record, begun, now)
            return settled or self._new_attempt(request, flow, started_by, record, now)

        window = timedelta(hours=self._rules.attempt_window_hours)
        planned = await self._store.begin_attempt(
            request.user_id,
            request.purpose,
            plan,
            window=window,
            limit=self._rules.attempt_limit,
            now=now,
            adopted=adopted,
        )
        if isinstance(planned, Decision):
            return planned
        if flow is Flow.HOSTED:
            url = self._hosted.launch_url(planned.attempt.id)
        else:
            url = await self._requests.url(planned.attempt, planned.secrets, planned.login_hint)
        return decisions.redirect(planned.reason, url, planned.record, planned.attempt)

    def _new_attempt(
        self, request: StartRequest, flow: Flow, started_by: str, record: UserRecord | None, now: datetime
    ) -> NewAttempt:
        login_hint = (record.identity_id if record else None) or request.email
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
            reason=self._reason(request, record) or Reason.FORCED,
            record=record,
            login_hint=login_hint,
        )

    def _secrets(self, request: StartRequest, flow: Flow, login_hint: str | None) -> RequestSecrets:
        if flow is Flow.HOSTED:
            return hosted_secrets(self._hosted.callback_url, login_hint)
        return relay_secrets(request.redirect_uri or self._addresses.redirect_uris[0])

    def _way_back(self, request: StartRequest) -> WayBack:
        return WayBack(return_to=request.return_to or self._addresses.return_urls[0], caller_state=request.state)

    def _reason(self, request: StartRequest, record: UserRecord | None) -> Reason | None:
        return policy.reason_to_verify(record, self._clock(), self._rules, purpose=request.purpose, force=request.force)

    def _locked(
        self, request: StartRequest, record: UserRecord | None, begun: Sequence[datetime], now: datetime
    ) -> Decision | None:
        until = policy.locked_until(begun, now, self._rules)
        if until is None:
            return None
        failure = Failure(FailureCode.TOO_MANY_ATTEMPTS, f"try again after {claims.timestamp(until)}")
        return self._failed(failure, request, record)

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
