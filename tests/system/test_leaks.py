"""Nothing of a secret, token, code, verifier, nonce, e-mail, name or user id is written where operators look.

A real process logs at its finest level while every flow is gone through, and every private value that crossed a wire is
then looked for in its output, its metrics, its refusals and the errors that it stored.
"""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import parse_qsl

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.sandbox import OUTCOMES, PERSONAS, Client, Sandbox, SandboxConfig
from tests.harness.loopback import NO_TLS
from tests.harness.provider import ProviderHost
from tests.harness.service import Json, query_of
from tests.harness.waiting import PATIENCE
from tests.system.processes import ADMIN_KEY, IDP_KEY, SETTINGS, Running, Workplace, answers, free_port

RETURN_TO = "https://tenant.example/back"
PRIVATE_PARAMETERS = (
    "code",
    "code_verifier",
    "client_secret",
    "login_hint",
    "person",
    "nonce",
    "state",
    "session_token",
)
PRIVATE_MEMBERS = (
    "access_token",
    "id_token",
    "name",
    "given_name",
    "family_name",
    "email",
    "birthdate",
    "phone_number",
)
HOSTILE = "<script>alert('Hostile-4711')</script>\r\nSet-Cookie: a=b\0\x1b[31m\u202e "


class Eavesdropper:
    """The provider, and every private value that went to it or came from it."""

    def __init__(self, provider: ASGIApp) -> None:
        self._provider = provider
        self.heard: set[str] = set()

    def hear(self, text: str) -> None:
        self.heard.update(value for name, value in parse_qsl(text) if name in PRIVATE_PARAMETERS)

    def hear_answer(self, body: bytes) -> None:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            return
        if isinstance(answer, dict):
            self.heard.update(value for name in PRIVATE_MEMBERS if isinstance(value := answer.get(name), str))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: list[bytes] = []

        async def listen() -> Message:
            message = await receive()
            self.hear(message.get("body", b"").decode())
            return message

        async def tell(message: Message) -> None:
            answer.append(message.get("body", b""))
            for name, value in message.get("headers", []):
                if name == b"location":
                    self.hear(value.decode().partition("?")[2])
            await send(message)

        self.hear(scope["query_string"].decode())
        await self._provider(scope, listen, tell)
        self.hear_answer(b"".join(answer))


class Flows:
    """A service in a process of its own, and the ways through it."""

    def __init__(self, url: str, sandbox: Sandbox, service: Running) -> None:
        self.sandbox = sandbox
        self.service = service
        self.idp = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {IDP_KEY}"}, timeout=PATIENCE, verify=NO_TLS
        )
        self.admin = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=PATIENCE, verify=NO_TLS
        )
        self.browser = httpx.Client(timeout=PATIENCE, verify=NO_TLS)
        self.users: list[str] = []
        self.refusals: list[str] = []

    def close(self) -> None:
        for client in (self.idp, self.admin, self.browser):
            client.close()

    def new_user(self) -> str:
        self.users.append(f"auth0|private-{len(self.users)}-person")
        return self.users[-1]

    def start(self, user: str, **body: object) -> Json:
        email = f"{user.partition('|')[2]}@private.example"
        started: Json = self.idp.post("/v1/verifications", json={"user_id": user, "email": email, **body}).json()
        return started

    def at_provider(self, url: str, outcome: str) -> str:
        answer = self.browser.get(url.partition("?")[0], params={**query_of(url), "outcome": outcome})
        return answer.headers["Location"]

    def callback(self, user: str, **parameters: object) -> httpx.Response:
        answer = self.idp.post("/v1/callback", json={"user_id": user, **parameters})
        if answer.status_code != 200:
            self.refusals.append(answer.text)
        return answer

    def relay(self, outcome: str = "verified", *, times: int = 1) -> None:
        user = self.new_user()
        for _ in range(times):
            started = self.start(user, force=True)
            if started["action"] != "redirect":
                return
            back = query_of(self.at_provider(started["redirect_url"], outcome))
            for extra in ({}, {"code": "another-private-code-4711"}):
                self.callback(user, **{"verification_id": started["verification"]["id"], **back, **extra})

    def hosted(self, outcome: str = "verified") -> None:
        user = self.new_user()
        started = self.start(user, flow="hosted", return_to=RETURN_TO, state="private-state-of-the-caller-4711")
        launched = self.browser.get(started["redirect_url"])
        back = self.at_provider(launched.headers["Location"], outcome)
        foreign = httpx.get(back, timeout=PATIENCE, verify=NO_TLS)
        self.refusals.append(foreign.text)
        returned = query_of(self.browser.get(back).headers["Location"])
        in_hand = {"verification_id": started["verification"]["id"], "session_token": returned["session_token"]}
        for _ in range(2):
            self.callback(user, **in_hand)
        self.callback(self.users[0], **in_hand)
        self.callback(user, **{**in_hand, "session_token": returned["session_token"] + "x"})

    def refused(self) -> None:
        """Requests with private values in every place where one might be repeated."""
        user = self.users[0]
        private = "private-value-4711@private.example"
        requests: list[tuple[str, str, dict[str, object]]] = [
            ("GET", f"/v1/{private}", {}),
            ("GET", f"/v1/verifications/{private}", {}),
            ("GET", f"/v1/users/{user}", {"headers": {"Authorization": f"Bearer {private}"}}),
            ("GET", f"/v1/users/{user}", {"headers": {"Authorization": f"Basic {private}"}}),
            ("GET", "/v1/verifications", {"params": {"status": private, "cursor": private}}),
            ("GET", "/v1/callback", {"params": {"code": private, "state": private, "error_description": HOSTILE}}),
            ("GET", f"/v1/callback?state={private}&state={private}", {}),
            ("GET", f"/v1/verifications/{private}/launch?state={private}", {"headers": {"Cookie": f"a={private}"}}),
            ("POST", "/v1/verifications", {"json": {"user_id": private, "email": 7, private: private}}),
            (
                "POST",
                "/v1/verifications",
                {"json": {"user_id": user, "return_to": f"https://{private}/", "flow": "hosted"}},
            ),
            ("POST", "/v1/callback", {"json": {"user_id": user, "state": private, "code": private}}),
            ("POST", "/v1/callback", {"json": {"user_id": user, "verification_id": private, "code": private}}),
            ("GET", "/v1/audit", {"params": {"user_id": private, "action": private}}),
            ("POST", "/v1/callback", {"content": f'{{"{private}"'}),
            ("POST", "/v1/callback", {"content": private * 4000}),
            ("PUT", f"/v1/users/{user}", {"json": {"a": private}}),
            ("GET", "/healthz", {"headers": {"X-Request-ID": private, "Referer": private, "User-Agent": private}}),
        ]
        for client in (self.idp, self.admin):
            for method, path, more in requests:
                self.refusals.append(client.request(method, path, **more).text)  # type: ignore[arg-type]

    def hostile_words(self) -> None:
        for description in (HOSTILE, HOSTILE * 500):
            user = self.new_user()
            started = self.start(user)
            back = query_of(self.at_provider(started["redirect_url"], "denied"))
            in_hand = {"verification_id": started["verification"]["id"], **back}
            self.callback(user, **{**in_hand, "error_description": description})

    def stored_errors(self) -> list[Json]:
        found: list[Json] = []
        cursor = None
        while True:
            page = self.admin.get(
                "/v1/verifications", params={"limit": 100, **({"cursor": cursor} if cursor else {})}
            ).json()
            found += [item["error"] for item in page["items"]]
            if not (cursor := page["next_cursor"]):
                break
        records = (
            self.admin.get(f"/v1/users/{user.replace('|', '%7C')}").json()["app_metadata"] for user in self.users
        )
        return [*found, *(record.get("incode_idv_error") for record in records)]


@pytest.fixture
def eavesdropper(provider_host: ProviderHost) -> tuple[Sandbox, Eavesdropper]:
    port = free_port()
    uris = (SETTINGS["REDIRECT_URI"], f"http://127.0.0.1:{port}/v1/callback")
    client = Client(SETTINGS["INCODE_CLIENT_ID"], SETTINGS["INCODE_CLIENT_SECRET"], "The service", uris)
    sandbox = Sandbox(SandboxConfig(issuer=provider_host.url, clients=(client,)), key=provider_host.key)
    listener = Eavesdropper(sandbox.app)
    provider_host.app = listener
    return sandbox, listener


@pytest.fixture
def flows(work: Workplace, provider_host: ProviderHost, eavesdropper: tuple[Sandbox, Eavesdropper]) -> Iterator[Flows]:
    sandbox, _ = eavesdropper
    url = sandbox.config.clients[0].redirect_uris[1].removesuffix("/v1/callback")
    settings = {
        **SETTINGS,
        "INCODE_SERVER_URL": provider_host.url,
        "PUBLIC_URL": url,
        "RETURN_URLS": RETURN_TO,
        "SCOPES": "openid profile email phone",
        "ID_TOKEN_ALGORITHMS": "RS256,ES256",
        "LOG_LEVEL": "debug",
        "STORE_TOKENS": "true",
        "ATTEMPT_LIMIT": "0",
    }
    assert work.run("migrate", settings=settings).returncode == 0
    with work.running("serve", "--port", url.rpartition(":")[2], settings=settings) as service:
        service.wait_until(lambda: answers(f"{url}/readyz", 200), "the service")
        with closing(Flows(url, sandbox, service)) as flows:
            yield flows


def test_nothing_private_is_logged_measured_or_repeated(
    flows: Flows, eavesdropper: tuple[Sandbox, Eavesdropper]
) -> None:
    for outcome in OUTCOMES:
        flows.relay(outcome, times=2)
        flows.hosted(outcome)
    for persona in PERSONAS:
        flows.sandbox.become(persona)
        flows.relay()
    flows.sandbox.become("honest")
    flows.sandbox.down = {"discovery", "jwks", "token", "userinfo"}
    flows.relay()
    flows.sandbox.down = set()
    flows.hostile_words()
    flows.refused()
    errors = flows.stored_errors()
    metrics = flows.admin.get("/metrics").text

    written = {
        "the log": flows.service.output + flows.service.errors,
        "the metrics": metrics,
        "a refusal": "\n".join(flows.refusals),
        "a stored error": json.dumps(errors, ensure_ascii=False),
    }
    secrets = {
        IDP_KEY,
        ADMIN_KEY,
        *(SETTINGS[name] for name in ("INCODE_CLIENT_SECRET", "REDIRECT_SECRET", "ENCRYPTION_KEYS")),
    }
    private = {value for value in secrets | eavesdropper[1].heard if len(value) > 2} | {"private", "another-private"}
    assert len(private) > 500
    assert written["the log"].count('"route":"/v1/callback"') > 100
    assert not [(place, value) for place, text in written.items() for value in private if value in text]


def test_hostile_words_are_stored_cleaned_and_short(flows: Flows) -> None:
    flows.hostile_words()

    stored = [error["detail"] if isinstance(error, dict) else error for error in flows.stored_errors()]

    assert len(stored) == 4
    for text in stored:
        assert len(text) < 300
        assert re.fullmatch(r"[\x20-\x7e]+", text)
        assert "alert('Hostile-4711')" in text
    assert "Hostile-4711" not in flows.service.output + flows.service.errors
