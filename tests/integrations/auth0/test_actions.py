"""The Auth0 Actions, the very files, run by Node's own test runner against the service and the sandbox as processes."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.containers import REPOSITORY
from tests.harness.programs import program_or_skip
from tests.harness.waiting import PATIENCE
from tests.integrations.documents import check_exchanges, heard, page
from tests.system.processes import ADMIN_KEY, IDP_KEY, SETTINGS, Workplace, answers, free_port

HERE = Path(__file__).parent
ACTIONS = REPOSITORY / "integrations" / "auth0"
CONTINUE = "https://tenant.example/continue"
# A machine under load: some hundred logins in one run.
SECONDS = 10 * PATIENCE


@contextmanager
def world(work: Workplace) -> Iterator[dict[str, str]]:
    """The sandbox and two services on one database, as the environment of `world.mjs`.

    At the second, failures block, and a verification is due again at once.
    """
    sandbox, gateway, blocking = (f"http://127.0.0.1:{port}" for port in (free_port(), free_port(), free_port()))
    callbacks = (CONTINUE, f"{gateway}/v1/callback", f"{blocking}/v1/callback")
    client = ("--client-id", SETTINGS["INCODE_CLIENT_ID"], "--client-secret", SETTINGS["INCODE_CLIENT_SECRET"])
    allowed = [argument for address in callbacks for argument in ("--redirect-uri", address)]
    settings = {
        **SETTINGS,
        "INCODE_SERVER_URL": sandbox,
        "REDIRECT_URI": CONTINUE,
        "RETURN_URLS": CONTINUE,
        "SCOPES": "openid profile",
        "HTTP_TIMEOUT_SECONDS": "6.5",
        "ADOPT_APP_METADATA": "true",
        "LOG_LEVEL": "warning",
    }
    strict = {"BLOCK_ON_FAILURE": "true", "REVERIFICATION_HOURS": "0.000001"}
    with (
        work.running("sandbox", "--port", sandbox.rpartition(":")[2], *client, *allowed) as provider,
        work.running(
            "serve", "--port", gateway.rpartition(":")[2], settings={**settings, "PUBLIC_URL": gateway}
        ) as first,
    ):
        provider.wait_until(lambda: answers(f"{sandbox}/oauth2/jwks", 200), "the sandbox")
        first.wait_until(lambda: answers(f"{gateway}/readyz", 200), "the service")  # it has migrated the database
        port = blocking.rpartition(":")[2]
        with work.running("serve", "--port", port, settings={**settings, **strict, "PUBLIC_URL": blocking}) as second:
            second.wait_until(lambda: answers(f"{blocking}/readyz", 200), "the second service")
            yield {
                "GATEWAY": gateway,
                "BLOCKING_GATEWAY": blocking,
                "IDP_KEY": IDP_KEY,
                "ADMIN_KEY": ADMIN_KEY,
                "REDIRECT_SECRET": settings["REDIRECT_SECRET"],
            }


def test_the_actions_go_through_every_scenario(tmp_path: Path) -> None:
    node = program_or_skip("node")
    recording = tmp_path / "wire.ndjson"
    scenarios = sorted(str(path) for path in HERE.glob("*.test.mjs"))
    with world(Workplace(tmp_path)) as environment:
        ran = subprocess.run(  # noqa: S603  our own files
            [node, "--test", "--test-concurrency=1", "--test-reporter=spec", *scenarios],
            env={**environment, "WIRE": str(recording)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(re.findall(r"^ℹ pass (\d+)$", ran.stdout, re.MULTILINE)[0]) >= 100, ran.stdout
    check_exchanges(page("auth0.md"), heard(recording))


def test_the_page_names_each_secret() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in ACTIONS.glob("*.js"))
    secrets = set(re.findall(r"event\.secrets\.(\w+)", source))
    table = "".join(re.findall(r"^\| (`.*?) \|", page("auth0.md"), re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", table)) == secrets
