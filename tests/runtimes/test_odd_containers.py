"""Containers and images as people have them: whatever they bring, names, trust and the fence are
there; what cannot be is refused with the reason."""

import io
import subprocess
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from runtimes.podman import IMAGE, Podman
from runtimes.site import RUNTIME, Site

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("emptied")]

OURS = ("--runtime", RUNTIME, "--network", "none", "--annotation", "netmgr.policy=agent")
BUSYBOX = Path("/bin/busybox")
RESTARTED_S = 60.0
# Names, the fence, and trust: as much as busybox can tell. The variable is left out where its file
# cannot be put (podman 5's --read-only-tmpfs=false closes /dev/shm, where the test's daemon lives).
LOOK = """
nslookup api.example.com | grep -c 198.18
nslookup evil.example.com >/dev/null || echo denied
cat /etc/resolv.conf; grep inference.local /etc/hosts
grep -c BEGIN ${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
"""


def run(podman: Podman, *argv: str) -> subprocess.CompletedProcess[str]:
    return podman.machine.run("podman", *OURS[:2], "run", "--rm", *OURS[2:], *argv)


def judge(done: subprocess.CompletedProcess[str]) -> None:
    """What LOOK has to say."""
    lines = done.stdout.split("\n")
    assert lines[0] == "1", done
    assert "denied" in lines, done
    assert "nameserver 169.254.77.1" in lines, done
    assert any("inference.local" in line for line in lines), done
    assert int(lines[-2]) > 0, done


Entry = str | bytes | None  # a link's target, a file's content, or a directory


@pytest.fixture
def image(podman: Podman, tmp_path: Path) -> object:
    """Makes an image of a file tree; removes it."""
    made = []

    def make(tree: Mapping[str, Entry]) -> str:
        tar = podman.machine.own / f"odd-{len(made)}.tar"
        with tarfile.open(tar, "w") as file:
            for path, entry in tree.items():
                info = tarfile.TarInfo(path)
                info.mode = 0o755
                if entry is None:
                    info.type = tarfile.DIRTYPE
                elif isinstance(entry, str):
                    info.type, info.linkname = tarfile.SYMTYPE, entry
                else:
                    info.size = len(entry)
                content = io.BytesIO(entry) if isinstance(entry, bytes) else None
                file.addfile(info, content)
        made.append(f"localhost/odd{len(made)}")
        podman.must("import", "--quiet", str(tar), made[-1])
        return made[-1]

    yield make
    podman.remove_all()
    for name in made:
        podman.must("rmi", "--force", name)


@pytest.mark.parametrize(
    "flags",
    [
        ("--read-only",),
        ("--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"),
        ("--user", "1000:1000", "--security-opt", "no-new-privileges"),
        ("--tmpfs", "/etc"),
        ("--volume", "/etc/hostname:/etc/resolv.conf", "--volume", "/etc/hostname:/etc/hosts:ro"),
        ("--uts", "host", "--ipc", "host", "--hostname", ""),
        ("--sysctl", "net.ipv4.ip_unprivileged_port_start=0"),
    ],
    ids=lambda flags: flags[0] + " " + flags[1] if len(flags) > 1 else flags[0],
)
def test_flags_change_nothing_of_it(podman: Podman, flags: tuple[str, ...]) -> None:
    judge(run(podman, *flags, IMAGE, "sh", "-c", LOOK))


def test_names_that_a_container_is_given_are_kept(podman: Podman) -> None:
    flags = ("--add-host", "db.corp.example:192.0.2.9", "--hostname", "worker")
    done = run(podman, *flags, IMAGE, "cat", "/etc/hosts")
    # podman 5 writes them between create and start; we hear of create (docs/runtimes/podman.md).
    major = int(podman.must("version", "--format", "{{.Client.Version}}").partition(".")[0])
    kept = "192.0.2.9 db.corp.example" in done.stdout.replace("\t", " ")
    assert kept == (major < 5), done.stdout
    assert "worker" in done.stdout
    assert "inference.local" in done.stdout


def test_a_container_that_names_our_own_hosts_does_not_lead_them_away(podman: Podman) -> None:
    flags = ("--add-host", "inference.local:192.0.2.9")
    done = run(podman, *flags, IMAGE, "sh", "-c", "grep -w inference.local /etc/hosts | head -1")
    assert done.stdout.startswith("198.18.0.1"), done


BOX: Mapping[str, Entry] = {"bin": None, "bin/busybox": BUSYBOX.read_bytes()} | {
    f"bin/{tool}": "busybox" for tool in ("cat", "env", "grep", "ls", "nslookup", "sh", "wget")
}


def test_an_image_of_one_program_has_names_and_trust(podman: Podman, image) -> None:  # type: ignore[no-untyped-def]
    """From scratch: no shell, no /etc, no directory at all."""
    name = image({"busybox": BUSYBOX.read_bytes()})
    found = run(podman, name, "/busybox", "nslookup", "api.example.com")
    assert "198.18" in found.stdout, found
    look = "/busybox cat $SSL_CERT_FILE"
    assert "BEGIN CERTIFICATE" in run(podman, name, "/busybox", "sh", "-c", look).stdout


@pytest.mark.parametrize(
    "more",
    [
        # musl and BusyBox, as Alpine has it: one file, and links to it
        {
            "etc": None,
            "etc/ssl": None,
            "etc/ssl/certs": None,
            "etc/nsswitch.conf": b"hosts: files\n",
        }
        | {
            "etc/ssl/certs/ca-certificates.crt": b"",
            "etc/ssl/cert.pem": "certs/ca-certificates.crt",
        },
        # Fedora: everything is a link to a place of its own
        {"etc": None, "etc/pki": None, "etc/pki/tls": None, "etc/pki/tls/certs": None}
        | {"etc/pki/ca-trust": None, "etc/pki/ca-trust/extracted": None}
        | {"etc/pki/ca-trust/extracted/pem": None, "etc/ssl": "pki/tls"}
        | {"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem": b""}
        | {"etc/pki/tls/certs/ca-bundle.crt": "../../ca-trust/extracted/pem/tls-ca-bundle.pem"},
        # systemd-resolved: a link to what is not there
        {"etc": None, "etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"},
        # a link out of the image, in vain
        {"etc": None, "etc/hosts": "../../../../../root/.ssh/id", "etc/ssl": "/etc/pki"},
    ],
    ids=["alpine", "fedora", "resolved", "links"],
)
def test_images_of_other_distributions(podman: Podman, image, more: Mapping[str, Entry]) -> None:  # type: ignore[no-untyped-def]
    name = image({**BOX, "tmp": None, **more})
    judge(run(podman, name, "/bin/sh", "-c", LOOK))
    for place in ("etc/ssl/cert.pem", "etc/pki/tls/certs/ca-bundle.crt"):
        if place in more:
            assert "BEGIN CERTIFICATE" in run(podman, name, "/bin/cat", f"/{place}").stdout


def test_files_are_copied_and_an_image_is_made_of_it(site: Site, podman: Podman) -> None:
    """podman cp, podman commit: nothing of the sandbox's authority goes into the image."""
    podman.must(*OURS[:2], "run", "-d", "--name", "kept", *OURS[2:], IMAGE, "sleep", "600")
    site.machine.write("opt/given", "given\n")
    podman.must("cp", "/opt/given", "kept:/tmp/given")
    podman.must("cp", "kept:/tmp/given", "/opt/taken")
    assert (site.machine.own / "opt/taken").read_text() == "given\n"
    podman.must("commit", "--quiet", "kept", "localhost/committed")
    places = "/etc/ssl/certs/ca-certificates.crt /etc/resolv.conf /etc/hosts /tmp/given"
    shown = podman.must("run", "--rm", "--network", "none", "localhost/committed", "sh", "-c",
                        f"cat {places} 2>/dev/null")  # fmt: skip
    assert "given" in shown
    assert "CERTIFICATE" not in shown
    assert "inference.local" not in shown
    podman.must("rm", "--force", "--time", "0", "kept")
    podman.must("rmi", "localhost/committed")


def test_what_ends_is_started_again_in_a_sandbox(site: Site, podman: Podman) -> None:
    """--restart=always: each life has a door of its own."""
    look = "nslookup api.example.com | grep -c 198.18 >> /opt/lives; sleep 0.2"
    flags = ("--restart", "always", "--name", "again", "--volume", "/opt:/opt")
    podman.must(*OURS[:2], "run", "-d", *flags, *OURS[2:], IMAGE, "sh", "-c", look)
    lives = site.machine.own / "opt/lives"
    deadline = time.monotonic() + RESTARTED_S
    while not lives.exists() or lives.read_text().count("1\n") < 3:
        assert time.monotonic() < deadline, "it does not come back"
        time.sleep(0.1)
    assert len(site.sandboxes()) <= 1
    podman.must("rm", "--force", "--time", "0", "again")


def test_a_stopped_container_has_no_sandbox_and_gets_one_back(site: Site, podman: Podman) -> None:
    podman.must(*OURS[:2], "run", "-d", "--name", "stopped", *OURS[2:], IMAGE, "sleep", "600")
    podman.must("pause", "stopped")
    podman.must("unpause", "stopped")
    podman.must("stop", "--time", "0", "stopped")
    site.assert_nothing_is_left()
    podman.must("start", "stopped")
    assert site.checks_out(site.the_sandbox()["name"])
    podman.must("rename", "stopped", "renamed")
    podman.must("kill", "renamed")
    site.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--sysctl", "net.netfilter.nf_conntrack_max=1"), "net.netfilter"),
        (("--pid", "container:other"), "another container's processes"),
        (("--userns", "host", "--privileged"), "CAP_NET_ADMIN"),
    ],
)
def test_what_reaches_further_is_refused(podman: Podman, flags: tuple[str, ...], told: str) -> None:
    podman.must("run", "-d", "--name", "other", "--network", "none", IMAGE, "sleep", "600")
    done = run(podman, *flags, IMAGE, "id")
    assert done.returncode != 0
    assert told in done.stderr, done
