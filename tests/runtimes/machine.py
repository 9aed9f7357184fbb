"""Owns: a machine of its own for container engines: the world's host with private /etc, /run, /opt,
/usr/local/bin and /var/lib, so that documented paths are used as they are documented and nothing
of the real machine's is touched. Knows nothing of any engine.

One mount namespace, held by a process. /run/netns stays shared with the outside: the daemon sees
what engines pin there, as on any host. With NETMGR_TEST_ROOT the machine has another system's
files (`make test-newer`), below an overlay; the interpreter and the tests are the host's.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from world import World
from world.environment import clean_environment

COMMAND_S: Final = 60.0  # an engine's command on two busy cores
SETUP_S: Final = 20.0
REAPER: Final = Path(__file__).with_name("reaper.py")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# A tree of another Debian, made by packaging/newer.sh; None: this one's.
NEWER: Final = os.environ.get("NETMGR_TEST_ROOT")
# podman 5 warns on each call where the host has cgroups v1, as this kind of machine has.
_QUIET: Final = {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"} if NEWER else {}
_SHARED: Final = ("/tmp", "/root", str(Path(__file__).parents[2]), sys.base_prefix, sys.prefix)

# Every mount but /run/netns becomes private, then the private directories go over the machine's.
# crun takes cgroups of version 1 or 2, and no machine that shows both.
_SETUP: Final = r"""
set -e
findmnt -rno TARGET | while read -r place; do
  case $place in /run/netns*) ;; *) mount --make-private "$place" 2>/dev/null || : ;; esac
done
if mountpoint -q /sys/fs/cgroup/unified; then umount -l /sys/fs/cgroup/unified; fi
mount --rbind /run/netns "$OWN/netns"
if [ -n "$NEWER" ]; then
  mkdir "$OWN/upper" "$OWN/work" "$OWN/root"
  layers=lowerdir=$NEWER,upperdir=$OWN/upper,workdir=$OWN/work
  mount -t overlay -o "$layers" none "$OWN/root"
  for place in /proc /dev /sys; do mount --rbind $place "$OWN/root$place"; done
  for place in $SHARED; do
    mkdir -p "$OWN/root$place"
    mount --bind "$place" "$OWN/root$place"
  done
  mount --rbind "$OWN/netns" "$OWN/root$OWN/netns"
  cd "$OWN/root"
  mkdir -p .before
  pivot_root . .before
  cd /
  mount --make-rprivate /.before  # or the shared /run/netns would be emptied, too
  umount -l /.before
fi
for place in etc opt run usr/local/bin usr/share/containers var/lib; do
  mount --bind "$OWN/$place" "/$place"
done
mount --rbind "$OWN/netns" /run/netns
mount --bind "$DAEMON" /run/netmgr
touch "$OWN/ready"
exec sleep infinity
"""


class Machine:
    """A context manager. Its `netmgr` speaks to the world's daemon as to the host's own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.own = world.directory / "machine"
        self.env = clean_environment(PATH=PATH, HOME="/root", LC_ALL="C.UTF-8", **_QUIET)

    def __enter__(self) -> Self:
        for place in ("opt/cni/bin", "run/netns", "run/netmgr", "run/lock", "var/lib", "netns"):
            (self.own / place).mkdir(parents=True)
        for place in ("usr/local/bin", "usr/share"):
            (self.own / place).mkdir(parents=True)
        for place in ("etc", "usr/share/containers"):
            words = ["cp", "-a", f"{NEWER or ''}/{place}", self.own / place]
            subprocess.run(words, check=True, timeout=SETUP_S)
        for place in ("etc/cni", "etc/containers", "etc/containerd"):
            shutil.rmtree(self.own / place, ignore_errors=True)
        for place in ("etc/cni/net.d", "etc/containers", "etc/netmgr/policies"):
            (self.own / place).mkdir(parents=True)
        self._programs()
        words = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount"]
        words += ["--propagation", "unchanged", "sh", "-c", _SETUP]
        daemon = str(self.world.netmgrd.run_dir)
        self._holder = subprocess.Popen(
            self.world.host.command(*words),
            env=self.env
            | {"OWN": str(self.own), "DAEMON": daemon}
            | {"NEWER": NEWER or "", "SHARED": " ".join(dict.fromkeys(_SHARED))},
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + SETUP_S
        while not (self.own / "ready").exists():
            assert self._holder.poll() is None, "the machine could not be set up"
            assert time.monotonic() < deadline, "the machine is not ready in time"
            time.sleep(0.02)
        if NEWER:  # the daemon is the machine's own: its files are the operator's, as on any host
            daemon = self.world.netmgrd
            daemon.stop()
            daemon.enter = ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--")
            daemon.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if NEWER:
            self.world.netmgrd.stop()
            self.world.netmgrd.enter = ()
            self.world.netmgrd.start()
        left = {pid: words for pid, words in self.processes().items() if pid != self._holder.pid}
        for pid in (*left, self._holder.pid):
            os.kill(pid, 9)
        self._holder.wait()
        if kind is None:
            assert not left, f"processes are left on the machine: {left}"

    def _programs(self) -> None:
        """`netmgr` and `sudo` as a host has them (sudo forgets the environment), and podman with
        somebody who buries what it leaves."""
        programs = self.own / "opt" / "bin"
        programs.mkdir()
        self.env["PATH"] = f"/opt/bin:{PATH}"
        netmgr = f'exec {shlex.quote(sys.executable)} -I -m netmgr_cli "$@"'
        kept = ("PATH", "HOME", "LC_ALL", *_QUIET)
        given = shlex.join(f"{name}={self.env[name]}" for name in kept)
        sudo = f'exec env -i {given} "$@"'
        podman = f'exec {shlex.quote(sys.executable)} -I {REAPER} /usr/bin/podman "$@"'
        for name, line in (("netmgr", netmgr), ("sudo", sudo), ("podman", podman)):
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)

    def command(self, *argv: str) -> list[str]:
        """`argv` so that it runs on the machine."""
        mounts = f"--mount=/proc/{self._holder.pid}/ns/mnt"
        return ["nsenter", mounts, f"--net={self.world.host.path}", "--", *argv]

    def run(
        self, *argv: str, timeout: float = COMMAND_S, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there and wait."""
        options.setdefault("env", self.env)
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            self.command(*argv),
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
            **options,
        )

    def must(self, *argv: str, **options: Any) -> str:
        """The output of a program that has to succeed."""
        done = self.run(*argv, **options)
        story = f"{shlex.join(argv)}: status {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, story
        return done.stdout

    def start(self, *argv: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program there; the caller ends it."""
        options.setdefault("env", self.env)
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.command("setpriv", "--pdeathsig", "KILL", *argv), **options)

    def write(self, path: str, text: str) -> None:
        """A file of the machine, by the path that it has there."""
        place = self.own / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def forget(self, *patterns: str) -> None:
        """Remove files of the machine, by patterns relative to its root."""
        for pattern in patterns:
            for path in self.own.glob(pattern):
                path.unlink()

    def processes(self) -> dict[int, str]:
        """Processes that live in the machine's mount namespace."""
        own = os.stat(f"/proc/{self._holder.pid}/ns/mnt").st_ino
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if (entry / "ns/mnt").stat().st_ino == own:
                        words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                        found[int(entry.name)] = words.decode(errors="replace").strip()
                except OSError:  # it ended meanwhile
                    continue
        return found
