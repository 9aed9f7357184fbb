"""Owns: the file system as a command in a sandbox sees it: built in its own mount namespace.

The host's files stay visible under the usual permissions; what leads back to the host does not:
/run, every unix socket that a process of the host listens on, the host's /proc, /sys, terminals,
disks and other devices, shared memory and message queues. Runs as root, in the new mount, pid, ipc
and network namespaces, before any privilege is given up.
"""

import grp
import os
import re
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netmgr.errors import HostFailed
from netmgr.keys.injection import BUNDLE_TARGETS, JAVA_TARGETS, NSS_TARGETS
from netmgr_cli.linux import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    mount,
)

RUN: Final = Path("/run")
DEVICES: Final = Path("/dev")
# What programs need, and what computes. Not there: disks (the host's files, and netmgr's keys, as
# raw bytes), consoles (what is typed on them), memory, tunnels, and whatever else is made.
DEVICE_NAMES: Final = ("null", "zero", "full", "random", "urandom", "tty")
DEVICE_PATTERNS: Final = ("kvm", "nvidia*", "kfd", "dri", "accel", "dxg")
DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a mount point, no temporary file
PLAIN: Final = MS_NOSUID | MS_NODEV | MS_NOEXEC
RUN_OPTIONS: Final = "mode=0755,size=16m,nr_inodes=4096"  # it holds mount points and nothing else
DEVICE_OPTIONS: Final = "mode=0755,size=64k,nr_inodes=256"
MAX_SOCKETS: Final = 4096  # unix sockets to cover; a busy desktop has a few hundred
PATH_COLUMN: Final = 7  # of /proc/net/unix, proc_net(5)
MAX_TABLE: Final = 16 * 1024 * 1024  # bytes of /proc/net/unix; about 100 per socket

REQUIRED_FILES: Final = ("resolv.conf", "hosts", "ca-bundle.pem")
JAVA_STORE: Final = "cacerts.p12"
NSS_STORE: Final = "nssdb"
SANDBOX_FILES: Final = (*REQUIRED_FILES, "ca.pem", "env", JAVA_STORE, NSS_STORE)
# certifi's own list, where Python's packages are the system's: code that asks certifi itself reads
# no variable.
CERTIFI_PATTERNS: Final = (
    "usr/lib/python3*/*-packages/certifi/cacert.pem",
    "usr/lib/python3*/*-packages/pip/_vendor/certifi/cacert.pem",
    "usr/local/lib/python3*/*-packages/certifi/cacert.pem",
    "usr/local/lib/python3*/*-packages/pip/_vendor/certifi/cacert.pem",
)
# Below HOME, where Chromium and others look: the first that is there.
USER_NSS: Final = (".pki/nssdb", ".local/share/pki/nssdb")
DATABASE_OPTIONS: Final = "mode=0700,size=4m,nr_inodes=64"  # a database and its journal: 0.2 MiB

# Files that uid 0 may write, or read secrets from, without any capability. As in the OCI runtime
# specification's default configuration (maskedPaths, readonlyPaths).
READ_ONLY: Final = ("sys", "sysrq-trigger", "irq", "bus", "fs")
MASKED: Final = ("kcore", "keys", "timer_list", "latency_stats", "sched_debug", "kmsg")
MASKED_TREES: Final = ("acpi", "scsi")

# What shows or moves the host's kernel, and where a scene mounts its own.
KERNEL_VIEWS: Final = frozenset(
    ("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf")
)
KERNEL_PLACES: Final = tuple(map(Path, ("/proc", "/sys", "/dev", "/run")))
_OCTAL: Final = re.compile(r"\\([0-7]{3})")  # how mountinfo writes blanks and backslashes
_HOSTS_LINE: Final = re.compile(r"^[ \t]*hosts[ \t]*:.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Scene:
    """What to build.

    Attributes:
        run_dir: the sandbox's directory of files, at its own path inside too.
        hidden_dirs: directories that become empty.
        sockets: paths of the host's unix sockets.
        home: the user's directory.
    """

    run_dir: Path
    hidden_dirs: tuple[Path, ...]
    sockets: tuple[Path, ...]
    home: Path


def listening_sockets() -> tuple[Path, ...]:
    """Paths of the unix sockets of this network namespace: the host's, before the sandbox's is
    joined. A socket that another namespace of the host listens on is not among them.

    Raises:
        HostFailed: there are more than MAX_SOCKETS.
    """
    with Path("/proc/net/unix").open("rb") as file:
        lines = file.read(MAX_TABLE).splitlines()[1:]
    rows = (re.split(rb" +", line, maxsplit=PATH_COLUMN) for line in lines)
    found = sorted({row[PATH_COLUMN] for row in rows if len(row) > PATH_COLUMN})
    paths = tuple(Path(os.fsdecode(name)) for name in found if name.startswith(b"/"))
    if len(paths) > MAX_SOCKETS:
        raise HostFailed(
            f"more than {MAX_SOCKETS} unix sockets on this host: not all can be covered"
        )
    return paths


def build(scene: Scene) -> None:
    """Make the scene.

    Raises:
        OSError, HostFailed: a step failed; the command must not be started.
    """
    mount(Path("/"), MS_REC | MS_PRIVATE)
    files = _open_files(scene.run_dir)
    name_service = _name_service()
    elsewhere = kernel_views_elsewhere(Path("/proc/self/mountinfo").read_text("utf-8", "replace"))
    roots = _hide_directories(scene)
    _cover(scene.sockets)
    for path in elsewhere:
        _hide_view(path, roots)
    _mount_kernel_views()
    for name, fd in files.items():
        _bind(fd, scene.run_dir / name, roots)
    _bind(files["resolv.conf"], Path("/etc/resolv.conf"), roots)
    _bind(files["hosts"], Path("/etc/hosts"), roots)
    for name, targets in _stores().items():
        for target in targets if name in files else ():
            if target.exists() or _is_below(Path(os.path.realpath(target)), roots):
                _bind(files[name], target, roots)
    if NSS_STORE in files:
        _place_databases(files[NSS_STORE], scene.home)
    if name_service is not None:
        _place_name_service(name_service, roots)
    for fd in files.values():
        os.close(fd)


def _stores() -> dict[str, tuple[Path, ...]]:
    """Where the sandbox's stores of certificates lie over the host's."""
    certifi = (path for pattern in CERTIFI_PATTERNS for path in Path("/").glob(pattern))
    return {
        "ca-bundle.pem": (*BUNDLE_TARGETS, *certifi),
        JAVA_STORE: JAVA_TARGETS,
        NSS_STORE: NSS_TARGETS,
    }


def _open_files(run_dir: Path) -> dict[str, int]:
    """The sandbox's files, before /run is covered. In this mount namespace: the kernel binds only
    what belongs to it."""
    files: dict[str, int] = {}
    for name in SANDBOX_FILES:
        try:
            files[name] = os.open(run_dir / name, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            if name in REQUIRED_FILES:
                raise HostFailed(
                    f"{run_dir / name} is missing: `netmgr sandbox check` says what else is"
                ) from None
    return files


def _name_service() -> str | None:
    """nsswitch.conf with `hosts: files dns`: plug-ins (mdns, resolve, libvirt) would go round the
    sandbox's resolver. None where the host has no such file: the C library's default will do."""
    try:
        text = Path("/etc/nsswitch.conf").read_text()
    except FileNotFoundError:
        return None
    return resolve_by_dns_only(text)


def resolve_by_dns_only(text: str) -> str:
    """An nsswitch.conf(5) with `hosts: files dns`; everything else as it was. No I/O."""
    line = "hosts: files dns"
    return _HOSTS_LINE.sub(line, text) if _HOSTS_LINE.search(text) else f"{text}\n{line}\n"


def _hide_directories(scene: Scene) -> tuple[Path, ...]:
    """Cover directories with empty ones; the topmost of those that lie in each other."""
    wanted = [RUN, *scene.hidden_dirs]
    old_run = Path("/var/run")
    if old_run.is_dir() and not old_run.is_symlink():
        wanted.append(old_run)
    hidden: list[Path] = []
    for path in sorted({Path(os.path.realpath(p)) for p in wanted}):
        if path.is_dir() and not _is_below(path, hidden):
            mount(path, PLAIN, kind="tmpfs", data=RUN_OPTIONS)
            hidden.append(path)
    return tuple(hidden)


def _is_below(path: Path, roots: Iterable[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _cover(sockets: Iterable[Path]) -> None:
    for path in sockets:
        try:
            is_socket = stat.S_ISSOCK(path.lstat().st_mode)
        except OSError:
            continue  # gone, or below a directory that is covered already
        if is_socket:
            mount(path, MS_BIND, source="/dev/null")


def kernel_views_elsewhere(mountinfo: str) -> tuple[Path, ...]:
    """Mount points of the kernel's views at unusual places, as chroots and containers
    of the host have them: a second procfs shows the host's processes. No I/O.

    Args:
        mountinfo: as proc_pid_mountinfo(5) describes it.
    """
    found = set()
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        path = Path(_OCTAL.sub(lambda m: chr(int(m[1], 8)), fields.split()[4]))
        usual = any(path.is_relative_to(place) for place in KERNEL_PLACES)
        if rest.split()[0] in KERNEL_VIEWS and not usual:
            found.add(path)
    return tuple(sorted(found))


def _hide_view(path: Path, hidden: Iterable[Path]) -> None:
    if path.is_dir() and not _is_below(path, hidden):
        mount(path, PLAIN, kind="tmpfs", data=RUN_OPTIONS)


def _mount_kernel_views() -> None:
    mount(Path("/proc"), PLAIN, source="proc", kind="proc")
    mount(Path("/sys"), PLAIN | MS_RDONLY, source="sysfs", kind="sysfs")
    _mount_devices()
    mount(SHARED_MEMORY, MS_NOSUID | MS_NODEV, kind="tmpfs", data="mode=1777")
    try:
        terminals = f",gid={grp.getgrnam('tty').gr_gid}"
    except KeyError:
        terminals = ""
    options = f"newinstance,ptmxmode=0666,mode=0620{terminals}"
    mount(Path("/dev/pts"), MS_NOSUID | MS_NOEXEC, kind="devpts", data=options)
    mount(Path("/dev/mqueue"), PLAIN, kind="mqueue")
    for name in READ_ONLY:
        _make_read_only(Path("/proc", name))
    for name in MASKED:
        if Path("/proc", name).exists():
            mount(Path("/proc", name), MS_BIND, source="/dev/null")
    for name in MASKED_TREES:
        if Path("/proc", name).is_dir():
            mount(Path("/proc", name), PLAIN | MS_RDONLY, kind="tmpfs", data="size=0,mode=0555")


def _mount_devices() -> None:
    """A /dev with the harmless nodes of the host's, each bound: nobody here may make one."""
    found = {name: DEVICES / name for name in DEVICE_NAMES if (DEVICES / name).exists()}
    for pattern in DEVICE_PATTERNS:
        found |= {path.name: path for path in DEVICES.glob(pattern) if not path.is_symlink()}
    held = {name: os.open(path, os.O_PATH | os.O_CLOEXEC) for name, path in found.items()}
    mount(DEVICES, PLAIN, kind="tmpfs", data=DEVICE_OPTIONS)
    for name, fd in held.items():
        place = DEVICES / name
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            place.mkdir()
        else:
            place.touch()
        mount(place, MS_BIND | MS_REC, source=f"/proc/self/fd/{fd}")
        os.close(fd)
    for name in ("pts", "shm", "mqueue"):
        (DEVICES / name).mkdir()
    for name, target in DEVICE_LINKS.items():
        (DEVICES / name).symlink_to(target)


def _make_read_only(path: Path) -> None:
    if path.exists():
        mount(path, MS_BIND | MS_REC, source=str(path))
        mount(path, MS_REMOUNT | MS_BIND | MS_RDONLY | PLAIN)


def _bind(fd: int, target: Path, roots: tuple[Path, ...]) -> None:
    """Put the file behind `fd` at `target`, read-only. Below a covered directory the place is made;
    the host's own directories are never written."""
    place = Path(os.path.realpath(target))
    if not place.exists():
        if not _is_below(place, roots):
            raise HostFailed(
                f"the host has no {place} to put the sandbox's file over: create an empty one"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISDIR(os.stat(f"/proc/self/fd/{fd}").st_mode):
            place.mkdir()
        else:
            place.touch()
    mount(place, MS_BIND, source=f"/proc/self/fd/{fd}")
    mount(place, MS_REMOUNT | MS_BIND | MS_RDONLY | PLAIN)


def _place_databases(store: int, home: Path) -> None:
    """Copies of the sandbox's NSS database over the user's own, for the command alone and writable:
    Chromium opens its database for writing, and goes without one where it cannot."""
    inside = Path(os.path.realpath(home))
    for name in USER_NSS:
        place = Path(os.path.realpath(inside / name))
        if inside not in place.parents or not place.is_dir():
            continue
        owner = place.stat()
        who = f",uid={owner.st_uid},gid={owner.st_gid}"
        mount(place, PLAIN, kind="tmpfs", data=DATABASE_OPTIONS + who)
        for file in Path(f"/proc/self/fd/{store}").iterdir():
            copy = place / file.name
            shutil.copyfile(file, copy)
            copy.chmod(0o600)
            os.chown(copy, owner.st_uid, owner.st_gid)


def _place_name_service(text: str, roots: tuple[Path, ...]) -> None:
    copy = RUN / "nsswitch.conf"
    copy.write_text(text)
    copy.chmod(0o644)
    fd = os.open(copy, os.O_PATH | os.O_CLOEXEC)
    try:
        _bind(fd, Path("/etc/nsswitch.conf"), roots)
    finally:
        os.close(fd)
    copy.unlink()  # it lives on where it was bound; /run is as empty as it is said to be
