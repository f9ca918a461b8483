"""A person in front of Keycloak, by HTTP alone, and the application that the person logs in to."""

import html
import re
from dataclasses import dataclass
from typing import Any

import httpx

from tests.harness.loopback import NO_TLS
from tests.harness.service import CLAIM, Json, query_of
from tests.harness.tokens import payload
from tests.harness.waiting import PATIENCE
from tests.integrations.keycloak.realm import APPLICATION, APPLICATION_SECRET, PASSWORD


@dataclass(frozen=True)
class Realm:
    """One of Keycloak's realms, and the application behind it, which is never really asked."""

    url: str
    application: str
    provider: str

    def browser(self) -> "Visitor":
        return Visitor(self)

    def grant(self, grant_type: str, **parameters: str) -> httpx.Response:
        """What the application asks for tokens."""
        body = {"grant_type": grant_type, "client_id": APPLICATION, "client_secret": APPLICATION_SECRET, **parameters}
        return httpx.post(f"{self.url}/protocol/openid-connect/token", data=body, timeout=PATIENCE, verify=NO_TLS)

    def way_in(self, acr: str | None = None) -> str:
        """Where the application sends people who are to log in."""
        query = {
            "client_id": APPLICATION,
            "redirect_uri": self.application,
            "response_type": "code",
            "scope": "openid",
            **({"acr_values": acr} if acr else {}),
        }
        return f"{self.url}/protocol/openid-connect/auth?{httpx.QueryParams(query)}"

    def tokens(self, came_to: httpx.Response) -> Json:
        """The tokens of a person who has come to the application."""
        return self.tokens_for(arrival(came_to, self.application))

    def tokens_for(self, address: str) -> Json:
        answer = self.grant("authorization_code", code=query_of(address)["code"], redirect_uri=self.application)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def userinfo(self, tokens: Json) -> Json:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        answer = httpx.get(
            f"{self.url}/protocol/openid-connect/userinfo", headers=headers, timeout=PATIENCE, verify=NO_TLS
        )
        return dict(answer.json())


class Visitor:
    """A browser that goes where it is sent, up to the provider's page, the application, or a page to read."""

    def __init__(self, realm: Realm) -> None:
        self.realm = realm
        self.client = httpx.Client(timeout=PATIENCE, verify=NO_TLS, event_hooks={"response": [self._keep]})

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def _keep(self, _: httpx.Response) -> None:
        """To browsers, loopback is as good as https: Keycloak's cookies are for secure places."""
        for cookie in self.client.cookies.jar:
            cookie.secure = False

    def begin(self, acr: str | None = None) -> httpx.Response:
        return self.go(self.realm.way_in(acr))

    def log_in(self, name: str, acr: str | None = None) -> httpx.Response:
        """Type name and password; where that leads."""
        [action] = re.findall(r'<form[^>]* action="([^"]+)"', self.begin(acr).text)
        return self._follow(self.client.post(html.unescape(action), data={"username": name, "password": PASSWORD}))

    def verify(self, at_provider: httpx.Response, outcome: str = "verified") -> httpx.Response:
        """Let the provider's page end so; where that leads."""
        return self.go(self.way_back(at_provider, outcome))

    def way_back(self, at_provider: httpx.Response, outcome: str = "verified") -> str:
        """The address at Keycloak that the gateway sends the browser to."""
        address = httpx.URL(arrival(at_provider, self.realm.provider)).copy_merge_params({"outcome": outcome})
        gateway = self.client.get(address).headers["Location"]
        return str(self.client.get(gateway).headers["Location"])

    def go(self, address: str) -> httpx.Response:
        return self._follow(self.client.get(address))

    def _follow(self, response: httpx.Response) -> httpx.Response:
        ends = (self.realm.provider, f"{self.realm.application}?")
        while response.is_redirect and not response.headers["Location"].startswith(ends):
            response = self.client.get(response.headers["Location"])
        return response


def arrival(response: httpx.Response, place: str) -> str:
    """The address, which must be in this place."""
    address: str = response.headers.get("Location", "")
    assert address.startswith(place), _seen(response)
    return address


def claims_in(tokens: Json) -> list[Any]:
    """The claim of the ID token and of the access token, where it is."""
    return [said[CLAIM] for said in (payload(tokens["id_token"]), payload(tokens["access_token"])) if CLAIM in said]


def is_refused(response: httpx.Response) -> str:
    """What the page says that refuses the login."""
    assert response.status_code == 403, _seen(response)
    return _seen(response)[-1]


def _seen(response: httpx.Response) -> list[str]:
    """Status and address of an answer, and what a page of errors says."""
    said = re.findall(r'id="kc-error-message">\s*<p[^>]*>(.*?)</p>', response.text, re.DOTALL)
    return [
        str(response.status_code),
        response.headers.get("Location", ""),
        *(html.unescape(one.strip()) for one in said),
    ]
