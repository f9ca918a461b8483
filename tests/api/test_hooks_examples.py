"""The examples of the token hooks in the OpenAPI document: each is sent, and answered as the document says."""

import json

import httpx
import jsonschema_rs
import pytest
from pydantic import SecretStr

from app.api.reference import examples
from app.main import create_app
from tests.api.test_openapi_examples import JSON, PROBLEM, Story, operation_of, request_examples, same_form
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.hooks import HOOKS, Tenant, Vendors
from tests.harness.openapi import document_of
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import Json, Service
from tests.harness.tables import on_sqlite_only

pytestmark = on_sqlite_only

OPERATIONS = {
    "answerHydra": "hydra",
    "answerSupabase": "supabase",
    "answerOkta": "okta",
    "answerEntra": "entra",
    "answerZitadel": "zitadel",
    "answerWso2Token": "wso2/token",
    "answerWso2Authentication": "wso2/authentication",
}


@pytest.fixture
async def story(make_service: MakeService, tenant: Tenant, clock: Clock) -> Story:
    return Story(await make_service(entra_url=tenant.url, **{**HOOKS, "public_url": PUBLIC_URL}), clock)


@pytest.fixture
def document() -> Json:
    return document_of(**{**HOOKS, "public_url": PUBLIC_URL})


async def log_in_at_wso2(vendors: Vendors, story: Story) -> None:
    """Somebody's login has come to our step, and the browser is back with a session token."""
    request = examples.WSO2_AUTHENTICATION_REQUESTS["first"]["value"]
    first = await vendors.ask("wso2/authentication", request)
    async with Browser(vendors.service) as browser:
        arrived = await browser.go_through({"redirect_url": first["operations"][0]["url"]})
    story.actual[examples.SESSION_TOKEN] = arrived["session_token"]


def really(story: Story, example: Json) -> Json:
    """The example's request, with what was really given in place of its fixed values."""
    text = json.dumps(example)
    for fixed, actual in story.actual.items():
        text = text.replace(json.dumps(fixed), json.dumps(actual))
    request: Json = json.loads(text)
    return request


@pytest.mark.parametrize("operation_id", OPERATIONS)
async def test_each_example_is_answered_as_the_document_says(
    operation_id: str, story: Story, tenant: Tenant, clock: Clock, document: Json
) -> None:
    vendors = Vendors(story.service, tenant.key, clock)
    _, path, operation = operation_of(document, operation_id)
    assert path == f"/v1/hooks/{OPERATIONS[operation_id]}"
    asked = request_examples(operation)
    answers = operation["responses"]["200"]["content"][JSON]["examples"]
    assert asked.keys() == answers.keys()
    for name, request in asked.items():
        if name == "back":
            await log_in_at_wso2(vendors, story)
        elif operation_id != "answerWso2Authentication":
            await story.a_verified_user()
        schema = operation["requestBody"]["content"][JSON]["schema"]
        jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]}).validate(request["value"])
        answer = await vendors.ask(OPERATIONS[operation_id], really(story, request["value"]))
        example = document["components"]["examples"][f"{operation_id}.{name}"]["value"]
        if name == "first":
            launch = answer["operations"][0].pop("url")
            assert httpx.URL(launch).path.endswith("/launch")
            assert httpx.URL(example["operations"][0]["url"]).path.endswith("/launch")
            example = json.loads(json.dumps(example))
            del example["operations"][0]["url"]
        same_form("", example, story.told(answer))


@pytest.mark.parametrize("operation_id", OPERATIONS)
async def test_each_refusal_is_declared_in_the_words_that_are_answered(
    operation_id: str, story: Story, tenant: Tenant, clock: Clock, document: Json
) -> None:
    vendors = Vendors(story.service, tenant.key, clock)
    _, _, operation = operation_of(document, operation_id)
    path = OPERATIONS[operation_id]
    refused = [await vendors.send(path, b"{}"), await vendors.send(path, b"{}", headers={})]
    refused.append(await Vendors(await off(story), tenant.key, clock).send(path, b"{}"))
    for response in refused:
        declared = operation["responses"][str(response.status_code)]["content"][PROBLEM]["examples"]
        example, answer = declared[response.json()["code"]]["value"], response.json()
        for name in ("type", "title", "status", "detail", "hint", "code"):
            assert answer[name] == example[name]
        assert answer.keys() == example.keys()
        if "errors" in example:
            assert example["errors"][0] in answer["errors"]


async def off(story: Story) -> Service:
    """The same service, without any hook."""
    nothing = {"hydra_hook": False, "okta_hook": False, "wso2_hook": False, "entra_tenant_id": None}
    no_secrets = {"supabase_hook_secrets": SecretStr(""), "zitadel_hook_secret": SecretStr("")}
    changed = story.service.settings.model_copy(update={**nothing, **no_secrets})
    return Service(create_app(changed), story.service.sandbox, changed)
