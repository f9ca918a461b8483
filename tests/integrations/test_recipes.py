"""The lines of the recipes, taken from the page and run against the service, with what each provider hands in."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import requests

from tests.harness.loopback import NO_TLS
from tests.harness.programs import program_or_skip
from tests.harness.service import CLAIM, query_of
from tests.harness.waiting import PATIENCE
from tests.integrations.documents import check_exchanges, page
from tests.integrations.recording import recording
from tests.system.processes import IDP_KEY, SETTINGS, Workplace, answers, free_port, serving

Claims = dict[str, Any]
Recipe = Callable[[str, str, str], Claims]

# FusionAuth's fetch waits for the answer; a process of its own does that here.
WAITING_FETCH = """
const { spawnSync } = require("node:child_process");
const script = "fetch(process.argv[1], JSON.parse(process.argv[2])).then(async (a) =>" +
  "console.log(JSON.stringify({ status: a.status, body: await a.text() })))";
const fetch = (url, options) =>
  JSON.parse(spawnSync(process.execPath, ["-e", script, url, JSON.stringify(options)]).stdout);
"""


def code(provider: str) -> str:
    section = page("recipes.md").split(f"**{provider}**")[1]
    found = re.search(r"```(?:js|python)\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def in_node(script: str, user_id: str, url: str, key: str) -> Claims:
    given = f"const [user_id, IDV_URL, IDV_API_KEY] = {json.dumps([user_id, url, key])};\n"
    ran = subprocess.run(  # noqa: S603  the page's own code
        [program_or_skip("node"), "-e", given + script], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    claims: Claims = json.loads(ran.stdout)
    return claims


def authentik(user_id: str, url: str, key: str) -> Claims:
    body = "".join(f"    {line}\n" for line in code("authentik").splitlines())
    names = {"requests": requests, "IDV_URL": url, "IDV_API_KEY": key}
    exec(f"def mapping(user):\n{body}", names)  # noqa: S102  so authentik runs it, too
    claims: Claims = names["mapping"](SimpleNamespace(uid=user_id))  # type: ignore[operator]
    return claims


def logto(user_id: str, url: str, key: str) -> Claims:
    call = "getCustomJwtClaims({ token: { accountId: user_id }, environmentVariables: { IDV_URL, IDV_API_KEY } })"
    return in_node(f"{code('Logto')}\n{call}.then((claims) => console.log(JSON.stringify(claims)));", user_id, url, key)


def fusionauth(user_id: str, url: str, key: str) -> Claims:
    call = "const jwt = {}; populate(jwt, { id: user_id }, {}); console.log(JSON.stringify(jwt));"
    return in_node(f"{WAITING_FETCH}\n{code('FusionAuth')}\n{call}", user_id, url, key)


def cognito(user_id: str, url: str, key: str) -> Claims:
    event = "{ request: { userAttributes: { sub: user_id } } }"
    answer = "({ response }) => console.log(JSON.stringify(response))"
    environment = "Object.assign(process.env, { IDV_URL, IDV_API_KEY });"
    script = f"{environment}\n{{ {code('Cognito')}\nexports.handler({event}).then({answer}); }}"
    response = in_node(script, user_id, url, key)
    texts = response["claimsAndScopeOverrideDetails"]["idTokenGeneration"]["claimsToAddOrOverride"]
    return {name: json.loads(text) for name, text in texts.items()}


def verify(service: str, user_id: str) -> None:
    key = {"Authorization": f"Bearer {IDP_KEY}"}
    with httpx.Client(base_url=service, headers=key, timeout=PATIENCE, verify=NO_TLS) as idp:
        started = idp.post("/v1/verifications", json={"user_id": user_id}).json()
        back = httpx.get(httpx.URL(started["redirect_url"]).copy_merge_params({"outcome": "verified"}), verify=NO_TLS)
        arrived = query_of(back.headers["Location"])
        body = {"user_id": user_id, "verification_id": started["verification"]["id"], **arrived}
        assert idp.post("/v1/callback", json=body).json()["reason"] == "verified"


@pytest.mark.parametrize("recipe", [authentik, logto, fusionauth, cognito])
def test_a_recipe_stamps_the_claim_of_who_was_verified_and_of_nobody_else(recipe: Recipe, tmp_path: Path) -> None:
    provider = f"http://127.0.0.1:{free_port()}"
    client = ("--client-id", SETTINGS["INCODE_CLIENT_ID"], "--client-secret", SETTINGS["INCODE_CLIENT_SECRET"])
    port, work = provider.rpartition(":")[2], Workplace(tmp_path)
    with (
        work.running("sandbox", "--port", port, *client, "--redirect-uri", SETTINGS["REDIRECT_URI"]) as sandbox,
        serving(work, INCODE_SERVER_URL=provider, HTTP_TIMEOUT_SECONDS="6.5") as (_, service),
        recording(service) as wire,
    ):
        sandbox.wait_until(lambda: answers(f"{provider}/oauth2/jwks", 200), "the sandbox")
        verify(service, "ana")
        claims = recipe("ana", wire.url, IDP_KEY)
        assert claims[CLAIM]["completed"] is True
        assert recipe("eve", wire.url, IDP_KEY) == {}
        assert recipe("ana", wire.url, "a key that nobody has given out 0123456789") == {}
        check_exchanges(page("recipes.md"), wire.exchanges)
