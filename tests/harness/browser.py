import httpx

from tests.harness.service import Json, Service, query_of


class Browser:
    """A person's browser in the hosted flow: it keeps cookies and shows where it was sent, without following."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.client = httpx.AsyncClient(transport=service.transport, base_url=service.settings.public_url)

    async def __aenter__(self) -> "Browser":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def launch(self, started: Json, **query: str) -> httpx.Response:
        return await self.client.get(started["redirect_url"], params=query)

    async def at_provider(self, launched: httpx.Response, outcome: str = "verified", person: str | None = None) -> str:
        """Let the person go through the provider's page; returns the address that the provider sends the browser to."""
        assert launched.status_code == 303, launched.text
        address = launched.headers["Location"]
        parameters = {**query_of(address), "outcome": outcome}
        if person:
            parameters["person"] = person
        response = await self._service.browser.get(address.partition("?")[0], params=parameters)
        assert response.status_code == 303, response.text
        return response.headers["Location"]

    async def come_back(self, address: str) -> httpx.Response:
        return await self.client.get(address)

    async def go_through(self, started: Json, outcome: str = "verified", person: str | None = None) -> dict[str, str]:
        """From launch to the return address; returns the parameters that arrive there."""
        back = await self.come_back(await self.at_provider(await self.launch(started), outcome, person))
        assert back.status_code == 303, back.text
        return query_of(back.headers["Location"])
