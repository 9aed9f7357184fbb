"""Owns: a real systemd as process 1 of namespaces of its own, on a machine.

It sees nothing of the real host that it could change: every file system is read-only but the
machine's own /etc, /run, /tmp and /var, its cgroup is a subtree, /proc/sys is read-only, and no
unit of the distribution is there (tmpfiles, sysctl, journal): only those that a test writes.
"""

import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runtimes.machine import Machine

START_S: Final = 30.0
CGROUPS: Final = Path(
    "/sys/fs/cgroup/unified"
)  # a cgroup v2 hierarchy, with or without controllers
_KEPT: Final = "/etc /run /run/netns /run/netmgr /opt /var /tmp /dev /dev/shm /proc /sys/fs/cgroup"

_SETUP: Final = r"""
set -eu
mkdir -p /run/aside/world /run/aside/shm  # what is bound is below the places that get covered
mount --bind "$WORLD" /run/aside/world
mount --bind "$SHM" /run/aside/shm
mount -t tmpfs tmpfs /var
mount -t tmpfs tmpfs /tmp
mkdir -p "$WORLD" "$SHM" && mount --move /run/aside/world "$WORLD"
mount --move /run/aside/shm "$SHM"
mount -t tmpfs tmpfs /run/systemd
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
for place in /lib/systemd/system /usr/lib/systemd/system-generators /usr/lib/tmpfiles.d \
             /usr/lib/sysctl.d /usr/lib/sysusers.d /etc/systemd; do
  mount -t tmpfs tmpfs "$place"
done
mkdir /etc/systemd/system
cp -r "$UNITS/." /etc/systemd/system/
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
findmnt -rno TARGET | while read -r place; do
  case " $KEPT $WORLD $SHM " in *" $place "*) continue ;; esac
  case $place in /run/*|/dev/*|/proc/*|/tmp/*|/var/*|/sys/fs/cgroup/*) continue ;; esac
  mount -o remount,bind,ro "$place"
done
if touch /usr/lib/netmgr-probe 2>/dev/null; then echo "the root is writable" >&2; exit 1; fi
exec env -i container=netmgr PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=0 \
  --default-standard-output=null --default-standard-error=null
"""
_TARGET: Final = "[Unit]\nDefaultDependencies=no\nWants={wants}\nAfter={wants}\n"


class Systemd:
    """A context manager: systemd with the given units, each wanted by its only target."""

    def __init__(self, machine: Machine, units: dict[str, str], wants: str) -> None:
        self.machine = machine
        self._name = f"nm-test-{machine.world.id}"
        self._units = machine.own / "units"
        self._texts = units | {"test.target": _TARGET.format(wants=wants)}

    def __enter__(self) -> Self:
        for name, text in self._texts.items():
            path = self._units / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.machine.own / "run/systemd").mkdir(exist_ok=True)
        cgroup = CGROUPS / self._name
        cgroup.mkdir()
        world = self.machine.world
        words = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--uts"]
        words += ["--ipc", "--propagation", "slave", "sh", "-c", _SETUP]
        enter = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "-"]
        self._process = self.machine.start(
            *enter,
            *words,
            env=self.machine.env
            | {
                "UNITS": str(self._units),
                "KEPT": _KEPT,
                "WORLD": str(world.directory),
                "SHM": str(world.netmgrd.run_dir.parent),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()  # --kill-child: process 1 goes with it, and all others with that
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._remove_cgroups()

    def _remove_cgroups(self) -> None:
        deadline = time.monotonic() + START_S
        top = CGROUPS / self._name
        while top.exists():
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    assert time.monotonic() < deadline, f"{folder} is not empty"
            time.sleep(0.05)

    def wait_for(self, file: str) -> str:
        """The text of a file of the world's directory, as soon as a unit has written it."""
        path = self.machine.world.directory / file
        deadline = time.monotonic() + START_S
        while not (path.exists() and path.read_text().endswith("end\n")):
            status = self._process.poll()
            assert status is None, f"systemd ended: {self._process.stdout.read()!r}"  # type: ignore[union-attr]
            assert time.monotonic() < deadline, f"no unit has written {file}"
            time.sleep(0.05)
        return path.read_text()
