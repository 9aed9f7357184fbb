"""The files that a sandbox gets."""

import os
import re
import shutil
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from netmgr.errors import HostFailed
from netmgr.keys import stores
from netmgr.keys.authority import Authority
from netmgr.keys.injection import TrustPaths, merged_env, mounts, trust_env
from netmgr.keys.stores import java_truststore
from netmgr.keys.trust import DISTRIBUTION_BUNDLES, TrustFiles, system_bundle

NAMES = IPv4Network("198.18.0.0/15")
ROOT = Authority.create("netmgr", "some-root", time.time()).certificate_pem
CA = Authority.create("netmgr", "a", time.time()).certificate_pem


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    path = tmp_path / "roots.pem"
    path.write_text(ROOT * 3)
    return path


@pytest.fixture
def trust(tmp_path: Path, roots: Path) -> Iterator[TrustFiles]:
    for name in ("run", "state"):
        (tmp_path / name).mkdir()
    files = TrustFiles(tmp_path / "run", tmp_path / "state", roots, NAMES)
    yield files
    files.close()


def test_what_a_sandbox_gets(trust: TrustFiles, tmp_path: Path) -> None:
    directory = trust.write("a", CA)
    assert directory == tmp_path / "run/sandboxes/a"
    texts = {path.name: path.read_text() for path in directory.iterdir()}
    assert texts["resolv.conf"] == "nameserver 169.254.77.1\n"
    assert texts["nsswitch.conf"] == "hosts: files dns\n"
    assert texts["hosts"].splitlines() == [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost ip6-loopback",
        "198.18.0.1 inference.local",
        "198.18.0.2 host.openshell.internal",
    ]
    assert texts["ca.pem"] == CA
    env = dict(line.split("=", 1) for line in texts["env"].splitlines())
    assert env == trust_env(trust.paths("a"))
    assert env["SSL_CERT_FILE"] == f"{directory}/ca-bundle.pem"
    assert env["NODE_EXTRA_CA_CERTS"] == f"{directory}/ca.pem"


def test_the_bundle_is_the_systems_and_the_sandboxs(trust: TrustFiles) -> None:
    trust.write("a", CA)
    bundle = trust.paths("a").bundle.read_bytes()
    loaded = x509.load_pem_x509_certificates(bundle)
    own, root = (x509.load_pem_x509_certificate(pem.encode()) for pem in (CA, ROOT))
    assert loaded == [own, root, root, root]


def test_the_bundle_takes_no_memory_of_the_run_directory(trust: TrustFiles, tmp_path: Path) -> None:
    trust.write("a", CA)
    path = trust.paths("a").bundle
    assert path.resolve().is_relative_to(tmp_path / "state")
    assert sum(file.lstat().st_size for file in path.parent.iterdir()) < 4096


def test_everybody_in_a_sandbox_can_read_it(trust: TrustFiles) -> None:
    before = os.umask(0o077)
    try:
        directory = trust.write("a", CA)
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, path


def test_writing_twice_is_once_and_leaves_nothing_aside(trust: TrustFiles, tmp_path: Path) -> None:
    trust.write("a", CA)
    names = {path.name for path in tmp_path.rglob("*")}
    trust.write("a", CA)
    assert {path.name for path in tmp_path.rglob("*")} == names
    assert not [name for name in names if name.endswith(".new")]


def test_a_new_authority_replaces_the_old_one_whole(trust: TrustFiles) -> None:
    trust.write("a", CA)
    held = (trust.directory("a") / "ca.pem").open()  # as a mount into a sandbox holds it
    trust.write("a", ROOT)
    assert held.read() == CA
    held.close()
    assert trust.paths("a").ca.read_text() == ROOT
    assert trust.paths("a").bundle.read_text().startswith(ROOT)


def test_removal_takes_all_and_twice_is_once(trust: TrustFiles, tmp_path: Path) -> None:
    trust.write("a", CA)
    trust.write("b", CA)
    trust.remove("a")
    trust.remove("a")
    assert [p.name for p in (tmp_path / "run/sandboxes").iterdir()] == ["b"]
    assert {p.name for p in (tmp_path / "state/trust").iterdir()} == {".system", "b.pem"}


def test_leftovers_are_found_wherever_they_are(trust: TrustFiles, tmp_path: Path) -> None:
    assert trust.names() == frozenset()
    for name in ("a", "b", "c"):
        trust.write(name, CA)
    (tmp_path / "state/trust/a.pem").unlink()
    shutil.rmtree(tmp_path / "run/sandboxes/b")
    assert trust.names() == {"a", "b", "c"}
    for name in trust.names():
        trust.remove(name)
    assert trust.names() == frozenset()
    assert [path.name for path in (tmp_path / "state/trust").iterdir()] == [".system"]


def test_what_cannot_be_written_is_told(trust: TrustFiles, tmp_path: Path) -> None:
    (tmp_path / "run/sandboxes/a").write_text("in the way")
    with pytest.raises(HostFailed, match="sandboxes/a: cannot be written"):
        trust.write("a", CA)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "no certificate"),
        (b"-----BEGIN CERTIFICATE-----" * 400_000, "longer"),
    ],
)
def test_a_system_bundle_that_is_none_is_refused(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HostFailed, match=words):
        TrustFiles(tmp_path, tmp_path, path, NAMES)


def test_the_configured_roots_come_before_the_distributions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert system_bundle(tmp_path) == tmp_path
    chosen = system_bundle()
    assert chosen.is_file()
    assert chosen in DISTRIBUTION_BUNDLES or "certifi" in str(chosen)
    monkeypatch.setattr("netmgr.keys.trust.DISTRIBUTION_BUNDLES", (tmp_path / "absent",))
    assert "certifi" in str(system_bundle())


def test_the_environment_names_paths_as_the_program_sees_them() -> None:
    env = trust_env(TrustPaths(Path("/c.pem"), Path("/b.pem")))
    assert env["CURL_CA_BUNDLE"] == env["GIT_SSL_CAINFO"] == "/b.pem"
    assert env["DENO_CERT"] == "/c.pem"


NSS = pytest.mark.skipif(shutil.which("certutil") is None, reason="needs certutil")


def keytool(store: Path) -> str:
    words = ["keytool", "-list", "-v", "-keystore", str(store), "-storepass", "changeit"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fingerprint(pem: str) -> str:
    digest = x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256())
    return digest.hex(":").upper()


@pytest.mark.skipif(shutil.which("keytool") is None, reason="needs a Java runtime")
def test_javas_own_tool_reads_the_store_and_trusts_what_is_in_it(trust: TrustFiles) -> None:
    trust.write("a", CA)
    paths = trust.add_stores("a", ["java"])
    assert paths.java is not None
    told = keytool(paths.java)
    assert "Your keystore contains 4 entries" in told
    assert told.count("Entry type: trustedCertEntry") == 4
    assert fingerprint(CA) in told
    assert fingerprint(ROOT) in told


@pytest.mark.skipif(shutil.which("keytool") is None, reason="needs a Java runtime")
def test_what_java_could_not_read_is_left_out(tmp_path: Path) -> None:
    broken = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    store = tmp_path / "store.p12"
    store.write_bytes(java_truststore(CA, (broken + ROOT).encode()))
    assert "Your keystore contains 2 entries" in keytool(store)


@pytest.mark.parametrize("length", [0, 127, 128, 255, 256, 65535, 65536])
def test_a_pfx_loses_its_mac_whatever_its_length(length: int) -> None:
    def element(tag: int, content: bytes) -> bytes:
        return bytes([tag]) + stores._length(len(content)) + content

    kept = element(2, b"\x03") + element(0x30, b"x" * length)
    pfx = element(0x30, kept + element(0x30, b"the mac"))
    assert stores._without_mac(pfx) == element(0x30, kept)


@NSS
def test_nss_reads_the_database_and_lets_the_authority_sign_servers(trust: TrustFiles) -> None:
    trust.write("a", CA)
    paths = trust.add_stores("a", ["nss"])
    assert paths.nss is not None
    for file in paths.nss.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
    done = subprocess.run(
        ["certutil", "-L", "-d", f"sql:{paths.nss}"], capture_output=True, text=True, check=True
    )
    assert re.search(r"netmgr sandbox +C,,", done.stdout)


@NSS
def test_stores_are_made_once_listed_in_the_environment_and_removed(
    trust: TrustFiles, tmp_path: Path
) -> None:
    trust.write("a", CA)
    assert trust.paths("a").java is trust.paths("a").nss is None
    first = trust.add_stores("a", ["java", "nss"])
    stamps = [path.stat().st_mtime_ns for path in (first.java, first.nss) if path]
    again = trust.add_stores("a", ["java", "nss"])
    assert [path.stat().st_mtime_ns for path in (again.java, again.nss) if path] == stamps
    assert str(first.java) in (trust.directory("a") / "env").read_text()
    trust.remove("a")
    assert list((tmp_path / "run/sandboxes").iterdir()) == []
    assert [path.name for path in (tmp_path / "state/trust").iterdir()] == [".system"]


def test_stores_follow_a_new_authority(trust: TrustFiles) -> None:
    trust.write("a", CA)
    trust.add_stores("a", ["java"])
    trust.write("a", ROOT)
    paths = trust.paths("a")
    assert paths.java is not None
    own, other = (ssl.PEM_cert_to_DER_cert(pem) for pem in (ROOT, CA))
    assert own in paths.java.read_bytes()
    assert other not in paths.java.read_bytes()


def test_without_certutil_it_is_said_what_to_install(
    trust: TrustFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.write("a", CA)
    monkeypatch.setattr("netmgr.keys.stores.CERTUTIL", "no-such-program")
    with pytest.raises(HostFailed, match="libnss3-tools"):
        trust.add_stores("a", ["nss"])
    assert trust.paths("a").nss is None


def test_mounts_are_complete_for_what_the_environment_names() -> None:
    directory = Path("/r/a")
    paths = TrustPaths(
        directory / "ca.pem", directory / "ca-bundle.pem", directory / "j", directory / "n"
    )
    found = mounts(directory, paths)
    inside = {mount["target"] for mount in found if not mount["optional"]}
    named = " ".join(trust_env(paths).values()).replace("=", " ").split()
    assert {word for word in named if word.startswith("/")} <= inside
    assert {"/etc/resolv.conf", "/etc/hosts"} <= inside
    optional = {mount["target"] for mount in found if mount["optional"]}
    assert {"/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/java/cacerts"} <= optional


def test_javas_options_are_added_to_what_is_there_once() -> None:
    trust = trust_env(TrustPaths(Path("/c"), Path("/b"), java=Path("/j")))
    once = merged_env({"JAVA_TOOL_OPTIONS": "-Xmx1g", "A": "b"}, trust)
    assert once["JAVA_TOOL_OPTIONS"].startswith("-Xmx1g -Djavax.net.ssl.trustStore=/j ")
    assert merged_env(once, trust) == once
    assert merged_env({}, trust) == trust
