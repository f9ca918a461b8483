"""What a reader of the OpenAPI document is owed, whether it is read as text, in Swagger UI or in Redoc."""

import json
import re
from collections.abc import Iterator

import pytest

from app.api.reference import examples
from app.flows.hosted import PageKind
from tests.harness.openapi import document_of
from tests.harness.service import Json, Service
from tests.harness.tables import on_sqlite_only
from tests.system.processes import REPOSITORY

README = REPOSITORY / "README.md"


@pytest.fixture
def document() -> Json:
    return document_of()


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    """Each operation by its id."""
    for methods in document["paths"].values():
        for operation in methods.values():
            yield operation["operationId"], operation


def parameters(document: Json) -> Iterator[tuple[str, Json]]:
    """Each parameter of each operation, as `operation.name`."""
    for operation_id, operation in operations(document):
        for parameter in operation.get("parameters", []):
            yield f"{operation_id}.{parameter['name']}", parameter


def fields(document: Json) -> Iterator[tuple[str, Json]]:
    """Each field of each model, as `Model.field`."""
    for name, model in document["components"]["schemas"].items():
        for field, schema in model.get("properties", {}).items():
            yield f"{name}.{field}", schema


def points(text: str, heading: str) -> list[str]:
    """The list below a heading."""
    below = re.split(r"\n#+ ", text.split(f"# {heading}\n")[1])[0]
    return re.findall(r"^- (.*)", below, re.MULTILINE)


def test_a_nullable_field_is_one_list_of_types_and_no_title_repeats_a_name(document: Json) -> None:
    found = dict(fields(document))
    assert found["CallbackBody.code"]["type"] == ["string", "null"]
    assert found["VerificationView.finished_at"]["type"] == ["string", "null"]
    assert found["ProblemDetails.errors"]["type"] == ["array", "null"]
    for name, schema in found.items():
        assert "title" not in schema, name
        assert all("$ref" in one or one == {"type": "null"} for one in schema.get("anyOf", [])), name


def test_a_parameter_has_a_type_of_its_own_and_is_never_null(document: Json) -> None:
    for name, parameter in parameters(document):
        schema = parameter["schema"]
        assert "title" not in schema, name
        assert "anyOf" not in schema, name
        assert "$ref" in schema or isinstance(schema["type"], str), name


def test_each_field_and_each_parameter_is_described(document: Json) -> None:
    models = document["components"]["schemas"]
    # What the model says of itself is not repeated where it stands alone.
    own = {f"#/components/schemas/{name}": model.get("description") for name, model in models.items()}
    described = (
        (name, schema.get("description") or own.get(schema.get("$ref", ""))) for name, schema in fields(document)
    )
    undescribed = [name for name, description in described if not description]
    assert undescribed == []
    assert [name for name, parameter in parameters(document) if not parameter.get("description")] == []


def test_each_status_of_an_attempt_is_explained(document: Json) -> None:
    told = dict(fields(document))["VerificationView.status"]["description"]
    for status in document["components"]["schemas"]["Status"]["enum"]:
        assert f"- `{status}`: " in told


def test_a_problem_says_where_its_remedy_is(document: Json) -> None:
    assert "`docs/troubleshooting.md`" in document["components"]["schemas"]["ProblemDetails"]["description"]
    assert "`docs/troubleshooting.md`" in document["info"]["description"]
    assert (REPOSITORY / "docs" / "troubleshooting.md").exists()


def test_the_description_names_incode_and_shows_the_claim_of_the_examples(document: Json) -> None:
    text = document["info"]["description"]
    [claim] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert json.loads(claim) == examples.ANSWERS["finishVerification"]["relay"]["value"]["claims"]
    assert "https://incode.com)" in text
    assert "](docs)" in text
    assert "](redoc)" in text


def test_the_description_says_what_the_caller_owes_in_the_words_of_the_readme(document: Json) -> None:
    owed = [
        points(text, "What you owe") for text in (document["info"]["description"], README.read_text(encoding="utf-8"))
    ]
    assert [words.split()[:6] for words in owed[0]] == [words.split()[:6] for words in owed[1]]


def test_the_operations_of_users_begin_with_the_one_that_changes_nothing(document: Json) -> None:
    users = [name for name, operation in operations(document) if operation["tags"] == ["Users"]]
    assert users[0] == "getUserStatus"


@on_sqlite_only
async def test_an_attempt_that_is_not_there_is_refused_without_words_about_a_user(
    service: Service, document: Json
) -> None:
    refused = (await service.admin.get("/v1/verifications/idv_00000000000000000000000000000000")).json()
    assert refused["code"] == "verification_not_found"
    assert "user" not in refused["detail"]
    declared = document["paths"]["/v1/verifications/{verification_id}"]["get"]["responses"]["404"]["description"]
    assert declared == f"- `verification_not_found`: {refused['detail']}"


def test_each_operation_declares_a_fault(document: Json) -> None:
    for name, operation in operations(document):
        assert "`internal_error`" in operation["responses"]["500"]["description"], name


def test_the_pages_of_a_browser_are_named(document: Json) -> None:
    declared: set[str] = set()
    for name in ("launchVerification", "receiveCallback"):
        for response in dict(operations(document))[name]["responses"].values():
            kinds = response.get("content", {}).get("text/html", {}).get("examples", {}).keys()
            assert all(f"- `{kind}`: " in response["description"] for kind in kinds - {"preview"}), name
            declared |= kinds
    assert declared == {*PageKind, "preview"}


def test_each_parameter_and_each_header_has_an_example(document: Json) -> None:
    for name, parameter in parameters(document):
        assert parameter.get("examples") or parameter["schema"].get("examples"), name
    for name, operation in operations(document):
        for response in operation["responses"].values():
            assert all(header["example"] for header in response["headers"].values()), name
