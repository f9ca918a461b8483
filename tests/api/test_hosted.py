from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import CLAIM

RETURN_TO = "https://tenant.example/continue"


async def test_a_person_is_verified_through_the_hosted_flow(make_service: MakeService) -> None:
    service = await make_service(public_url=PUBLIC_URL, return_urls=RETURN_TO)
    started = await service.start("auth0|ana", flow="hosted", email="mei@example.com")
    assert started["redirect_url"] == f"{PUBLIC_URL}/v1/verifications/{started['verification']['id']}/launch"

    async with Browser(service) as browser:
        launched = await browser.launch(started, state="auth0-state")
        address = await browser.at_provider(launched)
        back = await browser.come_back(address)
        again = await browser.come_back(address)
    assert again.headers["Location"] == back.headers["Location"]
    assert back.headers["Location"].startswith(RETURN_TO + "?state=auth0-state&session_token=")
    assert (await service.status("auth0|ana"))["reason"] == "never_verified"

    token = back.headers["Location"].partition("session_token=")[2]
    finished = await service.finish("auth0|ana", None, session_token=token)
    assert (finished["action"], finished["reason"]) == ("continue", "verified")
    assert finished["claims"][CLAIM]["pii"]["name"] == "Mei Tanaka"
    assert finished["verification"]["status"] == "completed"
    assert await service.finish("auth0|ana", None, session_token=token) == finished
