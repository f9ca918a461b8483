"""Why the database cannot be used: each cause with its words and its remedy.

They are told by SQLSTATE or by the driver's class.
"""

from __future__ import annotations

import socket
import sqlite3
import ssl
from collections.abc import Iterator
from enum import Enum

from app.storage.admission import Overloaded


class NotUtf8(Exception):
    """The database's encoding is not UTF-8: it could not hold every name."""


class Cause(Enum):
    """Why the database cannot be used: its words, which go on after "the database", and its remedy.

    No text holds a value.
    """

    WRONG_PASSWORD = (
        "refuses the password",
        "Look at the user and the password in DATABASE_URL; percent-encode what is no letter or digit.",
    )
    NOT_ADMITTED = (
        "does not admit this user from this machine",
        "Look at the user in DATABASE_URL, and at the server's pg_hba.conf, which says who may come from where.",
    )
    TLS_WANTED = (
        "does not admit this user from this machine without TLS",
        "Add sslmode=verify-full and sslrootcert=FILE to DATABASE_URL. If the server has no TLS: look at its "
        "pg_hba.conf.",
    )
    TLS_NOT_OFFERED = (
        "offers no TLS, which DATABASE_URL asks for",
        "Turn TLS on at the server; sslmode=disable goes without, and then everything can be read on the way.",
    )
    UNKNOWN_AUTHORITY = (
        "shows a certificate that none of the trusted authorities has signed",
        "Set sslrootcert in DATABASE_URL to the authority that has signed it, as the server's operator hands it out.",
    )
    WRONG_NAME = (
        "shows a certificate for another name",
        "Use the name in DATABASE_URL that the certificate is made out to; an address in numbers is none.",
    )
    CERTIFICATE_EXPIRED = (
        "shows a certificate that is out of date",
        "Renew the server's certificate, and look at this machine's clock.",
    )
    TLS_FAILED = (
        "speaks no TLS that both sides know",
        "Look at the TLS versions, and at sslcert and sslkey, on both sides.",
    )
    NO_SUCH_DATABASE = (
        "is not there: the server has none of this name",
        "Create it (CREATE DATABASE), or look at DATABASE_URL.",
    )
    NO_RIGHTS = (
        "does not give this user the rights",
        "As its owner: GRANT USAGE, CREATE ON SCHEMA public TO the user that migrates;"
        " and to the one that serves, SELECT, INSERT, UPDATE, DELETE on every table.",
    )
    NOT_MIGRATED = "does not have the tables that this version needs", "Run: idv migrate"
    READ_ONLY = (
        "is read-only: a replica, a primary that was demoted, or one that was set so",
        "Let DATABASE_URL name the primary; several hosts, separated by commas, are tried in turn.",
    )
    NOT_UTF8 = (
        "is not encoded in UTF-8, and could not hold every name",
        "Create another: CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'",
    )
    TOO_MANY_CONNECTIONS = (
        "has no connection left",
        "Raise max_connections, run fewer processes (10 connections each), or put pgbouncer in front.",
    )
    STARTING_OR_STOPPING = "starts or stops", "Wait. If it stays so, look at the server's log."
    UNKNOWN_HOST = (
        "is on a host whose name is not known",
        "Look at the host in DATABASE_URL, and at this machine's name servers.",
    )
    NOBODY_LISTENS = (
        "does not listen there",
        "Look whether the server runs, and at the host and the port in DATABASE_URL.",
    )
    SILENT = (
        "does not answer in time",
        "Look whether the server runs and is not overloaded, and whether a firewall is in between.",
    )
    CONNECTION_BROKE = (
        "closed the connection",
        "If it happens again: look at the server's log, and at what is in between.",
    )
    POOLER_REFUSES = (
        "is behind a pooler that refuses the connection",
        "Look at pgbouncer's log: it names the database, the user or the parameter that it does not take.",
    )
    STATEMENT_LOST = (
        "is behind a pooler that gives each transaction another connection",
        "Add pgbouncer=true to DATABASE_URL.",
    )
    BUSY = "is held by another process", "Repeat it. If it stays so, look who holds a lock."
    OVERLOADED = (
        "has more to do than it can",
        "Repeat it later. Under lasting load: a faster database, or fewer callers at once.",
    )
    DISK = "cannot write: the disk is full, or fails", "Make room on the database's disk; look at the system's log."
    FILE_NOT_WRITABLE = (
        "is a file that may not be opened or written",
        "Look at DATABASE_URL, and who may write the file and its folder.",
    )
    DAMAGED = "is a damaged file, or none of SQLite's", "Restore a backup; look at the path in DATABASE_URL."
    UNKNOWN = "cannot be used", "Look at DATABASE_URL, at the service's log and at the server's."

    @property
    def code(self) -> str:
        """Its name in the log. Stable."""
        return self.name.lower()

    @property
    def words(self) -> str:
        """What is wrong, after "the database"."""
        return self.value[0]

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return self.value[1]


PASSING = frozenset(
    {Cause.BUSY, Cause.OVERLOADED, Cause.STARTING_OR_STOPPING, Cause.CONNECTION_BROKE, Cause.SILENT, Cause.DISK}
)
"""What passes by itself or with room: nothing in the settings is wrong."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html; where a whole class means one thing, its two
# characters.
_BY_SQLSTATE = {
    "28P01": Cause.WRONG_PASSWORD,
    "28": Cause.NOT_ADMITTED,
    "3D000": Cause.NO_SUCH_DATABASE,
    "42501": Cause.NO_RIGHTS,
    "3F000": Cause.NO_RIGHTS,
    "42P01": Cause.NOT_MIGRATED,
    "42703": Cause.NOT_MIGRATED,
    "25006": Cause.READ_ONLY,
    "53300": Cause.TOO_MANY_CONNECTIONS,
    "53100": Cause.DISK,
    "58": Cause.DISK,
    "57P03": Cause.STARTING_OR_STOPPING,
    "57P01": Cause.STARTING_OR_STOPPING,
    "57P02": Cause.STARTING_OR_STOPPING,
    "57014": Cause.SILENT,
    "55P03": Cause.BUSY,
    "55000": Cause.NOT_ADMITTED,
    "40": Cause.BUSY,
    "26000": Cause.STATEMENT_LOST,
    "42P05": Cause.STATEMENT_LOST,
    "08P01": Cause.POOLER_REFUSES,
    "08": Cause.CONNECTION_BROKE,
}
_BY_SQLITE = {
    "SQLITE_BUSY": Cause.BUSY,
    "SQLITE_LOCKED": Cause.BUSY,
    "SQLITE_FULL": Cause.DISK,
    "SQLITE_IOERR": Cause.DISK,
    "SQLITE_READONLY": Cause.FILE_NOT_WRITABLE,
    "SQLITE_CANTOPEN": Cause.FILE_NOT_WRITABLE,
    "SQLITE_PERM": Cause.FILE_NOT_WRITABLE,
    "SQLITE_CORRUPT": Cause.DAMAGED,
    "SQLITE_NOTADB": Cause.DAMAGED,
    "SQLITE_ERROR": Cause.NOT_MIGRATED,  # no such table, no such column
}
_BY_CLASS: tuple[tuple[type[BaseException], Cause], ...] = (
    (Overloaded, Cause.OVERLOADED),
    (NotUtf8, Cause.NOT_UTF8),
    (ssl.SSLError, Cause.TLS_FAILED),
    (socket.gaierror, Cause.UNKNOWN_HOST),
    (ConnectionRefusedError, Cause.NOBODY_LISTENS),
    (TimeoutError, Cause.SILENT),
    (PermissionError, Cause.FILE_NOT_WRITABLE),
    (FileNotFoundError, Cause.FILE_NOT_WRITABLE),
    (ConnectionResetError, Cause.CONNECTION_BROKE),
    (BrokenPipeError, Cause.CONNECTION_BROKE),
)
_CERTIFICATE_EXPIRED = 10  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED
_WRONG_NAME = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH


def diagnose(fault: BaseException) -> Cause:
    """The first cause that is known in the chain of what brought the fault about."""
    return next((cause for each in _chain(fault) if (cause := _cause(each))), Cause.UNKNOWN)


def _chain(fault: BaseException | None) -> Iterator[BaseException]:
    while fault is not None:
        yield fault
        fault = getattr(fault, "orig", None) or fault.__cause__


def _cause(fault: BaseException) -> Cause | None:
    if isinstance(state := getattr(fault, "sqlstate", None), str):
        return _by_sqlstate(state, fault)
    if isinstance(fault, sqlite3.Error):
        name = getattr(fault, "sqlite_errorname", None) or ""
        return next((cause for start, cause in _BY_SQLITE.items() if name.startswith(start)), None)
    if isinstance(fault, ssl.SSLCertVerificationError):
        return _by_certificate(fault.verify_code)
    # The driver has no class of their own for these two.
    if type(fault).__name__ == "TargetServerAttributeNotMatched":
        return Cause.READ_ONLY
    if isinstance(fault, ConnectionError) and "rejected SSL upgrade" in str(fault):
        return Cause.TLS_NOT_OFFERED
    return next((cause for kind, cause in _BY_CLASS if isinstance(fault, kind)), None)


def _by_sqlstate(state: str, fault: BaseException) -> Cause | None:
    if state == "28000" and "no encryption" in str(fault):
        return Cause.TLS_WANTED
    return _BY_SQLSTATE.get(state) or _BY_SQLSTATE.get(state[:2])


def _by_certificate(code: int) -> Cause:
    if code == _CERTIFICATE_EXPIRED:
        return Cause.CERTIFICATE_EXPIRED
    return Cause.WRONG_NAME if code in _WRONG_NAME else Cause.UNKNOWN_AUTHORITY
