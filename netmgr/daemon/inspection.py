"""Owns: what `sandbox show` and `sandbox check` tell: the kernel's truth beside the record.

Everything here is read from the kernel at the time of the question; memory only says what should
be there.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.daemon.lifecycle import Lifecycle
from netmgr.daemon.residents import Resident
from netmgr.daemon.status import Status
from netmgr.errors import NotFound
from netmgr.kernel.facts import Netns
from netmgr.kernel.pictures import SandboxPicture
from netmgr.model import SandboxName

JsonObject = dict[str, Any]

TRUST_FILES: Final = ("resolv.conf", "hosts", "nsswitch.conf", "ca.pem", "ca-bundle.pem", "env")


class Inspection:
    """Looks at one sandbox."""

    def __init__(self, core: Core, lifecycle: Lifecycle, status: Status) -> None:
        self._core = core
        self._status = status
        self._lifecycle = lifecycle

    async def show(self, name: str) -> JsonObject:
        """The record, and under `kernel` links, addresses, routes, entries, counters and flows.

        Raises:
            NotFound: no such sandbox.
        """
        core, resident = self._core, self._core.resident(name)
        shown = self._lifecycle.describe(resident) | {"names": resident.names.shown()}
        found = await self._find(resident)
        if found is None:
            return shown | {"kernel": None}
        picture = await core.on_kernel(core.kernel.look_sandbox, found, resident.lease)
        counters = await core.on_kernel(core.kernel.counters, resident.lease)
        return shown | {"kernel": asdict(picture) | {"counters": asdict(counters)}}

    async def check(self, name: str) -> JsonObject:
        """Compare the record with the kernel and the files.

        Raises:
            NotFound: no such sandbox.
        """
        core, resident = self._core, self._core.resident(name)
        found = await self._find(resident)
        remedy = f"netmgr sandbox delete {name}, then create it again"
        if found is None:
            gone = _difference("namespace", resident.row.netns, "it is gone or another one", remedy)
            return {"ok": False, "differences": [gone]}
        try:
            picture = await core.on_kernel(core.kernel.look_sandbox, found, resident.lease)
        except NotFound as failure:
            gone = _difference("namespace", resident.row.netns, failure.message, remedy)
            return {"ok": False, "differences": [gone]}
        differences = self._differences(resident, picture)
        differences += await core.on_kernel(self._entries, resident)
        differences += await self._rules()
        differences += self._files(resident)
        return {"ok": not differences, "differences": differences}

    async def _find(self, resident: Resident) -> Netns | None:
        row = resident.row
        found = await self._core.on_kernel(self._core.kernel.find_netns, SandboxName(row.name))
        if found is None:
            return None
        same = (found.identity.dev, found.identity.inode) == (row.netns_dev, row.netns_ino)
        return found if same else None

    def _differences(self, resident: Resident, picture: SandboxPicture) -> list[JsonObject]:
        lease = resident.lease
        restart = "restart the daemon: it repairs what it finds"
        facts = (
            ("hub link", f"{lease.link}, up", picture.hub_link is not None and picture.hub_link.up),
            ("hub route", f"{lease.address}/32 over {lease.link}", picture.hub_route),
            ("hub neighbour", f"{lease.address}, permanent", picture.hub_neighbour),
            ("bind set", f"{lease.address},{lease.link}", picture.bound),
        )
        found = [
            _difference(what, expected, "missing", restart)
            for what, expected, good in facts
            if not good
        ]
        named = {what for what, _, good in facts if not good}
        rest = [text for text in picture.differences if not any(what in text for what in named)]
        return found + [
            _difference("namespace", "as it was set up", text, restart) for text in rest
        ]

    async def _rules(self) -> list[JsonObject]:
        """The hub's rule set is no sandbox's own, but none is safe without it."""
        found = await self._status.rules("verify")
        restart = "restart the daemon: it installs the rule set anew"
        told = found.get("differences") or ([found["error"]] if "error" in found else [])
        return [_difference("hub rules", "as they were installed", text, restart) for text in told]

    def _entries(self, resident: Resident) -> list[JsonObject]:
        core = self._core
        wanted = core.entries(resident)
        standing = {e for e in core.kernel.survey().allow if e.address == resident.row.address}
        restart = "restart the daemon: it repairs what it finds"
        return [
            _difference("allow set", f"{e.destination}:{e.port}", "missing", restart)
            for e in sorted(wanted - standing, key=str)
        ] + [
            _difference("allow set", "no entry", f"{e.destination}:{e.port}", restart)
            for e in sorted(standing - wanted, key=str)
        ]

    def _files(self, resident: Resident) -> list[JsonObject]:
        directory: Path = self._core.trust.directory(resident.row.name)
        return [
            _difference(
                "file", str(directory / name), "missing", "restart the daemon: it writes them anew"
            )
            for name in TRUST_FILES
            if not (directory / name).exists()
        ]


def _difference(what: str, expected: str, found: str, remedy: str) -> JsonObject:
    return {"what": what, "expected": expected, "found": found, "remedy": remedy}
