"""Acme's routes: a login form, the continue URL, the result, and a payment that asks once more."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal

from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.acme import integration, pages
from app.acme.gateway import Gateway
from app.acme.integration import Answer, ForeignResponse, GatewayRefused, GatewayUnavailable
from app.acme.journal import Journal, Step, timeline
from app.acme.sessions import Choices, Session, Sessions, User, Users, Visit
from app.acme.wire import Wire, traces_of_address
from app.acme.words import MESSAGES, Elsewhere, Message, finish_elsewhere, headline

CONTINUE: Final = "/continue"
LARGEST_BODY: Final = 16 * 1024
_COOKIE: Final = "acme_session"
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,190}")
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")
_PAYMENT: Final = "€500"
_SOURCE: Final = inspect.getsource(integration)


class NotSignedIn(Exception):
    """The browser has no session, or none that has logged in."""


class NothingPending(Exception):
    """Nobody is away at the provider in this session."""


class ForgedForm(Exception):
    """The form was not made for this session."""


def create_app(
    address: str, provider: str, *, lenient: Gateway, blocking: Gateway, wire: Wire, example_user: str
) -> Starlette:
    """Acme at `address`, with a gateway that lets people in when their verification failed, and one that does not.

    `wire` tells Acme's pages what browser, gateway and provider said to each other. `example_user` is whom the examples
    of the gateway's `/docs` are about.
    """
    return _Acme(address, provider, lenient, blocking, wire=wire, example_user=example_user).application()


class _Acme:
    def __init__(
        self, address: str, provider: str, lenient: Gateway, blocking: Gateway, *, wire: Wire, example_user: str
    ) -> None:
        self._address = address
        self._provider = provider
        self._lenient, self._blocking = lenient, blocking
        self._wire = wire
        self._example_user = example_user
        self._users = Users()
        self._sessions = Sessions()

    def application(self) -> Starlette:
        onward = [self._provider, self._lenient.address, self._blocking.address]
        failures = (NotSignedIn, NothingPending, ForgedForm, ForeignResponse, GatewayRefused, GatewayUnavailable)
        return Starlette(
            routes=[
                Route("/", self._form),
                Route("/login", self._form),
                Route("/login", self._login, methods=["POST"]),
                Route(CONTINUE, self._continue),
                Route("/result", self._result),
                Route("/pay", self._pay, methods=["POST"]),
                Route("/reset", self._reset, methods=["POST"]),
                Route("/logout", self._logout, methods=["POST"]),
                Route("/integration", self._integration),
                Route("/icon.svg", self._icon),
                Route("/copy.js", self._copy),
            ],
            middleware=[Middleware(pages.SecurityHeaders, onward=onward)],
            exception_handlers={**dict.fromkeys(failures, self._explain), HTTPException: self._explain},
            max_body_size=LARGEST_BODY,
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self._lenient.transport, self._blocking.transport:
            yield

    async def _form(self, request: Request) -> Response:
        session = self._session(request) or self._sessions.add()
        if session.signed_in:
            return RedirectResponse("/result", 303)
        return self._with_cookie(self._login_page(session), session)

    def _login_page(self, session: Session, *, wrong: bool = False) -> Response:
        return self._page("login.html", 422 if wrong else 200, session=session, wrong=wrong)

    async def _login(self, request: Request) -> Response:
        session, form = await self._own_form(request)
        session.signed_in, session.choices = None, _choices(form)
        if not _EMAIL.fullmatch(session.choices.email):
            return self._login_page(session, wrong=True)
        session.visit = None
        visit = Visit(self._users.of(session.choices.email), "login", session.choices)
        filled_in = {name: value for name, value in form.items() if name != "csrf"}
        step = visit.journal.begin("Browser", "Acme", "POST", "/login", sent=filled_in)
        return await self._begin(session, visit, step, _language(request))

    async def _pay(self, request: Request) -> Response:
        session, _ = await self._own_form(request)
        user = _signed_in(session)
        visit = Visit(user, "step_up", session.choices)
        step = visit.journal.begin("Browser", "Acme", "POST", "/pay")
        return await self._begin(session, visit, step, _language(request))

    async def _begin(self, session: Session, visit: Visit, step: Step, locale: str | None) -> Response:
        choices = visit.choices
        wishes = {"email": visit.user.email, "purpose": visit.purpose, "force": choices.force, "locale": locale}
        gateway, flow, return_to = self._gateway(visit), choices.flow, self._address + CONTINUE
        async with gateway.client(visit.journal) as client:
            answer = await integration.start(client, visit.user.id, flow=flow, return_to=return_to, **wishes)
        return self._do(session, visit, answer, step)

    async def _continue(self, request: Request) -> Response:
        session = self._session(request)
        if not session or not session.away:
            raise NothingPending
        arrived = dict(request.query_params)
        away = session.away.get(arrived.get("state", ""))
        if not away or len(arrived) != len(request.query_params.multi_items()):
            raise ForeignResponse
        visit = away.visit
        step = visit.journal.begin("Browser", "Acme", "GET", CONTINUE, sent=arrived)
        async with self._gateway(visit).client(visit.journal) as client:
            answer = await integration.finish(client, away.pending, arrived)
        session.away.pop(away.pending.state, None)
        return self._do(session, visit, answer, step)

    def _do(self, session: Session, visit: Visit, answer: Answer, step: Step) -> Response:
        """The switch: what the gateway decided becomes what the browser sees."""
        location = "/result"
        if answer.pending:
            session.send_away(visit, answer.pending)
        match answer.action:
            case "redirect":
                location = answer.decision["redirect_url"]
                visit.journal.traces = traces_of_address(location) | {answer.decision["verification"]["id"]}
            case "continue":
                self._decide(session, visit, answer)
                session = self._sign_in(session, visit)
            case "deny":
                self._decide(session, visit, answer)
        step.end(303, {"Location": location})
        return self._with_cookie(RedirectResponse(location, 303), session)

    def _decide(self, session: Session, visit: Visit, answer: Answer) -> None:
        visit.decision, visit.decided_at = answer.decision, int(time.time())
        session.visit = visit

    def _sign_in(self, session: Session, visit: Visit) -> Session:
        session.signed_in = visit.user
        return self._sessions.renew(session)

    async def _result(self, request: Request) -> Response:
        session = self._session(request)
        if not session or not session.visit or not session.visit.decision:
            return RedirectResponse("/", 303)
        visit, decision = session.visit, session.visit.decision
        return self._page(
            "result.html",
            session=session,
            visit=visit,
            decision=decision,
            headline=headline(visit, _PAYMENT),
            token=self._id_token(visit) if decision["action"] == "continue" else None,
            payment=_PAYMENT,
            moments=timeline(self._wire.steps(visit.journal)),
            can_reset=_resettable(session) is not None,
        )

    def _id_token(self, visit: Visit) -> dict[str, object]:
        """The claims that Acme would sign: its own, and every entry of the decision's."""
        claims = visit.decision["claims"] if visit.decision else {}
        own = {"iss": self._address, "sub": visit.user.id, "aud": "acme-shop", "email": visit.user.email}
        return {**own, "iat": visit.decided_at, "exp": visit.decided_at + 3600, **claims}

    async def _reset(self, request: Request) -> Response:
        session, form = await self._own_form(request)
        user, identity = _resettable(session), form.get("identity") == "yes"
        if user is None:
            raise NotSignedIn
        async with self._lenient.admin_client(Journal()) as client:
            await integration.reset(client, user.id, identity=identity)
        return self._message(MESSAGES["reset_identity" if identity else "reset"], self._sessions.sign_out(session))

    async def _logout(self, request: Request) -> Response:
        session, _ = await self._own_form(request)
        return self._with_cookie(RedirectResponse("/", 303), self._sessions.sign_out(session))

    async def _integration(self, _: Request) -> Response:
        return self._page("integration.html", source=_SOURCE, example=self._example_user)

    async def _icon(self, _: Request) -> Response:
        return Response(pages.ICON, media_type="image/svg+xml")

    async def _copy(self, _: Request) -> Response:
        return Response(pages.COPY, media_type="text/javascript")

    async def _explain(self, request: Request, error: Exception) -> Response:
        name = "not_found" if isinstance(error, HTTPException) else type(error).__name__
        elsewhere = (
            finish_elsewhere(request.query_params, self._example_user) if isinstance(error, NothingPending) else None
        )
        return self._message(
            MESSAGES[name], self._session(request), code=getattr(error, "code", None), elsewhere=elsewhere
        )

    def _message(
        self, message: Message, session: Session | None, code: str | None = None, elsewhere: Elsewhere | None = None
    ) -> Response:
        response = self._page("message.html", message.status, message=message, code=code, elsewhere=elsewhere)
        return self._with_cookie(response, session) if session else response

    def _gateway(self, visit: Visit) -> Gateway:
        return self._blocking if visit.choices.blocking else self._lenient

    def _page(self, template: str, status: int = 200, **context: object) -> Response:
        return pages.page(template, status, gateway=self._lenient.address, **context)

    def _session(self, request: Request) -> Session | None:
        return self._sessions.find(request.cookies.get(_COOKIE))

    async def _own_form(self, request: Request) -> tuple[Session, FormData]:
        """The session and the form, which must have been made for it. Raises ForgedForm."""
        session, form = self._session(request), await request.form()
        if not session or not session.accepts(str(form.get("csrf", ""))):
            raise ForgedForm
        return session, form

    def _with_cookie(self, response: Response, session: Session) -> Response:
        secure = self._address.startswith("https:")
        response.set_cookie(_COOKIE, session.id, path="/", httponly=True, samesite="lax", secure=secure)
        return response


def _language(request: Request) -> str | None:
    """The language that the browser prefers: what the gateway says to the person is then in it."""
    preferred = request.headers.get("Accept-Language", "").partition(",")[0].partition(";")[0].strip()
    return preferred if _LANGUAGE_TAG.fullmatch(preferred) else None


def _choices(form: FormData) -> Choices:
    flow: Literal["relay", "hosted"] = "hosted" if form.get("flow") == "hosted" else "relay"
    email = str(form.get("email", "")).strip()
    return Choices(email, flow, blocking=form.get("on_failure") == "block", force=form.get("force") == "yes")


def _signed_in(session: Session) -> User:
    if session.signed_in is None:
        raise NotSignedIn
    return session.signed_in


def _resettable(session: Session) -> User | None:
    """Whom an administrator may reset here: who is logged in, and who is refused after too many failures."""
    decision = session.visit.decision if session.visit else None
    if session.visit and decision and decision["reason"] == "too_many_attempts":
        return session.visit.user
    return session.signed_in
