"""A real Keycloak with the module in it, built by Maven and started from its distribution."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.harness.containers import REPOSITORY
from tests.harness.kept import kept
from tests.harness.programs import program_or_skip
from tests.harness.waiting import PATIENCE
from tests.system.processes import answers, free_port

MODULE = REPOSITORY / "integrations" / "keycloak"
# It is built, or starts, on a machine that does much else.
SECONDS = 10 * PATIENCE
UNREACHABLE = ("Could not transfer artifact", "Unknown host", "Connection refused", "Network is unreachable")
WRITTEN = ("bin", "data")  # the first for its scripts, which find the rest beside them
UNPACK = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack"
BUILD = ("build", "--cache", "local", "--db", "dev-file")
START = ("start", "--optimized", "--import-realm", "--http-enabled", "true", "--hostname-strict", "false")
# What starts soonest: it does not live long enough to be compiled well, and its classes are those of a release.
QUICKLY = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"
JAVA = (
    f"-Xms512m -Xmx512m -XX:MetaspaceSize=256m -XX:MaxMetaspaceSize=256m {QUICKLY} -XX:+UnlockDiagnosticVMOptions "
    "-XX:-BytecodeVerificationRemote -Dfile.encoding=UTF-8"
)


def built_or_skip(folder: Path) -> Path:
    """Keycloak in this folder, with the module built into it and a database; skips the test where that cannot be had.

    It is built once for each state of the module, and kept for the next run.
    """
    program_or_skip("javac")
    maven = program_or_skip("mvn")
    sources = sorted(path for path in MODULE.rglob("*") if path.is_file() and "target" not in path.parts)
    recipe = [UNPACK, *BUILD, *((str(path.relative_to(MODULE)), path.read_text(encoding="utf-8")) for path in sources)]
    built = kept("keycloak", json.dumps(recipe), lambda place: _build(maven, place)) / "keycloak"
    place = folder / "keycloak"
    place.mkdir()
    for part in built.iterdir():
        if part.name in WRITTEN:
            shutil.copytree(part, place / part.name)
        else:
            (place / part.name).symlink_to(part)
    return place


def _build(maven: str, folder: Path) -> None:
    module = folder / "module"
    shutil.copytree(MODULE, module, ignore=shutil.ignore_patterns("target"))
    [version] = re.findall(
        "<keycloak.version>(.*)</keycloak.version>", (module / "pom.xml").read_text(encoding="utf-8")
    )
    artifact = f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{version}:zip"
    done = subprocess.run(  # noqa: S603  our own module
        [maven, "--batch-mode", "--quiet", "package", UNPACK, artifact, f"-DoutputDirectory={folder}"],
        cwd=module,
        env={**os.environ, "MAVEN_OPTS": QUICKLY},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode and any(word in done.stdout for word in UNREACHABLE):
        pytest.skip("needs Keycloak, and mvn cannot fetch it")
    assert done.returncode == 0, done.stdout + done.stderr
    place = (folder / f"keycloak-{version}").rename(folder / "keycloak")
    shutil.copy(module / "target" / "idv-keycloak.jar", place / "providers")
    subprocess.run(  # noqa: S603  the distribution's own script
        ["/bin/sh", "bin/kc.sh", *BUILD], cwd=place, env=_environment(place), check=True, timeout=SECONDS
    )
    # The first start makes the tables and the realm of the administrators.
    with running(place, f"http://127.0.0.1:{free_port()}", ("master",)):
        pass


def _environment(place: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(place), "JAVA_OPTS": JAVA}


@contextmanager
def running(place: Path, url: str, realms: Sequence[str]) -> Iterator[None]:
    """Keycloak at `url`, once it serves these realms; those that lie in its import folder are new to it."""
    port = url.rpartition(":")[2]
    output = place / "output"
    with (
        output.open("wb") as written,
        subprocess.Popen(  # noqa: S603  the distribution's own script
            ["/bin/sh", "bin/kc.sh", *START, "--http-host", "127.0.0.1", "--http-port", port],
            cwd=place,
            env=_environment(place),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + SECONDS
            while not all(answers(f"{url}/realms/{realm}", 200) for realm in realms):
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.2)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(SECONDS)
