"""Owns: stores of certificates that are no PEM file: Java's (PKCS #12) and NSS's (a directory).

Both cost some ten milliseconds and some hundred kilobytes, so that they are made when somebody asks
for them, not for each sandbox. Knows nothing of where they are put.
"""

import os
import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

from netmgr.errors import HostFailed

JAVA: Final = "java"
NSS: Final = "nss"
STORES: Final = (JAVA, NSS)

NICKNAME: Final = "netmgr sandbox"
CERTUTIL: Final = "certutil"
CERTUTIL_S: Final = 20.0  # it takes 0.1 s; its random numbers wait for nobody
NSS_FILES: Final = ("cert9.db", "key4.db", "pkcs11.txt")
_PEM: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", re.ASCII
)  # RFC 7468, section 5


def java_truststore(own_pem: str, system: bytes) -> bytes:
    """A PKCS #12 store (RFC 7292) of trusted certificates, as keytool(1) makes them.

    Args:
        system: the system's authorities, PEM. One that cannot be read is left out: Debian's bundle
            has had certificates whose serial number breaks RFC 5280.
    """
    own = x509.load_pem_x509_certificate(own_pem.encode())
    entries = [pkcs12.PKCS12Certificate(own, NICKNAME.encode())]
    for number, certificate in enumerate(_readable(system), 1):
        entries.append(pkcs12.PKCS12Certificate(certificate, f"system {number}".encode()))
    return _without_mac(pkcs12.serialize_java_truststore(entries, NoEncryption()))


def _without_mac(pfx: bytes) -> bytes:
    """A PFX, which is a sequence of version, content and MAC (RFC 7292, section 4), without the
    MAC. The JDK reads its own list of authorities without a password, other programs with
    `changeit`; a store that is bound to no password is right for both, and holds no secret."""
    body = pfx[_header(pfx, 0) :]
    version = _end(body, 0)
    content = body[: _end(body, version)]
    return b"\x30" + _length(len(content)) + content


def _header(der: bytes, at: int) -> int:
    """Where the content of the element at `at` begins (X.690, section 8.1.3)."""
    first = der[at + 1]
    return at + 2 + (first & 0x7F if first & 0x80 else 0)


def _end(der: bytes, at: int) -> int:
    begin = _header(der, at)
    long = der[at + 2 : begin]
    return begin + (int.from_bytes(long) if long else der[at + 1])


def _length(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    octets = number.to_bytes((number.bit_length() + 7) // 8)
    return bytes([0x80 | len(octets)]) + octets


def _readable(system: bytes) -> list[x509.Certificate]:
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is odd; what is wrong raises
        for block in _PEM.findall(system):
            try:
                found.append(x509.load_pem_x509_certificate(block))
            except ValueError:
                continue
    return found


def make_nss_database(directory: Path, own_pem: Path) -> None:
    """An NSS database in which the authority may sign servers; Chromium and Firefox add their own
    list of public ones. `directory` appears whole or not at all.

    Raises:
        HostFailed: there is no certutil, or it failed.
    """
    aside = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(mode=0o755)
        aside.chmod(0o755)  # whatever the umask
        _certutil("-N", "-d", f"sql:{aside}", "--empty-password")
        _certutil("-A", "-d", f"sql:{aside}", "-n", NICKNAME, "-t", "C,,", "-i", str(own_pem))
        for name in NSS_FILES:
            (aside / name).chmod(0o644)  # certutil makes them its owner's alone
        if directory.exists():
            shutil.rmtree(directory)
        aside.rename(directory)
    except OSError as problem:
        raise HostFailed(f"{directory}: cannot be written: {problem}") from problem
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _certutil(*words: str) -> None:
    program = shutil.which(CERTUTIL, path="/usr/bin:/usr/local/bin:/bin")
    if program is None:
        raise HostFailed(
            "an NSS database is made by certutil, which this host lacks: "
            "apt-get install libnss3-tools (Fedora: nss-tools)"
        )
    try:
        done = subprocess.run(  # noqa: S603 - our words, no shell
            [program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            timeout=CERTUTIL_S,
            check=False,
            umask=0o022,
        )
    except subprocess.TimeoutExpired as problem:
        raise HostFailed(f"certutil did not end within {CERTUTIL_S:g} s") from problem
    if done.returncode != 0:
        why = done.stderr.decode("utf-8", "replace").strip()
        raise HostFailed(f"certutil failed with status {done.returncode}: {why}")
