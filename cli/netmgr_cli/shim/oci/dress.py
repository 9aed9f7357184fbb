"""Owns: which files of a sandbox stand where in one container: names, trust, and what of the
image's own is kept (its authorities, the runtime's hosts).

What varies between containers of one sandbox is written beside the container's configuration, in
its bundle, and goes with that.
"""

import os
import posixpath

from netmgr_cli.shim import light
from netmgr_cli.shim.oci.edit import Change, env_of
from netmgr_cli.shim.oci.rootfs import Rootfs

MAX_BUNDLE = 8 * 1024 * 1024  # bytes of authorities (netmgr.keys.trust has the same)
MAX_HOSTS = 256 * 1024
HOST_NAMES = {b"host.docker.internal", b"host.containers.internal", b"gateway.docker.internal"}
OWN_DIRECTORY = "netmgr"  # in the bundle
ENV_FILE = "env.json"  # for processes that join later
COMMON_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # where an image without any gets one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class View:
    """The files of a container as they will be: its image, and what the runtime mounts over it."""

    def __init__(self, rootfs: Rootfs, mounts: "list[dict[str, Any]]") -> None:
        self._rootfs = rootfs
        self._mounts = {
            posixpath.normpath(str(one.get("destination"))): one
            for one in mounts
            if one.get("destination")
        }

    def find(self, path: str) -> str | None:
        """Where a path leads; None where nothing is."""
        source = self._mounted(path)
        if source is None:
            return self._rootfs.find(path)
        return path if source and os.path.exists(source) else None

    def read(self, path: str, most: int) -> bytes | None:
        """A plain file's content; None where there is none, or more of it than `most` bytes."""
        source = self._mounted(path)
        if source is None:
            return self._rootfs.read(path, most)
        return _read_plain(source, most) if source else None

    def is_closed(self, path: str) -> bool:
        """Whether nothing can be mounted at a path: nothing is there, and nothing can be made."""
        mount, _ = self._covering(path)
        return mount is not None and "ro" in mount.get("options", ()) and self.find(path) is None

    def _covering(self, path: str) -> "tuple[dict[str, Any] | None, str]":
        """The mount that a path is in, and the path in it."""
        above, rest = posixpath.normpath(path), ""
        while above not in self._mounts:
            if above in ("/", ""):
                return None, path
            above, name = posixpath.split(above)
            rest = f"/{name}{rest}"
        return self._mounts[above], rest

    def _mounted(self, path: str) -> str | None:
        """The host's file behind a path that a mount covers; empty: it comes from no file; None: it
        is the image's."""
        mount, rest = self._covering(path)
        if mount is None:
            return None
        bound = {"bind", "rbind"}.intersection(mount.get("options") or ())
        return f"{mount.get('source')}{rest}" if bound or mount.get("type") == "bind" else ""


def dress(
    sandbox: "dict[str, Any]", config: "dict[str, Any]", rootfs: Rootfs, bundle: str
) -> Change:
    """What the container gets of its sandbox.

    Args:
        sandbox: as the control API describes it, with `mounts`, `files` and `env`.
        bundle: the container's directory; `netmgr/` in it is written anew.

    Raises:
        OSError: the bundle cannot be written.
    """
    view = View(rootfs, config.get("mounts") or [])
    own = f"{bundle}/{OWN_DIRECTORY}"
    os.makedirs(own, mode=0o755, exist_ok=True)
    change = Change()
    files = sandbox["files"]
    closed = {mount["target"] for mount in sandbox["mounts"] if view.is_closed(mount["target"])}
    for mount in sandbox["mounts"]:
        target = mount["target"] if not mount["optional"] else view.find(mount["target"])
        if target is not None and target not in closed:
            change.mounts.setdefault(target, mount["source"])
    change.env = {name: path for name, path in sandbox["env"].items() if path not in closed}
    _write(f"{own}/{ENV_FILE}", light.dumps(change.env).encode())
    _place_bundles(change, view, files["ca_bundle"], env_of(config), own)
    change.mounts["/etc/hosts"] = _write(
        f"{own}/hosts",
        merged_hosts(
            _read_plain(files["hosts"], MAX_HOSTS) or b"",
            view.read("/etc/hosts", MAX_HOSTS) or b"",
            str(config.get("hostname") or ""),
            sandbox["address"],
        ),
    )
    return change


def _place_bundles(
    change: Change, view: View, bundle: str, given: dict[str, str], own: str
) -> None:
    """Put the sandbox's authority beside the image's, wherever the image has some: at the
    distribution's places, and where its own environment points."""
    for name in change.env:
        pointed = view.find(given[name]) if given.get(name, "").startswith("/") else None
        if pointed is not None:
            change.mounts.setdefault(pointed, bundle)
    targets = [t for t, source in change.mounts.items() if source == bundle and t != bundle]
    if not targets:
        change.mounts[COMMON_BUNDLE] = bundle
    authority = _read_plain(bundle, MAX_BUNDLE) or b""
    for number, target in enumerate(targets):
        theirs = view.read(target, MAX_BUNDLE)
        if theirs is None or (missing := missing_authorities(theirs, authority)) == b"":
            continue
        change.mounts[target] = _write(f"{own}/ca-bundle-{number}.pem", authority + missing)
        if number == 0 and bundle in change.mounts:
            change.mounts[bundle] = change.mounts[target]


def missing_authorities(theirs: bytes, ours: bytes) -> bytes:
    """The certificates of one PEM text that another does not have."""
    end = b"-----END CERTIFICATE-----"
    begin = b"-----BEGIN CERTIFICATE-----"
    known = {piece.partition(begin)[2].strip() for piece in ours.split(end)}
    found = b""
    for piece in theirs.split(end)[:-1]:
        body = piece.partition(begin)[2].strip()
        if body and body not in known:
            found += begin + b"\n" + body + b"\n" + end + b"\n"
    return found


def merged_hosts(ours: bytes, theirs: bytes, hostname: str, address: str) -> bytes:
    """hosts(5): the sandbox's names, others that the runtime or image has, and the container's own.

    Names of the host are left out: an engine guesses an address of a network that is not there,
    and the sandbox's resolver knows better.
    """
    lines = ours.splitlines()
    known = {name for line in lines for name in line.split()[1:]} | HOST_NAMES
    for line in theirs.splitlines():
        words = line.partition(b"#")[0].split()
        names = [name for name in words[1:] if name not in known]
        if names:
            lines.append(b" ".join([words[0], *names]))
            known.update(names)
    if hostname and hostname.encode() not in known:
        lines.append(f"{address} {hostname}".encode())
    return b"\n".join(lines) + b"\n"


def _read_plain(path: str, most: int) -> bytes | None:
    """A file of the host; None where it is none, or too long."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    with open(handle, "rb") as file:
        if not os.path.isfile(f"/proc/self/fd/{handle}"):
            return None
        content = file.read(most + 1)
    return content if len(content) <= most else None


def _write(path: str, content: bytes) -> str:
    """Write a file that everybody may read, whole or not at all; its path."""
    aside = f"{path}.new"
    with open(aside, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), 0o644)
    os.replace(aside, path)
    return path
