"""Words from outside that would like to be a label: none of them makes `/metrics` grow."""

from functools import partial

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import ADMIN_KEY, Service, query_of
from tests.harness.tables import on_sqlite_only
from tests.harness.tampering import TamperedProvider

HOSTED = {"public_url": PUBLIC_URL, "return_urls": "https://tenant.example/continue"}
INVENTED = "attackers-word-4711"

Series = set[tuple[str, tuple[tuple[str, str], ...]]]


async def series(service: Service) -> Series:
    """Every time series that Prometheus would keep."""
    await service.admin.get("/metrics")  # which is counted itself
    text = (await service.admin.get("/metrics")).text
    assert INVENTED not in text
    families = text_string_to_metric_families(text)
    return {(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples}


async def send_what_nobody_knows(service: Service, number: int) -> None:
    """Put invented words in every place of a request where one might be noted."""
    word = f"{INVENTED}-{number}"
    headers = {
        "Authorization": f"Bearer {ADMIN_KEY}",
        "User-Agent": word,
        "X-Request-ID": word,
        "Host": f"{word}.example",
    }
    client = service.client(None)
    for method in (word.upper(), "GET", "POST", "DELETE", "PROPFIND"):
        for path in (
            f"/{word}",
            f"/v1/users/{word}",
            f"/v1/verifications/{word}",
            f"/v1/verifications/{word}/launch",
            "/healthz",
        ):
            await client.request(method, path, headers=headers, params={word: word, "status": word, "state": word})
    await client.get("/v1/callback", params={"state": word, "error": word, "code": word})
    started = await service.start(word, email=f"{word}@example.com", flow="relay")
    state = query_of(started["redirect_url"])["state"]
    iss = service.settings.provider.issuer
    for parameters in ({"error": word, "error_description": word}, {"code": word, "error": "access_denied"}):
        await service.send_callback(word, started, state=state, iss=iss, **parameters)
    hosted = await service.start(word, flow="hosted")
    async with Browser(service) as browser:
        back = query_of(await browser.at_provider(await browser.launch(hosted)))
        await browser.client.get("/v1/callback", params={"state": back["state"], "iss": back["iss"], "error": word})
    await service.send_callback(word, None, verification_id=hosted["verification"]["id"], session_token=word)


@on_sqlite_only
async def test_invented_words_make_no_series(make_service: MakeService) -> None:
    service = await make_service(**HOSTED)
    await send_what_nobody_knows(service, 0)
    before = await series(service)
    for number in range(1, 6):
        await send_what_nobody_knows(service, number)
    assert await series(service) == before


@on_sqlite_only
async def test_what_a_provider_answers_makes_no_series(make_service: MakeService, provider: TamperedProvider) -> None:
    service = await make_service(**HOSTED)
    found: list[Series] = []
    for number in range(6):
        word = f"{INVENTED}-{number}"
        for said in ({"error": word, "error_description": word}, {"token_type": word, word: word}):
            provider.alter("token", partial(dict, **said))
            await service.verify(f"auth0|{word}")
        found.append(await series(service))
    assert found[-1] == found[0]
    assert (await service.admin.get("/metrics")).status_code == httpx.codes.OK
