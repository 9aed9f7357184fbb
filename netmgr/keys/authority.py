"""Owns: a sandbox's certificate authority and the leaf certificates that it signs.

One P-256 authority per sandbox; its key stays in netmgrd. One leaf key per sandbox serves all its
names: it never leaves netmgrd and the proxy workers, and a signature costs a tenth of a new key's
load. Knows nothing of where keys are kept and of who asks.

Profile: RFC 5280 §4.2, the CA/Browser Forum's leaf life (398 days at most), and what Python 3.13's
VERIFY_X509_STRICT insists on (key identifiers, critical basic constraints and key usage). There
are no name constraints: they would have to name every host of a policy that changes while the
sandbox lives, wildcards included, and the key that they would restrain never leaves netmgrd.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from threading import Lock
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netmgr.errors import HostFailed
from netmgr.secret import Secret

CA_LIFE: Final = timedelta(days=3650)  # longer than any sandbox
LEAF_LIFE: Final = timedelta(days=397)  # in all, the backdating included
BACKDATED: Final = timedelta(hours=1)  # a sandbox's clock may lag
CA_BACKDATED: Final = timedelta(days=400)  # and a host's be set back: that loses no authority
RENEW_BEFORE: Final = timedelta(days=30)  # a cached leaf with less than this is signed anew
MAX_LEAVES: Final = 1024  # cached per authority, 1 KiB each
MAX_COMMON_NAME: Final = 64  # RFC 5280 appendix A, ub-common-name


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate for one name.

    Attributes:
        chain_pem: what a server sends: the leaf. The root is the client's own.
        key_pem: PKCS #8, unencrypted.
        begins, expires: epoch seconds.
    """

    chain_pem: str
    key_pem: Secret
    begins: float
    expires: float


class Authority:
    """Signs for one sandbox.

    Args:
        certificate: the CA certificate.
        key: its key.
    """

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key
        self._leaves: OrderedDict[str, Leaf] = OrderedDict()
        self._lock = Lock()  # leaves are signed in threads

    @classmethod
    def create(cls, instance: str, sandbox: str, now: float) -> "Authority":
        """A new authority for a sandbox."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"{instance} sandbox {sandbox}"[:MAX_COMMON_NAME])
        start = _time(now) - CA_BACKDATED
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            _builder(name, name, key, start, _time(now) + CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(_issuer(identifier), critical=False)
            .sign(key, SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate_pem: str, key_pem: Secret) -> "Authority":
        """The authority that `certificate_pem` and `key_pem` once gave.

        Raises:
            HostFailed: they are damaged, or do not belong together.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            key = load_pem_private_key(key_pem.reveal().encode(), password=None)
        except ValueError as problem:
            raise HostFailed(f"a stored certificate authority is damaged: {problem}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise HostFailed("a stored certificate authority has no elliptic curve key")
        if key.public_key() != certificate.public_key():
            raise HostFailed("a stored certificate authority's key is not its certificate's")
        return cls(certificate, key)

    @cached_property
    def certificate_pem(self) -> str:
        """The certificate that the sandbox trusts."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> Secret:
        """The key, to be sealed by the vault."""
        return _key_pem(self._key)

    def sign_leaf(self, name: str, now: float) -> Leaf:
        """A certificate for a DNS name or a literal address; the same one while it is fresh. May be
        called from several threads.

        Args:
            name: canonical (netmgr.model.parse_dns_name), or an address as text.
            now: epoch seconds.
        """
        with self._lock:
            leaf = self._leaves.get(name)
            if leaf is None or not _is_fresh(leaf, now):
                leaf = self._sign(name, now)
                self._leaves[name] = leaf
            self._leaves.move_to_end(name)
            if len(self._leaves) > MAX_LEAVES:
                self._leaves.popitem(last=False)
            return leaf

    @cached_property
    def _leaf_key(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def _leaf_key_pem(self) -> Secret:
        return _key_pem(self._leaf_key)

    @cached_property
    def _own_identifier(self) -> x509.SubjectKeyIdentifier:
        return self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value

    def _sign(self, name: str, now: float) -> Leaf:
        start = _time(now) - BACKDATED
        end = min(start + LEAF_LIFE, self._certificate.not_valid_after_utc)
        subject = _name(name) if len(name) <= MAX_COMMON_NAME else x509.Name([])
        key = self._leaf_key
        certificate = (
            _builder(subject, self._certificate.subject, key, start, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            # Critical where the subject is empty: RFC 5280 §4.2.1.6.
            .add_extension(_alternative_name(name), critical=not list(subject))
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(_issuer(self._own_identifier), critical=False)
            .sign(self._key, SHA256())
        )
        chain = certificate.public_bytes(Encoding.PEM).decode()
        return Leaf(chain, self._leaf_key_pem, start.timestamp(), end.timestamp())


def _is_fresh(leaf: Leaf, now: float) -> bool:
    """Whether a leaf can be used; not one of the future, after a clock that was set back."""
    return leaf.begins < now < leaf.expires - RENEW_BEFORE.total_seconds()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _alternative_name(name: str) -> x509.SubjectAlternativeName:
    try:
        return x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
    except ValueError:
        return x509.SubjectAlternativeName([x509.DNSName(name)])


def _issuer(identifier: x509.SubjectKeyIdentifier) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "netmgr"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> Secret:
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Secret(data.decode())


def _time(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC).replace(microsecond=0)
