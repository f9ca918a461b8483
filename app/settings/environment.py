"""Variables that the libraries read by themselves: proxies, certificates, where traces go, how many processes.

They are checked like settings, since a library that finds a wrong one says so late, or with a password in its text.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from app.telemetry.tracing import is_asked_for

_HOST = re.compile(
    r"(\*?\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?(:\d{1,5})?", re.IGNORECASE
)
_COUNT = re.compile(r"0*[1-9][0-9]{0,3}")
# What OpenTelemetry's SDK takes as numbers: others stop it with an error of its own, or are passed over.
_BATCHES = re.compile(r"OTEL_BSP_(SCHEDULE_DELAY|EXPORT_TIMEOUT|MAX_QUEUE_SIZE|MAX_EXPORT_BATCH_SIZE)")
_LIMITS = re.compile(r"OTEL_[A-Z_]+_LIMIT")
_MANY = re.compile(r"0*[1-9][0-9]{0,8}")
_LIMIT = re.compile(r"[0-9]{1,9}")


def mistakes_in(environment: Mapping[str, str]) -> list[str]:
    """One line for each variable that a library could not work with, naming it and never showing its value."""
    found = []
    for name, value in sorted(environment.items()):
        check = _CHECKS.get(name.lower() if name.lower().endswith("_proxy") else name)
        wrong = check(value) if check and value else None
        if wrong:
            found.append(f"{name}: {wrong}")
    return found + (_tracing(environment) if is_asked_for(environment) else [])


def _proxy(value: str) -> str | None:
    wanted = (
        "takes http://HOST:PORT, with USER:PASSWORD@ before the host where the proxy asks (each character but letters, "
    )
    wanted += "digits and -._~ percent-encoded); no other kind of proxy can be used"
    try:
        url = httpx.URL(value if "://" in value else f"http://{value}")
        url.host.encode("idna")  # no resolver takes a label that is empty or too long
    except (httpx.InvalidURL, UnicodeError):
        return wanted
    return None if url.scheme in {"http", "https"} and re.fullmatch(r"[\w.:-]+", url.host, re.ASCII) else wanted


def _no_proxy(value: str) -> str | None:
    for number, entry in enumerate(value.split(","), 1):
        if not _is_exempt(entry.strip()):
            return (
                f"entry {number} cannot be used; it takes host names, IPv4 addresses and networks, and IPv6 addresses "
                "without brackets and port, comma-separated; no IPv6 networks"
            )
    return None


def _is_exempt(entry: str) -> bool:
    if entry in {"", "*"}:
        return True
    scheme, separator, host = entry.partition("://")
    if separator:
        return scheme in {"http", "https", "all"} and bool(_HOST.fullmatch(host))
    try:
        return ipaddress.ip_network(entry, strict=False).version == 4 or "/" not in entry
    except ValueError:
        return bool(_HOST.fullmatch(entry))


def _certificates(value: str) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except ssl.SSLError:
        return "the file holds no certificate; it takes a PEM file"
    except OSError as error:
        return f"the file cannot be read ({error.strerror})"
    return None


def _certificate_folder(value: str) -> str | None:
    # OpenSSL's own list may name several folders.
    return None if all(Path(folder).is_dir() for folder in value.split(":")) else "is not a folder"


def _processes(value: str) -> str | None:
    return None if _COUNT.fullmatch(value) else "takes the number of processes, 1 or more"


_CHECKS: dict[str, Callable[[str], str | None]] = {
    "http_proxy": _proxy,
    "https_proxy": _proxy,
    "all_proxy": _proxy,
    "no_proxy": _no_proxy,
    "SSL_CERT_FILE": _certificates,
    "SSL_CERT_DIR": _certificate_folder,
    "WEB_CONCURRENCY": _processes,
}


def _tracing(environment: Mapping[str, str]) -> list[str]:
    """Only OTLP over HTTP is spoken, and an address without a scheme would fail for each trace, unseen."""
    found = []
    for kind in ("", "TRACES_"):
        protocol, endpoint = (f"OTEL_EXPORTER_OTLP_{kind}{what}" for what in ("PROTOCOL", "ENDPOINT"))
        if environment.get(protocol, "http/protobuf") not in {"", "http/protobuf"}:
            found.append(f"{protocol}: only http/protobuf is spoken; the collector's port for it is usually 4318")
        if (url := environment.get(endpoint)) and not _is_address(url):
            found.append(f"{endpoint}: takes an http or https address, such as http://collector:4318")
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") not in {"", "otlp"}:
        found.append("OTEL_TRACES_EXPORTER: takes otlp or none")
    return found + _numbers_of_tracing(environment)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def _numbers_of_tracing(environment: Mapping[str, str]) -> list[str]:
    found = []
    for name, value in sorted(environment.items()):
        if _BATCHES.fullmatch(name) and value and not _MANY.fullmatch(value):
            found.append(f"{name}: takes a whole number, 1 or more")
        if _LIMITS.fullmatch(name) and value and not _LIMIT.fullmatch(value):
            found.append(f"{name}: takes a whole number, or nothing")
    queue, batch = (environment.get(f"OTEL_BSP_MAX_{what}_SIZE") for what in ("QUEUE", "EXPORT_BATCH"))
    if not found and int(batch or 512) > int(queue or 2048):
        found.append("OTEL_BSP_MAX_EXPORT_BATCH_SIZE: takes no more than OTEL_BSP_MAX_QUEUE_SIZE (unset: 512, 2048)")
    return found
