"""What an image is built from, as far as it goes without an engine: the Dockerfile's own commands, without a
network.
"""

import os
import re
import shutil
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from tests.harness.containers import REPOSITORY, instructions, read
from tests.harness.provider import CLIENT_ID, CLIENT_SECRET, ProviderHost
from tests.harness.waiting import PATIENCE
from tests.system.processes import SETTINGS, Workplace, answers, free_port

IMAGE = instructions(read("Dockerfile"))
UNREACHABLE = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")


def locked() -> dict[str, str]:
    """The packages of the image by their normalized names, with their versions."""
    pinned = re.findall(r"^([\w.-]+)==([^ \n;]+)", read("requirements.runtime.lock.txt"), re.MULTILINE)
    return {_normalized(name): version for name, version in pinned}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lay_dependencies(target: Path) -> None:
    """Put the runtime's packages, and no others, into the folder: copies of those that are installed here."""
    wanted = locked()
    for distribution in distributions():
        name = _normalized(distribution.metadata["Name"])
        if name in wanted:
            assert distribution.version == wanted[name], name
            _lay(distribution, target)


def _lay(distribution: Distribution, target: Path) -> None:
    for file in distribution.files or []:
        if ".." not in file.parts:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            # With its times, by which bytecode is known to be that of its source.
            shutil.copy2(str(distribution.locate_file(file)), target / file)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The venv of the final stage: the dependencies, and on top of them what the stage `application` lays apart."""
    folder = tmp_path_factory.mktemp("image")
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    [packages] = environment.glob("lib/python*/site-packages")
    assert list(packages.iterdir()) == []
    lay_dependencies(packages)
    stage = IMAGE[IMAGE.index(("FROM", "dependencies AS application")) :]
    source = folder / "source"
    source.mkdir()
    for name, arguments in stage[: next(index for index, (name, _) in enumerate(stage[1:]) if name == "FROM") + 1]:
        if name == "COPY":
            *sources, target = arguments.split()
            for path in sources:
                _copy(REPOSITORY / path, source / (path if target == "./" else target))
    [build] = [arguments for name, arguments in stage if name == "RUN" and arguments.startswith("pip wheel")]
    for inside in ("/venv", "/wheels", "/application"):
        build = re.sub(rf"(?<= ){inside}", str(folder) + inside, build)
    ran = subprocess.run(  # noqa: S602  the Dockerfile's own command
        build,
        shell=True,
        cwd=source,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder), **UNREACHABLE},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    shutil.copytree(f"{folder}/application{environment}", environment, dirs_exist_ok=True)
    return environment


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def test_the_application_s_layer_is_small_and_holds_nothing_but_the_application(image: Path) -> None:
    layer = Path(f"{image.parent}/application{image}")
    assert {path.name.partition("-")[0] for path in layer.glob("lib/python*/site-packages/*")} == {
        "app",
        "migrations",
        "idv_gateway",
    }
    assert [path.name for path in (layer / "bin").iterdir()] == ["idv"]
    assert sum(path.stat().st_size for path in layer.rglob("*") if path.is_file()) < 4_000_000


def test_the_image_holds_no_pip_and_no_tool(image: Path) -> None:
    [packages] = image.glob("lib/python*/site-packages")
    held = {path.name.lower() for path in packages.iterdir()}
    assert not held & {"pip", "setuptools", "wheel", "hatchling", "pytest", "mypy"}
    assert {_normalized(path.name.partition("-")[0]) for path in packages.glob("*.dist-info")} <= locked().keys() | {
        "idv-gateway"
    }


@pytest.mark.usefixtures("provider")
def test_the_wheel_migrates_serves_and_checks(image: Path, work: Workplace, provider_host: ProviderHost) -> None:
    idv = image / "bin/idv"
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    settings = {
        **SETTINGS,
        "INCODE_CLIENT_ID": CLIENT_ID,
        "INCODE_CLIENT_SECRET": CLIENT_SECRET,
        "INCODE_SERVER_URL": provider_host.url,
        "PUBLIC_URL": address,
        "PYTHONPATH": "",
    }
    migrated = work.run("migrate", settings=settings, program=idv)
    assert (migrated.returncode, migrated.stdout) == (0, "The database is migrated.\n"), migrated.stderr
    ours = ("/bin/sh", "-c", 'shift; exec "$0" "$@"', str(idv))
    with work.running("serve", "--port", str(port), settings=settings, through=ours) as service:
        service.wait_until(lambda: answers(f"{address}/readyz", 200), "the service")
        assert answers(f"{address}/docs", 200)
        checked = work.run("check", settings=settings, program=idv)
        assert (checked.returncode, "WRONG" in checked.stdout) == (0, False), checked.stdout + checked.stderr
