"""Addresses of databases as hosting companies hand them out: read as they are meant, or refused with one line."""

import ssl
from pathlib import Path

import pytest

from app.storage.database_url import read_url

SYSTEM = "sslrootcert=system"


@pytest.mark.parametrize(
    ("text", "dsn"),
    [
        ("postgres://u:p@db.example/idv", "postgresql://u:p@db.example/idv"),
        ("postgresql://u:p@db.example:6432/idv", "postgresql://u:p@db.example:6432/idv"),
        ("postgresql+asyncpg://u:p@db.example/idv", "postgresql://u:p@db.example/idv"),
        ("postgres://u:p%40%2Fss@db.example/idv", "postgresql://u:p%40%2Fss@db.example/idv"),
        ("postgres://u:p@ss:w@db.example/idv", "postgresql://u:p%40ss%3Aw@db.example/idv"),
        ("postgres://u:p@one:5432,two:5433/idv", "postgresql://u:p@one:5432,two:5433/idv"),
        ("postgres://u:p@[::1]:5432/idv", "postgresql://u:p@[::1]:5432/idv"),
        ("postgres://u:p@/idv?host=/run/postgresql", "postgresql://u:p@/idv?host=%2Frun%2Fpostgresql"),
        (
            "postgres://u:p@%2Frun%2Fpostgresql%2Fof-the-whole-department%2Fand-of-its-neighbours%2Fand-more/idv",
            "postgresql://u:p@%2Frun%2Fpostgresql%2Fof-the-whole-department%2Fand-of-its-neighbours%2Fand-more/idv",
        ),
        ("postgres://u:p@/idv?host=a,b&port=1,2", "postgresql://u:p@/idv?host=a%2Cb&port=1%2C2"),
        (
            "postgres://u:p@db/idv?ssl_min_protocol_version=TLSv1.2",
            "postgresql://u:p@db/idv?ssl_min_protocol_version=TLSv1.2",
        ),
        ("postgres://u:p@db/idv?sslmode=require", "postgresql://u:p@db/idv?sslmode=require"),
        ("postgres://u:p@db/idv?ssl=true", "postgresql://u:p@db/idv?sslmode=require"),
        ("postgres://u:p@db/idv?ssl=verify-full&sslrootcert=system", "postgresql://u:p@db/idv"),
        ("postgres://u:p@db/idv?channel_binding=prefer&gssencmode=disable&sslsni=1", "postgresql://u:p@db/idv"),
        ("postgres://u:p@db/idv?target_session_attrs=read-write", "postgresql://u:p@db/idv"),
    ],
)
def test_it_is_read_as_it_is_meant(text: str, dsn: str) -> None:
    assert read_url(text).dsn == dsn


def test_what_the_server_is_told_at_the_start_is_handed_on() -> None:
    url = read_url(
        "postgres://u:p@db/idv?options=endpoint%3Dep-cool-1&application_name=idv-eu&connect_timeout=2&pgbouncer=true"
    )
    assert url.server_settings == {"application_name": "idv-eu", "options": "endpoint=ep-cool-1"}
    assert (url.connect_seconds, url.pooled) == (2, True)


def test_the_machines_own_authorities_prove_the_servers_name() -> None:
    tls = read_url(f"postgres://u:p@db/idv?{SYSTEM}").tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_file_is_read_as_it_is_named() -> None:
    assert read_url("sqlite+aiosqlite:///./a%20b.db").file == "./a b.db"
    assert read_url("sqlite+aiosqlite:////srv/memory-lane/idv.db").file == "/srv/memory-lane/idv.db"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mysql://u:hush@db/idv", "takes sqlite"),
        ("postgresql+psycopg2://u:hush@db/idv", "takes sqlite"),
        ("postgres://", "takes sqlite"),
        ("postgres:///idv", "names no host"),
        ("postgres://u:hu/sh@db/idv", "port"),
        ("postgres://u:hu#sh@db/idv", "`#`"),
        ("postgres://u:hush?hush@db/idv", "percent-encode"),
        ("postgres://u:hush@db/idv?hush=1", "unknown name"),
        ("postgres://u:hush@db:0/idv", "port"),
        ("postgres://u:hush@db/idv?channel_binding=require", "channel_binding"),
        ("postgres://u:hush@db/idv?target_session_attrs=standby", "target_session_attrs"),
        ("postgres://u:hush@db/idv?sslmode=hush", "sslmode takes one of"),
        ("postgres://u:hush@db/idv?sslmode=verify-full", "needs sslrootcert"),
        (f"postgres://u:hush@db/idv?sslmode=require&{SYSTEM}", "verify-full alone"),
        ("postgres://u:hush@db/idv?sslrootcert=/nowhere/hush.pem", "sslrootcert names a file"),
        ("postgres://u:hush@db/idv?sslcert=/nowhere/hush.pem", "sslcert names a file"),
        ("postgres://u:hush@db/idv?pgbouncer=hush", "pgbouncer takes true or false"),
        ("postgres://u:hush@db/idv?connect_timeout=hush", "connect_timeout takes whole seconds"),
        ("postgres://u:hush@db/idv?statement_timeout=1", "statement_timeout is not taken"),
        ("postgres://u:hush@db/idv?connection_limit=1", "connection_limit is not taken"),
        ("postgres://u:hush@db/idv?connect_timeout=%C2%B2", "connect_timeout takes whole seconds"),
        ("postgres://u:hush@db/idv?connect_timeout=" + "9" * 5000, "connect_timeout takes whole seconds"),
        ("postgres://u:hush@a..b/idv", "a host that is none"),
        (f"postgres://u:hush@{'a' * 64}.example/idv", "a host that is none"),
        ("postgres://u:hush@one,two:5432,/idv", "a host that is none"),
        ("postgres://u:hush@:5432/idv", "a host that is none"),
        ("postgres://u:hush@/idv?host=a..hush", "a host that is none"),
        ("postgres://u:hush@/idv?host=db,", "a host that is none"),
        ("postgres://u:hush@db/idv?port=5432,", "port"),
        ("postgres://u:hush@db/idv?port=hush", "port"),
        ("postgres://u:hush@db/idv?port=5432,65536", "port"),
        ("postgres://u:hush@db/idv?sslnegotiation=hush", "sslnegotiation takes one of"),
        ("postgres://u:hush@db/idv?ssl_min_protocol_version=hush", "ssl_min_protocol_version takes one of"),
        ("postgres://u:hush@db/idv?sslmode=require&sslrootcert=/", "sslrootcert names a file"),
        ("postgres://u:hush%00@db/idv", "%00"),
        ("sqlite+aiosqlite:///hush%00.db", "%00"),
        ("sqlite+aiosqlite:////", "names a folder"),
        ("sqlite+aiosqlite:///.", "names a folder"),
        ("sqlite+aiosqlite:///", "takes sqlite"),
        ("sqlite+aiosqlite:///:memory:", "takes sqlite"),
        ("sqlite:///idv.db", "takes sqlite"),
        ("sqlite+aiosqlite:///idv.db?mode=ro", "no parameters"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_one_line_and_no_value(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as refused:
        read_url(text)
    line = str(refused.value)
    assert says in line
    assert "\n" not in line
    assert "hu" not in line


@pytest.mark.parametrize(
    ("name", "says"), [("sslrootcert", "holds no certificate"), ("sslcert", "do not fit each other")]
)
def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path, name: str, says: str) -> None:
    file = tmp_path / "text.pem"
    file.write_text("no certificate")
    with pytest.raises(ValueError, match=says):
        read_url(f"postgres://u:p@db/idv?{name}={file}")


def test_it_shows_nobody_the_password() -> None:
    assert "hush" not in repr(read_url("postgres://u:hush@db/idv"))
