"""An authority of the test's own, and certificates that it signs."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_PEM = Encoding.PEM


class Authority:
    """Signs certificates. `file` is its own, which whoever trusts it is given."""

    def __init__(self, folder: Path, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        builder = _builder(self._name, self._name, self._key.public_key())
        certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def certify(self, name: x509.GeneralName, *, until: datetime | None = None) -> tuple[bytes, bytes]:
        """A certificate for the name, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named("server"), self._name, key.public_key(), until)
        certificate = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False).sign(
            self._key, hashes.SHA256()
        )
        return certificate.public_bytes(_PEM), key.private_bytes(_PEM, PrivateFormat.PKCS8, NoEncryption())


def address(text: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(text))


def host(text: str) -> x509.GeneralName:
    return x509.DNSName(text)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=2),
        not_valid_after=until or now + timedelta(days=2),
    )
