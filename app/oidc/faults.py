"""Why a connection failed, in one stable word of Reason for each cause that an operator would mend in another place."""

from __future__ import annotations

import errno
import re
import socket
import ssl

import httpx

from app.oidc.errors import Reason
from app.oidc.trust import TrustStoreUnreadable

_EXPIRED = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_OTHER_NAME = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL})
_SPEAKS_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE"})


def reason_of(error: Exception, *, by_proxy: bool) -> Reason:
    """The cause of an error that a transport has raised, or of the error behind it.

    `by_proxy` where it went through one.
    """
    cause: BaseException | None = error
    while cause is not None:
        if reason := _known(cause, by_proxy=by_proxy):
            return reason
        cause = cause.__cause__ or cause.__context__
    return Reason.CLOSED


def _known(error: BaseException, *, by_proxy: bool) -> Reason | None:
    reason = None
    match error:
        case TrustStoreUnreadable():
            reason = Reason.TRUST_STORE
        case ssl.SSLCertVerificationError():
            reason = _of_certificate(error)
        case ssl.SSLError():
            reason = Reason.NO_TLS if error.reason in _SPEAKS_NO_TLS else Reason.TLS_FAILED
        case httpx.ProxyError():
            reason = Reason.PROXY_REFUSED
        case OSError():
            reason = Reason.PROXY_AWAY if by_proxy else _of_connection(error)
        case httpx.RemoteProtocolError() if not re.search("disconnected|closed", str(error)):
            reason = Reason.NOT_HTTP
    return reason


def _of_certificate(error: ssl.SSLCertVerificationError) -> Reason:
    if error.verify_code in _EXPIRED:
        return Reason.CERTIFICATE_EXPIRED
    return Reason.CERTIFICATE_OF_ANOTHER if error.verify_code in _OTHER_NAME else Reason.CERTIFICATE_UNTRUSTED


def _of_connection(error: OSError) -> Reason | None:
    if isinstance(error, socket.gaierror):
        return Reason.NAME_UNKNOWN
    # Where a name has several addresses, the event loop puts the errors of all of them into one text.
    number = error.errno or next(map(int, re.findall(r"\[Errno (\d+)\]", str(error))), None)
    if number == errno.ECONNREFUSED:
        return Reason.REFUSED
    return Reason.UNREACHABLE if number in _NO_WAY else None
