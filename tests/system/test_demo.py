import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from html import unescape

import httpx
import pytest

from tests.harness.loopback import NO_TLS
from tests.harness.waiting import PATIENCE
from tests.system.processes import Running, Workplace, after

pytestmark = pytest.mark.usefixtures("alone")  # two demos at once would take the ports that a test has made busy


@contextmanager
def busy(*ports: int) -> Iterator[None]:
    """Somebody listens on these ports; where it is not us, it is somebody else."""
    with ExitStack() as stack:
        for port in ports:
            with suppress(OSError):
                listener = stack.enter_context(socket.socket())
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", port))
                listener.listen()
        yield


def invited(demo: Running) -> bool:
    return "Ctrl-C" in demo.output


def test_once_tells_the_story_and_ends(work: Workplace) -> None:
    told = work.run("demo", "--once")
    assert (told.returncode, told.stderr) == (0, "")
    assert re.findall(r"^(\d)\. \S", told.stdout, re.MULTILINE) == ["1", "2", "3", "4"]
    reasons = re.findall(r'"reason": "(\w+)"', told.stdout)
    assert reasons == ["never_verified", "verified", "recently_verified"]
    first_step = told.stdout.partition("\n2. ")[0]
    [redirect_url] = re.findall(r'"redirect_url": "(http\S+…)"', first_step)
    [verification_id] = re.findall(r'"verification": {\s+"id": "(idv_\w+)",', first_step)
    later = told.stdout.partition("\n2. ")[2]
    assert f"GET {redirect_url}" in later
    assert f'"verification_id": "{verification_id}"' in later
    claim = json.loads(re.findall(r'"https://incode.com/idv": ({.*?\n {7}})', told.stdout, re.DOTALL)[0])
    assert claim["completed"] is True
    assert claim["pii"]["name"]
    assert list(work.temporary.iterdir()) == []
    assert list(work.folder.iterdir()) == []


def test_it_can_be_pointed_at_an_application_of_ones_own(work: Workplace) -> None:
    own = "http://127.0.0.1:3001/continue"
    with work.running("demo", "--return-to", own, "--redirect-uri", f"{own}/relay") as demo:
        demo.wait_until(lambda: invited(demo), "the invitation")
        [service] = re.findall(r"Your own application calls (\S+) ", demo.output)
        [key] = re.findall(r"IdpKey +(\S+)", demo.output)
        headers = {"Authorization": f"Bearer {key}"}
        body = {"user_id": "me", "flow": "hosted", "return_to": own, "state": "mine"}
        with httpx.Client(timeout=PATIENCE, verify=NO_TLS) as browser:
            started = browser.post(f"{service}/v1/verifications", json=body, headers=headers).json()
            at_provider = browser.get(started["redirect_url"]).headers["Location"]
            back = browser.get(browser.get(f"{at_provider}&outcome=verified").headers["Location"])
        assert back.headers["Location"].startswith(f"{own}?state=mine&session_token=")


def test_an_address_that_the_service_does_not_take_is_said_in_one_line(work: Workplace) -> None:
    told = work.run("demo", "--once", "--return-to", "http://app.example/continue")
    assert told.returncode == 2
    assert told.stderr.startswith("The demo failed: return_urls: ")
    assert len(told.stderr.splitlines()) == 1


def test_it_stays_up_beside_busy_ports_and_prints_one_address_where_acme_logs_people_in(work: Workplace) -> None:
    with busy(7000, 8000, 8001, 9000), work.running("demo") as demo:
        demo.wait_until(lambda: invited(demo), "the invitation")
        addresses = re.findall(r"http://127\.0\.0\.1:(\d+)", demo.output)
        assert addresses
        assert not {"7000", "8000", "8001", "9000"} & set(addresses)
        [acme] = re.findall(r"^ *(http://\S+)$", demo.output, re.MULTILINE)
        with httpx.Client(base_url=acme, timeout=PATIENCE, verify=NO_TLS) as browser:
            [csrf] = re.findall(r'name="csrf" value="([^"]+)"', browser.get("/").text)
            provider = browser.post("/login", data={"csrf": csrf, "email": "noor@example.com"}).headers["Location"]
            [verified] = re.findall(r'class="choice main" href="([^"]+)"', browser.get(provider).text)
            result = browser.get(httpx.URL(provider).join(unescape(verified)), follow_redirects=True)
        assert result.status_code == 200
        assert "<h1>Welcome, Noor</h1>" in result.text
        [docs] = re.findall(r'href="(http://\S+/docs)"', result.text)
        assert httpx.get(docs, timeout=PATIENCE, verify=NO_TLS).status_code == 200
        assert f'"Authorize" in {docs} ' in demo.output
        service = docs.removesuffix("/docs")
        keys = dict(re.findall(r"^ *(\w+Key) +(\S+)$", demo.output, re.MULTILINE))
        document = httpx.get(service + "/openapi.json", timeout=PATIENCE, verify=NO_TLS).json()
        assert keys.keys() == {"IdpKey", "AdminKey"} <= document["components"]["securitySchemes"].keys()
        for scheme, reset in (("IdpKey", 403), ("AdminKey", 200)):
            with httpx.Client(
                base_url=service, headers={"Authorization": f"Bearer {keys[scheme]}"}, timeout=PATIENCE, verify=NO_TLS
            ) as caller:
                assert caller.get("/v1/users/acme").json()["reason"] == "never_verified"
                assert caller.post("/v1/users/acme/reset", json={}).status_code == reset

        assert demo.end(signal.SIGINT) == 0
        assert demo.errors == ""
    assert list(work.temporary.iterdir()) == []
    assert list(work.folder.iterdir()) == []


@pytest.mark.parametrize(
    "through", [(), after("trap '' INT")], ids=["from a terminal", "in the background of a script"]
)
def test_it_ends_cleanly_when_it_is_told_to(work: Workplace, through: tuple[str, ...]) -> None:
    """A shell without job control starts background commands with SIGINT ignored; SIGTERM is what ends them."""
    with work.running("demo", through=through) as demo:
        demo.wait_until(lambda: invited(demo), "the invitation")
        assert len(list(work.temporary.iterdir())) == 1
        assert demo.end(signal.SIGTERM) == 0
        assert demo.errors == ""
    assert list(work.temporary.iterdir()) == []


def test_an_early_ctrl_c_leaves_nothing_behind(work: Workplace) -> None:
    with work.running("demo") as demo:
        demo.wait_until(lambda: bool(list(work.temporary.iterdir())), "the temporary folder")
        assert demo.end(signal.SIGINT) == 0
        assert "Traceback" not in demo.errors
    assert list(work.temporary.iterdir()) == []


def test_two_demos_run_side_by_side(work: Workplace) -> None:
    with work.running("demo") as one, work.running("demo") as two:
        for demo in (one, two):
            demo.wait_until(lambda demo=demo: invited(demo), "the invitation")  # type: ignore[misc]  # mypy cannot infer it
        ports = [set(re.findall(r"http://127\.0\.0\.1:(\d+)", demo.output)) for demo in (one, two)]
        assert len(ports[0]) == len(ports[1]) == 3
        assert not ports[0] & ports[1]
