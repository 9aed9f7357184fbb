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
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

from netmgr.errors import HostFailed
from netmgr.keys.injection import JAVA_PASSWORD

JAVA: Final = "java"
NSS: Final = "nss"
STORES: Final = (JAVA, NSS)

NICKNAME: Final = "netmgr sandbox"
# The password is public, so rounds protect nothing: they would only cost every start of a JVM.
MAC_ROUNDS: Final = 1000
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
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(MAC_ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(SHA256())
        .build(JAVA_PASSWORD.encode())
    )
    return pkcs12.serialize_java_truststore(entries, encryption)


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
