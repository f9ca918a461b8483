import inspect
import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from app.acme import Gateway, Step, Wire, create_app, integration
from app.acme.journal import Journal
from app.acme.sessions import MOST_SESSIONS, Sessions
from app.acme.wire import MOST_STEPS
from app.api.reference.examples import START_REQUESTS, USER_ID
from app.core.domain import FailureCode
from app.core.messages import Language, message
from app.demo import Demo, Ports, everything
from tests.acme.conftest import NewVisitor
from tests.acme.visitor import ATTEMPT_LIMIT, Json, Page, Visitor
from tests.harness.ids import plain_id
from tests.harness.loopback import NO_TLS
from tests.harness.waiting import PATIENCE

CLAIM = "https://incode.com/idv"
REMEMBERED = (
    "Gateway to Sandbox status 200 GET /.well-known/openid-configuration",
    "Gateway to Sandbox status 200 GET /oauth2/jwks",
)
both_flows = pytest.mark.parametrize("flow", ["relay", "hosted"])
every_failure = pytest.mark.parametrize(
    ("outcome", "reason"),
    [("failed", "status_not_accepted"), ("denied", "access_denied"), ("abandoned", "no_code_returned")],
)


def claim_of(page: Page) -> object:
    token = page.block("token")
    assert token is not None
    return token.get(CLAIM)


@both_flows
async def test_a_first_login_is_verified_and_shows_token_decision_record_and_exchange(
    visitor: Visitor, flow: str
) -> None:
    page = await visitor.log_in("verified", flow=flow)
    assert page.decision == ("continue", "verified")
    token, record = page.block("token"), page.block("record")
    assert token is not None
    assert record is not None
    assert token["iss"] == visitor.demo.acme
    assert token["email"] == visitor.email
    assert token["exp"] > token["iat"]
    assert token[CLAIM]["completed"] is True
    assert (page.path, page.status, page.title) == ("/result", 200, f"Welcome, {token[CLAIM]['pii']['given_name']}")
    assert record["incode_idv_completed"] is True
    launch = f"/v1/verifications/{str(page.fact('Verification'))[:10]}…/launch"
    assert [request for request in page.requests if not request.startswith(REMEMBERED)] == {
        "relay": [
            "Browser to Acme status 303 POST /login answer: to /oauth2/authorize",
            "Acme to Gateway status 200 POST /v1/verifications answer: redirect: never_verified",
            "Browser to Sandbox status 303 GET /oauth2/authorize answer: to /continue",
            "Browser to Acme status 303 GET /continue answer: to /result",
            "Acme to Gateway status 200 POST /v1/callback answer: continue: verified",
            "Gateway to Sandbox status 200 POST /oauth2/token",
            "Gateway to Sandbox status 200 GET /userinfo",
        ],
        "hosted": [
            f"Browser to Acme status 303 POST /login answer: to {launch}",
            "Acme to Gateway status 200 POST /v1/verifications answer: redirect: never_verified",
            f"Browser to Gateway status 303 GET {launch} answer: to /oauth2/authorize",
            "Browser to Sandbox status 303 GET /oauth2/authorize answer: to /v1/callback",
            "Browser to Gateway status 303 GET /v1/callback answer: to /continue",
            "Gateway to Sandbox status 200 POST /oauth2/token",
            "Gateway to Sandbox status 200 GET /userinfo",
            "Browser to Acme status 303 GET /continue answer: to /result",
            "Acme to Gateway status 200 POST /v1/callback answer: continue: verified",
        ],
    }[flow]


@both_flows
async def test_what_the_gateway_remembers_is_shown_where_it_was_fetched(tmp_path: Path, flow: str) -> None:
    async with everything(tmp_path, Ports(0, 0, 0, 0)) as demo:
        first, second = Visitor(demo), Visitor(demo)
        async with first.client, second.client:
            fetched = [
                request
                for request in (await first.log_in("verified", flow=flow)).requests
                if request.startswith(REMEMBERED)
            ]
            assert fetched == list(REMEMBERED)
            assert not [
                request
                for request in (await second.log_in("verified", flow=flow)).requests
                if request.startswith(REMEMBERED)
            ]


@both_flows
async def test_a_page_shows_what_belongs_to_its_own_login(new_visitor: NewVisitor, flow: str) -> None:
    one, other = new_visitor(), new_visitor()
    links = [await visitor.leave_and_stop_short(await visitor.begin(flow=flow)) for visitor in (one, other)]
    for visitor, link in zip((one, other), links, strict=True):
        page = Page(await visitor.client.get(link, follow_redirects=True))
        sent = [request for request in page.requests if "to Sandbox" in request]
        for path in ("/oauth2/authorize", "/oauth2/token", "/userinfo"):
            assert sum(path in request for request in sent) == 1
        assert [person.email in page.html for person in (one, other)] == [visitor is one, visitor is other]


@both_flows
async def test_a_request_stands_inside_the_one_that_waited_for_it(visitor: Visitor, flow: str) -> None:
    page = await visitor.log_in("verified", flow=flow)
    waiting = "POST /v1/callback" if flow == "relay" else "GET /v1/callback"
    [outer] = [number for number, request in enumerate(page.requests, start=1) if waiting in request]
    [token] = [number for number, request in enumerate(page.requests) if "/oauth2/token" in request]
    assert page.depths[token] == page.depths[outer - 1] + 1
    assert f"while request {outer} waited" in page.steps[token]


@both_flows
async def test_a_returning_user_is_not_redirected_and_gets_the_same_claim(visitor: Visitor, flow: str) -> None:
    first = await visitor.log_in("verified", flow=flow)
    await visitor.send("/logout")
    page = await visitor.log_in(email=visitor.email.upper(), flow=flow)
    assert page.decision == ("continue", "recently_verified")
    assert claim_of(page) == claim_of(first)
    assert [request.split(" answer")[0] for request in page.requests] == [
        "Browser to Acme status 303 POST /login",
        "Acme to Gateway status 200 POST /v1/verifications",
    ]


@both_flows
async def test_a_forced_reverification_goes_to_the_provider_inside_the_window(visitor: Visitor, flow: str) -> None:
    await visitor.log_in("verified")
    await visitor.send("/logout")
    page = await visitor.log_in("verified", flow=flow, force="yes")
    assert page.decision == ("continue", "verified")
    assert page.requests[1].endswith("redirect: forced")


@both_flows
@pytest.mark.parametrize("blocking", [False, True], ids=["lenient", "blocking"])
async def test_another_person_who_comes_back_gets_no_claim(visitor: Visitor, flow: str, blocking: bool) -> None:
    await visitor.log_in("verified")
    await visitor.send("/logout")
    on_failure = "block" if blocking else "continue"
    page = await visitor.log_in("another-person", flow=flow, force="yes", on_failure=on_failure)
    assert page.decision == ("deny" if blocking else "continue", "identity_mismatch")
    assert page.title == "Somebody else came back"
    verification = " ".join((page.fact("Verification") or "").split())
    assert verification.endswith("failed: another person passed the check with result OK, score 100.0")
    assert page.fact("What to do")
    record = page.block("record")
    assert record is not None
    assert record["incode_idv_completed"] is False
    assert page.block("token") is None if blocking else claim_of(page) is None


@both_flows
@every_failure
async def test_a_failure_lets_the_user_in_without_the_claim(
    visitor: Visitor, flow: str, outcome: str, reason: str
) -> None:
    page = await visitor.log_in(outcome, flow=flow)
    assert page.title == "You are logged in, but not verified"
    assert page.decision == ("continue", reason)
    assert claim_of(page) is None
    assert page.can_pay
    assert (await visitor.open("/")).path == "/result"


@both_flows
@every_failure
async def test_a_failure_is_refused_where_the_gateway_blocks(
    visitor: Visitor, flow: str, outcome: str, reason: str
) -> None:
    page = await visitor.log_in(outcome, flow=flow, on_failure="block")
    assert page.title == "Acme does not log you in"
    assert page.decision == ("deny", reason)
    assert page.block("token") is None
    assert not page.can_pay
    assert (await visitor.open("/")).title == "Log in to Acme"
    assert (await visitor.send("/pay")).status_code == 403


@pytest.mark.parametrize(
    ("preferred", "said"),
    [
        ("es-MX,es;q=0.9,en;q=0.8", "es"),
        ("pt", "pt"),
        ("fr", "en"),
        ("*", "en"),
    ],
)
async def test_the_person_is_told_in_the_browsers_language(visitor: Visitor, preferred: str, said: Language) -> None:
    visitor.client.headers["Accept-Language"] = preferred
    page = await visitor.log_in("denied")
    assert page.fact("For the person") == message(FailureCode.ACCESS_DENIED, said)


async def test_a_refused_login_ends_the_one_before_it(visitor: Visitor) -> None:
    form = await visitor.open("/")
    await visitor.log_in("verified")
    page = await visitor.open("/result")
    sent = {"csrf": page.csrf, "email": "mei@example.com", "on_failure": "block"}
    await visitor.follow(await visitor.client.post(visitor.demo.acme + "/login", data=sent), "denied")
    assert form.csrf != page.csrf
    assert (await visitor.open("/")).title == "Log in to Acme"


@both_flows
async def test_a_payment_takes_the_person_on_file(visitor: Visitor, flow: str) -> None:
    login = await visitor.log_in("verified", flow=flow)
    page = await visitor.pay("verified")
    assert page.title == "You have paid €500"
    assert page.decision == ("continue", "verified")
    assert page.requests[1].endswith("redirect: step_up")
    assert page.block("record") == login.block("record")


@both_flows
@pytest.mark.parametrize(
    ("outcome", "reason"),
    [("another-person", "identity_mismatch"), ("failed", "status_not_accepted"), ("denied", "access_denied")],
)
async def test_a_payment_by_anybody_else_is_refused_though_logins_are_let_in(
    visitor: Visitor, flow: str, outcome: str, reason: str
) -> None:
    login = await visitor.log_in("verified", flow=flow)
    page = await visitor.pay(outcome)
    assert page.title == "The payment of €500 is refused"
    assert "needs a successful check of the person on file" in page.html
    assert page.decision == ("deny", reason)
    assert page.block("token") is None
    assert page.block("record") == login.block("record")
    assert page.can_pay


async def test_a_payment_without_an_identity_on_file_is_refused_at_once(visitor: Visitor) -> None:
    await visitor.log_in("denied")
    page = await visitor.pay()
    assert page.decision == ("deny", "identity_not_established")
    assert page.fact("Verification") == "None was begun"


@pytest.mark.parametrize("blocking", [False, True], ids=["lenient", "blocking"])
async def test_after_too_many_failures_the_page_says_so_and_offers_the_reset(visitor: Visitor, blocking: bool) -> None:
    on_failure = "block" if blocking else "continue"
    for _ in range(ATTEMPT_LIMIT):
        await visitor.send("/logout")
        page = await visitor.log_in("denied", on_failure=on_failure)
    assert page.decision == ("deny" if blocking else "continue", "access_denied")
    assert page.can_reset is not blocking
    await visitor.send("/logout")
    page = await visitor.log_in(on_failure=on_failure)
    assert page.decision == ("deny" if blocking else "continue", "too_many_attempts")
    assert "Too many verifications of this user failed, so the gateway begins no other one for now." in page.html
    assert page.fact("Verification") == "None was begun"
    assert page.can_reset
    assert (await visitor.send("/reset")).status_code == 200
    assert (await visitor.log_in("verified")).decision == ("continue", "verified")


async def test_who_was_refused_for_another_reason_resets_nobody(visitor: Visitor) -> None:
    await visitor.log_in("denied", on_failure="block")
    assert (await visitor.send("/reset")).status_code == 403


async def test_a_reset_verifies_again_and_with_the_identity_anybody(visitor: Visitor) -> None:
    first = await visitor.log_in("verified")
    assert (await visitor.send("/reset")).status_code == 200
    page = await visitor.log_in("another-person")
    assert page.decision == ("continue", "identity_mismatch")
    assert (await visitor.send("/reset", identity="yes")).status_code == 200
    page = await visitor.log_in("another-person")
    assert page.decision == ("continue", "verified")
    assert claim_of(page) not in (None, claim_of(first))


@both_flows
async def test_a_continue_url_of_another_browser_is_refused_and_the_own_login_goes_on(
    new_visitor: NewVisitor, flow: str
) -> None:
    victim, attacker = new_visitor(), new_visitor()
    own = await victim.leave_and_stop_short(await victim.begin(flow=flow))
    foreign = await attacker.leave_and_stop_short(await attacker.begin(flow=flow))
    refused = Page(await victim.client.get(foreign))
    assert refused.status == 400
    assert "in the tab where you began it" in refused.html
    assert (await victim.open("/")).title == "Log in to Acme"
    page = Page(await victim.client.get(own, follow_redirects=True))
    assert page.decision == ("continue", "verified")
    sent = [request for request in page.requests if "POST /v1/callback" in request]
    assert [request.rpartition(" ")[2] for request in sent] == ["verified"]


@both_flows
async def test_a_continue_url_in_a_browser_that_began_nothing_is_refused(new_visitor: NewVisitor, flow: str) -> None:
    victim, attacker = new_visitor(), new_visitor()
    link = await attacker.leave_and_stop_short(await attacker.begin(flow=flow))
    await victim.open("/")
    for browser in (victim, new_visitor()):
        page = Page(await browser.client.get(link))
        assert (page.status, page.title) == (400, "No verification is under way here")
        assert (await browser.open("/result")).title == "Log in to Acme"


@both_flows
@pytest.mark.parametrize("change", ["state", "alone", "stateless", "refusal", "empty", "repeated"])
async def test_a_forged_continue_url_logs_nobody_in(visitor: Visitor, flow: str, change: str) -> None:
    link = await visitor.leave_and_stop_short(await visitor.begin(flow=flow))
    given = parse_qsl(urlsplit(link).query)
    forged = {
        "state": [(name, "forged" if name == "state" else value) for name, value in given],
        "alone": [("state", "forged")],
        "stateless": [(name, value) for name, value in given if name != "state"],
        "refusal": [("error", "access_denied")],
        "empty": [],
        "repeated": [*given, given[0]],
    }[change]
    page = Page(await visitor.client.get(f"{visitor.demo.acme}/continue", params=urlencode(forged)))
    assert page.status == 400
    assert (await visitor.open("/")).title == "Log in to Acme"
    assert Page(await visitor.client.get(link, follow_redirects=True)).decision == ("continue", "verified")


async def test_user_and_verification_never_come_from_the_address(visitor: Visitor) -> None:
    link = await visitor.leave_and_stop_short(await visitor.begin())
    page = Page(await visitor.client.get(f"{link}&user_id=acme|admin&verification_id=idv_0", follow_redirects=True))
    token = page.block("token")
    assert token is not None
    assert token["email"] == visitor.email
    assert page.decision == ("continue", "verified")


async def test_a_continue_url_works_once(visitor: Visitor) -> None:
    link = await visitor.leave_and_stop_short(await visitor.begin())
    assert (await visitor.client.get(link)).headers["Location"] == "/result"
    assert Page(await visitor.client.get(link)).status == 400
    assert (await visitor.open("/result")).decision == ("continue", "verified")


@pytest.mark.parametrize("path", ["/login", "/pay", "/reset", "/logout"])
async def test_a_form_that_was_made_elsewhere_does_nothing(new_visitor: NewVisitor, path: str) -> None:
    visitor, other = new_visitor(), new_visitor()
    await visitor.log_in("verified")
    before = await visitor.open("/result")
    foreign = (await other.open("/")).csrf
    for forged in ({}, {"csrf": ""}, {"csrf": "ä"}, {"csrf": foreign}):
        response = await visitor.client.post(visitor.demo.acme + path, data={"email": visitor.email, **forged})
        assert (response.status_code, Page(response).title) == (403, "Please send the form again")
    assert (await visitor.open("/")).html == before.html
    await visitor.send("/logout")
    assert (await visitor.log_in()).decision == ("continue", "recently_verified")


async def test_the_session_is_a_cookie_that_scripts_cannot_read_and_changes_at_login(visitor: Visitor) -> None:
    shown = await visitor.client.get(visitor.demo.acme)
    cookie = shown.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    planted = visitor.client.cookies["acme_session"]
    await visitor.log_in("verified")
    assert visitor.client.cookies["acme_session"] != planted
    async with httpx.AsyncClient(cookies={"acme_session": planted}, timeout=PATIENCE, verify=NO_TLS) as attacker:
        assert Page(await attacker.get(visitor.demo.acme)).title == "Log in to Acme"


@both_flows
async def test_no_page_shows_a_key_a_code_or_a_token(visitor: Visitor, flow: str) -> None:
    page = await visitor.log_in("verified", flow=flow)
    arrived = visitor.arrived
    secrets = [
        visitor.demo.key,
        visitor.demo.admin_key,
        arrived["state"],
        arrived["code" if flow == "relay" else "session_token"],
    ]
    assert all(len(secret) > 20 for secret in secrets)
    for secret in secrets:
        assert secret[:12] not in page.html
        assert f"{secret[:6]}…" in page.html or secret == visitor.demo.admin_key


@both_flows
async def test_no_page_shows_what_gateway_and_provider_keep_between_them(visitor: Visitor, flow: str) -> None:
    page = await visitor.log_in("verified", flow=flow)
    for name in ("client_secret", "code", "code_verifier", "access_token", "id_token", "nonce", "code_challenge"):
        values = [value for step in page.steps for value in re.findall(rf'"{name}": "([^"]*)"', step)]
        values += re.findall(rf"[?&]{name}=([^&\"]*)", page.html)
        assert values, name
        assert all(len(value) == 7 and value.endswith("…") for value in values), name
    # The one that asks for userinfo: the provider's metadata, which are fetched once, name its address too.
    [step] = [step for asked, step in zip(page.requests, page.steps, strict=True) if "GET /userinfo" in asked]
    assert re.search(r"Authorization: Bearer \S{6}…\s", step)


@pytest.mark.parametrize(
    ("query", "names", "limit"),
    [
        ("code=c&state=s&iss=i", ["code", "state", "iss"], " within a minute of your choice:"),
        ("error=e&error_description=d&state=s&iss=i", ["state", "iss", "error", "error_description"], ":"),
        ("session_token=t&state=s", ["session_token"], " within five minutes:"),
        ("session_token=a.W10.b&state=<b>", ["session_token"], " within five minutes:"),
        ("session_token=a.%00.b", ["session_token"], " within five minutes:"),
    ],
)
async def test_who_started_without_acme_gets_what_there_is_to_send(
    visitor: Visitor, query: str, names: list[str], limit: str
) -> None:
    page = Page(await visitor.client.get(f"{visitor.demo.acme}/continue?{query}"))
    assert (page.status, page.title, page.path) == (400, "No verification is under way here", "/continue")
    assert f"POST /v1/callback there{limit}" in page.text
    given = dict(parse_qsl(query))
    expected = {"user_id": USER_ID, "verification_id": "idv_…", **{name: given[name] for name in names}}
    assert to_paste(page) == expected
    assert "/docs?" not in Page(await visitor.client.get(f"{visitor.demo.acme}/continue")).text


def to_paste(page: Page) -> Json:
    [block] = re.findall(r'<pre class="block copied">(.*?)</pre>', page.html, re.DOTALL)
    body: Json = json.loads(unescape(re.sub(r"<[^>]+>", "", block)))
    return body


async def test_the_login_has_an_address_of_its_own(visitor: Visitor) -> None:
    page = await visitor.open("/login")
    assert (page.status, page.title, page.path) == (200, "Log in to Acme", "/login")
    await visitor.log_in("verified")
    assert (await visitor.open("/login")).path == "/result"


async def test_a_browser_with_many_tabs_keeps_the_newest(visitor: Visitor) -> None:
    links = [await visitor.leave_and_stop_short(await visitor.begin()) for _ in range(7)]
    statuses = [(await visitor.client.get(link)).status_code for link in links]
    assert statuses == [400] * 2 + [303] * 5


async def test_what_the_page_says_can_be_done_in_docs(visitor: Visitor) -> None:
    """The examples of /docs as they stand: a start, the sandbox's page, and what the address bar shows handed in."""
    key = {"Authorization": f"Bearer {visitor.demo.key}"}
    body = START_REQUESTS["first_login"]["value"]
    async with httpx.AsyncClient(base_url=visitor.demo.service, headers=key, timeout=PATIENCE, verify=NO_TLS) as docs:
        hosted = await docs.post("/v1/verifications", json=START_REQUESTS["hosted"]["value"])
        assert hosted.status_code == 200, hosted.text
        started = (await docs.post("/v1/verifications", json=body)).json()
        shown = await visitor.follow(await visitor.client.get(started["redirect_url"] + "&outcome=verified"))
        assert shown.title == "No verification is under way here"
        finished = await docs.post("/v1/callback", json=to_paste(shown))
        assert finished.json()["reason"] == "verified"


async def test_a_page_shows_the_whole_integration_and_where_the_api_is(visitor: Visitor) -> None:
    page = await visitor.open("/integration")
    assert inspect.getsource(integration) in page.text
    for path in ("/", "/result", "/nowhere"):
        links = (await visitor.open(path)).links
        assert {"/integration", f"{visitor.demo.service}/docs", f"{visitor.demo.service}/redoc"} <= links
    await visitor.log_in("verified")
    assert "/integration" in (await visitor.open("/result")).links


@pytest.mark.parametrize("email", ["", "noor", "noor @example.com", "@example.com", "a@" + "b" * 191])
async def test_what_is_no_address_is_asked_for_again(visitor: Visitor, email: str) -> None:
    response = await visitor.send("/login", email=email, flow="hosted", on_failure="block", force="yes")
    assert response.status_code == 422
    assert response.text.count(" checked") == 3
    assert all(f'value="{value}" checked' in response.text for value in ("hosted", "block", "yes"))
    assert 'aria-invalid="true"' in response.text


async def test_an_address_is_text_and_no_markup(visitor: Visitor) -> None:
    page = await visitor.log_in("failed", email='"><script>alert(1)</script>@example.com')
    assert page.status == 200
    assert "<script>" not in page.html
    token = page.block("token")
    assert token is not None
    assert token["email"] == '"><script>alert(1)</script>@example.com'


@pytest.mark.parametrize("path", ["/", "/nowhere", "/continue", "/integration", "/icon.svg"])
async def test_every_answer_has_the_headers_that_keep_it_harmless(visitor: Visitor, path: str) -> None:
    response = await visitor.client.get(visitor.demo.acme + path)
    policy = dict(directive.split(" ", 1) for directive in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"].startswith("'sha256-")
    assert "unsafe" not in str(policy)
    assert policy["form-action"].split() == [
        "'self'",
        visitor.demo.sandbox,
        visitor.demo.service,
        visitor.demo.blocking_service,
    ]
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("listens", "status", "words"),
    [
        ("nobody", 503, "The gateway does not answer"),
        ("something else", 503, "The gateway does not answer"),
        ("a gateway that does not know the key", 400, "<code>unauthorized</code>"),
    ],
    ids=plain_id,
)
async def test_nobody_is_logged_in_when_the_gateway_cannot_be_asked(
    demo: Demo, listens: str, status: int, words: str
) -> None:
    addresses = {"nobody": "http://127.0.0.1:9", "something else": demo.sandbox}
    address = addresses.get(listens, demo.service)
    lenient, blocking = Gateway(address, "unknown", "unknown"), Gateway(address, "unknown", "unknown")
    app = create_app(
        "http://acme.test", demo.sandbox, lenient=lenient, blocking=blocking, wire=Wire(), example_user="auth0|example"
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://acme.test") as client,
    ):
        form = {"csrf": Page(await client.get("/")).csrf, "email": "noor@example.com"}
        page = Page(await client.post("/login", data=form))
        assert page.status == status
        assert words in page.html
        assert Page(await client.get("/result", follow_redirects=True)).title == "Log in to Acme"


class LosesAnAnswer(httpx.AsyncHTTPTransport):
    """Delivers every request, and loses the first answer to a callback."""

    lost = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if request.url.path == "/v1/callback" and not self.lost:
            self.lost = True
            await response.aclose()
            raise httpx.ReadError("lost", request=request)
        return response


async def test_an_answer_that_was_lost_is_asked_for_again(visitor: Visitor) -> None:
    transport, demo = LosesAnAnswer(), visitor.demo
    key = {"Authorization": f"Bearer {demo.key}"}
    async with httpx.AsyncClient(transport=transport, base_url=demo.service, headers=key) as gateway:
        user_id = f"acme|{visitor.email}"
        started = await integration.start(gateway, user_id, flow="relay", return_to=demo.continue_url)
        assert started.pending
        provider = await visitor.client.get(started.decision["redirect_url"] + "&outcome=verified")
        arrived = dict(parse_qsl(urlsplit(provider.headers["Location"]).query))
        finished = await integration.finish(gateway, started.pending, arrived)
    assert transport.lost
    assert (finished.action, finished.decision["reason"]) == ("continue", "verified")


def test_sessions_do_not_fill_the_memory() -> None:
    sessions = Sessions()
    first, used = sessions.add(), sessions.add()
    for _ in range(MOST_SESSIONS - 1):
        sessions.find(used.id)
        last = sessions.add()
    assert sessions.find(first.id) is None
    assert sessions.find(used.id) is used
    assert sessions.find(last.id) is last


def test_what_was_heard_does_not_fill_the_memory() -> None:
    wire, journal = Wire(), Journal()
    journal.traces = frozenset({"state"})
    for number in range(MOST_STEPS + 1):
        wire.note(Step("Browser", "Sandbox", "GET", f"/{number}"), journal.traces)
    assert [step.address for step in wire.steps(journal)] == [f"/{number}" for number in range(1, MOST_STEPS + 1)]
