"""The words that people read: each setting, command, file and route that a document names exists."""

import re

import pytest
import typer

from app.operator import cli
from app.settings import Settings
from app.settings.model import SECRETS as IN_FILES
from tests.harness.containers import REPOSITORY, composition, variables_in
from tests.harness.openapi import document_of
from tests.unit.settings.given import REQUIRED

PATTERNS = ("*.md", "deploy/*.md", "docs/**/*.md", "app/api/reference/description.md")
DOCUMENTS = sorted(path.relative_to(REPOSITORY).as_posix() for pattern in PATTERNS for path in REPOSITORY.glob(pattern))
COMMANDS: dict[str, typer.core.TyperCommand] = typer.main.get_command(cli.main).commands  # type: ignore[attr-defined]
SETTINGS = {name.upper() for name in Settings.model_fields} | {f"{name.upper()}_FILE" for name in IN_FILES}
PAGES = {"/docs", "/redoc", "/openapi.json"}
# Of code that runs inside an identity provider.
SECRETS = {
    name
    for path in REPOSITORY.glob("integrations/auth0/*.js")
    for name in re.findall(r"event\.secrets\.([A-Z_]+)", path.read_text(encoding="utf-8"))
}
# Of Docker Compose, of the tests, and of a library.
OTHERS = {*variables_in(composition()), "TEST_POSTGRES_URL", "REQUIRE_ALL", "COPY_TO", "PYDANTIC_SETTINGS_DEBUG"}


def text(document: str) -> str:
    return (REPOSITORY / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_setting_exists(document: str) -> None:
    named = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", text(document)))
    assert {name for name in named if not name.startswith("OTEL_")} <= SETTINGS | SECRETS | OTHERS


def test_each_default_in_the_readme_is_the_settings() -> None:
    rows = re.findall(r"^\| (`[A-Z][^|]*`) \| (`[^|]*`) \|", text("README.md"), re.MULTILINE)
    shown = {
        name: value for names, values in rows for name, value in zip(names.split(", "), values.split(", "), strict=True)
    }
    assert len(shown) >= 9
    shown = {name.strip("`").lower(): value.strip("`") for name, value in shown.items()}
    required = {name.lower(): value for name, value in REQUIRED.items()}
    given = Settings.model_validate({**required, **shown})
    assert {name: getattr(given, name) for name in shown} == {
        name: Settings.model_fields[name].default for name in shown
    }


def code_in(document: str) -> list[str]:
    """Each line of the document's code, whether it stands within a sentence or by itself."""
    blocks = re.findall(r"```\w*\n(.*?)```", text(document), re.DOTALL)
    prose = re.sub(r"```.*?```", "", text(document), flags=re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", prose)
    return [*inline, *(line for block in blocks for line in block.splitlines())]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_command_and_its_options_exist(document: str) -> None:
    for command, rest in re.findall(
        r"\bidv (?!idv\b)([a-z][a-z-]*)(.*)", "\n".join(code_in(document)).replace("&&", "\n")
    ):
        assert command in COMMANDS, command
        known = {
            option for parameter in COMMANDS[command].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest.partition("#")[0])) <= known, command + rest


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_link_leads_to_a_file_or_a_heading(document: str) -> None:
    folder = (REPOSITORY / document).parent
    words = re.findall(r"^#+ (.+)$", text(document), re.MULTILINE)
    headings = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in words}
    for target in re.findall(r"(?:\]\(|src=\")([^)\"]+)", text(document)):
        path, _, anchor = target.partition("#")
        assert target.startswith("https://") or f"/{target.lstrip('/')}" in PAGES or (folder / path).exists(), target
        assert path or anchor in headings, target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_file_of_the_repository_exists(document: str) -> None:
    for path in re.findall(r"`((?:app|tests|deploy|docs|migrations|integrations)/[\w./-]+)`", text(document)):
        assert (REPOSITORY / path).exists(), path


def test_there_is_something_to_look_for() -> None:
    everything = "\n".join(line for document in DOCUMENTS for line in code_in(document))
    assert set(re.findall(r"\bidv (?!idv\b)([a-z][a-z-]*)", everything)) == set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_route_exists(document: str) -> None:
    routes = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, operations in document_of()["paths"].items()
        for method in operations
    }
    for method, path in re.findall(r"`(GET|POST|DELETE|PUT) (/[^`? ]*)`", text(document)):
        assert (method, re.sub(r"\{\w+\}", "{}", path)) in routes or path in PAGES, path
