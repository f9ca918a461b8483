"""The demo's story, told in a terminal: each step, the request and its answer."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

USER = {"user_id": "auth0|mei", "email": "mei@example.com"}
_SHOWN = 60


class DemoFailed(Exception):
    """A step did not give what it promises."""


async def tell(client: httpx.AsyncClient, service: str, key: str) -> None:
    """Verify one user from start to claim, and the same user again. Raises DemoFailed."""
    client.headers["Authorization"] = f"Bearer {key}"

    _step("1. Mei logs in. The identity provider asks whether she must be verified.")
    started = await _post(client, f"{service}/v1/verifications", dict(USER))
    _expect(started, "redirect", "never_verified")

    _step("2. The browser goes to the provider, where Mei shows her face and her document.")
    came_back = await client.get(
        started["redirect_url"], params={**_query(started["redirect_url"]), "outcome": "verified"}
    )
    returned = _query(came_back.headers["Location"])
    print(f"   GET {_short(started['redirect_url'])}")
    print(f"   {came_back.status_code} {_short(came_back.headers['Location'])}")

    _step("3. The identity provider relays what came back. The service exchanges the code and decides.")
    callback = {"user_id": USER["user_id"], "verification_id": started["verification"]["id"], **returned}
    _expect(await _post(client, f"{service}/v1/callback", callback), "continue", "verified")

    _step("4. Mei logs in again. She was verified a moment ago: no redirect, the claim again.")
    _expect(await _post(client, f"{service}/v1/verifications", dict(USER)), "continue", "recently_verified")


def invite(acme: str, service: str, key: str, admin_key: str, *, own: bool) -> None:
    """Say what there is to try. `own`: the gateway was told of an application of the person's own."""
    docs = f"{service}/docs"
    _step("Everything stays up. Open this in a browser, log in, and choose how the verification ends:")
    print(f"   {acme}\n")
    print(f'   For calls of your own, "Authorize" in {docs} asks for two keys:')
    print(f"   IdpKey    {key}")
    print(f"   AdminKey  {admin_key}\n")
    if own:
        print(
            f"   Your own application calls {service} with the IdpKey. Name your address in each start, as return_to "
            "or as"
        )
        print("   redirect_uri. Any e-mail address will do.\n")
    print("   Ctrl-C ends everything and leaves nothing behind.", flush=True)


async def _post(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(url, json=body)
    print(f"   POST {url}")
    print(_indented({name: _short(value) for name, value in body.items()}))
    print(f"   {response.status_code}")
    answer: dict[str, Any] = response.json()
    print(_indented(_gist(answer)))
    return answer


def _gist(answer: dict[str, Any]) -> dict[str, Any]:
    """What the next step needs of an answer; an ellipsis stands for the rest."""
    gist = {name: answer.get(name) for name in ("action", "reason", "claims")}
    if answer.get("redirect_url"):
        shown = {name: answer["verification"][name] for name in ("id", "status")}
        gist |= {"redirect_url": _short(answer["redirect_url"]), "verification": {**shown, "…": "…"}}
    return gist


def _expect(answer: dict[str, Any], action: str, reason: str) -> None:
    if (answer.get("action"), answer.get("reason")) != (action, reason):
        raise DemoFailed(f"expected {action}, {reason}")
    if action == "continue" and not answer["claims"]:
        raise DemoFailed("expected a claim")


def _query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def _step(text: str) -> None:
    print(f"\n{text}\n")


def _indented(value: Any) -> str:
    return "\n".join(f"   {line}" for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines())


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
