"""The files that a sandbox gets."""

import os
import shutil
import stat
import time
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from cryptography import x509

from netmgr.errors import HostFailed
from netmgr.keys.authority import Authority
from netmgr.keys.trust import DISTRIBUTION_BUNDLES, TrustFiles, TrustPaths, system_bundle, trust_env

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
