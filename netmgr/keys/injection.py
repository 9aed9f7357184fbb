"""Owns: what a runtime puts into a sandbox so that programs find names and trust its authority:
variables, mounts, files by purpose. No I/O.

Which program reads which variable, and which has none, stands in docs/trust.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netmgr.answers import Files, Mount

# Where distributions keep the one file of all authorities. The merged bundle goes over each that an
# image has: programs without a variable of their own (wget with GnuTLS, apt) read these.
BUNDLE_TARGETS: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Ubuntu, Arch, Alpine
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora, RHEL
    Path("/etc/ssl/ca-bundle.pem"),  # SUSE
    Path("/etc/ssl/cert.pem"),  # what LibreSSL and musl distributions' OpenSSL read
)
JAVA_TARGETS: Final = (
    Path("/etc/ssl/certs/java/cacerts"),  # Debian, Ubuntu, Arch
    Path("/etc/pki/java/cacerts"),  # Fedora, RHEL
)
NSS_TARGETS: Final = (Path("/etc/pki/nssdb"),)  # the system's own; a user's: docs/trust.md

JAVA_VARIABLE: Final = "JAVA_TOOL_OPTIONS"  # added to what is there, where something is

# Programs whose variable replaces their own list of authorities: they get the merged bundle.
_BUNDLE_VARIABLES: Final = (
    "SSL_CERT_FILE",  # OpenSSL, Python's ssl, Go, Ruby, .NET, uv, rustls-native-certs
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "COMPOSER_CAFILE",
    "BUNDLE_SSL_CA_CERT",
    "PERL_LWP_SSL_CA_FILE",
    "HEX_CACERTS_PATH",  # Elixir's and Erlang's packages
    "JULIA_SSL_CA_ROOTS_PATH",
)
# Programs whose variable adds to their list: they get the sandbox's authority alone.
_EXTRA_VARIABLES: Final = (
    "NODE_EXTRA_CA_CERTS",  # Node and what is built on it: npm, pnpm, Electron; Bun
    "DENO_CERT",
    "YARN_HTTPS_CA_FILE_PATH",
)


@dataclass(frozen=True, slots=True)
class TrustPaths:
    """Where the certificates stand, as seen by the program that shall use them.

    Attributes:
        java: PKCS #12 store for Java; None: there is none.
        nss: directory of an NSS database; None: there is none.
    """

    ca: Path
    bundle: Path
    java: Path | None = None
    nss: Path | None = None


def trust_env(paths: TrustPaths) -> dict[str, str]:
    """The environment that makes programs trust a sandbox's authority."""
    env = {name: str(paths.bundle) for name in _BUNDLE_VARIABLES}
    env |= {name: str(paths.ca) for name in _EXTRA_VARIABLES}
    if paths.java is not None:
        env[JAVA_VARIABLE] = (
            f"-Djavax.net.ssl.trustStore={paths.java} -Djavax.net.ssl.trustStoreType=PKCS12"
        )
    return env


def merged_env(outer: Mapping[str, str], trust: Mapping[str, str]) -> dict[str, str]:
    """A program's environment with the sandbox's added: it wins, and Java's options are added to
    what is there (of two settings of one property the JVM takes the last)."""
    merged = {**outer, **trust}
    before, added = outer.get(JAVA_VARIABLE), trust.get(JAVA_VARIABLE)
    if before and added:
        merged[JAVA_VARIABLE] = before if added in before else f"{before} {added}"
    return merged


def files(directory: Path, paths: TrustPaths) -> Files:
    """A sandbox's files by purpose, as the control API names them."""
    return {
        "resolv_conf": str(directory / "resolv.conf"),
        "hosts": str(directory / "hosts"),
        "nsswitch_conf": str(directory / "nsswitch.conf"),
        "ca": str(paths.ca),
        "ca_bundle": str(paths.bundle),
        "env": str(directory / "env"),
        "java_truststore": None if paths.java is None else str(paths.java),
        "nss_database": None if paths.nss is None else str(paths.nss),
    }


def mounts(directory: Path, paths: TrustPaths) -> list[Mount]:
    """What a runtime mounts, read-only. Certificates stand at their own paths inside too, so that
    `trust_env` holds there."""
    found = [
        _mount(directory / "resolv.conf", Path("/etc/resolv.conf")),
        _mount(directory / "hosts", Path("/etc/hosts")),
        _mount(directory / "nsswitch.conf", Path("/etc/nsswitch.conf"), optional=True),
        _mount(paths.ca, paths.ca),
        _mount(paths.bundle, paths.bundle),
    ]
    found += [_mount(paths.bundle, target, optional=True) for target in BUNDLE_TARGETS]
    for store, targets in ((paths.java, JAVA_TARGETS), (paths.nss, NSS_TARGETS)):
        if store is not None:
            found.append(_mount(store, store))
            found += [_mount(store, target, optional=True) for target in targets]
    return found


def _mount(source: Path, target: Path, *, optional: bool = False) -> Mount:
    return {"source": str(source), "target": str(target), "optional": optional}


def render_env(env: Mapping[str, str]) -> str:
    """`KEY=VALUE` lines as `docker run --env-file` and systemd's EnvironmentFile read them."""
    return "".join(f"{key}={value}\n" for key, value in env.items())
