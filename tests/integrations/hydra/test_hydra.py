"""A real Ory Hydra in front of the service: what its tokens hold, and what it does when the hook refuses or is away."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.harness.service import CLAIM, query_of
from tests.harness.tokens import payload
from tests.harness.waiting import PATIENCE
from tests.integrations.documents import check_exchanges, page
from tests.integrations.hydra.program import Application, Hydra, hydra_or_skip, migrated_database, running
from tests.integrations.recording import Recording, recording
from tests.system.processes import ADMIN_KEY, IDP_KEY, SETTINGS, Workplace, answers, free_port, serving

SUPPORT_KEY = "support-key-of-the-system-tests-0123456789"
OWN = {"plan": "gold"}


@dataclass(frozen=True)
class World:
    """The service, a Hydra that asks it, and the wire between them."""

    service: str
    hydra: Hydra
    wire: Recording
    program: Path
    folder: Path
    database: str

    def verify(self, user_id: str) -> None:
        with httpx.Client(
            base_url=self.service, headers={"Authorization": f"Bearer {IDP_KEY}"}, timeout=PATIENCE
        ) as idp:
            started = idp.post("/v1/verifications", json={"user_id": user_id}).json()
            back = httpx.get(httpx.URL(started["redirect_url"]).copy_merge_params({"outcome": "verified"}))
            arrived = query_of(back.headers["Location"])
            body = {"user_id": user_id, "verification_id": started["verification"]["id"], **arrived}
            assert idp.post("/v1/callback", json=body).json()["reason"] == "verified"

    def reset(self, user_id: str) -> None:
        address = f"{self.service}/v1/users/{quote(user_id, safe='')}/reset"
        assert (
            httpx.post(address, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=PATIENCE).status_code == 200
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    program, folder = hydra_or_skip(), tmp_path_factory.mktemp("hydra")
    work, provider = Workplace(folder), f"http://127.0.0.1:{free_port()}"
    client = ("--client-id", SETTINGS["INCODE_CLIENT_ID"], "--client-secret", SETTINGS["INCODE_CLIENT_SECRET"])
    address = ("--port", provider.rpartition(":")[2], "--redirect-uri", SETTINGS["REDIRECT_URI"])
    settings = {"HYDRA_HOOK": "true", "SUPPORT_API_KEYS": f"desk={SUPPORT_KEY}", "HTTP_TIMEOUT_SECONDS": "6.5"}
    with (
        work.running("sandbox", *address, *client) as sandbox,
        serving(work, INCODE_SERVER_URL=provider, **settings) as (_, service),
        recording(service) as wire,
        migrated_database(program, folder) as database,
        running(program, folder, database, hook=f"{wire.url}/v1/hooks/hydra", key=IDP_KEY) as hydra,
    ):
        sandbox.wait_until(lambda: answers(f"{provider}/oauth2/jwks", 200), "the sandbox")
        yield World(service, hydra, wire, program, folder, database)


def test_the_tokens_of_a_verified_person_hold_the_claim_until_a_reset(world: World) -> None:
    shop = Application(world.hydra, client_id="shop")
    before = shop.log_in("hydra|ana", OWN).json()
    assert payload(before["id_token"])["plan"] == "gold"
    assert CLAIM not in payload(before["id_token"])

    world.verify("hydra|ana")
    tokens = shop.log_in("hydra|ana", OWN).json()
    claims = payload(tokens["id_token"])
    assert claims["sub"] == "hydra|ana"
    assert claims["plan"] == "gold"
    assert claims[CLAIM]["completed"] is True
    at_an_api = shop.introspected(tokens["access_token"])
    assert at_an_api == {**OWN, CLAIM: claims[CLAIM]}

    refreshed = shop.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]).json()
    assert payload(refreshed["id_token"])[CLAIM] == claims[CLAIM]

    world.reset("hydra|ana")
    withdrawn = shop.token(grant_type="refresh_token", refresh_token=refreshed["refresh_token"]).json()
    assert payload(withdrawn["id_token"])["plan"] == "gold"
    assert CLAIM not in payload(withdrawn["id_token"])
    assert shop.introspected(withdrawn["access_token"]) == OWN


def test_a_machine_has_no_claim_even_if_it_is_called_like_a_person(world: World) -> None:
    world.verify("machine")
    machine = Application(world.hydra, client_id="machine")
    answer = machine.token(grant_type="client_credentials")
    assert answer.status_code == 200, answer.text
    assert machine.introspected(answer.json()["access_token"]) == {}
    assert world.wire.exchanges[-1].status == 204


def test_without_the_service_nobody_gets_a_token(world: World) -> None:
    shop = Application(world.hydra, client_id="shop-of-the-outage")
    world.wire.away = True
    try:
        answer = shop.log_in("hydra|eve", OWN)
    finally:
        world.wire.away = False
    assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
    assert shop.log_in("hydra|eve", OWN).status_code == 200


def test_a_refusal_denies_the_token(world: World) -> None:
    hook = f"{world.wire.url}/v1/hooks/hydra"
    with running(world.program, world.folder, world.database, hook=hook, key=SUPPORT_KEY) as hydra:
        answer = Application(hydra, client_id="shop-of-the-refusal").log_in("hydra|ana", OWN)
    assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")


def test_the_page_shows_what_crossed_the_wire(world: World) -> None:
    world.verify("hydra|pia")
    assert Application(world.hydra, client_id="shop-of-the-page").log_in("hydra|pia", {}).status_code == 200
    check_exchanges(page("hydra.md"), world.wire.exchanges)
