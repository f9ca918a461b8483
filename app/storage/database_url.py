"""The database's address, as it is written here or handed out by a hosting company."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

_ON_FILE = "sqlite+aiosqlite:///"
_SCHEMES = ("postgresql+asyncpg", "postgresql", "postgres")
_WANTED = "takes sqlite+aiosqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
_ENCODED = "; in user and password, percent-encode what is no letter or digit"
# What the driver takes as libpq means it.
_PASSED = frozenset(
    [
        "host",
        "port",
        "user",
        "password",
        "dbname",
        "passfile",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslcrl",
        "sslpassword",
        "sslrootcert",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
    ]
)
_SERVER_SETTINGS = frozenset({"application_name", "options"})
# What is so anyway; any other value asks for what cannot be had.
_SO_ANYWAY: Mapping[str, tuple[frozenset[str], str]] = {
    "channel_binding": (
        frozenset({"disable", "prefer"}),
        "use sslmode=verify-full, which proves who the server is, and leave it out",
    ),
    "target_session_attrs": (
        frozenset({"any", "read-write", "primary"}),
        "the service writes, and looks for a server that can",
    ),
    "gssencmode": (frozenset({"disable", "prefer"}), "use TLS (sslmode)"),
    "sslcompression": (frozenset({"0"}), "leave it out"),
    "sslsni": (frozenset({"1"}), "leave it out"),
    "keepalives": (frozenset({"1"}), "leave it out"),
    "client_encoding": (frozenset({"utf8", "UTF8", "UTF-8", "auto"}), "leave it out"),
}
# Known to others, and named when they are refused. Anything else may be part of a password, and is not.
_OF_OTHERS = frozenset(
    [
        "connection_limit",
        "pool_timeout",
        "schema",
        "search_path",
        "currentSchema",
        "statement_timeout",
        "lock_timeout",
        "service",
        "servicefile",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "requirepeer",
        "krbsrvname",
        "gsslib",
        "require_auth",
        "load_balance_hosts",
        "replication",
        "prepared_statement_cache_size",
        "prepared_statement_name_func",
        "command_timeout",
        "uselibpqcompat",
        "fallback_application_name",
        "sslcertmode",
        "sslkeylogfile",
        "max_protocol_version",
        "min_protocol_version",
    ]
)
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_WORDS: Mapping[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
}
_SECONDS = re.compile(r"[0-9]{1,6}")
_PORT = re.compile(r"0*[1-9][0-9]{0,4}")
_TRUE = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database's address: a SQLite file, or what PostgreSQL's driver is given.

    `pooled`: a pooler lends connections.
    """

    file: str | None = None
    dsn: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    server_settings: Mapping[str, str] = field(default_factory=dict)
    connect_seconds: int | None = None
    pooled: bool = False


def read_url(text: str) -> DatabaseUrl:
    """Read an address. Raises ValueError with one line that names what is wrong, and no value."""
    if "%00" in text:
        raise ValueError("has a %00, a character that no name and no password has" + _ENCODED)
    if text.startswith("sqlite"):
        return _read_file(text)
    scheme, _, rest = text.partition("://")
    if scheme not in _SCHEMES or not rest:
        raise ValueError(_WANTED)
    try:
        parts = urlsplit(f"postgresql://{rest}")
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError(_WANTED + _ENCODED) from None
    if parts.fragment:
        raise ValueError("has a `#`" + _ENCODED)
    return _Reader(parameters).read(_authority(parts.netloc, named="host" in parameters), parts.path)


def _read_file(text: str) -> DatabaseUrl:
    file = text.removeprefix(_ON_FILE)
    if file == text or not file or file == ":memory:" or file.startswith("file:"):
        raise ValueError(_WANTED)
    if "?" in file:
        raise ValueError("takes no parameters after the file's name")
    if os.path.isdir(unquote(file)):
        raise ValueError("names a folder; it takes a file")
    return DatabaseUrl(file=unquote(file))


def _authority(text: str, *, named: bool) -> str:
    """User, password and hosts, written so that the driver reads them as they were meant."""
    userinfo, at, hosts = text.rpartition("@")
    if not hosts and not named:
        raise ValueError("names no host" + _ENCODED)
    for host in hosts.split(",") if hosts else ():
        name, _, port = host.rpartition("]")[2].partition(":")
        _check_port(port or "5432")
        if "]" not in host and (name or "," in hosts or not named):
            _check_host(unquote(name))
    user, colon, password = userinfo.partition(":")
    return f"{_quoted(user)}{colon}{_quoted(password)}{at}{hosts}"


def _check_port(port: str) -> None:
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError("has a port that is none" + _ENCODED)


def _check_host(host: str) -> None:
    """Refuse what no resolver takes (RFC 1035 section 2.3.4): the driver would fail in a way that nobody foresees."""
    try:
        is_one = host.startswith("/") or bool(host.encode("idna"))
    except UnicodeError:
        is_one = False
    if not is_one:
        raise ValueError("has a host that is none" + _ENCODED)


def _quoted(part: str) -> str:
    return quote(unquote(part), safe="")


def _is_seconds(text: str) -> bool:
    return _SECONDS.fullmatch(text) is not None


class _Reader:
    """Takes the parameters one by one; what nobody has taken is refused."""

    def __init__(self, parameters: dict[str, str]) -> None:
        self._left = parameters

    def read(self, authority: str, path: str) -> DatabaseUrl:
        for name, (values, instead) in _SO_ANYWAY.items():
            if self._left.pop(name, next(iter(values))) not in values:
                raise ValueError(f"{name} cannot be had as it is set there: {instead}")
        seconds = self._checked("connect_timeout", _is_seconds, "takes whole seconds")
        pooled = _TRUE[self._checked("pgbouncer", _TRUE.__contains__, "takes true or false") or "false"]
        settings = {name: self._left.pop(name) for name in sorted(_SERVER_SETTINGS & self._left.keys())}
        tls = self._tls()
        self._check_each("host", _check_host)
        self._check_each("port", _check_port)
        passed = {name: self._left.pop(name) for name in sorted(_PASSED & self._left.keys())}
        for name in self._left:
            known = name if name in _OF_OTHERS else "a parameter of an unknown name"
            raise ValueError(f"{known} is not taken: leave it out" + ("" if name in _OF_OTHERS else _ENCODED))
        query = f"?{urlencode(passed)}" if passed else ""
        return DatabaseUrl(
            dsn=f"postgresql://{authority}{path}{query}",
            tls=tls,
            server_settings=settings,
            connect_seconds=int(seconds) if seconds else None,
            pooled=pooled,
        )

    def _checked(self, name: str, is_right: Callable[[str], bool], wanted: str) -> str | None:
        value = self._left.pop(name, None)
        if value is not None and not is_right(value):
            raise ValueError(f"{name} {wanted}")
        return value

    def _check_each(self, name: str, check: Callable[[str], None]) -> None:
        if listed := self._left.get(name):
            for each in listed.split(","):
                check(each)

    def _tls(self) -> ssl.SSLContext | None:
        self._take_short_form()
        mode = self._left.get("sslmode")
        for name, words in _WORDS.items():
            if self._left.get(name, words[0]) not in words:
                raise ValueError(f"{name} takes one of {', '.join(words)}")
        for name in ("sslcert", "sslkey", "sslcrl", "sslrootcert", "passfile"):
            file = self._left.get(name)
            if file is None or (name == "sslrootcert" and file == "system"):
                continue
            if os.path.isdir(file) or not os.access(file, os.R_OK):
                raise ValueError(f"{name} names a file that cannot be read")
        context = self._with_system_authorities() if self._left.get("sslrootcert") == "system" else None
        if context is None and mode in {"verify-ca", "verify-full"} and "sslrootcert" not in self._left:
            raise ValueError(
                f"sslmode={mode} needs sslrootcert: a file, or `system` for the authorities that this machine trusts"
            )
        self._try_files(context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        return context

    def _take_short_form(self) -> None:
        """`ssl=true`, and `ssl=require` as SQLAlchemy has it, mean `sslmode`."""
        short = self._left.pop("ssl", None)
        if short is not None:
            self._left.setdefault(
                "sslmode", {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(short, short)
            )

    def _with_system_authorities(self) -> ssl.SSLContext:
        if self._left.pop("sslmode", "verify-full") != "verify-full":
            raise ValueError("sslrootcert=system goes with sslmode=verify-full alone")
        del self._left["sslrootcert"]
        return ssl.create_default_context()

    def _try_files(self, context: ssl.SSLContext) -> None:
        if authorities := self._left.get("sslrootcert"):
            try:
                context.load_verify_locations(authorities)
            except ssl.SSLError:
                raise ValueError("sslrootcert names a file that holds no certificate") from None
        if certificate := self._left.get("sslcert"):
            try:
                context.load_cert_chain(
                    certificate, self._left.get("sslkey"), lambda: self._left.get("sslpassword", "")
                )
            except ssl.SSLError:
                raise ValueError("sslcert, sslkey and sslpassword do not fit each other") from None
