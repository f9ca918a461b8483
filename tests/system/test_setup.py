import os
import re
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.core.api_keys import holder_of, parse_api_keys
from app.core.domain import Caller, Role
from app.settings import Settings
from tests.system.processes import Workplace, answers, free_port

KNOWN = {name.upper() for name in Settings.model_fields}
FRESH = ("REDIRECT_SECRET", "ENCRYPTION_KEYS", "API_KEYS", "ADMIN_API_KEYS")


def entries(file: Path) -> dict[str, str]:
    """What the file sets, comments left out."""
    lines = (line.partition("=") for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in lines}


def fill_in(file: Path, **values: str) -> None:
    text = file.read_text()
    for name, value in values.items():
        text, found = re.subn(rf"^(# )?{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert found == 1, f"{file} has no line to fill in for {name}"
    file.write_text(text)


def test_init_writes_a_file_that_works_once_it_is_filled_in(work: Workplace) -> None:
    made = work.run("init")
    assert (made.returncode, made.stderr) == (0, "")
    file = work.folder / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in work.folder.iterdir()] == [".env"]

    unfinished = work.run("check")
    assert unfinished.returncode == 2
    assert {line.partition(":")[0] for line in unfinished.stderr.splitlines()} == {
        *("INCODE_CLIENT_ID", "INCODE_CLIENT_SECRET", "REDIRECT_URI"),
    }

    fill_in(
        file, INCODE_CLIENT_ID="client", INCODE_CLIENT_SECRET="secret", REDIRECT_URI="https://tenant.example/continue"
    )
    assert work.run("migrate").returncode == 0
    assert (work.folder / "idv.db").exists()
    settings = Settings.model_validate(
        {name.lower(): value for name, value in entries(file).items() if name in KNOWN and value}
    )
    assert settings.redirect_uri == ("https://tenant.example/continue",)
    idp_key, admin_key = re.findall(r"[A-Za-z0-9_-]{43}$", made.stdout, re.MULTILINE)
    assert holder_of(idp_key, settings.keys) == Caller("idp", Role.IDP)
    assert holder_of(admin_key, settings.keys) == Caller("admin", Role.ADMIN)
    assert idp_key not in file.read_text()
    assert admin_key not in file.read_text()


def test_init_fills_in_a_sandbox_on_this_machine_and_where_the_relay_flow_ends(work: Workplace) -> None:
    relay, sandbox = "http://127.0.0.1:7000/continue", f"http://127.0.0.1:{free_port()}"
    made = work.run("init", "--sandbox", "--sandbox-url", sandbox, "--redirect-uri", relay)
    assert (made.returncode, made.stderr) == (0, "")
    given = {name.lower(): value for name, value in entries(work.folder / ".env").items()}
    settings = Settings.model_validate(given)
    assert (settings.incode_server_url, settings.redirect_uri) == (sandbox, (relay,))
    secret = {"SANDBOX_CLIENT_SECRET": given["incode_client_secret"]}
    options = ("--client-id", settings.incode_client_id, "--redirect-uri", relay, "--port", sandbox.rpartition(":")[2])
    callback = ("--redirect-uri", f"{settings.public_url}/v1/callback")
    with work.running("sandbox", *options, *callback, settings=secret) as running:
        running.wait_until(lambda: answers(sandbox, 200), "the sandbox")
        checked = work.run("check")
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_init_takes_a_redirect_uri_in_place_of_auth0_s_and_no_sandbox_that_is_not_asked_for(work: Workplace) -> None:
    alone = work.run("init", "--sandbox-url", "http://127.0.0.1:9000")
    assert alone.returncode == 2
    assert list(work.folder.iterdir()) == []
    made = work.run("init", "--redirect-uri", "https://login.example/continue")
    assert "AUTH0_DOMAIN" not in made.stdout
    written = entries(work.folder / ".env")
    assert written["REDIRECT_URI"] == "https://login.example/continue"
    assert "AUTH0_DOMAIN" not in written


def test_migrate_asks_for_no_setting_but_the_database_s(work: Workplace) -> None:
    migrated = work.run("migrate", settings={"DATABASE_URL": "sqlite+aiosqlite:///./elsewhere.db"})
    assert (migrated.returncode, migrated.stderr) == (0, "")
    assert (work.folder / "elsewhere.db").exists()
    refused = work.run("migrate", settings={"DATABASE_URL": "mysql://database"})
    assert refused.returncode == 2
    assert refused.stderr.startswith("DATABASE_URL: takes ")


def test_init_overwrites_nothing(work: Workplace) -> None:
    work.run("init")
    file = work.folder / ".env"
    before = file.read_bytes(), file.stat().st_mtime_ns
    again = work.run("init")
    assert (again.returncode, again.stdout) == (2, "")
    assert ".env" in again.stderr
    assert "Traceback" not in again.stderr
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_init_makes_fresh_secrets_each_time(work: Workplace) -> None:
    old_umask = os.umask(0)
    try:
        for name in ("one.env", "two.env"):
            assert work.run("init", "--file", name).returncode == 0
    finally:
        os.umask(old_umask)
    one, two = (entries(work.folder / name) for name in ("one.env", "two.env"))
    assert one.keys() == two.keys()
    for name in FRESH:
        assert one[name] != two[name]
        assert len(one[name]) >= 32
    assert {stat.S_IMODE((work.folder / name).stat().st_mode) for name in ("one.env", "two.env")} == {0o600}


def test_init_lays_secrets_into_files_of_a_folder_that_only_its_owner_can_enter(work: Workplace) -> None:
    made = work.run("init", "--secrets", "secrets")
    assert (made.returncode, made.stderr) == (0, "")
    folder = work.folder / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = {file.name: file.read_text() for file in folder.iterdir()}
    assert files.keys() == {
        *("incode_client_secret", "redirect_secret", "encryption_keys", "api_keys", "admin_api_keys"),
        *("database_url", "database_password"),
    }
    assert {name for name, value in files.items() if not value} == {"incode_client_secret"}
    assert urlsplit(files["database_url"]).password == files["database_password"]
    written = (work.folder / ".env").read_text()
    assert not any(value in written for value in files.values() if value)
    assert not {name.upper() for name in files} & entries(work.folder / ".env").keys()


def test_init_overwrites_no_folder_of_secrets(work: Workplace) -> None:
    work.run("init", "--secrets", "secrets")
    before = {file.name: file.read_text() for file in (work.folder / "secrets").iterdir()}
    for options in (("--file", "other.env"), ("--secrets", "other")):
        refused = work.run("init", "--secrets", "secrets", *options)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "is there already" in refused.stderr
    assert {file.name: file.read_text() for file in (work.folder / "secrets").iterdir()} == before
    assert sorted(path.name for path in work.folder.iterdir()) == [".env", "secrets"]


def test_init_says_so_where_it_cannot_write(work: Workplace) -> None:
    refused = work.run("init", "--file", "nowhere/.env")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "nowhere/.env" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_api_key_makes_a_key_and_the_entry_that_admits_it(work: Workplace) -> None:
    keys = set()
    for _ in range(2):
        made = work.run("api-key", "acme")
        assert (made.returncode, made.stderr) == (0, "")
        key, entry = (line.rpartition("  ")[2] for line in made.stdout.splitlines())
        assert len(key) >= 43
        assert key not in entry
        known = parse_api_keys(entry, Role.IDP)
        assert holder_of(key, known) == Caller("acme", Role.IDP)
        assert holder_of(entry.partition("=")[2], known) is None
        keys.add(key)
    assert len(keys) == 2
    assert list(work.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["", "a b", "a=b,c", "x" * 65])
def test_a_name_that_an_entry_cannot_hold_is_refused(work: Workplace, name: str) -> None:
    refused = work.run("api-key", name)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "name" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_the_sandbox_does_not_listen_to_the_world(work: Workplace) -> None:
    options = (
        "--client-id",
        "a",
        "--client-secret",
        "Marked-4711",
        "--redirect-uri",
        "https://tenant.example/continue",
    )
    refused = work.run("sandbox", "--host", "0.0.0.0", *options)  # noqa: S104  it is refused
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "loopback" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert "4711" not in refused.stderr
