"""What one container gets of its sandbox, and what of its image's own stays."""

from pathlib import Path
from typing import Any

import pytest

from netmgr_cli.shim.oci.dress import dress, merged_hosts, missing_authorities
from netmgr_cli.shim.oci.edit import Change
from netmgr_cli.shim.oci.rootfs import Rootfs


def pem(*words: str) -> str:
    return "".join(
        f"-----BEGIN CERTIFICATE-----\n{word}\n-----END CERTIFICATE-----\n" for word in words
    )


class Box:
    """A root, a bundle directory and a sandbox's files."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.bundle = directory / "bundle"
        self.files = directory / "files"
        for place in (self.root / "etc/ssl/certs", self.bundle, self.files):
            place.mkdir(parents=True)
        (self.files / "ca-bundle.pem").write_text(pem("sandbox", "host"))
        (self.files / "hosts").write_text("127.0.0.1 localhost\n198.18.0.1 inference.local\n")

    def dress(self, **config: Any) -> Change:
        bundle = str(self.files / "ca-bundle.pem")
        mounts = [("resolv.conf", "/etc/resolv.conf", False), ("hosts", "/etc/hosts", False)]
        mounts += [("ca-bundle.pem", bundle, False)]
        mounts += [("ca-bundle.pem", f"/etc/ssl/{n}", True) for n in ("certs/ca.crt", "cert.pem")]
        sandbox = {
            "address": "10.77.0.9",
            "files": {"ca_bundle": bundle, "hosts": str(self.files / "hosts")},
            "env": {"SSL_CERT_FILE": bundle},
            "mounts": [
                {"source": str(self.files / s), "target": t, "optional": o} for s, t, o in mounts
            ],
        }
        rootfs = Rootfs(str(self.root))
        try:
            return dress(sandbox, config, rootfs, str(self.bundle))
        finally:
            rootfs.close()


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_an_image_without_authorities_gets_them_at_the_usual_place(box: Box) -> None:
    bundle = str(box.files / "ca-bundle.pem")
    change = box.dress()
    assert change.mounts["/etc/ssl/certs/ca-certificates.crt"] == bundle
    assert change.mounts[bundle] == bundle
    assert change.env == {"SSL_CERT_FILE": bundle}


def test_an_images_own_authority_stays_wherever_its_programs_look(box: Box) -> None:
    (box.root / "etc/ssl/certs/ca.crt").write_text(pem("host", "company"))
    (box.root / "etc/ssl/cert.pem").symlink_to("certs/ca.crt")
    change = box.dress()
    merged = change.mounts["/etc/ssl/certs/ca.crt"]
    assert Path(merged).read_text() == pem("sandbox", "host", "company")
    assert change.mounts[str(box.files / "ca-bundle.pem")] == merged  # where variables point
    assert "/etc/ssl/cert.pem" not in change.mounts  # a link to the same file


def test_nothing_is_written_where_the_image_has_nothing_of_its_own(box: Box) -> None:
    (box.root / "etc/ssl/certs/ca.crt").write_text(pem("host"))
    assert box.dress().mounts["/etc/ssl/certs/ca.crt"] == str(box.files / "ca-bundle.pem")
    assert {path.name for path in (box.bundle / "netmgr").iterdir()} == {"hosts", "env.json"}


def test_where_the_images_variables_point_is_trusted_too(box: Box) -> None:
    (box.root / "own.pem").write_text(pem("company"))
    change = box.dress(process={"env": ["SSL_CERT_FILE=/own.pem"]})
    assert Path(change.mounts["/own.pem"]).read_text() == pem("sandbox", "host", "company")
    for value in ("/absent.pem", "relative.pem", ""):
        assert value not in box.dress(process={"env": [f"SSL_CERT_FILE={value}"]}).mounts


def test_what_is_mounted_over_the_image_counts(box: Box, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "certs").mkdir(parents=True)
    (volume / "certs/ca.crt").write_text(pem("volume"))
    bind = {"destination": "/etc/ssl", "source": str(volume), "type": "bind", "options": ["rbind"]}
    change = box.dress(mounts=[bind])
    assert b"volume" in Path(change.mounts["/etc/ssl/certs/ca.crt"]).read_bytes()
    empty = {"destination": "/etc/ssl", "source": "tmpfs", "type": "tmpfs"}
    (box.root / "etc/ssl/certs/ca.crt").write_text(pem("host"))
    assert "/etc/ssl/certs/ca.crt" not in box.dress(mounts=[empty]).mounts


def test_a_variable_never_points_to_what_is_not_there(box: Box) -> None:
    (box.root / "etc/ssl/certs/ca.crt").write_text(pem("company"))
    closed = {"destination": str(box.files), "source": "shm", "type": "tmpfs", "options": ["ro"]}
    change = box.dress(mounts=[closed])
    assert change.env == {}
    assert str(box.files / "ca-bundle.pem") not in change.mounts
    assert b"sandbox" in Path(change.mounts["/etc/ssl/certs/ca.crt"]).read_bytes()


def test_hosts_keeps_what_the_runtime_added(box: Box, tmp_path: Path) -> None:
    theirs = tmp_path / "their-hosts"
    theirs.write_text("127.0.0.1 localhost box # me\n10.0.0.5 db\n192.0.2.1 host.docker.internal\n")
    mount = {"destination": "/etc/hosts", "source": str(theirs), "type": "bind"}
    change = box.dress(mounts=[mount], hostname="box")
    assert Path(change.mounts["/etc/hosts"]).read_text().splitlines() == [
        "127.0.0.1 localhost",
        "198.18.0.1 inference.local",
        "127.0.0.1 box",
        "10.0.0.5 db",
    ]
    assert b"10.77.0.9 lone" in merged_hosts(b"127.0.0.1 localhost\n", b"", "lone", "10.77.0.9")


def test_nobody_takes_a_fixed_name_away() -> None:
    merged = merged_hosts(b"198.18.0.1 inference.local\n", b"6.6.6.6 inference.local\n", "", "")
    assert merged == b"198.18.0.1 inference.local\n"


def test_certificates_are_compared_by_their_body() -> None:
    assert missing_authorities(pem("a", "b").encode(), pem("b").encode()) == pem("a").encode()
    assert missing_authorities(b"# no certificate\n", b"") == b""
