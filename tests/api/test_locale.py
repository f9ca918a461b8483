"""The language that a start names: what may be shown to the person, and our pages, are in it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import USER, Json, Service, gist, problem
from tests.harness.tables import on_sqlite_only

RETURN_TO = "https://tenant.example/continue"
SENTENCES = {
    "access_denied": {
        "es": "No pudimos confirmar su identidad.",
        "pt": "Não foi possível confirmar a sua identidade.",
        "en": "We could not confirm your identity.",
    },
    "too_many_attempts": {
        "es": "Hubo demasiadas verificaciones de identidad: inténtelo más tarde.",
        "pt": "Houve verificações de identidade demais: tente mais tarde.",
        "en": "There were too many identity verifications: please try again later.",
    },
    "provider_unavailable": {
        "es": "La verificación de identidad no está disponible en este momento: inténtelo más tarde.",
        "pt": "A verificação de identidade não está disponível no momento: tente mais tarde.",
        "en": "Identity verification is not available at the moment: please try again later.",
    },
}
LOCALES = {"es-MX": "es", "pt_BR": "pt", "fr": "en", None: "en"}

pytestmark = on_sqlite_only


@pytest_asyncio.fixture
async def hosted(make_service: MakeService) -> Service:
    return await make_service(public_url=PUBLIC_URL, return_urls=RETURN_TO, attempt_limit=1)


@pytest_asyncio.fixture
async def browser(hosted: Service) -> AsyncIterator[Browser]:
    async with Browser(hosted) as opened:
        yield opened


def told(answer: Json) -> tuple[str, str]:
    return answer["error"]["code"], answer["error"]["message"]


@pytest.mark.parametrize(("locale", "language"), LOCALES.items(), ids=str)
async def test_a_failure_is_told_in_the_language_of_the_start(
    service: Service, locale: str | None, language: str
) -> None:
    started = await service.start(USER, locale=locale)
    in_hand = await service.visit(started, "denied")
    denied = await service.finish(USER, started, **in_hand)
    assert told(denied) == ("access_denied", SENTENCES["access_denied"][language])
    assert await service.finish(USER, started, **in_hand) == denied
    attempt_id = started["verification"]["id"]
    for path in (f"/v1/verifications/{attempt_id}", "/v1/verifications"):
        shown = (await service.admin.get(path)).json()
        assert told(shown["items"][0] if "items" in shown else shown) == told(denied)


@pytest.mark.parametrize(("locale", "language"), LOCALES.items(), ids=str)
async def test_a_start_that_fails_at_once_says_so_in_its_language(
    hosted: Service, clock: Clock, locale: str | None, language: str
) -> None:
    await hosted.verify(USER, "denied")
    limited = await hosted.start(USER, locale=locale)
    assert told(limited) == ("too_many_attempts", SENTENCES["too_many_attempts"][language])
    clock.advance(hours=25)
    hosted.sandbox.down.add("discovery")
    away = await hosted.start(USER, locale=locale)
    assert told(away) == ("provider_unavailable", SENTENCES["provider_unavailable"][language])


@pytest.mark.parametrize("passed_on", [False, True], ids=["a link opened too late", "another browser"])
async def test_a_page_is_in_the_language_of_the_start_whatever_the_browser_likes_best(
    hosted: Service, browser: Browser, clock: Clock, *, passed_on: bool
) -> None:
    started = await hosted.start(USER, flow="hosted", locale="es")
    if passed_on:
        await browser.launch(started)
        browser.client.cookies.clear()
    else:
        clock.advance(hours=1)
    browser.client.headers["Accept-Language"] = "pt"
    page = await browser.launch(started)
    assert page.status_code == 400
    assert page.headers["Content-Language"] == "es"


async def test_the_page_of_an_attempt_that_leads_nowhere_back_is_in_its_language(
    hosted: Service, browser: Browser
) -> None:
    started = await hosted.start(USER, flow="relay", locale="pt")
    page = await browser.client.get(f"/v1/callback/bad_link?reference={started['verification']['id']}")
    assert page.headers["Content-Language"] == "pt"
    assert RETURN_TO not in page.text


@pytest.mark.parametrize("locale", ["pt BR", "-pt", "pt--BR", "español"])
async def test_what_is_no_language_tag_is_refused_with_an_example_of_one(service: Service, locale: str) -> None:
    response = await service.idp.post("/v1/verifications", json={"user_id": USER, "locale": locale})
    [error] = problem(response, 422, "validation_error")["errors"]
    assert error == {"field": "body.locale", "message": "must be a language tag such as pt-BR"}


async def test_what_a_person_is_told_changes_nothing_of_the_decision(service: Service) -> None:
    answers = []
    for locale in ("es", "en"):
        started = await service.start(USER, locale=locale)
        answers.append(await service.finish(USER, started, **await service.visit(started, "denied")))
    spanish, english = answers
    assert gist(spanish) == gist(english)
    assert spanish["app_metadata"] == english["app_metadata"]
