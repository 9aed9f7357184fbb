"""Rules that somebody changed by hand are installed again; each time is a finding."""

import asyncio
from typing import Any

import pytest

from netmgr.daemon.rules_watch import RulesWatch
from netmgr.journal.filter import Filter
from netmgr.process.ipc import PeerRefused


class Helper:
    """A rules helper: what it sees, and whether it can install."""

    def __init__(self, differences: list[str], refusal: Exception | None = None) -> None:
        self.peer = self
        self.differences = differences
        self.installed = 0
        self._refusal = refusal

    async def rules(self, verb: str) -> dict[str, Any]:
        """What `Status.rules` gives."""
        assert verb == "verify"
        return {"differences": self.differences}

    async def ask(self, verb: str) -> None:
        """What a peer takes."""
        assert verb == "install"
        if self._refusal is not None:
            raise self._refusal
        self.installed += 1
        self.differences = []


@pytest.mark.parametrize(
    ("helper", "verdicts", "installed"),
    [
        (Helper([]), [], 0),
        (Helper(["filter INPUT lacks a rule"]), ["allowed"], 1),
        (Helper(["a", "b"], PeerRefused("host_failed", "locked")), ["failed", "failed"], 0),
    ],
    ids=["as installed", "changed", "cannot"],
)
def test_what_was_changed_stands_again(open_core, monkeypatch, helper, verdicts, installed):
    async def main():
        async with open_core() as core:
            monkeypatch.setattr(core.supervisor, "of_kind", lambda kind: [helper])
            watch = RulesWatch(core, helper)
            for _ in range(2):
                await watch.look()
            await core.journal.flush()
            found = await core.journal.query(Filter(kind="finding"))
            assert [record["verdict"] for record in found] == verdicts
            assert all("changed by hand" in record["message"] for record in found)
            assert helper.installed == installed

    asyncio.run(main())
