"""Owns: a real systemd as process 1 of namespaces of its own, on a machine, and systemctl there.

It sees nothing of the real host that it could change: every file system is read-only but the
machine's own /etc, /run, /tmp and /var, its cgroup is a subtree, /proc/sys is read-only, and no
unit of the distribution is there (tmpfiles, sysctl, journal): only those that a test writes.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runtimes.machine import Machine

START_S: Final = 60.0
CGROUPS: Final = Path(
    "/sys/fs/cgroup/unified"
)  # a cgroup v2 hierarchy, with or without controllers
_KEPT: Final = "/etc /run /run/netns /run/netmgr /opt /var /tmp /dev /dev/shm /proc /sys/fs/cgroup"

_SETUP: Final = r"""
set -eu
number=0  # what stays in sight may be below the places that get covered
for place in $SEEN; do
  number=$((number + 1))
  mkdir -p /run/aside/$number
  mount --bind "$place" /run/aside/$number
done
mount -t tmpfs tmpfs /var
mount -t tmpfs tmpfs /tmp
number=0
for place in $SEEN; do
  number=$((number + 1))
  mkdir -p "$place"
  mount --move /run/aside/$number "$place"
  case $place in "$WORLD"|"$SHM") ;; *) mount -o remount,bind,ro "$place" ;; esac
done
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
# The interpreter and the project: `netmgr` is a program of theirs.
_PROGRAMS: Final = (str(Path(__file__).parents[2]), sys.prefix, sys.base_prefix)
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
                "SEEN": " ".join(self._seen()),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.wait("systemd's own socket", self._is_up)
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

    def _seen(self) -> list[str]:
        """What a service sees of the places that are covered, each before what is below it."""
        world = self.machine.world
        places = {str(world.directory), str(world.netmgrd.run_dir.parent)}
        covered = ("/tmp/", "/var/")
        return sorted(places | {place for place in _PROGRAMS if place.startswith(covered)})

    @property
    def leader(self) -> int:
        """Process 1 of its namespaces, as the machine counts."""
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def _is_up(self) -> bool:
        try:
            return Path(f"/proc/{self.leader}/root/run/systemd/private").exists()
        except (OSError, IndexError):  # it is not yet there
            return False

    def control(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """`systemctl WORDS...` there."""
        where = f"/proc/{self.leader}/ns"
        enter = (
            "nsenter",
            f"--mount={where}/mnt",
            f"--pid={where}/pid",
            f"--cgroup={where}/cgroup",
        )
        return self.machine.run(*enter, "systemctl", "--no-pager", *words)

    def must(self, *words: str) -> str:
        """The output of a systemctl that has to succeed."""
        done = self.control(*words)
        assert done.returncode == 0, f"systemctl {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def shows(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.must("show", unit, "--property", key, "--value").strip()

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until something holds, or fail with its name."""
        deadline = time.monotonic() + START_S
        while not holds():
            status = self._process.poll()
            assert status is None, f"systemd ended: {self._process.stdout.read()!r}"  # type: ignore[union-attr]
            assert time.monotonic() < deadline, f"{what} does not come to hold"
            time.sleep(0.05)

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
        self.wait(f"the end of {file}", lambda: path.exists() and "end\n" in path.read_text()[-4:])
        return path.read_text()
