"""deploy/nginx/idv-gateway.conf, run by a real nginx with a certificate of the test's own, in front of the real
service.
"""

import contextlib
import datetime
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.harness.containers import read
from tests.harness.programs import program_or_skip
from tests.harness.waiting import PATIENCE
from tests.system.processes import Workplace, eventually, free_port, serving

NAME = "idv.example.com"
_AROUND = """
daemon off;
master_process off;
pid {folder}/pid;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def make_certificate(folder: Path) -> None:
    """A certificate for the name, signed by its own key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@contextlib.contextmanager
def in_front_of(upstream: str, folder: Path) -> Iterator[tuple[int, int]]:
    """A running nginx with the file as it is, but for its ports and places; gives its ports for http and https."""
    nginx = program_or_skip("nginx")
    folder.mkdir()
    make_certificate(folder)
    plain, tls = free_port(), free_port()
    site = read("deploy/nginx/idv-gateway.conf")
    site = re.sub(r"^ *listen \[::\].*\n", "", site, flags=re.MULTILINE)
    for documented, ours in {
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;",
        "server 127.0.0.1:8000;": f"server {upstream};",
        "/etc/ssl/idv.example.com": str(folder),
        "/var/log/nginx/error.log": "stderr",
    }.items():
        assert documented in site
        site = site.replace(documented, ours)
    (folder / "site.conf").write_text(site)
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder))
    command = [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]
    checked = subprocess.run([*command, "-t", "-q"], capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603
    assert (checked.returncode, "warn" in checked.stderr) == (0, False), checked.stderr
    with (folder / "errors").open("wb") as errors, subprocess.Popen(command, stderr=errors) as process:  # noqa: S603  our own
        try:
            yield plain, tls
        finally:
            process.terminate()
            process.wait(PATIENCE)


class Browser:
    """Asks nginx for the name, and trusts that one certificate."""

    def __init__(self, folder: Path, port: int) -> None:
        trusted = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
        self._client = httpx.Client(verify=trusted, timeout=PATIENCE)
        self._port = port

    def ask(self, path: str, method: str = "GET", content: bytes | None = None) -> httpx.Response:
        request = self._client.build_request(
            method,
            f"https://127.0.0.1:{self._port}{path}",
            headers={"Host": NAME},
            content=content,
            extensions={"sni_hostname": NAME},
        )
        return self._client.send(request)

    def close(self) -> None:
        self._client.close()

    def answers(self, status: int) -> bool:
        try:
            return self.ask("/healthz").status_code == status
        except httpx.TransportError:
            return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "nginx"


def test_https_reaches_the_service_and_each_answer_has_strict_transport_security_once(
    work: Workplace, folder: Path
) -> None:
    with (
        serving(work, PUBLIC_URL=f"https://{NAME}") as (_, url),
        in_front_of(url.removeprefix("http://"), folder) as (plain, tls),
        contextlib.closing(Browser(folder, tls)) as browser,
    ):
        eventually(lambda: browser.answers(200), "nginx")
        for path, method, content, status in (
            ("/healthz", "GET", None, 200),
            ("/v1/users/auth0%7Cana%2Fb", "GET", None, 401),
            ("/v1/verifications", "POST", b"x" * 70_000, 413),
        ):
            answer = browser.ask(path, method, content)
            assert answer.status_code == status, path
            assert answer.headers.get_list("Strict-Transport-Security") == ["max-age=31536000"], path
        moved = httpx.get(f"http://127.0.0.1:{plain}/docs?a=b", headers={"Host": NAME}, timeout=PATIENCE)
        assert (moved.status_code, moved.headers["Location"]) == (301, f"https://{NAME}/docs?a=b")
    assert "auth0" not in (folder / "errors").read_text()


def test_while_the_service_is_away_nginx_says_so_with_strict_transport_security(folder: Path) -> None:
    with (
        in_front_of(f"127.0.0.1:{free_port()}", folder) as (_, tls),
        contextlib.closing(Browser(folder, tls)) as browser,
    ):
        eventually(lambda: browser.answers(502), "nginx")
        assert browser.ask("/healthz").headers.get_list("Strict-Transport-Security") == ["max-age=31536000"]


def test_the_bounds_are_those_of_the_service_or_wider() -> None:
    site = read("deploy/nginx/idv-gateway.conf")
    assert "client_max_body_size 64k;" in site
    assert re.search(r"^\s*access_log off;", site, re.MULTILINE), "addresses hold users' ids and codes"
    assert "proxy_next_upstream off;" in site, "a code is sent once"
    assert not re.search(r"X-Forwarded|X-Real-IP", site), "the service believes none"
