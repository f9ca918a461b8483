"""What Acme says to people. All its words are here and in the templates."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.acme.integration import RELAYED
from app.acme.sessions import Visit


@dataclass(frozen=True)
class Message:
    """A page that only says something, and its HTTP status."""

    title: str
    words: str
    status: int


@dataclass(frozen=True)
class Headline:
    """How it ended, in a few words and in a sentence."""

    title: str
    words: str
    good: bool


@dataclass(frozen=True)
class Elsewhere:
    """The JSON that finishes a verification which was not begun at Acme, and how long that is possible."""

    body: dict[str, str]
    limit: str


MESSAGES: Final = {
    "not_found": Message("There is nothing here", "This address does not exist at Acme.", 404),
    "NotSignedIn": Message("Please log in first", "Only somebody who has logged in may do this.", 403),
    "NothingPending": Message(
        "No verification is under way here",
        "This link brings a verification to its end, but none was begun in this browser, or it is finished already.",
        400,
    ),
    "ForgedForm": Message("Please send the form again", "It was not made for this browser, or it is too old.", 403),
    "ForeignResponse": Message(
        "This link does not belong to your login",
        "It brings back a login that was not begun in this browser, or one that is finished. It was not sent to the "
        "gateway. Your own login can go on, in the tab where you began it.",
        400,
    ),
    "GatewayRefused": Message(
        "The gateway did not accept this",
        "It has recorded nothing, and nobody was logged in. Go back and log in again.",
        400,
    ),
    "GatewayUnavailable": Message(
        "The gateway does not answer",
        "Acme cannot ask whether you must be verified, so it logs nobody in. Try again in a moment.",
        503,
    ),
    "reset": Message("Your verification is forgotten", "The next login verifies you again, as the same person.", 200),
    "reset_identity": Message(
        "Your verification and your identity are forgotten",
        "The next login verifies you again, and enrols whoever comes then.",
        200,
    ),
}

_VERIFIED: Final = {
    "verified": "You have just been verified, so your token carries the claim.",
    "recently_verified": (
        "You were verified a short time ago: nobody asked you again, and your token carries the claim."
    ),
}
_PAYMENT_NEEDS: Final = (
    "A payment needs a successful check of the person on file. BLOCK_ON_FAILURE does not change that."
)
_FAILED: Final = "The verification failed"
_NOT_BEGUN: Final = {
    "too_many_attempts": "Too many verifications of this user failed, so the gateway begins no other one for now"
}
_SHOWN_AT_MOST: Final = 4096
_PAYLOAD_AT_MOST: Final = 2048
_OTHER_PERSON: Final = "The check passed, but not for the person who is enrolled for this account"


def headline(visit: Visit, payment: str) -> Headline:
    """How this visit ended."""
    decision = visit.decision or {}
    goes_on, failed = decision["action"] == "continue", decision["error"] is not None
    if visit.purpose == "step_up":
        return _payment(payment, goes_on=goes_on)
    if failed:
        return _not_verified(decision, goes_on=goes_on)
    name = next((claim["pii"].get("given_name") for claim in decision["claims"].values()), None)
    return Headline(f"Welcome, {name or visit.user.email}", _VERIFIED[decision["reason"]], good=True)


def finish_elsewhere(arrived: Mapping[str, str], example_user: str) -> Elsewhere | None:
    """What to send with what arrived, where somebody called the gateway without Acme.

    None where nothing of use arrived.
    """
    names = ("session_token",) if "session_token" in arrived else tuple(name for name in RELAYED if name in arrived)
    if not names:
        return None
    named = _named(arrived.get("session_token") or arrived.get("state", ""))
    ids = {"user_id": named.get("sub", example_user), "verification_id": named.get("verification_id", "idv_…")}
    body = {**ids, **{name: arrived[name][:_SHOWN_AT_MOST] for name in names}}
    limit = "five minutes" if "session_token" in arrived else "a minute of your choice" if "code" in arrived else ""
    return Elsewhere(body, f" within {limit}" if limit else "")


def _named(token: str) -> dict[str, str]:
    """The ids that the gateway's token names, unchecked.

    They are shown to whoever pastes them, and the gateway checks them.
    """
    try:
        payload = token.split(".")[1][:_PAYLOAD_AT_MOST]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return {name: value for name, value in claims.items() if isinstance(value, str)} if isinstance(claims, dict) else {}


def _not_verified(decision: Mapping[str, Any], *, goes_on: bool) -> Headline:
    if decision["reason"] == "identity_mismatch":
        ending = (
            "lets people in all the same: your token carries no claim"
            if goes_on
            else "is set to block then: nobody is logged in"
        )
        return Headline("Somebody else came back", f"{_OTHER_PERSON}. This gateway {ending}.", good=False)
    what = (
        _FAILED if decision["verification"] else _NOT_BEGUN.get(decision["reason"], "The verification could not begin")
    )
    if goes_on:
        words = f"{what}. This gateway lets people in all the same: your token carries no claim."
        return Headline("You are logged in, but not verified", words, good=False)
    return Headline("Acme does not log you in", f"{what}. This gateway is set to block then.", good=False)


def _payment(payment: str, *, goes_on: bool) -> Headline:
    if goes_on:
        return Headline(
            f"You have paid {payment}", "You have just shown that you are the person who is on file.", good=True
        )
    return Headline(f"The payment of {payment} is refused", _PAYMENT_NEEDS, good=False)
