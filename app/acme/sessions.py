"""Acme's users and sessions, in memory: gone when it ends."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from app.acme.integration import Pending
from app.acme.journal import Journal

MOST_SESSIONS: Final = 1000
MOST_AWAY: Final = 5
Purpose = Literal["login", "step_up"]


@dataclass(frozen=True)
class User:
    """Somebody who has an account at Acme."""

    id: str
    email: str


class Users:
    """Everybody who ever logged in: an account is made up for each new e-mail address."""

    def __init__(self) -> None:
        self._by_email: dict[str, User] = {}

    def of(self, email: str) -> User:
        """The user with this address."""
        email = email.lower()
        return self._by_email.setdefault(email, User(f"acme|{secrets.token_hex(6)}", email))


@dataclass(frozen=True)
class Choices:
    """What was filled in on the login form."""

    email: str = "noor@example.com"
    flow: Literal["relay", "hosted"] = "relay"
    blocking: bool = False
    force: bool = False


@dataclass
class Visit:
    """One login, or one payment, from the form to the result."""

    user: User
    purpose: Purpose
    choices: Choices
    journal: Journal = field(default_factory=Journal)
    decision: dict[str, Any] | None = None
    decided_at: int = 0


@dataclass(frozen=True)
class Away:
    """A visit whose person is at the provider."""

    visit: Visit
    pending: Pending


@dataclass
class Session:
    """One browser. `signed_in` is set when a login has gone through, and only then.

    `visit` is the one that was decided last. `away` are those whose person is at the provider, one for each tab, by the
    state that must come back; the oldest first.
    """

    id: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    visit: Visit | None = None
    away: dict[str, Away] = field(default_factory=dict)
    signed_in: User | None = None
    choices: Choices = field(default_factory=Choices)

    def send_away(self, visit: Visit, pending: Pending) -> None:
        """Remember a visit until its person is back."""
        self.away[pending.state] = Away(visit, pending)
        while len(self.away) > MOST_AWAY:
            del self.away[next(iter(self.away))]

    def accepts(self, csrf: str) -> bool:
        """Whether a form was made for this session."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())


class Sessions:
    """The sessions by their random ids, the one that was used longest ago first."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def find(self, session_id: str | None) -> Session | None:
        """The session of a cookie's value, if it is one of ours."""
        if session_id is None or session_id not in self._sessions:
            return None
        self._sessions.move_to_end(session_id)
        return self._sessions[session_id]

    def add(self) -> Session:
        """A new session."""
        return self._keep(Session())

    def renew(self, session: Session) -> Session:
        """The same session under a new id, so that whoever planted the old one is not logged in with it."""
        self._sessions.pop(session.id, None)
        return self._keep(replace(session, id=Session().id, csrf=Session().csrf))

    def sign_out(self, session: Session) -> Session:
        """A session of which nothing is left but how the form was filled in."""
        self._sessions.pop(session.id, None)
        return self._keep(Session(choices=session.choices))

    def _keep(self, session: Session) -> Session:
        self._sessions[session.id] = session
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session
