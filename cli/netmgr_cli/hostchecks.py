"""Owns: what a host must have for netmgr, each as a check with a remedy. Looks, changes nothing.

Knows nothing of how checks are shown.
"""

import ctypes
import gzip
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from netmgr_cli import trial

MIN_PYTHON: Final = (3, 11)
MIN_KERNEL: Final = (5, 10)  # the oldest that the rule set and sock_diag were meant for
NFT_S: Final = 10.0
MAX_CONFIG: Final = 4 * 1024 * 1024  # a kernel's configuration is about 300 KiB

LIBRARIES: Final = (
    ("libip4tc.so.2", "libip4tc2"),
    ("libip6tc.so.2", "libip6tc2"),
    ("libxtables.so.12", "libxtables12"),
)
CAPABILITIES: Final = {"NET_ADMIN": 12, "SYS_ADMIN": 21, "SYS_PTRACE": 19, "SETPCAP": 8}
# option -> (whether netmgr cannot do without, what for)
KERNEL_OPTIONS: Final = {
    "NET_NS": (True, "network namespaces"),
    "VETH": (True, "links between sandboxes and the hub"),
    "INET_DIAG_DESTROY": (True, "cutting live flows when they are revoked"),
    "INET_DIAG": (True, "finding the process behind a connection"),
    "NETFILTER_XT_TARGET_TPROXY": (True, "leading connections to the proxy"),
    "NETFILTER_NETLINK_LOG": (True, "records of what the kernel refused"),
    "UNIX_DIAG": (False, "`ss -x` when you look for what a sandbox can reach"),
    "USER_NS": (False, "runtimes that give a sandbox its own capabilities"),
}
NETNS_DIR: Final = Path("/run/netns")
PRIVATE_NETNS: Final = re.compile(r"(run[0-9a-f]{8})-.+")  # as netmgr_cli.private names them
OVERLAYS: Final = ("/etc/resolv.conf", "/etc/hosts")
BUNDLE: Final = Path("/etc/ssl/certs/ca-certificates.crt")
RHEL_BUNDLE: Final = Path("/etc/pki/tls/certs/ca-bundle.crt")


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        found: what is there.
        remedy: what to do, where something is to be done.
    """

    name: str
    state: State
    found: str
    remedy: str | None = None

    def to_doc(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "state": self.state.value}


def host_checks() -> list[Check]:
    """Every check, in the order in which an operator would mend things."""
    checks: list[Callable[[], list[Check]]] = [
        check_versions,
        check_privileges,
        check_packages,
        check_kernel_options,
        check_hub,
        check_directories,
        check_files,
        check_other_firewalls,
        check_leftovers,
    ]
    return [found for check in checks for found in check()]


def check_versions() -> list[Check]:
    """Python and kernel."""
    python = State.OK if sys.version_info[:2] >= MIN_PYTHON else State.FAIL
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdecimal())
    old = numbers < MIN_KERNEL
    return [
        Check("python", python, platform.python_version(), None if python is State.OK else "3.11"),
        Check(
            "kernel",
            State.WARN if old else State.OK,
            release,
            "netmgr is not tried on kernels before 5.10" if old else None,
        ),
    ]


def check_privileges() -> list[Check]:
    """Root, and not a container's half of it."""
    if os.geteuid() != 0:
        remedy = "run `sudo netmgr doctor`: what needs root to be tried was not tried"
        return [Check("root", State.FAIL, f"uid {os.geteuid()}", remedy)]
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    held = int(line.split()[1], 16)
    missing = [name for name, number in CAPABILITIES.items() if not held >> number & 1]
    if missing:
        return [
            Check(
                "root",
                State.FAIL,
                f"uid 0 without {', '.join(missing)}",
                "start netmgr on the host itself, or in a container with these capabilities",
            )
        ]
    return [Check("root", State.OK, "uid 0 with the capabilities that netmgr needs")]


def check_packages() -> list[Check]:
    """Shared libraries and python-iptables."""
    return [*(_library(name, package) for name, package in LIBRARIES), _python_iptables()]


def _library(name: str, package: str) -> Check:
    try:
        ctypes.CDLL(name)
    except OSError as error:
        remedy = f"apt install {package} iptables (dnf install iptables-legacy-libs)"
        return Check(name, State.FAIL, str(error), remedy)
    return Check(name, State.OK, "found")


def _python_iptables() -> Check:
    # Looked up, not imported: its import runs ldconfig and can end the process. The trial uses it.
    if importlib.util.find_spec("iptc") is None:
        return Check("python-iptables", State.FAIL, "missing", "pip install python-iptables")
    return Check("python-iptables", State.OK, "installed")


def check_hub() -> list[Check]:
    """The real sets and rules, tried in a namespace of their own."""
    if os.geteuid() != 0:
        return [Check(name, State.WARN, "not tried", "needs root") for name in trial.STEPS]
    report = trial.try_hub()
    return [_trial_check(name, report) for name in trial.STEPS]


def _trial_check(name: str, report: trial.Report) -> Check:
    if name not in report:
        remedy = "see what the kernel says (dmesg); is the package iptables whole?"
        return Check(name, State.FAIL, "the trial ended before it could tell", remedy)
    problem = report[name]
    if problem is None:
        return Check(name, State.OK, "the kernel takes all that a hub needs")
    modules = "ip_set and its hash types" if name == trial.SETS else "ip_tables, iptable_raw, "
    if name == trial.RULES:
        modules += "iptable_mangle, iptable_filter, xt_TPROXY, xt_set, xt_NFLOG (legacy tables)"
    return Check(name, State.FAIL, problem, f"kernel modules: {modules}; package: iptables")


def check_kernel_options() -> list[Check]:
    """What can be read from the kernel's configuration, if the host keeps it."""
    text = kernel_config()
    if text is None:
        remedy = "/proc/config.gz (module configs) or /boot/config-* would tell"
        return [Check("kernel options", State.WARN, "no configuration to read", remedy)]
    return judge_kernel_config(text)


def kernel_config() -> str | None:
    """The running kernel's configuration, or None."""
    try:
        with gzip.open("/proc/config.gz", "rb") as packed:
            return packed.read(MAX_CONFIG).decode(errors="replace")
    except OSError:
        pass
    try:
        with Path(f"/boot/config-{platform.release()}").open("rb") as plain:
            return plain.read(MAX_CONFIG).decode(errors="replace")
    except OSError:
        return None


def judge_kernel_config(text: str) -> list[Check]:
    """Options that are missing, or one line that all are there. No I/O."""
    present = {line.split("=")[0] for line in text.splitlines() if line.endswith(("=y", "=m"))}
    missing = [
        Check(
            f"CONFIG_{option}",
            State.FAIL if needed else State.WARN,
            "not in this kernel",
            f"for {purpose}: a distribution's kernel has it",
        )
        for option, (needed, purpose) in KERNEL_OPTIONS.items()
        if f"CONFIG_{option}" not in present
    ]
    return missing or [Check("kernel options", State.OK, f"all {len(KERNEL_OPTIONS)} are there")]


def check_directories() -> list[Check]:
    """Where namespaces and sockets will stand."""
    found = []
    for path in (NETNS_DIR, Path("/run/netmgr")):
        parent = path if path.exists() else path.parent
        if os.access(parent, os.W_OK):
            state = "writable" if path.exists() else "made when it is needed"
            found.append(Check(str(path), State.OK, state))
        else:
            found.append(Check(str(path), State.FAIL, "not writable", f"mount {parent} writable"))
    return found


def check_files() -> list[Check]:
    """Files that `run` and `exec` cover with a sandbox's own."""
    found = [
        Check(
            name,
            State.OK if Path(name).exists() or _leads_to_run(Path(name)) else State.FAIL,
            "there" if Path(name).exists() else "missing",
            None if Path(name).exists() else f"touch {name}",
        )
        for name in OVERLAYS
    ]
    if BUNDLE.exists() or RHEL_BUNDLE.exists():
        found.append(Check("CA bundle", State.OK, "there"))
    else:
        remedy = "apt install ca-certificates (programs without variables would not trust us)"
        found.append(Check("CA bundle", State.WARN, "missing", remedy))
    return found


def check_leftovers() -> list[Check]:
    """Namespaces of private daemons (`netmgr run`) that were killed before they could tidy up."""
    names = sorted(path.name for path in NETNS_DIR.glob("run*-*"))
    found = {match[1]: name for name in names if (match := PRIVATE_NETNS.fullmatch(name))}
    dead = [instance for instance in found if not _is_running(instance)]
    if not dead:
        return [Check("leftovers", State.OK, "no namespaces of ended private daemons")]
    left = [name for name in names if name.split("-")[0] in dead]
    remedy = "; ".join(f"ip netns del {name}" for name in left)
    return [Check("leftovers", State.WARN, ", ".join(left), remedy)]


def _is_running(instance: str) -> bool:
    wanted = instance.encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue  # it has just ended
    return False


def _leads_to_run(path: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to("/run")


def check_other_firewalls() -> list[Check]:
    """nftables chains of the host that drop by default: the hub is a namespace of its own and not
    touched by them, but the dialer connects from the host."""
    nft = shutil.which("nft")
    if nft is None:
        return [Check("nftables", State.OK, "no nft here: nothing to look at")]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [nft, "-j", "list", "chains"], capture_output=True, timeout=NFT_S, check=True
        )
        dropping = dropping_chains(json.loads(done.stdout))
    except (subprocess.SubprocessError, ValueError) as error:
        return [Check("nftables", State.WARN, f"cannot be read: {error}", "run as root")]
    if dropping:
        return [
            Check(
                "nftables",
                State.WARN,
                f"drop by default: {', '.join(dropping)}",
                "let the dialer's connections out: they come from the host, as its user",
            )
        ]
    return [Check("nftables", State.OK, "no chain on the dialer's way drops by default")]


def dropping_chains(listing: dict[str, Any]) -> list[str]:
    """Base chains with policy drop on the way of the host's own connections. No I/O."""
    chains = [item["chain"] for item in listing.get("nftables", ()) if "chain" in item]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("policy") == "drop" and chain.get("hook") in ("input", "output")
    ]
