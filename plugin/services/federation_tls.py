"""The coordinator's TLS: an authority of its own, and a server certificate for the names that sites reach it by."""

import ipaddress
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federated.errors import ProvisioningError

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 397
"""What the CA/Browser Forum allowed a server certificate when this was written; browsers refuse more."""
RENEW_DAYS: Final = 30
_SKEW: Final = timedelta(hours=1)
_DNS_NAME: Final = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def make_tls_key() -> bytes:
    """An EC P-256 private key, PKCS #8 in PEM, not encrypted."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_authority(federation: str, key_pem: bytes, *, now: datetime) -> bytes:
    """The authority's own certificate, in PEM.

    Args:
        federation: Its name.
        key_pem: The authority's private key.
        now: When it begins; it ends AUTHORITY_DAYS later.
    """
    key = _key(key_pem)
    name = _name(f"{federation} authority")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _builder(name, name, key, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def make_server_certificate(
    hosts: Sequence[str], key_pem: bytes, *, ca_pem: bytes, ca_key_pem: bytes, now: datetime
) -> bytes:
    """A certificate for a server, in PEM.

    Args:
        hosts: Its DNS names and IP addresses.
        key_pem: The server's private key.
        ca_pem: The authority's certificate.
        ca_key_pem: The authority's private key.
        now: When it begins; it ends SERVER_DAYS later, or with the authority.

    Raises:
        ProvisioningError: A host is neither a DNS name nor an IP address, or there is none.
    """
    if not hosts:
        raise ProvisioningError("Expected at least one host name or IP address of the coordinator, got none.")
    authority, ca_key, key = _certificate(ca_pem), _key(ca_key_pem), _key(key_pem)
    names = [_general_name(host) for host in hosts]
    builder = _builder(authority.subject, _name("coordinator"), key, now, SERVER_DAYS, authority.not_valid_after_utc)
    return (
        builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def is_certificate_of(pem: bytes, key_pem: bytes) -> bool:
    """Whether a certificate is for a private key.

    Raises:
        ProvisioningError: One of them is none.
    """
    return _certificate(pem).public_key() == _key(key_pem).public_key()


def expires_at(pem: bytes) -> datetime:
    """When a certificate ends, UTC.

    Raises:
        ProvisioningError: It is no certificate in PEM.
    """
    return _certificate(pem).not_valid_after_utc


def certificate_hosts(pem: bytes) -> list[str]:
    """DNS names and IP addresses that a certificate is for.

    Raises:
        ProvisioningError: It is no certificate in PEM.
    """
    try:
        names = _certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def check_certificate(pem: bytes, what: str, remedy: str, *, now: datetime) -> None:
    """Check that a certificate is valid now.

    Args:
        pem: The certificate.
        what: Its name, for the error.
        remedy: What to do once it has ended.
        now: With its time zone.

    Raises:
        ProvisioningError: It is no certificate, has ended, or has not begun.
    """
    certificate = _certificate(pem)
    if now > certificate.not_valid_after_utc:
        raise ProvisioningError(f"The {what} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; {remedy}")
    if now < certificate.not_valid_before_utc:
        raise ProvisioningError(
            f"The {what} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only; check this "
            "machine's clock."
        )


def host_and_port(host: str, port: int) -> str:
    """An address as URLs have it: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def normal_host(host: str) -> str:
    """A DNS name in lower case, or an IP address in its short form.

    Raises:
        ProvisioningError: It is neither.
    """
    return str(_general_name(host).value)


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    days: int,
    at_most: datetime | None = None,
) -> x509.CertificateBuilder:
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(min(end, at_most) if at_most else end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _general_name(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    if not _DNS_NAME.fullmatch(host.lower()):
        raise ProvisioningError(f"Expected a host name or IP address without scheme or port, got {host[:80]!r}.")
    return x509.DNSName(host.lower())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text[:64])])


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as fault:
        raise ProvisioningError("Expected a certificate in PEM, got something else.") from fault


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as fault:
        raise ProvisioningError("Expected an unencrypted private TLS key in PEM, got something else.") from fault
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ProvisioningError(f"Expected an EC private TLS key, got {type(key).__name__}.")
    return key
