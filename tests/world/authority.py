"""Owns: the certificate authority of a world's internet, and the good and bad leaves it signs."""

import datetime
import itertools
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


class Authority:
    """A root and its leaves, as files below `directory` (the ssl module only loads files).

    Args:
        directory: where certificates and keys are written.
        name: the root's common name.
    """

    def __init__(self, directory: Path, name: str = "World Test Root") -> None:
        self._dir = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._cert = self._sign_root()
        self._contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
        self._leaves = itertools.count()
        self.root_pem = self._cert.public_bytes(serialization.Encoding.PEM).decode()
        self.root_file = directory / "root.pem"
        self.root_file.write_text(self.root_pem)

    def server_context(
        self,
        *names: str,
        expired: bool = False,
        self_signed: bool = False,
        alpn: tuple[str, ...] = ("http/1.1",),
    ) -> ssl.SSLContext:
        """A server's TLS settings with a leaf for `names` (the first is also its subject)."""
        key = (names, expired, self_signed, alpn)
        if key not in self._contexts:
            path = self._write_leaf(names, expired=expired, self_signed=self_signed)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
            context.set_alpn_protocols(list(alpn))
            self._contexts[key] = context
        return self._contexts[key]

    def client_context(self) -> ssl.SSLContext:
        """A client's TLS settings that trust this root and nothing else."""
        return ssl.create_default_context(cadata=self.root_pem)

    def leaf_file(self, *names: str) -> Path:
        """A file with a good leaf for `names` and its key, for servers that are not ours."""
        return self._write_leaf(names, expired=False, self_signed=False)

    def _sign_root(self) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        return (
            x509.CertificateBuilder()
            .subject_name(self._subject)
            .issuer_name(self._subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write_leaf(self, names: tuple[str, ...], *, expired: bool, self_signed: bool) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        signer = key if self_signed else self._key
        now = datetime.datetime.now(datetime.UTC)
        start, end = (now - 9 * _DAY, now - _DAY) if expired else (now - _DAY, now + 20 * _DAY)
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        purposes = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        cert = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(alternatives, critical=False)
            .add_extension(purposes, critical=False)
            .add_extension(issuer_id, critical=False)
            .sign(signer, hashes.SHA256())
        )
        path = self._dir / f"leaf-{next(self._leaves)}.pem"
        path.write_bytes(
            cert.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return path
