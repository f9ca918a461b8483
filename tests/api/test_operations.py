import asyncio
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from app.storage.database import Database
from app.storage.migrate import upgrade
from app.storage.revisions import newest_revision
from tests.harness.databases import SqliteFiles, empty_database, on_postgres, postgres_or_skip
from tests.harness.service import Json, Service, problem
from tests.harness.tables import Tables

# Browsers get a page that says what to do.
SHOWN_TO_PEOPLE = {"GET /v1/verifications/{verification_id}/launch", "GET /v1/callback"}
V1_REQUESTS: list[tuple[str, str, Json | None]] = [
    ("POST", "/v1/verifications", {"user_id": "ana"}),
    ("POST", "/v1/callback", {"user_id": "ana", "verification_id": "idv_" + "1" * 32, "code": "Marked-4711"}),
    ("GET", "/v1/users/ana", None),
    ("POST", "/v1/users/ana/reset", None),
    ("DELETE", "/v1/users/ana", None),
    ("GET", "/v1/verifications", None),
    ("GET", "/v1/verifications/idv_" + "1" * 32, None),
    ("GET", "/v1/audit", None),
]


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else can take meanwhile."""
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))
        yield unheard.getsockname()[1]


def sqlite_file(name: str) -> str:
    return f"sqlite+aiosqlite:///{name}"


@contextmanager
def sqlite_without_tables(folder: Path) -> Iterator[str]:
    yield sqlite_file(f"{folder}/empty.db")


@contextmanager
def sqlite_of_another_version(folder: Path) -> Iterator[str]:
    with closing(sqlite3.connect(folder / "other.db")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('1999010101')")
    yield sqlite_file(f"{folder}/other.db")


@contextmanager
def sqlite_in_a_missing_folder(folder: Path) -> Iterator[str]:
    yield sqlite_file(f"{folder}/nowhere/idv.db")


@contextmanager
def sqlite_that_is_no_database(folder: Path) -> Iterator[str]:
    (folder / "text.db").write_text("Marked-4711 " * 1000)
    yield sqlite_file(f"{folder}/text.db")


@contextmanager
def postgres_without_tables(_: Path) -> Iterator[str]:
    postgres_or_skip()
    with empty_database() as url:
        yield url


@contextmanager
def postgres_that_does_not_listen(_: Path) -> Iterator[str]:
    with closed_port() as port:
        yield f"postgresql+asyncpg://postgres:Marked-4711@127.0.0.1:{port}/idv"


@contextmanager
def postgres_without_the_database(_: Path) -> Iterator[str]:
    postgres_or_skip()
    yield on_postgres("idv_marked_4711")


Prepare = Callable[[Path], AbstractContextManager[str]]
UNMIGRATED: list[Prepare] = [sqlite_without_tables, sqlite_of_another_version, postgres_without_tables]
UNREACHABLE: list[Prepare] = [
    *(sqlite_in_a_missing_folder, sqlite_that_is_no_database),
    *(postgres_that_does_not_listen, postgres_without_the_database),
]


def on(*databases: Prepare) -> pytest.MarkDecorator:
    """Run the test on each of these databases."""
    return pytest.mark.parametrize("database_url", databases, indirect=True, ids=lambda prepare: prepare.__name__)


@pytest.fixture(params=["a migrated file"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """One engine is enough for most of these tests; those about databases bring their own, of both engines."""
    if callable(request.param):
        with request.param(tmp_path) as url:
            yield url
    else:
        files: SqliteFiles = request.getfixturevalue("sqlite_files")
        yield files.new(tmp_path)


@on(*UNMIGRATED, *UNREACHABLE)
async def test_the_process_lives_whatever_the_database_does(service: Service) -> None:
    response = await service.client(None).get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_a_migrated_database_is_ready(service: Service) -> None:
    response = await service.client(None).get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "checks": {"database": "ok", "migrations": "ok"}}


async def not_ready(service: Service) -> dict[str, str]:
    """The checks, of a service that is not ready."""
    response = await service.client(None).get("/readyz")
    assert response.status_code == 503, response.text
    answer: Json = response.json()
    assert list(answer) == ["status", "checks"]
    assert answer["status"] == "not_ready"
    for private in ("Marked", "Traceback", "asyncpg", "sqlite3", "/nowhere"):
        assert private not in response.text
    checks: dict[str, str] = answer["checks"]
    assert set(checks) == {"database", "migrations"}
    return checks


@on(*UNMIGRATED)
async def test_a_database_that_is_not_migrated_is_not_ready(service: Service) -> None:
    checks = await not_ready(service)
    assert checks["database"] == "ok"
    assert "idv migrate" in checks["migrations"]
    assert str(newest_revision()) in checks["migrations"]


async def test_a_database_that_a_newer_version_has_migrated_still_serves_this_one(service: Service) -> None:
    tables = Tables(service)
    assert await tables.change("UPDATE alembic_version SET version_num = '2999010101'") == 1
    response = await service.client(None).get("/readyz")
    assert (response.status_code, response.json()["checks"]) == (200, {"database": "ok", "migrations": "ok"})
    database = Database(tables.url)
    await upgrade(database)
    await database.close()
    assert await tables.rows("SELECT version_num FROM alembic_version") == [{"version_num": "2999010101"}]
    assert (await service.verify("auth0|ana"))["reason"] == "verified"


@on(*UNREACHABLE)
async def test_a_database_that_cannot_be_reached_is_not_ready(service: Service) -> None:
    checks = await not_ready(service)
    assert "DATABASE_URL" in checks["database"]
    assert checks["migrations"] != "ok"


@on(sqlite_of_another_version)
async def test_a_version_that_is_not_this_codes_is_named(service: Service) -> None:
    assert "1999010101" in (await not_ready(service))["migrations"]


@on(*UNMIGRATED, *UNREACHABLE)
async def test_without_its_database_every_v1_route_says_so_and_when_to_try_again(service: Service) -> None:
    for method, path, body in V1_REQUESTS:
        response = await service.admin.request(method, path, json=body)
        assert response.status_code == 503, (method, path, response.text)
        answer = problem(response, 503, "database_unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        assert list(answer) == ["type", "title", "status", "detail", "hint", "code", "request_id"]
        for private in ("Marked", "ana", "Traceback", "asyncpg", "sqlite"):
            assert private not in response.text
    assert {service.asked(endpoint) for endpoint in ("authorize", "token", "userinfo")} == {0}


@on(sqlite_without_tables)
async def test_keys_and_bodies_are_checked_without_a_database(service: Service) -> None:
    problem(await service.client(None).get("/v1/users/ana"), 401, "unauthorized")
    problem(await service.idp.delete("/v1/users/ana"), 403, "forbidden")
    problem(await service.idp.post("/v1/verifications", json={}), 422, "validation_error")


@on(sqlite_without_tables, postgres_without_tables)
async def test_a_migration_mends_a_running_service(service: Service, database_url: str) -> None:
    await not_ready(service)
    problem(await service.idp.get("/v1/users/ana"), 503, "database_unavailable")
    database = Database(database_url)
    await upgrade(database)
    await database.close()
    assert (await service.idp.get("/readyz")).status_code == 200
    assert (await service.verify("ana"))["reason"] == "verified"


# The API's own description.


def references(node: Any) -> Iterator[str]:
    """Every $ref below a node."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def resolve(document: Json, reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


@pytest.fixture
async def document(service: Service) -> Json:
    response = await service.client(None).get("/openapi.json")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    answer: Json = response.json()
    return answer


async def test_the_openapi_document_describes_every_route_of_the_contract(document: Json) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"]
    assert document["info"]["version"]
    assert {name for name, _ in operations(document)} >= {
        "POST /v1/verifications",
        "POST /v1/callback",
        "GET /v1/users/{user_id}",
        "POST /v1/users/{user_id}/reset",
        "DELETE /v1/users/{user_id}",
        "GET /v1/audit",
        "GET /healthz",
        "GET /readyz",
    }


async def test_every_reference_of_the_openapi_document_resolves(document: Json) -> None:
    unresolved = set()
    for reference in set(references(document)):
        try:
            resolve(document, reference)
        except KeyError:
            unresolved.add(reference)
    assert unresolved == set()
    for kind, components in document["components"].items():
        # OpenAPI 3.1 section 4.8.7: a component's name has no other characters.
        assert {name for name in components if not re.fullmatch(r"[a-zA-Z0-9._-]+", name)} == set(), kind
    for name, operation in operations(document):
        for requirement in operation.get("security", []):
            assert set(requirement) <= set(document["components"]["securitySchemes"]), name


async def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(document: Json) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name, operation in operations(document):
        assert re.fullmatch(r"[a-z][A-Za-z0-9]+", operation["operationId"]), name
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name


async def test_the_parameters_of_a_path_are_declared(document: Json) -> None:
    for name, operation in operations(document):
        declared = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", name)), name


async def test_every_declared_error_names_its_codes_and_is_a_problem(document: Json) -> None:
    declared = 0
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if status < "400" or name in SHOWN_TO_PEOPLE | {"GET /readyz"}:
                continue
            declared += 1
            assert re.findall(r"`([a-z_]+)`", response["description"]), (name, status)
            [(media_type, content)] = response["content"].items()
            assert media_type == "application/problem+json", (name, status)
            problem_schema = resolve(document, content["schema"]["$ref"])
            assert set(problem_schema["required"]) >= {
                "type",
                "title",
                "status",
                "detail",
                "hint",
                "code",
                "request_id",
            }
    assert declared >= 25
    assert "HTTPValidationError" not in document["components"]["schemas"], "the framework's own error was left in"


async def test_every_error_that_a_route_gives_is_declared(service: Service, document: Json) -> None:
    user = "/v1/users/{user_id}"
    given: list[tuple[str, str, dict[str, Any]]] = [
        ("POST /v1/verifications", "/v1/verifications", {"json": {}}),
        ("POST /v1/verifications", "/v1/verifications", {"content": b"x" * 70_000}),
        ("POST /v1/verifications", "/v1/verifications", {"headers": {"Authorization": ""}}),
        ("POST /v1/callback", "/v1/callback", {"json": {}}),
        ("POST /v1/callback", "/v1/callback", {"json": {"user_id": "ana", "verification_id": "idv_" + "1" * 32}}),
        ("POST /v1/callback", "/v1/callback", {"content": b"x" * 70_000}),
        (f"GET {user}", "/v1/users/%7F", {}),
        (f"DELETE {user}", "/v1/users/%7F", {}),
        (f"DELETE {user}", "/v1/users/ana", {}),
        (f"POST {user}/reset", "/v1/users/ana/reset", {"json": {"identity": 1}}),
        (f"POST {user}/reset", "/v1/users/ana/reset", {}),
        (f"POST {user}/reset", "/v1/users/ana/reset", {"content": b"x" * 70_000}),
    ]
    declared = dict(operations(document))
    seen = set()
    for client in (service.admin, service.idp):
        for name, path, options in given:
            response = await client.request(name.partition(" ")[0], path, **options)
            if response.status_code >= 400:
                seen.add(response.status_code)
                description = declared[name]["responses"][str(response.status_code)]["description"]
                assert f"`{response.json()['code']}`" in description, (name, response.status_code)
    assert seen == {401, 403, 404, 413, 422}


# The documentation in a browser.


class Page(HTMLParser):
    """What a page refers to, and whether it has scripts or handlers of its own."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [value for name in ("src", "href") if (value := given.get(name))]
        self.inline += [name for name in given if name.startswith("on")]
        self._in_script = tag == "script" and "src" not in given

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)


def directives(policy: str) -> dict[str, list[str]]:
    return {
        name: values for name, *values in (directive.split() for directive in policy.split(";") if directive.strip())
    }


async def test_the_docs_come_from_the_service_itself(service: Service) -> None:
    browser = service.client(None)
    response = await browser.get("/docs")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    page = Page(response.text)
    assert len(page.addresses) >= 3
    assert page.inline == []
    kinds = {".js": "javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for address in page.addresses:
        absolute = urljoin("http://service.test/docs", address)
        assert urlsplit(absolute).netloc == "service.test", address
        assert not urlsplit(address).path.startswith("/"), "it would leave the path of PUBLIC_URL"
        asset = await browser.get(absolute)
        assert asset.status_code == 200, address
        assert asset.content, address
        assert kinds[Path(urlsplit(absolute).path).suffix] in asset.headers["Content-Type"], address


async def test_what_starts_the_docs_reads_the_services_own_description(service: Service) -> None:
    browser = service.client(None)
    scripts = [address for address in Page((await browser.get("/docs")).text).addresses if address.endswith(".js")]
    own = [text for address in scripts if len(text := (await browser.get(f"/{address}")).text) < 10_000]
    assert len(own) == 1
    assert '"openapi.json"' in own[0]
    assert "://" not in own[0]
    assert re.search(r"persistAuthorization:\s*false", own[0]), "a key that is typed in must not stay in the browser"


async def test_the_policy_of_the_docs_allows_no_foreign_and_no_inline_script(service: Service) -> None:
    response = await service.client(None).get("/docs")
    policy = directives(response.headers["Content-Security-Policy"])
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == ["'self'"]
    assert policy["connect-src"] == ["'self'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert policy["base-uri"] == ["'none'"]
    sources = {source for values in policy.values() for source in values}
    assert sources <= {"'none'", "'self'", "'unsafe-inline'", "data:"}
    assert [name for name, values in policy.items() if "'unsafe-inline'" in values] in ([], ["style-src"])


async def test_other_pages_may_not_be_shown_as_documents(service: Service) -> None:
    for path in ("/openapi.json", "/healthz", "/v1/users/ana", "/nowhere"):
        response: httpx.Response = await service.idp.get(path)
        assert directives(response.headers["Content-Security-Policy"])["default-src"] == ["'none'"]
        assert "script-src" not in response.headers["Content-Security-Policy"]


async def test_many_probes_at_once_are_all_answered(service: Service) -> None:
    async with service.client(None) as client:
        responses = await asyncio.gather(*(client.get("/readyz") for _ in range(30)))
    assert {response.status_code for response in responses} == {200}
