"""The OpenAPI document, completed: problems, examples and headers, in schemas that a person can read."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.api.problems import ProblemDetails, header
from app.api.reference.examples import ANSWERS, REQUEST_ID

_FRAMEWORK_ERROR = "HTTPValidationError"


def complete_document(app: FastAPI) -> None:
    """Let the app describe itself with our problems in place of the framework's own error."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        components = document["components"]
        if "examples" in components:  # the framework keeps what it has generated, and it was completed then
            return document
        # They are added here, since the framework leaves every null out of what it is given.
        components["examples"] = {
            f"{key}.{name}": example for key, named in ANSWERS.items() for name, example in named.items()
        }
        for operation in (each for path in document["paths"].values() for each in path.values()):
            _complete_operation(operation)
        components["schemas"] = _readable_models(components["schemas"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _complete_operation(operation: dict[str, Any]) -> None:
    if _FRAMEWORK_ERROR in str(operation["responses"].get("422")):
        del operation["responses"]["422"]
    operation["responses"] = dict(sorted(operation["responses"].items()))
    for response in operation["responses"].values():
        response.setdefault("headers", {})["X-Request-ID"] = header("X-Request-ID", REQUEST_ID)
    for parameter in operation.get("parameters", []):
        parameter["schema"] = _never_null(_readable(parameter["schema"]))


def _readable_models(schemas: dict[str, Any]) -> dict[str, Any]:
    """The models in the framework's order, the problems' last, each property without what says nothing to a reader."""
    problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    models = {**schemas, **problem.pop("$defs"), "ProblemDetails": problem}
    for unused in (_FRAMEWORK_ERROR, "ValidationError"):
        models.pop(unused, None)
    for model in models.values():
        if "properties" in model:
            model["properties"] = {name: _readable(schema) for name, schema in model["properties"].items()}
    return models


def _readable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without a title that repeats its name, and with one list of types in place of a union with null."""
    kept = {name: value for name, value in schema.items() if name != "title"}
    match kept.get("anyOf"):
        case [{"type": str(kind)} as one, {"type": "null"}]:
            del kept["anyOf"]
            return {**one, **kept, "type": [kind, "null"]}
    return kept


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter, which an address can leave out but never give as null."""
    match schema:
        case {"type": [str(kind), "null"]}:
            return {**schema, "type": kind}
        case {"anyOf": [one, {"type": "null"}]}:
            return {**one, **{name: value for name, value in schema.items() if name != "anyOf"}}
    return schema
