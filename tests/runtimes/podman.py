"""Owns: Debian's podman on a machine, with an image made of busybox."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from runtimes.machine import NEWER, Machine

TOOLS: Final = ("cat", "env", "id", "ip", "ls", "nc", "nslookup", "sh", "sleep", "touch", "wget")
IMAGE: Final = "localhost/box"
BACKEND: Final = "netavark" if NEWER else "cni"

# Options of a container that could reach past its door, and what it is told.
REACHING: Final = (
    (("--privileged",), "CAP_NET_ADMIN in the host's user namespace"),
    (("--cap-add", "NET_ADMIN"), "CAP_NET_ADMIN in the host's user namespace"),
    (("--cap-add", "SYS_ADMIN"), "CAP_SYS_ADMIN in the host's user namespace"),
    (("--pid", "host"), "--pid=host"),
    (("--security-opt", "unmask=/proc/sys"), "/proc/sys"),
)

# What this kind of machine needs (no CAP_SYS_RESOURCE, cgroups v1): nothing of it is netmgr's.
_CONTAINERS: Final = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "{runtime}"
[network]
network_backend = "{backend}"
cni_plugin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]
"""
_ANY_IMAGE: Final = '{"default": [{"type": "insecureAcceptAnything"}]}'
_STORAGE: Final = """\
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"""


class Podman:
    """Runs `podman ...` there. Made once per machine."""

    def __init__(self, machine: Machine, backend: str = BACKEND, runtime: str = "runc") -> None:
        self.machine = machine
        machine.write("etc/containers/containers.conf", _CONTAINERS.format(**locals()))
        machine.write("etc/containers/storage.conf", _STORAGE)
        machine.write("etc/containers/policy.json", _ANY_IMAGE)
        tar = box_image(machine.own)
        change = ("--change", "CMD sleep 3600")  # a pod's image must say what it runs
        machine.must("podman", "import", "--quiet", *change, str(tar), IMAGE)

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`podman run ARGV...`, whatever its status."""
        return self.machine.run("podman", "run", *argv, **options)

    def must(self, *argv: str) -> str:
        """The output of a podman command that has to succeed."""
        return self.machine.must("podman", *argv)

    def inspect(self, container: str) -> dict[str, Any]:
        """What podman knows of a container."""
        return dict(json.loads(self.must("inspect", container))[0])

    def refuses(self, network: str, flags: tuple[str, ...], told: str) -> None:
        """A container with these options is not created on a network of ours, whoever reads
        stderr is told why, and on no network it is nobody's business."""
        done = self.run("--rm", *flags, "--network", network, IMAGE, "touch", "/tmp/ran")
        assert done.returncode != 0
        assert told in done.stderr, done
        assert self.run("--rm", *flags, "--network", "none", IMAGE, "id").returncode == 0

    def forget(self, container: str) -> None:
        """Remove one whose processes were killed: podman 4.3 stumbles once, its state is from
        before."""
        words = ("rm", "--force", "--time", "0", "--ignore", container)
        self.machine.run("podman", *words)
        self.must(*words)

    def remove_all(self) -> None:
        """No container is left."""
        self.machine.run("podman", "rm", "--all", "--force", "--time", "0")


def box_tree(directory: Path) -> Path:
    """The file tree of a container: busybox, and what engines mount on."""
    tree = directory / "box"
    if not tree.exists():
        for place in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"):
            (tree / place).mkdir(parents=True)
        shutil.copy("/bin/busybox", tree / "bin/busybox")
        for tool in TOOLS:
            (tree / "bin" / tool).symlink_to("busybox")
        # Without it a static glibc looks for libraries that are not there.
        (tree / "etc/nsswitch.conf").write_text("hosts: files dns\n")
        (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    return tree


def box_image(directory: Path) -> Path:
    """The same as a tar archive."""
    tar = directory / "box.tar"
    if not tar.exists():
        tree = box_tree(directory)
        subprocess.run(["tar", "-C", str(tree), "-cf", str(tar), "."], check=True, timeout=30)
    return tar
