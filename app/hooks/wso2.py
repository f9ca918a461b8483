"""WSO2 Identity Server's service extensions.

They change a token's claims, and make the hosted flow a step of the login.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from fastapi import Body, Response
from pydantic import Field

from app.api.deps import counted_callback, note_decision
from app.api.keys import SCHEMES
from app.api.problems import declared_answer
from app.api.reference import examples
from app.api.schemas import UserId
from app.core import errors, messages
from app.core.domain import Action, Decision, Flow, Json, Role
from app.flows.hosted import TransactionConfirmation
from app.flows.start import StartRequest
from app.hooks.authenticators import BASIC
from app.hooks.hook import CamelCased, Claim, CurrentMinting, Minting, Provider, answer, hook_router, refusals

COMMONAUTH = "/commonauth"
_REFUSED = "identity_verification_failed"

router = hook_router(Provider.WSO2, SCHEMES[Role.IDP], SCHEMES[Role.ADMIN], BASIC, seconds=3.0)


class Wso2User(CamelCased):
    """The user who logs in."""

    id: UserId


class Wso2Parameter(CamelCased):
    """A parameter of the request that the browser or the application has sent."""

    name: str = Field(description="Its name.")
    value: list[str] = Field(description="Its values.")


class Wso2Request(CamelCased):
    """The request that the browser or the application has sent."""

    grant_type: str | None = Field(default=None, description="The grant; `client_credentials` has no user.")
    additional_params: list[Wso2Parameter] = Field(
        default_factory=list, description="The parameters that the console allows to be passed on."
    )


class Wso2Claim(CamelCased):
    """A claim of a token."""

    name: str = Field(description="Its name.")
    value: Any = Field(default=None, description="Its value.")


class Wso2Token(CamelCased):
    """A token that is about to be issued."""

    claims: list[Wso2Claim] = Field(default_factory=list, description="Its claims so far.")


class Wso2TokenEvent(CamelCased):
    """Which token is issued, and to whom."""

    request: Wso2Request = Field(default_factory=Wso2Request, description="The request at the token endpoint.")
    user: Wso2User | None = Field(default=None, description="The user who logs in.")
    id_token: Wso2Token | None = Field(default=None, description="The ID token.")
    access_token: Wso2Token | None = Field(default=None, description="The access token.")


class Wso2TokenRequest(CamelCased):
    """What WSO2 sends when it is about to issue a token."""

    action_type: Literal["PRE_ISSUE_ID_TOKEN", "PRE_ISSUE_ACCESS_TOKEN"] = Field(description="Which token.")
    event: Wso2TokenEvent = Field(description="Which token is issued, and to whom.")


class Wso2Tenant(CamelCased):
    """The organization that the login belongs to."""

    name: str | None = Field(default=None, description="Its name, as addresses have it.")


class Wso2LoginEvent(CamelCased):
    """Who logs in."""

    request: Wso2Request = Field(default_factory=Wso2Request, description="The request that the browser has sent.")
    tenant: Wso2Tenant = Field(default_factory=Wso2Tenant, description="The organization that the login belongs to.")
    user: Wso2User = Field(description="The user who logs in.")


class Wso2AuthenticationRequest(CamelCased):
    """What WSO2 sends when the login has come to this step, and again when the browser is back."""

    action_type: Literal["AUTHENTICATION"] = Field(description="The step of the login.")
    flow_id: Annotated[str, Field(min_length=1, max_length=255)] = Field(description="The login's own id.")
    event: Wso2LoginEvent = Field(description="Who logs in.")


@router.post(
    "/wso2/token",
    operation_id="answerWso2Token",
    summary="Put the claim on the tokens of WSO2 Identity Server",
    responses={
        200: declared_answer("What to change on the token.", "answerWso2Token"),
        **refusals(errors.Unauthorized, errors.Forbidden, field="body.event"),
    },
)
async def token(
    body: Annotated[Wso2TokenRequest, Body(openapi_examples=examples.WSO2_TOKEN_REQUESTS)], minting: CurrentMinting
) -> Response:
    """For the actions "pre-issue ID token" and "pre-issue access token".

    An access token takes the claim's members one by one.
    """
    event = body.event
    is_machine = event.user is None or event.request.grant_type == "client_credentials"
    claim = await minting.claim(None if is_machine or event.user is None else event.user.id)
    if body.action_type == "PRE_ISSUE_ID_TOKEN":
        wanted = {} if claim.value is None else {claim.name: claim.value}
        operations = _operations("/idToken/claims/", wanted, [claim.name], event.id_token)
    else:
        members = Claim(claim.name.rpartition("/")[2], claim.value)
        operations = _operations(
            "/accessToken/claims/", members.flat, _own(members, event.access_token), event.access_token
        )
    return answer({"actionStatus": "SUCCESS", "operations": operations})


def _own(members: Claim, token: Wso2Token | None) -> list[str]:
    """The names of ours on a token that WSO2 has kept since an earlier login."""
    return [each.name for each in (token.claims if token else []) if each.name.startswith(f"{members.name}_")]


def _operations(place: str, wanted: dict[str, Json], own: Sequence[str], token: Wso2Token | None) -> list[Json]:
    """How the claims get there: WSO2 adds no claim that is there, and replaces and removes none that is not."""
    there = {claim.name for claim in token.claims} if token else set()
    removed = [{"op": "remove", "path": place + name} for name in own if name in there - wanted.keys()]
    replaced = [
        {"op": "replace", "path": place + name, "value": value} for name, value in wanted.items() if name in there
    ]
    added = [
        {"op": "add", "path": f"{place}-", "value": {"name": name, "value": value}}
        for name, value in wanted.items()
        if name not in there
    ]
    return [*removed, *replaced, *added]


@router.post(
    "/wso2/authentication",
    operation_id="answerWso2Authentication",
    summary="Verify a person as a step of a login at WSO2 Identity Server",
    responses={
        200: declared_answer("Where the browser goes, or how the step has ended.", "answerWso2Authentication"),
        **refusals(
            errors.Unauthorized,
            errors.Forbidden,
            errors.SessionTokenInvalid,
            errors.VerificationNotFound,
            errors.VerificationMismatch,
            errors.VerificationAlreadyFinished,
            errors.CallbackInProgress,
            field="body.flowId",
        ),
    },
)
async def authentication(
    body: Annotated[Wso2AuthenticationRequest, Body(openapi_examples=examples.WSO2_AUTHENTICATION_REQUESTS)],
    minting: CurrentMinting,
) -> Response:
    """For a custom authenticator of the type "2FA", with `session_token` among its allowed parameters.

    The browser goes through the hosted flow, and brings back to `/commonauth` a `session_token` that WSO2 passes on:
    what it proves is that the browser which was verified is the one that logs in.
    """
    try:
        decision = await _decision(body, minting)
    except errors.DatabaseUnavailable as away:
        minting.go_on_without_database(away)
        return answer({"actionStatus": "SUCCESS"})
    note_decision(minting.services, decision)
    return answer(_outcome(decision))


async def _decision(body: Wso2AuthenticationRequest, minting: Minting) -> Decision:
    tokens = [
        value for each in body.event.request.additional_params if each.name == "session_token" for value in each.value
    ]
    if tokens:
        return await _confirmed(body, tokens, minting)
    wanted = StartRequest(
        user_id=body.event.user.id,
        flow=Flow.HOSTED,
        return_to=_commonauth(minting.return_urls, body),
        state=body.flow_id,
    )
    return await minting.services.starting.start(wanted, minting.caller.name)


async def _confirmed(body: Wso2AuthenticationRequest, tokens: Sequence[str], minting: Minting) -> Decision:
    services = minting.services
    with counted_callback(services, "confirmation"):
        if len(tokens) > 1:
            raise errors.SessionTokenInvalid
        confirmation = TransactionConfirmation(
            user_id=body.event.user.id, caller_state=body.flow_id, session_token=tokens[0]
        )
        decision = await services.hosted.confirm_transaction(confirmation, minting.caller.name)
    services.metrics.callback("confirmation", decision.reason)
    return decision


def _commonauth(return_urls: Sequence[str], body: Wso2AuthenticationRequest) -> str:
    """Where WSO2 waits for this login's browser. Raises RequestInvalid where no such address is listed."""
    listed = [url for url in return_urls if urlsplit(url).path.endswith(COMMONAUTH)]
    of_the_tenant = [url for url in listed if urlsplit(url).path.endswith(f"/t/{body.event.tenant.name}{COMMONAUTH}")]
    for url in (*of_the_tenant, *listed):
        return f"{url}{'&' if '?' in url else '?'}flowId={quote(body.flow_id, safe='')}"
    raise errors.RequestInvalid(
        [{"field": "body.event.tenant", "message": f"needs its {COMMONAUTH} among RETURN_URLS"}]
    )


def _outcome(decision: Decision) -> Json:
    match decision.action:
        case Action.REDIRECT:
            return {"actionStatus": "INCOMPLETE", "operations": [{"op": "redirect", "url": decision.redirect_url}]}
        case Action.CONTINUE:
            return {"actionStatus": "SUCCESS"}
        case Action.DENY:
            said = messages.message(decision.reason, messages.DEFAULT_LANGUAGE)
            return {"actionStatus": "FAILED", "failureReason": _REFUSED, "failureDescription": said}
