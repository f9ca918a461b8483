"""A real Keycloak with the module in it, built by Maven and started from its distribution."""

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
from tests.harness.programs import program_or_skip
from tests.harness.waiting import PATIENCE
from tests.system.processes import answers

MODULE = REPOSITORY / "integrations" / "keycloak"
# It is told once about the module, and then starts, on a machine that does much else.
SECONDS = 10 * PATIENCE
UNREACHABLE = ("Could not transfer artifact", "Unknown host", "Connection refused", "Network is unreachable")
UNPACK = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack"
START = (
    "/bin/sh",
    "bin/kc.sh",
    "start-dev",
    "--import-realm",
    "--http-host",
    "127.0.0.1",
    "--cache",
    "local",
    "--db",
    "dev-mem",
)
# What starts soonest: it does not live long enough to be compiled well.
JAVA = (
    "-Xms64m -Xmx512m -XX:MaxMetaspaceSize=256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto "
    "-Dfile.encoding=UTF-8"
)


def unpacked_or_skip(folder: Path) -> Path:
    """Keycloak's folder with the built module in it; skips the test where that cannot be had."""
    program_or_skip("javac")
    maven = program_or_skip("mvn")
    module = folder / "module"
    shutil.copytree(MODULE, module, ignore=shutil.ignore_patterns("target"))
    [version] = re.findall(
        "<keycloak.version>(.*)</keycloak.version>", (module / "pom.xml").read_text(encoding="utf-8")
    )
    artifact = f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{version}:zip"
    done = subprocess.run(  # noqa: S603  our own module
        [maven, "--batch-mode", "--quiet", "package", UNPACK, artifact, f"-DoutputDirectory={folder}"],
        cwd=module,
        env={**os.environ, "MAVEN_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode and any(word in done.stdout for word in UNREACHABLE):
        pytest.skip("needs Keycloak, and mvn cannot fetch it")
    assert done.returncode == 0, done.stdout + done.stderr
    place = folder / f"keycloak-{version}"
    shutil.copy(module / "target" / "idv-keycloak.jar", place / "providers")
    return place


@contextmanager
def running(place: Path, url: str, realms: Sequence[str]) -> Iterator[None]:
    """Keycloak at `url`, once it serves the realms that lie in its import folder."""
    port = url.rpartition(":")[2]
    output = place / "output"
    with (
        output.open("wb") as written,
        subprocess.Popen(  # noqa: S603  the distribution's own script
            [*START, "--http-port", port],
            cwd=place,
            env={"PATH": os.environ["PATH"], "HOME": str(place), "JAVA_OPTS": JAVA},
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
                os.killpg(process.pid, signal.SIGKILL)
