"""A database in which something of everything has happened, so that a fuzzer reaches more than `not_found`."""

from dataclasses import dataclass, field

from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.service import Json, Service, query_of

RETURN_TO = "https://tenant.example/continue"
STANDING = "samlp|tenant|http://x/y"
FAILED = "auth0|failed"
RESET = "auth0|зоя"
ERASED = "auth0|erased"
HOSTED = "auth0|hosted"


@dataclass
class Seeds:
    """Values that exist or that were made here, by what a parameter calls them.

    `cookie` is that of the launched browser.
    """

    users: list[str] = field(default_factory=lambda: [STANDING, FAILED, HOSTED, RESET])
    spare_users: list[str] = field(default_factory=lambda: [RESET, ERASED])
    attempts: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    relay_states: list[str] = field(default_factory=list)
    hosted_states: list[str] = field(default_factory=list)
    session_tokens: list[str] = field(default_factory=list)
    hosted_attempts: list[str] = field(default_factory=list)
    open_attempts: list[str] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)
    issuer: str = ""
    cookie: str = ""

    def keep(self, started: Json, *others: list[str]) -> Json:
        for attempts in (self.attempts, *others):
            attempts.append(started["verification"]["id"])
        return started


async def sow(service: Service, clock: Clock) -> Seeds:
    """Verify, refuse, reset, launch and let expire; what is left pending can still be answered."""
    seeds = Seeds(issuer=service.settings.incode_server_url)
    await _relay_logins(service, seeds, clock)
    async with Browser(service) as browser:
        await _hosted_logins(service, seeds, browser)
        seeds.cookie = "; ".join(f"{name}={value}" for name, value in browser.client.cookies.items())
    page = (await service.admin.get("/v1/verifications", params={"limit": 1})).json()
    seeds.cursors.append(page["next_cursor"])
    return seeds


async def _relay_logins(service: Service, seeds: Seeds, clock: Clock) -> None:
    seeds.keep(await service.start(FAILED))
    clock.advance(hours=2)
    seeds.keep(await service.verify(STANDING, email="mei@example.com"))
    seeds.keep(await service.verify(FAILED, "failed"))
    await service.verify(ERASED)
    await service.verify(RESET)
    await service.admin.post("/v1/users/auth0%7C%D0%B7%D0%BE%D1%8F/reset")
    clock.advance(seconds=1)
    for user_id, purpose in ((STANDING, "login"), (STANDING, "step_up"), (FAILED, "login")):
        started = seeds.keep(await service.start(user_id, purpose=purpose, force=True))
        response = await service.visit(started)
        seeds.codes.append(response["code"])
        seeds.relay_states.append(response["state"])
    for _ in range(4):
        seeds.keep(await service.start(STANDING, force=True, omit_state=True), seeds.open_attempts)


async def _hosted_logins(service: Service, seeds: Seeds, browser: Browser) -> None:
    returned, begun, _ = [
        seeds.keep(await service.start(HOSTED, flow="hosted"), seeds.hosted_attempts) for _ in range(3)
    ]
    arrived = await browser.go_through(returned)
    seeds.session_tokens.append(arrived["session_token"])
    back = query_of(await browser.at_provider(await browser.launch(begun)))
    seeds.hosted_states.append(back["state"])
    seeds.codes.append(back["code"])
