"""Clients that others generate of `/openapi.json`, one in Python and one in TypeScript, know what an answer asks of
them.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from tests.harness.loopback import NO_TLS
from tests.harness.programs import program_or_skip
from tests.harness.service import settings_for
from tests.harness.waiting import PATIENCE
from tests.system.processes import IDP_KEY, IDV, Workplace, serving

# They have libraries of their own, some older than ours: each runs apart from this environment.
PYTHON_GENERATOR = ("--from", "openapi-python-client==0.29.1", "--with", "python-dateutil==2.9.0.post0")
TYPESCRIPT_GENERATOR = ("--package", "openapi-typescript@7.13.0", "--package", "typescript@5.9.3")
GENERATE = "openapi-typescript openapi.json --output gateway.ts"
# The types of the language itself are not ours to check.
COMPILE = "tsc --noEmit --strict --target es2022 --lib es2022 --skipLibCheck login.ts"
SECONDS = 180

LOGIN_IN_PYTHON = """
import sys
from urllib.parse import parse_qsl, urlsplit

import httpx

from gateway import AuthenticatedClient
from gateway.api.users import get_user_status
from gateway.api.verify import finish_verification, start_verification
from gateway.models import CallbackBody, ContinueView, FailureCode, ReasonToGoOn, ReasonToVerify
from gateway.models import RedirectView, StartBody

url, key = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key)


def login(user_id, outcome):
    started = start_verification.sync(client=client, body=StartBody(user_id=user_id))
    assert isinstance(started, RedirectView), started
    assert started.reason is ReasonToVerify.NEVER_VERIFIED
    address = urlsplit(started.redirect_url)
    asked = {**dict(parse_qsl(address.query)), "outcome": outcome}
    back = httpx.get(address._replace(query="").geturl(), params=asked).headers["Location"]
    came = dict(parse_qsl(urlsplit(back).query))
    body = CallbackBody.from_dict({"user_id": user_id, "verification_id": started.verification.id, **came})
    return finish_verification.sync(client=client, body=body)


verified = login("ana", "verified")
assert isinstance(verified, ContinueView), verified
assert verified.reason is ReasonToGoOn.VERIFIED
claim = verified.claims["https://incode.com/idv"]
assert claim.completed is True and claim.identity_id == verified.verification.identity_id
assert get_user_status.sync("ana", client=client).verified

refused = login("bea", "denied")
assert isinstance(refused, ContinueView), refused
assert refused.reason is refused.error.code is FailureCode.ACCESS_DENIED
print("both logins are finished")
"""

LOGIN_IN_TYPESCRIPT = """
import type { components } from "./gateway";

type Decision = components["schemas"]["DecisionView"];

export function next(decision: Decision): string {
  switch (decision.action) {
    case "redirect": {
      const url: string = decision.redirect_url;
      const reason: "never_verified" | "not_verified" | "reverification_due" | "record_invalid" | "forced" | "step_up" =
        decision.reason;
      return url + reason + decision.verification.id;
    }
    case "continue": {
      const purposes: ("step_up" | undefined)[] = Object.values(decision.claims).map((claim) => claim.purpose);
      return decision.reason === "verified" ? purposes.join() : (decision.error?.message ?? "");
    }
    case "deny": {
      const denied: components["schemas"]["FailureCode"] = decision.error.code;
      return denied;
    }
  }
}
"""


def run(program: str, *arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603  versions that are pinned
        [program, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "no_proxy": "127.0.0.1",
            "npm_config_fetch_retries": "1",
            "npm_config_prefer_offline": "true",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def succeed(program: str, *arguments: str, folder: Path, probe: Sequence[str]) -> str:
    """What the command wrote; skips the test where not even the probe succeeds, since nothing can be fetched."""
    try:
        ran = run(program, *arguments, folder=folder)
        is_there = ran.returncode == 0 or run(program, *probe, folder=folder).returncode == 0
    except subprocess.TimeoutExpired:
        is_there = False
    if not is_there:
        pytest.skip(f"{probe} cannot be fetched or does not run here")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def in_python(*command: str) -> Sequence[str]:
    return ("tool", "run", *PYTHON_GENERATOR, *command)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_generated_client_in_python_logs_people_in(
    work: Workplace, connected: dict[str, str], tmp_path: Path
) -> None:
    uv = str(IDV.parent / "uv")
    probe = in_python("openapi-python-client", "--version")
    (tmp_path / "login.py").write_text(LOGIN_IN_PYTHON, encoding="utf-8")
    with serving(work, **connected) as (_, url):
        document = httpx.get(f"{url}/openapi.json", timeout=PATIENCE, verify=NO_TLS)
        (tmp_path / "openapi.json").write_bytes(document.content)
        generate = (
            "generate",
            "--path",
            "openapi.json",
            "--output-path",
            "gateway",
            "--meta",
            "none",
            "--fail-on-warning",
        )
        succeed(uv, *in_python("openapi-python-client", *generate), folder=tmp_path, probe=probe)
        said = succeed(uv, *in_python("python", "login.py", url, IDP_KEY), folder=tmp_path, probe=probe)
    assert said == "both logins are finished\n"


def test_generated_types_in_typescript_tell_an_answer_by_its_action(tmp_path: Path) -> None:
    npx = program_or_skip("npx")
    app = create_app(settings_for("http://127.0.0.1:9", "sqlite+aiosqlite:///./idv.db"))
    (tmp_path / "openapi.json").write_bytes(json.dumps(app.openapi()).encode())
    (tmp_path / "login.ts").write_text(LOGIN_IN_TYPESCRIPT, encoding="utf-8")
    fetched = ("--yes", *TYPESCRIPT_GENERATOR)
    succeed(npx, *fetched, "-c", f"{GENERATE} && {COMPILE}", folder=tmp_path, probe=(*fetched, "-c", "tsc --version"))
