"""Owns: Debian's dockerd on a machine, with the paths that it has on every host, beside the
containerd that runs there. What this kind of machine needs (no CAP_SYS_RESOURCE, no firewall) is in
its configuration.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from runtimes.machine import NEWER, Machine
from runtimes.podman import IMAGE, box_image

READY_S: Final = 40.0
STOP_S: Final = 30.0
# As options: /etc/docker/daemon.json is the operator's, as documents show it.
_NEEDS: Final = (
    *("--containerd", "/run/containerd/containerd.sock", "--bridge", "none", "--iptables=false"),
    *("--ip6tables=false", "--live-restore", "--storage-driver", "vfs"),
    *("--default-ulimit", "nofile=1024:1024"),
)
_FEATURES: Final = {"features": {"cdi": True}} if NEWER else {}  # Docker 25 and later


class Docker:
    """A context manager."""

    def __init__(self, machine: Machine, runtimes: dict[str, Any]) -> None:
        self.machine = machine
        self._log = machine.own / "dockerd.log"
        self._process: subprocess.Popen[bytes] | None = None
        machine.write("etc/docker/daemon.json", json.dumps({"runtimes": runtimes} | _FEATURES))

    def __enter__(self) -> Self:
        self.start()
        self.machine.must("docker", "import", str(box_image(self.machine.own)), IMAGE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove_all()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=STOP_S)

    def start(self) -> None:
        """Start dockerd and wait until it is ready."""
        with self._log.open("ab") as log:
            words = ("/usr/sbin/dockerd", *_NEEDS)
            self._process = self.machine.start(*words, stdout=log, stderr=log)
        end = time.monotonic() + READY_S
        while self.machine.run("docker", "info").returncode != 0:
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < end, self._log.read_text()[-3000:]
            time.sleep(0.1)

    def reload(self) -> None:
        """Have it read its configuration again; it says so in its log when it has."""
        assert self._process is not None
        before = self._log.read_text().count("eloaded configuration")
        self._process.send_signal(signal.SIGHUP)
        end = time.monotonic() + READY_S
        while self._log.read_text().count("eloaded configuration") == before:
            assert time.monotonic() < end, self._log.read_text()[-3000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def must(self, *argv: str) -> str:
        """The output of a docker command that has to succeed."""
        return self.machine.must("docker", *argv)

    def remove_all(self) -> None:
        """No container is left."""
        found = self.must("ps", "--all", "--quiet").split()
        if found:
            self.must("rm", "--force", *found)


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is no more."""
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + STOP_S
    while Path(f"/proc/{pid}/ns/net").exists():  # not for the dead, buried or not
        assert time.monotonic() < end
        time.sleep(0.02)
