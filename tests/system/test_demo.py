import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from html import unescape
from typing import Any

import httpx
import pytest

from tests.system.processes import SECONDS, Running, Workplace

pytestmark = pytest.mark.xdist_group("demo")  # two demos at once would take the ports that a test has made busy


def in_a_shell(command: str) -> Any:
    """The JSON that a command from the demo's own pages prints."""
    ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=SECONDS, check=True)  # noqa: S603
    return json.loads(ran.stdout)


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
    claim = json.loads(re.findall(r'"https://incode.com/idv": ({.*?\n {7}})', told.stdout, re.DOTALL)[0])
    assert claim["completed"] is True
    assert claim["pii"]["name"]
    assert list(work.temporary.iterdir()) == []
    assert list(work.folder.iterdir()) == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_it_stays_up_beside_busy_ports_and_what_it_prints_works(work: Workplace) -> None:
    with busy(8000, 9000), work.running("demo") as demo:
        demo.wait_until(lambda: invited(demo), "the invitation")
        addresses = re.findall(r"http://127\.0\.0\.1:(\d+)", demo.output)
        assert addresses
        assert not {"8000", "9000"} & set(addresses)
        [docs] = set(re.findall(r"http://\S+/docs", demo.output))
        assert httpx.get(docs).status_code == 200
        sandbox = re.findall(r"sandbox provider +(http://\S+)", demo.output)[0]
        assert httpx.get(sandbox).status_code == 200

        [command] = re.findall(r"^ *(curl .*)$", demo.output, re.MULTILINE)
        started = in_a_shell(command)
        assert (started["action"], started["reason"]) == ("redirect", "never_verified")
        choice = httpx.get(started["redirect_url"])
        assert choice.status_code == 200
        [verified] = re.findall(r'class="choice main" href="([^"]+)"', choice.text)
        relay = httpx.get(httpx.URL(started["redirect_url"]).join(unescape(verified)), follow_redirects=True)
        assert relay.status_code == 200
        [command] = re.findall(r"<pre[^>]*>(curl .*?)</pre>", relay.text, re.DOTALL)
        finished = in_a_shell(unescape(command))
        assert finished.get("reason") == "verified", finished
        assert finished["verification"]["id"] == started["verification"]["id"]
        assert finished["claims"]

        assert demo.end(signal.SIGINT) == 0
        assert demo.errors == ""
    assert list(work.temporary.iterdir()) == []
    assert list(work.folder.iterdir()) == []


@pytest.mark.parametrize("ignoring", [None, signal.SIGINT], ids=["from a terminal", "in the background of a script"])
def test_it_ends_cleanly_when_it_is_told_to(work: Workplace, ignoring: signal.Signals | None) -> None:
    """A shell without job control starts background commands with SIGINT ignored; SIGTERM is what ends them."""
    with work.running("demo", ignoring=ignoring) as demo:
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
