"""Owns: the sandboxes' namespaces of one instance, as pins in its directory.

Knows nothing of the hub. A namespace that others made is pinned like our own, so that everything
after its birth (adoption, clean-up, `exec`) is the same for both.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from netmgr.errors import BadInput, Conflict, NotFound
from netmgr.kernel import netns
from netmgr.kernel.facts import NO_NETNS, HubSpec, Netns, NetnsId
from netmgr.kernel.links import foreign_links_in, remove_links_in
from netmgr.kernel.powers import refuse_powers
from netmgr.model import NetnsSource, SandboxName, StartingPid, parse_sandbox_name


class Pins:
    """The pins of an instance."""

    def __init__(self, spec: HubSpec) -> None:
        self._spec = spec

    def make(self, sandbox: SandboxName) -> Netns:
        """Make a namespace and pin it.

        Raises:
            Conflict: the name is taken.
        """
        path = self._free_path(sandbox)
        return Netns(sandbox, path, netns.create(path))

    def pin(
        self,
        sandbox: SandboxName,
        source: NetnsSource,
        known: Mapping[NetnsId, str],
        *,
        replace_links: bool = False,
    ) -> Netns:
        """Pin a namespace given by path or pid; it is opened once and judged by what it is.

        Args:
            known: namespaces that are nobody's to take, and whose they are.
            replace_links: remove its links when everything else has been judged.

        Raises:
            NotFound: no such path or process.
            BadInput: no network namespace.
            Conflict: the name is taken, it is known or another sandbox's, or has links.
            Refused: a process in it could reach past its door (powers.py).
        """
        path = self._free_path(sandbox)
        origin = source if isinstance(source, Path) else Path(f"/proc/{source}/ns/net")
        fd = netns.open_path(origin)
        try:
            identity = netns.identity(fd)
            if identity in known:
                raise Conflict(f"{origin} is {known[identity]} network namespace")
            self._refuse_taken(origin, identity)
            if not replace_links:
                _refuse_doors(origin, foreign_links_in(fd))
            refuse_powers(origin, identity, source if isinstance(source, StartingPid) else None)
            if replace_links:
                _refuse_doors(origin, remove_links_in(fd))
            netns.pin(fd, path)
            return Netns(sandbox, path, identity)
        finally:
            os.close(fd)

    def _refuse_taken(self, origin: Path, identity: NetnsId) -> None:
        for other in self.all().values():
            if other.identity == identity:
                raise Conflict(
                    f"{origin} belongs to sandbox {other.sandbox!r}", sandbox=other.sandbox
                )

    def _free_path(self, sandbox: SandboxName) -> Path:
        """Where the sandbox's pin goes; what a killed creation left there is removed."""
        path = self._spec.netns_path(sandbox)
        found = self.find(sandbox)
        if found is not None and found.identity == NO_NETNS:
            netns.delete(path)
        elif found is not None:
            raise Conflict(f"network namespace {path.name} exists")
        return path

    def find(self, sandbox: SandboxName) -> Netns | None:
        """The sandbox's namespace, if there is one."""
        return _read_pin(sandbox, self._spec.netns_path(sandbox))

    def delete(self, sandbox: SandboxName) -> NetnsId | None:
        """Remove the pin, if there is one; gives what was pinned."""
        found = self.find(sandbox)
        if found is None:
            return None
        netns.delete(found.path)
        return found.identity

    def all(self) -> dict[SandboxName, Netns]:
        """Every pin but the hub's, by sandbox."""
        prefix = self._spec.netns_name(SandboxName(""))
        found: dict[SandboxName, Netns] = {}
        for path in netns.list_pins(self._spec.netns_dir, prefix):
            if path.name == self._spec.hub_netns:
                continue
            with suppress(BadInput):  # somebody else's file
                sandbox = parse_sandbox_name(path.name.removeprefix(prefix))
                pin = _read_pin(sandbox, path)
                if pin is not None:
                    found[sandbox] = pin
        return found


def open_pin(found: Netns) -> int:
    """Open a sandbox's namespace by its pin, if it still is the one that was meant.

    Raises:
        NotFound: the pin is gone.
        Conflict: another namespace stands there now.
    """
    fd = netns.open_path(found.path)
    if netns.identity(fd) != found.identity:
        os.close(fd)
        raise Conflict(f"{found.path} is another namespace than sandbox {found.sandbox!r} had")
    return fd


def _refuse_doors(origin: Path, links: tuple[str, ...]) -> None:
    if links:
        raise Conflict(
            f"{origin} has links besides lo: {', '.join(links)}; a sandbox has exactly one door, "
            "so give it a namespace without any",
            links=list(links),
        )


def _read_pin(sandbox: SandboxName, path: Path) -> Netns | None:
    try:
        fd = netns.open_path(path)
    except NotFound:
        return None
    except BadInput:  # a file without a namespace on it
        return Netns(sandbox, path, NO_NETNS)
    try:
        return Netns(sandbox, path, netns.identity(fd))
    finally:
        os.close(fd)
