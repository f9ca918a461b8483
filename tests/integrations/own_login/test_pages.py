"""The code of the pages for your own login, taken from the pages and run in front of the service and the sandbox."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.harness.loopback import NO_TLS
from tests.harness.programs import program_or_skip
from tests.harness.service import CLAIM
from tests.harness.waiting import PATIENCE
from tests.integrations.documents import check_exchanges, page
from tests.integrations.recording import Recording, recording
from tests.system.processes import IDP_KEY, SETTINGS, Workplace, answers, eventually, free_port, serving

HERE = Path(__file__).parent
RIGHT = "right"
UNREACHABLE = ("ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "ETIMEDOUT", "EAI_AGAIN")

YOURS_PY = """
import os
IDV_URL, IDV_API_KEY, ORIGIN, SESSION_SECRET = map(
    os.environ.get, ("IDV_URL", "IDV_API_KEY", "ORIGIN", "SESSION_SECRET")
)
BLOCK_ON_FAILURE = False

def check_password(email, password):
    return f"user|{email}" if password == "right" else None

def log_in(request, user_id, claims):
    request.session["user"] = {"id": user_id, "claims": claims}
"""
SERVE_PY = """
import uvicorn
from fastapi import Request
from login import app

@app.get("/")
async def whoami(request: Request) -> dict:
    return request.session.get("user", {})

uvicorn.run(app, port=int(__import__("os").environ["PORT"]), log_level="warning")
"""
YOURS_JS = """
export const checkPassword = async (email, password) => (password === "right" ? `user|${email}` : undefined);
export const logIn = (request, id, claims) => (request.session.user = { id, claims });
"""
SERVE_JS = """
import { app } from "./login.js";
app.get("/", (request, response) => response.json(request.session.user ?? {}));
app.listen(Number(process.env.PORT), "127.0.0.1");
"""


def fastapi_login(folder: Path, _: pytest.TempPathFactory) -> Sequence[str | Path]:
    write(folder, {"login.py": code("your-own-login-fastapi.md", "python"), "yours.py": YOURS_PY, "serve.py": SERVE_PY})
    return [sys.executable, "serve.py"]


def express_login(folder: Path, folders: pytest.TempPathFactory) -> Sequence[str | Path]:
    node = program_or_skip("node")
    write(folder, {"login.js": code("your-own-login-express.md", "js"), "yours.js": YOURS_JS, "serve.js": SERVE_JS})
    shutil.copy(HERE / "package.json", folder)
    (folder / "node_modules").symlink_to(express_or_skip(folders.getbasetemp().parent))
    return [node, "serve.js"]


def express_or_skip(folder: Path) -> Path:
    """Where Express is, installed once for all of pytest's processes."""
    version = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    with (folder / "express.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = folder / f"express-{version[:12]}"
        done = place / "done"
        if not done.exists():
            shutil.copytree(HERE, place, ignore=shutil.ignore_patterns("*.py", "__pycache__"), dirs_exist_ok=True)
            install(place)
            done.touch()
    return place / "node_modules"


def install(folder: Path) -> None:
    installed = subprocess.run(  # noqa: S603  the lock file beside this test
        [shutil.which("npm") or "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE,
        check=False,
    )
    if installed.returncode and any(word in installed.stderr for word in UNREACHABLE):
        pytest.skip("needs Express, and npm cannot fetch it")
    assert installed.returncode == 0, installed.stderr


LOGINS = {"your-own-login-fastapi.md": fastapi_login, "your-own-login-express.md": express_login}


def code(name: str, language: str) -> str:
    [block] = re.findall(rf"```{language}\n(.*?)```", page(name), re.DOTALL)
    return str(block)


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Site:
    """A login of one's own: where it is, and what it says to the service."""

    page: str
    url: str
    wire: Recording

    def browser(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE, verify=NO_TLS)


@pytest.fixture(params=LOGINS, scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("login")
    command = LOGINS[request.param](folder, tmp_path_factory)
    provider, origin = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    client = ("--client-id", SETTINGS["INCODE_CLIENT_ID"], "--client-secret", SETTINGS["INCODE_CLIENT_SECRET"])
    work = Workplace(tmp_path_factory.mktemp("idv"))
    settings = {"INCODE_SERVER_URL": provider, "REDIRECT_URI": f"{origin}/continue", "HTTP_TIMEOUT_SECONDS": "6.5"}
    with (
        work.running(
            "sandbox", "--port", provider.rpartition(":")[2], *client, "--redirect-uri", f"{origin}/continue"
        ) as sandbox,
        serving(work, **settings) as (_, service),
        recording(service) as wire,
    ):
        sandbox.wait_until(lambda: answers(f"{provider}/oauth2/jwks", 200), "the sandbox")
        environment = {"IDV_URL": wire.url, "IDV_API_KEY": IDP_KEY, "ORIGIN": origin, "SESSION_SECRET": "s" * 32}
        with running(command, folder, {**environment, "PORT": origin.rpartition(":")[2]}):
            eventually(lambda: answers(origin, 200), "the login")
            yield Site(request.param, origin, wire)


@contextmanager
def running(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    process = subprocess.Popen(  # noqa: S603  the pages' own code
        command, cwd=folder, env={"PATH": os.environ["PATH"], **environment}, stdin=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def log_in(browser: httpx.Client, email: str, password: str = RIGHT) -> httpx.Response:
    return browser.post("/login", data={"email": email, "password": password})


def visit(browser: httpx.Client, provider: str, outcome: str = "verified") -> str:
    """Go through the provider's page; the address that it sends the browser back to."""
    return browser.get(httpx.URL(provider).copy_merge_params({"outcome": outcome})).headers["Location"]


def whoami(browser: httpx.Client) -> dict[str, dict[str, dict[str, object]]]:
    who: dict[str, dict[str, dict[str, object]]] = browser.get("/").json()
    return who


def test_a_person_is_verified_once_and_the_page_shows_what_crossed_the_wire(site: Site) -> None:
    with site.browser() as browser:
        came_back = browser.get(visit(browser, log_in(browser, "ana@example.com").headers["Location"]))
        assert (came_back.status_code, came_back.headers["Location"]) == (303, "/")
        claim = whoami(browser)["claims"][CLAIM]
        assert claim["completed"] is True
    with site.browser() as browser:
        assert log_in(browser, "ana@example.com").headers["Location"] == "/"
        assert whoami(browser)["claims"][CLAIM] == claim
    check_exchanges(page(site.page), site.wire.exchanges)


@pytest.mark.parametrize("outcome", ["denied", "failed", "abandoned"])
def test_who_was_not_verified_has_no_claim(site: Site, outcome: str) -> None:
    with site.browser() as browser:
        back = visit(browser, log_in(browser, f"{outcome}@example.com").headers["Location"], outcome)
        assert browser.get(back).status_code == 303
        assert whoami(browser)["claims"] == {}


def test_a_wrong_password_asks_nobody(site: Site) -> None:
    asked = len(site.wire.exchanges)
    with site.browser() as browser:
        assert log_in(browser, "ana@example.com", "wrong").status_code == 401
        assert whoami(browser) == {}
    assert len(site.wire.exchanges) == asked


def test_an_answer_that_arrives_in_another_browser_is_nobodys(site: Site) -> None:
    asked = len(site.wire.exchanges)
    with site.browser() as browser, site.browser() as stranger:
        back = visit(browser, log_in(browser, "link@example.com").headers["Location"])
        asked += 1
        assert stranger.get(back).status_code == 400
        assert whoami(stranger) == {}
    assert len(site.wire.exchanges) == asked


def test_an_answer_of_another_login_verifies_nobody(site: Site) -> None:
    with site.browser() as ana, site.browser() as eve:
        back = visit(ana, log_in(ana, "honest@example.com").headers["Location"])
        log_in(eve, "eve@example.com")
        eve.get(f"{back}&user_id=user|honest@example.com&verification_id=idv_0")
        assert whoami(eve)["claims"] == {}
        ana.get(back)
        assert whoami(ana)["claims"][CLAIM]["completed"] is True


def test_without_the_service_a_login_goes_on_without_the_claim(site: Site) -> None:
    site.wire.away = True
    try:
        with site.browser() as browser:
            assert log_in(browser, "away@example.com").headers["Location"] == "/"
            assert whoami(browser) == {"id": "user|away@example.com", "claims": {}}
    finally:
        site.wire.away = False
