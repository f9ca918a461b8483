import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from cryptography.fernet import Fernet
from dotenv import dotenv_values

from app.api.browser import hosted_addresses
from app.flows.exchange import CALLBACK_SECONDS
from app.main import create_app
from app.operator import cli, env_file, server
from app.settings import DatabaseSettings, Settings
from tests.harness.containers import (
    REPOSITORY,
    composition,
    filled_in,
    health_command,
    instructions,
    last,
    read,
    variables_in,
)

IMAGE = instructions(read("Dockerfile"))
FINAL = IMAGE[max(index for index, (name, _) in enumerate(IMAGE) if name == "FROM") :]
COMPOSITION = composition()
SERVICES: dict[str, dict[str, Any]] = COMPOSITION["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("idv-gateway:")}
BY_DEFAULT = {name: service for name, service in SERVICES.items() if "profiles" not in service}
PROJECT = tomllib.loads(read("pyproject.toml"))
COMMAND_LINE = typer.main.get_command(cli.main)
assert isinstance(COMMAND_LINE, typer.core.TyperGroup)
COMMANDS = COMMAND_LINE.commands

# The variables that the image of PostgreSQL documents, and those of the compose file alone.
POSTGRES_VARIABLES = {"POSTGRES_PASSWORD_FILE"}
COMPOSE_VARIABLES = {
    *("IDV_ADDRESS", "IDV_PORT", "IDV_CONNECTIONS_PER_SOURCE", "IDV_VERSION", "IDV_ENV_FILE", "IDV_SECRETS"),
    *("IDV_BASE_IMAGE", "IDV_POSTGRES_IMAGE", "IDV_HAPROXY_IMAGE", "IDV_REVISION", "IDV_CREATED"),
}
SETTINGS = {name.upper() for name in Settings.model_fields}

FILLED_IN = {
    "INCODE_CLIENT_ID": "the-client",
    "REDIRECT_URI": "https://tenant.example/continue",
    "IDV_SANDBOX_SECRET": "the-secret-of-the-client",
}
SECRETS = {
    "incode_client_secret": "the-secret-of-the-client",
    "redirect_secret": "a-secret-of-more-than-thirty-two-characters",
    "encryption_keys": Fernet.generate_key().decode(),
    "api_keys": "acme=a-key-of-more-than-thirty-two-characters",
    "admin_api_keys": "",
    "database_url": "postgresql+asyncpg://idv:the-password@database/idv",
    "database_password": "the-password",
}


def is_left_out(path: str) -> bool:
    """Whether `.dockerignore` keeps a path from the build: the last pattern that fits it or a folder of it decides."""
    left_out = False
    for line in read(".dockerignore").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = pattern.removeprefix("!")
        expression = re.escape(wanted).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, str(part)) for part in (PurePosixPath(path), *PurePosixPath(path).parents)):
            left_out = not pattern.startswith("!")
    return left_out


def copies() -> dict[str, str]:
    """What the build takes from the repository, and where it lays it: a folder's name stands for what is in it."""
    found = {}
    copied = [words.split() for name, words in IMAGE if name == "COPY" and "--from" not in words]
    for *sources, target in ([word for word in words if not word.startswith("--")] for words in copied):
        found.update({source: f"{target}{source}" if target.endswith("/") else target for source in sources})
    return found


def command_of(service: dict[str, Any]) -> list[str]:
    """What runs in a container of ours, after the entry point."""
    given: list[str] = service.get("command") or json.loads(last(IMAGE, "CMD"))
    return given


def parameters_of(command: list[str]) -> dict[str, Any]:
    """The options of an `idv` command as the command line reads them. Raises what refuses a wrong one."""
    name, *arguments = command
    with COMMANDS[name].make_context(name, arguments) as context:
        return dict(context.params)


def environment_of(service: dict[str, Any], settings: dict[str, str]) -> dict[str, str]:
    """The environment of a container, for a `.env` with these settings."""
    from_file = settings if "env_file" in service else {}
    return {**from_file, **filled_in(service.get("environment", {}), settings)}


def settings_in(service: dict[str, Any], settings: dict[str, str], secrets: dict[str, str] | None = None) -> Settings:
    """The service's settings in a container, with what the files that it is given hold."""
    given = environment_of(service, settings)
    held = {f"/run/secrets/{name}": (secrets or SECRETS)[name] for name in service["secrets"]}
    values = {name.removesuffix("_FILE"): held.get(value, value) for name, value in given.items()}
    known = {name.lower(): value for name, value in values.items() if name in SETTINGS and value}
    return Settings.model_validate(known)


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def pins(lock: str) -> dict[str, tuple[str, ...]]:
    """The packages of a lock file, each with its version and hashes; for which systems it is may differ."""
    blocks = re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n +.*)*)", read(lock), re.MULTILINE)
    return {name: (version, *re.findall(r"--hash=(\S+)", rest)) for name, version, rest in blocks}


def names(requirements: list[Any]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_-]", requirement)[0] for requirement in requirements if isinstance(requirement, str)}


# --- The image


def test_every_stage_is_made_from_one_base_whose_python_is_the_project_s() -> None:
    stages = [arguments for name, arguments in IMAGE if name == "FROM"]
    assert stages == ["${BASE} AS dependencies", "dependencies AS application", "${BASE}"]
    base = IMAGE[0][1].removeprefix("BASE=")
    assert base == "python:3.11-slim"
    assert PROJECT["project"]["requires-python"] == ">=" + base.removeprefix("python:").removesuffix("-slim")


def test_the_application_is_the_last_layer_and_brings_no_dependency() -> None:
    copied = [arguments for name, arguments in FINAL if name in {"COPY", "ADD"}]
    assert copied == [
        "--from=dependencies /venv /venv",
        "--chmod=755 deploy/probe /usr/local/bin/probe",
        "--from=application /application/venv /venv",
    ]
    application = IMAGE.index(("FROM", "dependencies AS application"))
    before = [text for name, text in IMAGE[:application] if name in {"COPY", "RUN"}]
    assert not any(re.search(r"\bapp\b|migrations|pyproject", text) for text in before), (
        "a changed line would make it anew"
    )


def test_no_pip_is_left_in_the_image() -> None:
    [removed] = [arguments for name, arguments in FINAL if name == "RUN"]
    assert removed.startswith("pip uninstall --yes --root-user-action=ignore pip setuptools wheel ")
    assert "rm -r \"$(python -c 'import ensurepip; print(*ensurepip.__path__)')\"" in removed


def test_the_labels_say_which_version_the_image_is() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\S+?)="([^"]*)"', last(FINAL, "LABEL")))
    assert labels["licenses"] == PROJECT["project"]["license"]
    assert labels["description"] == PROJECT["project"]["description"]
    filled = {name: value.strip("${}") for name, value in labels.items() if value.startswith("${")}
    assert filled == {"base.name": "BASE", "version": "VERSION", "revision": "REVISION", "created": "CREATED"}
    asked = {arguments for name, arguments in FINAL if name == "ARG"}
    assert asked == set(filled.values())
    for service in OURS.values():
        assert service["build"]["args"].keys() == asked
        assert filled_in(service["build"]["args"], {})["VERSION"] == PROJECT["project"]["version"]
        assert filled_in(service["image"], {}) == f"idv-gateway:{PROJECT['project']['version']}"
        assert filled_in(service["image"], {"IDV_VERSION": "0.0.9"}) == "idv-gateway:0.0.9"


@pytest.mark.parametrize(("variable", "service"), [("IDV_POSTGRES_IMAGE", "database"), ("IDV_HAPROXY_IMAGE", "entry")])
def test_every_image_can_be_pinned_by_its_digest(variable: str, service: str) -> None:
    pinned = "image@sha256:0123456789abcdef"
    assert filled_in(SERVICES[service]["image"], {variable: pinned}) == pinned
    assert filled_in(SERVICES["idv"]["build"]["args"]["BASE"], {"IDV_BASE_IMAGE": pinned}) == pinned


def test_the_image_runs_as_a_numbered_user_who_is_not_root() -> None:
    user = re.fullmatch(r"(\d+):(\d+)", last(FINAL, "USER"))
    assert user
    assert 0 not in {int(user[1]), int(user[2])}


def test_every_copied_path_is_there_and_reaches_the_build() -> None:
    assert copies()
    for path in copies():
        assert (REPOSITORY / path).exists(), path
        assert not is_left_out(path), path


@pytest.mark.parametrize(
    "path",
    [
        *(
            ".env",
            ".env.production",
            "app/.env",
            "secrets/api_keys",
            "idv.db",
            "idv.db-wal",
            "app/idv.db",
            "app/__pycache__/cli.pyc",
        ),
        *(
            ".git/config",
            ".venv/bin/python",
            "tests/conftest.py",
            "requirements.lock.txt",
            "docs/docker.md",
            "a-new-file",
        ),
    ],
)
def test_secrets_databases_and_what_is_not_needed_do_not_reach_the_build(path: str) -> None:
    assert is_left_out(path)


@pytest.mark.parametrize(
    "path",
    ["app/operator/cli.py", "app/sandbox/templates/style.css", "migrations/versions/one.py", "LICENSE", "deploy/probe"],
)
def test_what_is_needed_reaches_the_build(path: str) -> None:
    assert not is_left_out(path)


def test_the_wheel_of_what_is_copied_holds_every_file_of_the_service(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path, target in copies().items():
        if (REPOSITORY / path).is_dir():
            shutil.copytree(REPOSITORY / path, source / target, ignore=shutil.ignore_patterns("__pycache__"))
        elif not target.startswith("/"):
            shutil.copy(REPOSITORY / path, source / target)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=60)  # noqa: S603  our own build
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        licenses = [name.rpartition("/licenses/")[2] for name in archive.namelist() if "/licenses/" in name]
    wanted = {
        str(file.relative_to(REPOSITORY))
        for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        for file in (REPOSITORY / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert packed == wanted
    assert licenses == PROJECT["project"]["license-files"]
    assert {"app/api/page.css", "app/api/page.html", "migrations/script.py.mako"} < packed


def test_every_install_is_of_a_locked_package_or_of_our_own_wheel() -> None:
    installs = [
        part
        for name, text in IMAGE
        if name == "RUN"
        for part in text.split("&&")
        if re.search(r"pip .*\binstall\b", part)
    ]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes --only-binary :all: --requirement" in install or "--no-deps --no-index" in install, (
            install
        )


def test_the_runtime_s_lock_is_a_part_of_the_whole_one_without_the_tools() -> None:
    whole, runtime, build = (pins(f"requirements.{part}lock.txt") for part in ("", "runtime.", "build."))
    assert runtime.items() < whole.items()
    assert build.items() < whole.items()
    assert names([requirement.lower() for requirement in PROJECT["project"]["dependencies"]]) <= runtime.keys()
    assert names(PROJECT["dependency-groups"]["build"]) <= build.keys()
    tools = names(PROJECT["dependency-groups"]["dev"]) | names(PROJECT["dependency-groups"]["build"])
    assert {"pytest", "hatchling"} < tools
    assert tools & runtime.keys() <= {"requests"}, "the exporter of traces needs that one, too"


def test_no_registry_is_named() -> None:
    for file in (
        "Dockerfile",
        "docker-compose.yml",
        *(f"requirements.{part}lock.txt" for part in ("", "runtime.", "build.")),
    ):
        assert not re.search(r"index-url|find-links|pypi|https?://(?!127\.0\.0\.1|sandbox\.localhost)", read(file)), (
            file
        )


def test_the_image_serves_on_every_address_of_its_container_by_default() -> None:
    assert json.loads(last(FINAL, "ENTRYPOINT")) == list(PROJECT["project"]["scripts"])
    command = json.loads(last(FINAL, "CMD"))
    served = parameters_of(command)
    assert (command[0], served["host"], served["port"]) == ("serve", "0.0.0.0", int(last(FINAL, "EXPOSE")))  # noqa: S104


def test_the_image_s_health_is_asked_without_starting_a_python() -> None:
    probe, port, path = health_command(last(FINAL, "HEALTHCHECK"))
    assert (probe, port) == ("probe", last(FINAL, "EXPOSE"))
    assert path in create_app(settings_in(SERVICES["idv"], FILLED_IN)).openapi()["paths"]
    assert read("deploy/probe").startswith("#!/bin/bash\n")
    assert "python" not in re.sub(r"^#.*$", "", read("deploy/probe"), flags=re.MULTILINE)
    assert SERVICES["idv"]["healthcheck"]["test"] == ["CMD", "probe", port, "/readyz"]


def test_the_server_ends_by_the_image_s_signal_within_the_composition_s_patience() -> None:
    assert last(FINAL, "STOPSIGNAL") == "SIGTERM"
    assert seconds(SERVICES["idv"]["stop_grace_period"]) > server.GRACE_SECONDS
    assert server.GRACE_SECONDS > CALLBACK_SECONDS


# --- The composition


@pytest.mark.parametrize("name", OURS)
def test_the_commands_are_those_of_the_command_line(name: str) -> None:
    command = filled_in(command_of(OURS[name]), FILLED_IN)
    environment = environment_of(OURS[name], FILLED_IN)
    given = {
        variable: environment[variable] for variable in environment if variable.removesuffix("_FILE") not in SETTINGS
    }
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in given.items():
            patch.setenv(variable, value)
        assert parameters_of(command).keys() == {parameter.name for parameter in COMMANDS[command[0]].params}


def test_a_command_with_a_wrong_option_would_be_noticed() -> None:
    with pytest.raises(Exception, match="No such option: --hots"):
        parameters_of(["serve", "--hots", "0.0.0.0"])  # noqa: S104  it is refused
    with pytest.raises(KeyError):
        parameters_of(["server"])


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_or_an_option_of_the_command(name: str) -> None:
    parameters = COMMANDS[command_of(OURS[name])[0]].params
    options = {parameter.envvar for parameter in parameters if isinstance(parameter.envvar, str)}
    given = {variable.removesuffix("_FILE") for variable in OURS[name].get("environment", {})}
    assert given <= SETTINGS | options


def test_the_other_images_get_only_variables_that_they_document() -> None:
    assert set(SERVICES["database"]["environment"]) == POSTGRES_VARIABLES
    assert set(SERVICES["entry"]["environment"]) == set(re.findall(r"\$\{(\w+)\}", read("deploy/haproxy.cfg")))
    assert [name for name, service in SERVICES.items() if "env_file" in service] == ["idv"]


def test_what_is_filled_in_is_a_setting_or_the_composition_s_own() -> None:
    variables = variables_in(COMPOSITION)
    assert variables <= SETTINGS | COMPOSE_VARIABLES | {"IDV_SANDBOX_SECRET"}
    assert variables >= COMPOSE_VARIABLES


def test_every_setting_of_the_file_reaches_the_service() -> None:
    settings = settings_in(SERVICES["idv"], {**FILLED_IN, "REVERIFICATION_HOURS": "5"})
    assert settings.reverification_hours == 5
    assert settings.incode_client_secret.get_secret_value() == SECRETS["incode_client_secret"]
    assert settings.redirect_secrets == [SECRETS["redirect_secret"]]
    assert settings.fernet_keys == [SECRETS["encryption_keys"]]
    assert settings.database_url.get_secret_value() == SECRETS["database_url"]


def test_the_migration_is_given_the_database_s_settings_alone() -> None:
    assert SERVICES["migrate"]["secrets"] == ["database_url"]
    given = {name.removesuffix("_FILE") for name in environment_of(SERVICES["migrate"], FILLED_IN)}
    assert given == {name.upper() for name in DatabaseSettings.model_fields}


def test_secrets_come_from_files_that_init_writes(tmp_path: Path) -> None:
    cli.main(["init", "--file", str(tmp_path / ".env"), "--secrets", str(tmp_path / "secrets")], standalone_mode=False)
    written = {file.name for file in (tmp_path / "secrets").iterdir()}
    assert COMPOSITION["secrets"].keys() == SECRETS.keys() == written
    for name, source in COMPOSITION["secrets"].items():
        assert filled_in(source, {}) == {"file": f"./secrets/{name}"}, (
            "a read-only container takes no other kind of secret"
        )
        assert filled_in(source, {"IDV_SECRETS": "./secrets.2"}) == {"file": f"./secrets.2/{name}"}
    for service in SERVICES.values():
        named = {value for name, value in service.get("environment", {}).items() if name.endswith("_FILE")}
        assert named == {f"/run/secrets/{name}" for name in service.get("secrets", [])}
    # Compose compares what it was told to run, not what the files hold.
    assert filled_in(SERVICES["idv"]["labels"], {"IDV_SECRETS": "./secrets.2"}) == {
        "idv-gateway.secrets": "./secrets.2"
    }


def test_the_role_s_script_is_run_when_the_volume_is_made() -> None:
    [script] = [volume for volume in SERVICES["database"]["volumes"] if volume.startswith("./")]
    assert script == "./deploy/database-role.sh:/docker-entrypoint-initdb.d/database-role.sh:ro"
    assert os.access(REPOSITORY / "deploy/database-role.sh", os.X_OK)


def test_the_database_s_health_gates_the_migration_and_the_migration_gates_the_service() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert SERVICES["database"]["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert "--host=127.0.0.1" in SERVICES["database"]["healthcheck"]["test"]
    assert SERVICES["idv"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert command_of(SERVICES["migrate"]) == ["migrate"]
    assert SERVICES["migrate"]["restart"] == "no"
    assert SERVICES["entry"]["depends_on"] == {"idv": {"condition": "service_healthy"}}


def test_the_database_keeps_its_data_in_a_volume_and_is_reached_from_inside_only() -> None:
    volume = SERVICES["database"]["volumes"][0]
    name, _, folder = volume.partition(":")
    assert name in COMPOSITION["volumes"]
    assert folder == "/var/lib/postgresql/data"
    assert SERVICES["database"]["networks"] == ["inside"]
    assert COMPOSITION["networks"]["inside"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "inside" in service.get("networks", [])} == {
        "database",
        "migrate",
        "idv",
    }


def test_only_the_service_s_address_is_published_and_on_this_machine_by_default() -> None:
    assert {name for name, service in BY_DEFAULT.items() if "ports" in service} == {"entry"}
    assert filled_in(SERVICES["entry"]["ports"], {}) == ["127.0.0.1:8000:8000"]
    elsewhere = filled_in(SERVICES["entry"]["ports"], {"IDV_ADDRESS": "0.0.0.0", "IDV_PORT": "80"})  # noqa: S104
    assert elsewhere == ["0.0.0.0:80:8000"]
    assert not any("network_mode" in service for service in SERVICES.values())


def test_the_service_can_be_scaled() -> None:
    assert not {"ports", "container_name", "hostname", "volumes"} & SERVICES["idv"].keys()


def test_the_entry_leads_to_every_container_of_the_service() -> None:
    [mounted] = SERVICES["entry"]["volumes"]
    folder, target, mode = mounted.split(":")
    assert (target, mode) == ("/usr/local/etc/haproxy", "ro")
    text = read(f"{folder.removeprefix('./')}/haproxy.cfg")
    [(count, host, port)] = re.findall(r"server-template \S+ 1-(\d+) (\w+):(\d+) ", text)
    assert (host, port) == ("idv", last(IMAGE, "EXPOSE"))
    assert int(count) > 1
    assert SERVICES["entry"].get("networks", ["default"]) == ["default"]
    assert "default" in SERVICES["idv"]["networks"]
    assert re.search(rf"bind :{SERVICES['entry']['ports'][0].rpartition(':')[2]}$", text, re.MULTILINE)
    [path] = re.findall(r"option httpchk GET (\S+)", text)
    assert path == "/readyz"
    [patience] = re.findall(r"timeout server (\d+)s", text)
    assert int(patience) > CALLBACK_SECONDS
    assert not re.search(r"^\s*(log|option httplog)\b", text, re.MULTILINE), "addresses hold users' ids and codes"


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_read_only_without_privileges_and_not_root(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["init"] is True
    assert all("size=" in folder and "mode=" in folder for folder in service["tmpfs"])
    assert any(folder.startswith("/tmp:") for folder in service["tmpfs"])  # noqa: S108  the container's own
    assert {"mem_limit", "shm_size", "pids_limit"} <= service.keys()
    assert service["logging"] == {"driver": "local", "options": {"max-size": "20m", "max-file": "5"}}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & service.keys()
    assert name in OURS or service["user"] not in {"root", "0"}
    assert "/var/run/docker.sock" not in json.dumps(service)


def test_the_database_s_socket_is_its_user_s_own() -> None:
    [socket] = [folder for folder in SERVICES["database"]["tmpfs"] if folder.startswith("/run/postgresql:")]
    assert {"mode=0700", "uid=999", "gid=999"} <= set(socket.partition(":")[2].split(","))


def test_no_secret_is_written_down() -> None:
    secret = re.compile(r"PASSWORD|SECRET|KEY")
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable) and name != "sandbox":
                assert value.startswith("/run/secrets/"), variable
    assert not any(secret.search(arguments) for name, arguments in IMAGE if name in {"ENV", "ARG"})


def test_git_keeps_no_settings_and_no_secrets() -> None:
    ignored = read(".gitignore").splitlines()
    assert {".env", ".env.*", "!.env.example", "secrets*/"} <= set(ignored)


# --- The sandbox


@pytest.fixture
def sandbox_folder(tmp_path: Path) -> Path:
    """What docs/docker.md has a reader write for the sandbox."""
    options = ["--file", str(tmp_path / ".env.sandbox"), "--secrets", str(tmp_path / "secrets.sandbox")]
    cli.main(["init", "--sandbox", *options], standalone_mode=False)
    return tmp_path


@pytest.fixture
def sandbox_file(sandbox_folder: Path) -> dict[str, str]:
    return {name: value or "" for name, value in dotenv_values(sandbox_folder / ".env.sandbox").items()}


@pytest.fixture
def sandbox_secrets(sandbox_folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in (sandbox_folder / "secrets.sandbox").iterdir()}


def test_the_sandbox_is_brought_by_its_profile_only_and_published_on_this_machine_only() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"sandbox"}
    assert SERVICES["sandbox"]["profiles"] == ["sandbox"]
    assert SERVICES["sandbox"]["ports"] == ["127.0.0.1:9000:9000"]
    assert "sandbox" not in json.dumps(BY_DEFAULT)


def test_the_sandbox_and_the_real_service_in_one_folder_share_nothing(sandbox_file: dict[str, str]) -> None:
    assert sandbox_file["COMPOSE_PROJECT_NAME"] != COMPOSITION["name"], (
        "containers, networks and the volume are named by it"
    )
    assert sandbox_file["COMPOSE_PROFILES"] == "sandbox"
    assert filled_in(SERVICES["idv"]["env_file"], sandbox_file) == [".env.sandbox"]
    assert filled_in(SERVICES["idv"]["env_file"], FILLED_IN) == [".env"]
    for name, source in COMPOSITION["secrets"].items():
        assert filled_in(source, sandbox_file) == {"file": f"./secrets.sandbox/{name}"}
    assert COMPOSITION["volumes"] == {"database": None}


def test_the_file_that_init_writes_for_the_sandbox_needs_nothing_more(
    sandbox_file: dict[str, str], sandbox_secrets: dict[str, str]
) -> None:
    assert set(filled_in(OURS, sandbox_file)) == {"migrate", "idv", "sandbox"}
    settings = settings_in(SERVICES["idv"], sandbox_file, sandbox_secrets)
    assert settings.addresses.redirect_uris == ()
    assert settings.addresses.return_urls == ("http://127.0.0.1:8000/docs",)


def test_the_service_and_the_sandbox_agree_on_address_client_and_way_back(
    sandbox_file: dict[str, str], sandbox_secrets: dict[str, str]
) -> None:
    settings = settings_in(SERVICES["idv"], sandbox_file, sandbox_secrets)
    sandbox = filled_in(SERVICES["sandbox"], sandbox_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_CLIENT_SECRET", sandbox["environment"]["SANDBOX_CLIENT_SECRET"])
        parameters = parameters_of(sandbox["command"])
    assert parameters["issuer"] == settings.incode_server_url == env_file.SANDBOX["INCODE_SERVER_URL"]
    assert parameters["client_id"] == settings.incode_client_id
    assert parameters["client_secret"] == settings.incode_client_secret.get_secret_value()
    assert hosted_addresses(settings.public_url).callback_url in parameters["redirect_uri"]
    issuer = urlsplit(parameters["issuer"])
    assert sandbox["networks"]["default"]["aliases"] == [issuer.hostname]
    assert "default" in SERVICES["idv"]["networks"]
    assert sandbox["ports"] == [f"127.0.0.1:{issuer.port}:{parameters['port']}"]
    assert SERVICES["sandbox"]["healthcheck"]["test"] == ["CMD", "probe", str(parameters["port"]), "/"]
    assert str(issuer.hostname).endswith(".localhost")


def test_a_relay_redirect_uri_is_registered_at_the_sandbox_too() -> None:
    command = filled_in(
        SERVICES["sandbox"]["command"], {**FILLED_IN, "REDIRECT_URI": "https://tenant.example/continue"}
    )
    assert "--redirect-uri=https://tenant.example/continue" in command


# --- The document


def test_the_commands_of_the_document_are_real() -> None:
    lines = re.findall(r"^docker .+$", read("docs/docker.md"), re.MULTILINE)
    inside = [found for line in lines for found in re.findall(r"(?:exec idv idv|\bidv-gateway) (\w.*)$", line)]
    assert len(inside) >= 4
    for command in inside:
        assert parameters_of(command.split()) is not None
    for line in lines:
        assert set(re.findall(r"--scale (\w+)=|compose (?:exec|logs) (\w+)", line)) <= {("idv", ""), ("", "idv")}
        assert set(re.findall(r"--profile (\w+)", line)) <= {"sandbox"}


def test_the_variables_of_the_document_are_the_composition_s_own() -> None:
    rows = dict(re.findall(r"^\| `(IDV_\w+)` \| (\S+) \|", read("docs/docker.md"), re.MULTILINE))
    assert rows.keys() == COMPOSE_VARIABLES
    text = read("docker-compose.yml")
    for name, default in rows.items():
        assert f"${{{name}:-{default.strip('`')}}}" in text
